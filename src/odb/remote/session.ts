import {
  type Clock,
  deferred,
  InvariantError,
  Logger,
  systemClock,
  unreachable,
  writeUint32,
  writeUint64,
} from '../../base/index.js';
import { ConflictError, POSKeyError, ProtocolError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import { strongReferences } from '../serialize/reader.js';
import type { LockSession } from '../storage/lock-table.js';
import type { Doubt, Revision, Storage } from '../storage/storage.js';
import { readBlobChunk, readBlobFile, readBlobPath, readDropBlobs, readReadBlob } from './blob-messages.js';
import {
  newPacket,
  PacketReader,
  packetId,
  packetType,
  readValue,
  recordsBytes,
  valuePacket,
  type WireRecord,
  writeRecords,
} from './codec.js';
import { parseCommit } from './commit-message.js';
import { errorToWire } from './error-codec.js';
import { BATCH_BYTES, HEADER_BYTES, Message, type MessageType, OIDS_PER_BLOCK } from './messages.js';
import { SessionBlobs } from './session-blobs.js';
import { SessionLocks } from './session-locks.js';
import { SessionStats, SessionTransactions } from './session-transactions.js';
import type { Transport } from './transport.js';

const log = new Logger('holdfast.session');

/** How a {@link Session} serves. */
export interface SessionOptions {
  readonly storage: Storage;
  readonly transport: Pick<Transport, 'send' | 'close'>;
  /** Locks of this session, where the storage has them. */
  readonly locks?: LockSession | undefined;
  /** Refuse writes. */
  readonly isReadOnly?: boolean;
  /** The client is of this process, and may name files by their paths. */
  readonly isLocal?: boolean;
  /** A voted transaction that is not finished within this many ms is aborted, and its client dropped. 0: never. */
  readonly transactionTimeoutMs?: number;
  readonly clock?: Clock;
  /** Counts what happens. */
  readonly stats?: SessionStats;
}

/** Requests that are answered before the next packet is looked at. */
type QuickType =
  | typeof Message.load
  | typeof Message.loadBefore
  | typeof Message.loadSerial
  | typeof Message.prefetch
  | typeof Message.newOids
  | typeof Message.stats;

/** Entries that one answer to `undoLog` has at most. */
const UNDO_LOG_MAX = 1000;

/** Requests that are answered when they are done. */
type SlowType =
  | typeof Message.commit
  | typeof Message.vote
  | typeof Message.finish
  | typeof Message.abort
  | typeof Message.suspend
  | typeof Message.doubts
  | typeof Message.resolve
  | typeof Message.forget
  | typeof Message.outcome
  | typeof Message.history
  | typeof Message.iterate
  | typeof Message.undoLog
  | typeof Message.sync
  | typeof Message.tryLock
  | typeof Message.unlock
  | typeof Message.blobChunk
  | typeof Message.readBlob
  | typeof Message.blobPath;

/**
 * Serves one storage to one client.
 *
 * Requests are taken in order; reads are answered before the next packet is looked at, the rest when they are done.
 * What is published is told to the client by whoever owns the connection (`storage.subscribe`); since a storage tells
 * its subscribers before it answers anybody, no answer from here overtakes the invalidations that it depends on.
 *
 * The session ends with its transport: voted transactions are aborted, locks fall.
 */
export class Session {
  readonly #storage: Storage;
  readonly #transport: SessionOptions['transport'];
  readonly #locks: SessionLocks;
  readonly #transactions: SessionTransactions;
  readonly #blobs: SessionBlobs;
  readonly #isLocal: boolean;
  readonly #stats: SessionStats;
  readonly #endSnapshots: () => void;
  /** What the client told last. Its snapshots only become younger: until it tells anew, this one is at least as old. */
  #oldestSnapshot: Tid | undefined;
  readonly #underWay = new Set<Promise<void>>();
  readonly #whenIdle: (() => void)[] = [];
  #isClosed = false;

  constructor(options: SessionOptions) {
    const { storage, transport, locks, isReadOnly = false, clock = systemClock } = options;
    this.#storage = storage;
    this.#isLocal = options.isLocal ?? false;
    this.#blobs = new SessionBlobs(storage);
    this.#transport = transport;
    this.#stats = options.stats ?? new SessionStats();
    this.#locks = new SessionLocks(locks, (name) => transport.send(valuePacket(Message.lockFell, 0, name)));
    this.#endSnapshots = storage.keepSnapshots(() => this.#oldestSnapshot);
    this.#transactions = new SessionTransactions({
      storage,
      blobs: this.#blobs,
      isReadOnly,
      clock,
      stats: this.#stats,
      timeoutMs: options.transactionTimeoutMs ?? 0,
      onTimeout: () => {
        this.close();
        transport.close();
      },
    });
  }

  /**
   * Takes a packet of the client.
   *
   * @throws ProtocolError when it can be read by no rule of the protocol: the connection has to end.
   */
  receive(packet: Uint8Array): void {
    if (packet.length < HEADER_BYTES) throw new ProtocolError('a packet came that has no header');
    const id = packetId(packet);
    const type = packetType(packet) as MessageType;
    switch (type) {
      case Message.load:
      case Message.loadBefore:
      case Message.loadSerial:
      case Message.prefetch:
      case Message.newOids:
      case Message.stats:
        this.#answerNow(type, id, packet);
        return;
      case Message.commit:
      case Message.vote:
      case Message.finish:
      case Message.abort:
      case Message.suspend:
      case Message.doubts:
      case Message.resolve:
      case Message.forget:
      case Message.outcome:
      case Message.history:
      case Message.iterate:
      case Message.undoLog:
      case Message.sync:
      case Message.tryLock:
      case Message.unlock:
      case Message.blobChunk:
      case Message.readBlob:
      case Message.blobPath:
        this.#answerLater(type, id, packet);
        return;
      case Message.lock: {
        // A wait for a lock is no work that a session has to end before it can be closed.
        const granted = this.#locks.lock(id, readName(packet));
        void this.#reply(
          id,
          granted.then(() => newPacket(Message.answer, id, 0)),
        );
        return;
      }
      case Message.pack:
        // Nor is a pack: it ends with the storage.
        void this.#reply(id, this.#pack(id, new PacketReader(packet).tid()));
        return;
      case Message.storeAhead:
        this.#transactions.storeAhead(packet);
        return;
      case Message.dropBlobs:
        this.#blobs.drop(readDropBlobs(new PacketReader(packet)));
        return;
      case Message.blobFile: {
        this.#requireLocal();
        const { contentId, path } = readBlobFile(new PacketReader(packet));
        this.#blobs.name(contentId, path);
        return;
      }
      case Message.snapshots:
        this.#oldestSnapshot = new PacketReader(packet).tid();
        return;
      case Message.cancelLock:
        this.#locks.cancel(new PacketReader(packet).uint32());
        return;
      case Message.watch:
        this.#locks.watch(readName(packet));
        return;
      case Message.unwatch:
        this.#locks.unwatch(readName(packet));
        return;
      case Message.answer:
      case Message.failure:
      case Message.conflict:
      case Message.lost:
      case Message.lockFell:
        throw new ProtocolError(`a packet of type ${type} came, which only a server sends`);
      default:
        throw new ProtocolError(`a packet of the unknown type ${String(type satisfies never)} came`);
    }
  }

  /** Takes up what the client's former session had; resolves to the locks that it has got again. */
  resume(former: { readonly locks: readonly string[]; readonly watches: readonly string[] }): Promise<string[]> {
    return this.#locks.resume(former);
  }

  /** Refuses further commits, and resolves once those under way, and the voted ones, have come to their end. */
  async drain(): Promise<void> {
    this.#transactions.drain();
    if (this.#isIdle()) return;
    const idle = deferred();
    this.#whenIdle.push(idle.resolve);
    await idle.promise;
  }

  /** Ends the session: aborts what was not finished, gives up locks. May be called twice. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#endSnapshots();
    this.#transactions.close();
    this.#blobs.close();
    this.#locks.close();
    this.#noteIdle();
  }

  #isIdle(): boolean {
    return this.#isClosed || (this.#underWay.size === 0 && this.#transactions.votedCount === 0);
  }

  #noteIdle(): void {
    if (this.#isIdle()) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #answerNow(type: QuickType, id: number, packet: Uint8Array): void {
    let answer: Uint8Array;
    try {
      answer = this.#quickAnswer(type, id, new PacketReader(packet));
    } catch (error) {
      if (error instanceof ProtocolError || error instanceof InvariantError) throw error;
      answer = this.#failurePacket(id, error);
    }
    this.#transport.send(answer);
  }

  #quickAnswer(type: QuickType, id: number, reader: PacketReader): Uint8Array {
    const storage = this.#storage;
    switch (type) {
      case Message.load:
        this.#stats.loads += 1;
        return revisionPacket(id, storage.load(reader.oid()));
      case Message.loadBefore:
        this.#stats.loads += 1;
        return revisionPacket(id, storage.loadBefore(reader.oid(), reader.tid()));
      case Message.loadSerial: {
        this.#stats.loads += 1;
        return bytesPacket(id, storage.loadSerial(reader.oid(), reader.tid()));
      }
      case Message.prefetch:
        return this.#prefetch(id, reader);
      case Message.newOids:
        return this.#newOids(id, reader.uint32(), reader.oid());
      case Message.stats:
        return valuePacket(Message.answer, id, [storage.length, storage.size, storage.highestOid]);
      default:
        return unreachable(type);
    }
  }

  #answerLater(type: SlowType, id: number, packet: Uint8Array): void {
    const done: Promise<void> = this.#reply(id, this.#slowAnswer(type, id, packet)).finally(() => {
      this.#underWay.delete(done);
      this.#noteIdle();
    });
    this.#underWay.add(done);
  }

  /** Not `async`: what cannot be read is found before anything waits, so that it ends the connection. */
  #slowAnswer(type: SlowType, id: number, packet: Uint8Array): Promise<Uint8Array> {
    const storage = this.#storage;
    const reader = new PacketReader(packet);
    const answer = (value: unknown) => valuePacket(Message.answer, id, value);
    switch (type) {
      case Message.commit:
      case Message.vote:
        return this.#transactions.decide(type, id, parseCommit(reader));
      case Message.finish:
        return this.#transactions.finish(reader.uint32()).then(answer);
      case Message.abort:
        return this.#transactions.abort(reader.uint32()).then(answer);
      case Message.suspend:
        return this.#transactions.suspend(reader.uint32()).then(answer);
      case Message.doubts:
        return storage.doubts.list().then((doubts) => answer(doubts.map(wireDoubt)));
      case Message.resolve: {
        const happened = reader.uint8() === 1;
        return this.#transactions
          .resolve(new Uint8Array(reader.bytes(reader.remaining)), happened)
          .then((tid) => answer(tid ?? null));
      }
      case Message.forget:
        return this.#transactions.forget(new Uint8Array(reader.bytes(reader.remaining))).then(answer);
      case Message.outcome:
        return this.#transactions
          .outcome(new Uint8Array(reader.bytes(reader.remaining)))
          .then((tid) => answer(tid ?? null));
      case Message.history:
        return storage.history(reader.oid(), reader.uint32()).then(answer);
      case Message.iterate:
        return this.#iterate(id, reader.tid(), reader.tid());
      case Message.undoLog:
        return storage.undoLog({ before: reader.tid(), size: Math.min(reader.uint32(), UNDO_LOG_MAX) }).then(answer);
      case Message.sync:
        return storage.sync().then(answer);
      case Message.tryLock:
        return this.#locks.tryLock(readName(packet)).then(answer);
      case Message.unlock:
        return this.#locks.unlock(readName(packet)).then(answer);
      case Message.blobChunk: {
        this.#transactions.refuseReadOnly();
        const { contentId, offset, chunk } = readBlobChunk(reader);
        return this.#blobs.write(contentId, offset, chunk).then(() => answer(null));
      }
      case Message.readBlob: {
        const { oid, info, offset, length } = readReadBlob(reader);
        this.#stats.loads += offset === 0 ? 1 : 0;
        return this.#blobs.read(oid, info, offset, length).then((chunk) => bytesPacket(id, chunk));
      }
      case Message.blobPath: {
        this.#requireLocal();
        const { oid, info } = readBlobPath(reader);
        return storage.loadBlob(oid, info).then(answer);
      }
      default:
        return unreachable(type);
    }
  }

  /** @throws ProtocolError. */
  #requireLocal(): void {
    if (!this.#isLocal) throw new ProtocolError('a path came from another process');
  }

  async #pack(id: number, before: Tid): Promise<Uint8Array> {
    this.#transactions.refuseReadOnly();
    await this.#storage.pack({ before, references: strongReferences });
    return valuePacket(Message.answer, id, null);
  }

  async #reply(id: number, work: Promise<Uint8Array>): Promise<void> {
    let answer: Uint8Array;
    try {
      answer = await work;
    } catch (error) {
      answer = this.#failurePacket(id, error);
    }
    if (!this.#isClosed) this.#transport.send(answer);
  }

  #failurePacket(id: number, error: unknown): Uint8Array {
    if (error instanceof ConflictError) this.#stats.conflicts += 1;
    else if (!(error instanceof POSKeyError)) log.debug('a request failed', { error: String(error) });
    return valuePacket(Message.failure, id, errorToWire(error));
  }

  #prefetch(id: number, reader: PacketReader): Uint8Array {
    const before = reader.tid();
    const records: WireRecord[] = [];
    let bytes = 0;
    let handled = 0;
    while (reader.remaining > 0 && bytes < BATCH_BYTES) {
      const oid = reader.oid();
      handled += 1;
      const revision = this.#loadIfThere(oid, before);
      if (revision === undefined) continue;
      const { tid, endTid, data } = revision;
      records.push({ oid, tid, endTid, data });
      bytes += data.length;
    }
    this.#stats.loads += handled;
    const answer = newPacket(Message.answer, id, 4 + recordsBytes(records));
    writeUint32(answer, HEADER_BYTES, handled);
    writeRecords(answer, HEADER_BYTES + 4, records);
    return answer;
  }

  #loadIfThere(oid: Oid, before: Tid): Revision | undefined {
    try {
      return this.#storage.loadBefore(oid, before);
    } catch (error) {
      if (error instanceof POSKeyError) return undefined;
      throw error;
    }
  }

  #newOids(id: number, count: number, above: Oid): Uint8Array {
    this.#transactions.refuseReadOnly();
    // Ranges, since oids come in rows: start and count, in turn.
    const ranges: number[] = [];
    for (let i = 0; i < Math.min(count, OIDS_PER_BLOCK); i++) {
      const oid = this.#storage.newOid(above);
      const last = ranges.length - 1;
      if (last > 0 && (ranges[last - 1] as number) + (ranges[last] as number) === oid) (ranges[last] as number)++;
      else ranges.push(oid, 1);
    }
    return valuePacket(Message.answer, id, ranges);
  }

  async #iterate(id: number, from: Tid, to: Tid): Promise<Uint8Array> {
    const transactions: unknown[] = [];
    let bytes = 0;
    let isDone = true;
    for await (const transaction of this.#storage.iterate(from, to)) {
      const { tid, user, description, extension, records } = transaction;
      transactions.push([tid, user, description, extension, records.map((r) => [r.oid, r.tid, r.data ?? null])]);
      for (const record of records) bytes += (record.data?.length ?? 0) + 32;
      if (bytes < BATCH_BYTES) continue;
      isDone = false;
      break;
    }
    return valuePacket(Message.answer, id, [isDone, transactions]);
  }
}

/** A doubt as it travels. */
export type WireDoubt = readonly [
  commitId: Uint8Array,
  decider: string,
  deciderName: string,
  tid: Tid,
  user: string,
  description: string,
  objects: number,
];

function wireDoubt({ commitId, decider, deciderName, tid, user, description, objects }: Doubt): WireDoubt {
  return [commitId, decider, deciderName, tid, user, description, objects];
}

function readName(packet: Uint8Array): string {
  const name = readValue(packet);
  if (typeof name !== 'string') throw new ProtocolError('a lock was asked for without a name');
  return name;
}

function bytesPacket(id: number, bytes: Uint8Array): Uint8Array {
  const packet = newPacket(Message.answer, id, bytes.length);
  packet.set(bytes, HEADER_BYTES);
  return packet;
}

function revisionPacket(id: number, revision: Revision | undefined): Uint8Array {
  if (revision === undefined) return newPacket(Message.answer, id, 0);
  const packet = newPacket(Message.answer, id, 16 + revision.data.length);
  writeUint64(packet, HEADER_BYTES, revision.tid);
  writeUint64(packet, HEADER_BYTES + 8, revision.endTid ?? 0);
  packet.set(revision.data, HEADER_BYTES + 16);
  return packet;
}
