import { pack, unpack } from 'msgpackr';
import { asBuffer, crc32, readUint32, readUint64, writeUint32, writeUint64 } from '../../../base/index.js';
import { CorruptionError } from '../../errors.js';
import type { Oid, Tid } from '../../ids.js';

/*
 * What stands where. All numbers are big-endian, so that keys sort by them.
 *
 *     0x00 name           bookkeeping, by name
 *     0x01 oid(8)         current revision:  n(4) tid(8) data crc(4)
 *     0x02 oid(8) n(4)    older revision:    n(4) tid(8) data crc(4), the same bytes as when it was current
 *     0x03 tid(8)         transaction:       MessagePack of a TransactionEntry, crc(4)
 *     0x04                prepared transaction: MessagePack of a PreparedEntry, crc(4); at most one
 *
 * `n` numbers the revisions of an object densely, so that an old one is found by halving. The checksum is CRC-32 over all before it,
 * begun with a number made from the key, so that a value that stands under a wrong key is noticed too: LevelDB answers flipped bytes
 * with wrong values.
 */

const SPACE = { bookkeeping: 0x00, current: 0x01, older: 0x02, transaction: 0x03, prepared: 0x04 } as const;

const HEAD_BYTES = 12;
const CRC_BYTES = 4;

/** A revision as it is stored. */
export interface StoredRevision {
  /** Its number among the object's revisions, from 0. */
  readonly n: number;
  readonly tid: Tid;
  readonly data: Buffer;
}

/** A transaction as it is stored. */
export interface TransactionEntry {
  /** Counted from 1, without gaps: a missing one is a lost commit. */
  readonly sequence: number;
  readonly tid: Tid;
  /** The transaction before it. */
  readonly previousTid: Tid;
  readonly commitId: Uint8Array;
  readonly user: string;
  readonly description: string;
  readonly extension: Uint8Array;
  /** What it wrote: oid and number of the revision, in turn. */
  readonly records: readonly number[];
}

/** A transaction that was voted, and is nothing until it is finished. */
export interface PreparedEntry {
  readonly tid: Tid;
  readonly commitId: Uint8Array;
  /** Name of the database that decides; empty when that is this one. */
  readonly decider: string;
}

/** The key of a current revision; `into` is used again, to make no garbage. */
export function currentKey(oid: Oid, into = Buffer.allocUnsafe(9)): Buffer {
  into[0] = SPACE.current;
  writeUint64(into, 1, oid);
  return into;
}

/** The key of an older revision. */
export function olderKey(oid: Oid, n: number, into = Buffer.allocUnsafe(13)): Buffer {
  into[0] = SPACE.older;
  writeUint64(into, 1, oid);
  writeUint32(into, 9, n);
  return into;
}

/** The key of a transaction. */
export function transactionKey(tid: Tid): Buffer {
  const key = Buffer.allocUnsafe(9);
  key[0] = SPACE.transaction;
  writeUint64(key, 1, tid);
  return key;
}

/** After all transactions. */
export const TRANSACTIONS_END = Buffer.from([SPACE.transaction + 1]);
/** Before and after all current revisions. */
export const CURRENT_RANGE = { gte: Buffer.from([SPACE.current]), lt: Buffer.from([SPACE.current + 1]) } as const;
export const PREPARED_KEY = Buffer.from([SPACE.prepared]);

/** The key of a bookkeeping entry. */
export function bookkeepingKey(name: 'oids' | 'checkpoint' | 'trimmed'): Buffer {
  return Buffer.concat([Buffer.from([SPACE.bookkeeping]), Buffer.from(name)]);
}

/** The oid of a key of a current revision. */
export function oidOfKey(key: Uint8Array): Oid {
  return readUint64(key, 1) as Oid;
}

/** The bytes of a revision, as they stand under both of its keys. */
export function encodeRevision(oid: Oid, n: number, tid: Tid, data: Uint8Array): Buffer {
  const value = Buffer.allocUnsafe(HEAD_BYTES + data.length + CRC_BYTES);
  writeUint32(value, 0, n);
  writeUint64(value, 4, tid);
  value.set(data, HEAD_BYTES);
  const end = HEAD_BYTES + data.length;
  writeUint32(value, end, crc32(value.subarray(0, end), seedOf(oid)));
  return value;
}

/** @throws CorruptionError, naming oid and (alleged) tid. */
export function decodeRevision(oid: Oid, value: Buffer): StoredRevision {
  const end = value.length - CRC_BYTES;
  const tid = end < HEAD_BYTES ? undefined : (readUint64(value, 4) as Tid);
  if (tid === undefined || crc32(value.subarray(0, end), seedOf(oid)) !== readUint32(value, end)) {
    throw new CorruptionError(
      `the stored revision of oid ${oid}${tid === undefined ? '' : ` (tid ${tid})`} is damaged: its checksum does not match; ` +
        'restore the database from a copy',
      tid === undefined ? { oid } : { oid, tid },
    );
  }
  return { n: readUint32(value, 0), tid, data: value.subarray(HEAD_BYTES, end) };
}

/** The tid of a revision, unchecked: for a search, whose result is checked. */
export function tidOfRevision(value: Buffer): Tid {
  return readUint64(value, 4) as Tid;
}

function seedOf(oid: Oid): number {
  return (oid ^ Math.floor(oid / 0x1_0000_0000)) >>> 0;
}

/** MessagePack of an entry, with its checksum. */
export function encodeEntry(entry: TransactionEntry | PreparedEntry | number | { sequence: number; tid: Tid }): Buffer {
  const plain = pack(entry);
  const value = Buffer.allocUnsafe(plain.length + CRC_BYTES);
  value.set(plain);
  writeUint32(value, plain.length, crc32(plain));
  return value;
}

/** @throws CorruptionError, naming the entry. */
export function decodeEntry<T>(value: Uint8Array, what: string, tid?: Tid): T {
  const bytes = asBuffer(value);
  const end = bytes.length - CRC_BYTES;
  if (end < 1 || crc32(bytes.subarray(0, end)) !== readUint32(bytes, end)) {
    throw new CorruptionError(
      `${what} is damaged: its checksum does not match; restore the database from a copy`,
      tid === undefined ? {} : { tid },
    );
  }
  return unpack(bytes.subarray(0, end)) as T;
}
