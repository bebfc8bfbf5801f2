import { writeUint64 } from '../../base/index.js';
import { ProtocolError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import type { Decider, StorageTransaction } from '../storage/storage.js';
import {
  newPacket,
  type PacketReader,
  packValue,
  readRecords,
  readValue,
  recordsBytes,
  type WireRecord,
  writeRecords,
} from './codec.js';
import { FLAG_CAN_MERGE, HEADER_BYTES, type Message } from './messages.js';

/** A conflict for the client to merge: oid, base serial, committed serial, base record, committed record. */
export type WireConflict = readonly [Oid, Tid, Tid, Uint8Array, Uint8Array];

/** What a client asks to be committed. */
export interface CommitRequest {
  readonly number: number;
  readonly canMerge: boolean;
  /** Records that were sent ahead: a check that none was lost on the way. */
  readonly aheadCount: number;
  readonly transaction: StorageTransaction;
  readonly checks: readonly { readonly oid: Oid; readonly tid: Tid }[];
  readonly records: readonly WireRecord[];
  /** Transactions to be undone. */
  readonly undos: readonly Tid[];
  /** Who decides, where several storages take part. */
  readonly decider: Decider | undefined;
}

/** Reads the body of a `commit` or `vote`. @throws ProtocolError. */
export function parseCommit(reader: PacketReader): CommitRequest {
  const number = reader.uint32();
  const flags = reader.uint8();
  const aheadCount = reader.uint32();
  const { transaction, undos, decider } = parseTransaction(readValue(reader.bytes(reader.uint32()), 0));
  const checks: { oid: Oid; tid: Tid }[] = [];
  for (let left = reader.uint32(); left > 0; left--) checks.push({ oid: reader.oid(), tid: reader.tid() });
  const records = readRecords(reader).map(owned);
  return { number, canMerge: (flags & FLAG_CAN_MERGE) !== 0, aheadCount, transaction, checks, records, undos, decider };
}

/** The packet of a `commit` or `vote`. */
export function commitPacket(options: {
  readonly type: typeof Message.commit | typeof Message.vote;
  readonly id: number;
  readonly number: number;
  readonly canMerge: boolean;
  /** Records that were sent ahead: a check that none was lost on the way. */
  readonly aheadCount: number;
  readonly transaction: StorageTransaction;
  readonly checks: readonly { readonly oid: Oid; readonly serial: Tid }[];
  readonly records: readonly WireRecord[];
  readonly undos: readonly Tid[];
  readonly decider?: Decider | undefined;
}): Uint8Array {
  const { commitId, user, description, extension, tid } = options.transaction;
  const { undos, decider } = options;
  const decidedBy = decider ? [decider.identity, decider.name] : null;
  const meta = packValue([commitId, user, description, extension, undos, tid ?? null, decidedBy]);
  const checksAt = HEADER_BYTES + 13 + meta.length;
  const recordsAt = checksAt + 4 + options.checks.length * 16;
  const packet = newPacket(options.type, options.id, recordsAt - HEADER_BYTES + recordsBytes(options.records));
  const view = new DataView(packet.buffer);
  view.setUint32(HEADER_BYTES, options.number);
  view.setUint8(HEADER_BYTES + 4, options.canMerge ? FLAG_CAN_MERGE : 0);
  view.setUint32(HEADER_BYTES + 5, options.aheadCount);
  view.setUint32(HEADER_BYTES + 9, meta.length);
  packet.set(meta, HEADER_BYTES + 13);
  view.setUint32(checksAt, options.checks.length);
  for (const [index, { oid, serial }] of options.checks.entries()) {
    writeUint64(packet, checksAt + 4 + index * 16, oid);
    writeUint64(packet, checksAt + 12 + index * 16, serial);
  }
  writeRecords(packet, recordsAt, options.records);
  return packet;
}

function parseTransaction(value: unknown): Pick<CommitRequest, 'transaction' | 'undos' | 'decider'> {
  if (Array.isArray(value)) {
    const [commitId, user, description, extension, undos, tid, decider] = value as unknown[];
    if (
      commitId instanceof Uint8Array &&
      commitId.length === 16 &&
      typeof user === 'string' &&
      typeof description === 'string' &&
      extension instanceof Uint8Array &&
      Array.isArray(undos) &&
      undos.every((undone) => Number.isSafeInteger(undone)) &&
      (tid === null || Number.isSafeInteger(tid)) &&
      (decider === null || isDecider(decider))
    ) {
      return {
        transaction: {
          commitId: new Uint8Array(commitId),
          user,
          description,
          extension: new Uint8Array(extension),
          ...(tid === null ? {} : { tid: tid as Tid }),
        },
        undos: undos as Tid[],
        decider: decider === null ? undefined : { identity: decider[0], name: decider[1] },
      };
    }
  }
  throw new ProtocolError('a commit came without a proper description of its transaction');
}

function isDecider(value: unknown): value is [identity: string, name: string] {
  return Array.isArray(value) && value.length === 2 && value.every((item) => typeof item === 'string' && item !== '');
}

/** A record that does not hold on to the packet that it came in. */
export function owned(record: WireRecord): WireRecord {
  return { ...record, data: new Uint8Array(record.data) };
}
