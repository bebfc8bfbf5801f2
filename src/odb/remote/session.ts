import {
  type Clock,
  deferred,
  InvariantError,
  Logger,
  systemClock,
  type Timer,
  unreachable,
  writeUint64,
} from '../../base/index.js';
import {
  ClientDisconnected,
  ConflictError,
  POSKeyError,
  ProtocolError,
  ReadConflictError,
  ReadOnlyError,
  StorageError,
  StorageTransactionError,
} from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import type { Revision, Storage, StorageLocks, StorageTransaction } from '../storage/storage.js';
import {
  newPacket,
  PacketReader,
  packetId,
  packetType,
  readRecords,
  readValue,
  recordsBytes,
  valuePacket,
  type WireRecord,
  writeRecords,
} from './codec.js';
import { type CommitRequest, owned, parseCommit, type WireConflict } from './commit-message.js';
import { errorToWire } from './error-codec.js';
import { BATCH_BYTES, HEADER_BYTES, Message, type MessageType, OIDS_PER_BLOCK } from './messages.js';
import type { Transport } from './transport.js';

const log = new Logger('holdfast.session');

/** The locks of one session, given up with it. */
export interface SessionLocks extends StorageLocks {
  /** Gives up all locks and ends all waits and watches. */
  close(): void;
}

/** How a {@link Session} serves. */
export interface SessionOptions {
  readonly storage: Storage;
  readonly transport: Transport;
  /** Locks of this session, where the storage has them. */
  readonly locks?: SessionLocks | undefined;
  /** Refuse writes. */
  readonly isReadOnly?: boolean;
  /** A voted transaction that is not finished within this many ms is aborted, and its client dropped. 0: never. */
  readonly transactionTimeoutMs?: number;
  readonly clock?: Clock;
  /** Counts what happens. */
  readonly stats?: SessionStats;
}

/** What sessions have done so far. */
export class SessionStats {
  loads = 0;
  stores = 0;
  commits = 0;
  aborts = 0;
  conflicts = 0;
  resolved = 0;
}

/** A transaction of a client, from its first packet to its end. */
interface OpenTransaction {
  readonly storageTransaction: StorageTransaction;
  voted: boolean;
  /** Aborted while its vote was under way. */
  aborted: boolean;
  timer: Timer | undefined;
}

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
  readonly #transport: Transport;
  readonly #locks: SessionLocks | undefined;
  readonly #isReadOnly: boolean;
  readonly #transactionTimeoutMs: number;
  readonly #clock: Clock;
  readonly #stats: SessionStats;
  readonly #transactions = new Map<number, OpenTransaction>();
  /** Stores that came ahead of their commit. */
  readonly #storesAhead = new Map<number, WireRecord[]>();
  readonly #lockWaits = new Map<number, AbortController>();
  readonly #watches = new Map<string, () => void>();
  readonly #underWay = new Set<Promise<void>>();
  #draining = false;
  readonly #whenIdle: (() => void)[] = [];
  #closed = false;

  constructor(options: SessionOptions) {
    this.#storage = options.storage;
    this.#transport = options.transport;
    this.#locks = options.locks;
    this.#isReadOnly = options.isReadOnly ?? false;
    this.#transactionTimeoutMs = options.transactionTimeoutMs ?? 0;
    this.#clock = options.clock ?? systemClock;
    this.#stats = options.stats ?? new SessionStats();
  }

  /** Voted transactions that wait for their second phase. */
  get votedCount(): number {
    let count = 0;
    for (const transaction of this.#transactions.values()) if (transaction.voted) count += 1;
    return count;
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
      case Message.storeAhead:
        this.#storeAhead(packet);
        return;
      case Message.commit:
      case Message.vote:
      case Message.finish:
      case Message.abort:
      case Message.outcome:
      case Message.history:
      case Message.iterate:
      case Message.sync:
      case Message.tryLock:
      case Message.lock:
      case Message.unlock:
        this.#answerLater(type, id, packet);
        return;
      case Message.cancelLock:
        this.#lockWaits.get(new PacketReader(packet).uint32())?.abort(new ClientDisconnected('the wait was withdrawn'));
        return;
      case Message.watch:
        this.#watch(readName(packet));
        return;
      case Message.unwatch:
        this.#unwatch(readName(packet));
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

  /** Takes up what the client's former session had: watches, and locks, which were lost with it if others were faster. */
  async resume(former: { readonly locks: readonly string[]; readonly watches: readonly string[] }): Promise<string[]> {
    const locks = this.#locks;
    if (locks === undefined) return [];
    for (const name of former.watches) this.#watch(name);
    // Ordering: all are asked for now, before any request of anybody else is looked at.
    const got = await Promise.all(former.locks.map((name) => locks.tryLock(name)));
    return former.locks.filter((_name, index) => got[index]);
  }

  /** Refuses further commits, and resolves once those under way, and the voted ones, have come to their end. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#isIdle()) return;
    const idle = deferred();
    this.#whenIdle.push(idle.resolve);
    await idle.promise;
  }

  /** Ends the session: aborts what was not finished, gives up locks. May be called twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const controller of this.#lockWaits.values()) controller.abort(new ClientDisconnected('the session ended'));
    for (const stop of this.#watches.values()) stop();
    this.#watches.clear();
    this.#storesAhead.clear();
    for (const number of [...this.#transactions.keys()]) {
      this.#abort(number).catch((error: unknown) => log.error('a transaction of a lost client was not aborted', error));
    }
    this.#locks?.close();
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #isIdle(): boolean {
    return this.#closed || (this.#underWay.size === 0 && this.votedCount === 0);
  }

  #answerNow(
    type:
      | typeof Message.load
      | typeof Message.loadBefore
      | typeof Message.loadSerial
      | typeof Message.prefetch
      | typeof Message.newOids
      | typeof Message.stats,
    id: number,
    packet: Uint8Array,
  ): void {
    const reader = new PacketReader(packet);
    let answer: Uint8Array;
    try {
      switch (type) {
        case Message.load:
          answer = revisionPacket(id, this.#storage.load(reader.oid()));
          this.#stats.loads += 1;
          break;
        case Message.loadBefore:
          answer = revisionPacket(id, this.#storage.loadBefore(reader.oid(), reader.tid()));
          this.#stats.loads += 1;
          break;
        case Message.loadSerial: {
          const data = this.#storage.loadSerial(reader.oid(), reader.tid());
          answer = newPacket(Message.answer, id, data.length);
          answer.set(data, HEADER_BYTES);
          this.#stats.loads += 1;
          break;
        }
        case Message.prefetch:
          answer = this.#prefetch(id, reader);
          break;
        case Message.newOids:
          answer = this.#newOids(id, reader.uint32());
          break;
        case Message.stats:
          answer = valuePacket(Message.answer, id, [this.#storage.length, this.#storage.size]);
          break;
        default:
          unreachable(type);
      }
    } catch (error) {
      if (error instanceof ProtocolError || error instanceof InvariantError) throw error;
      answer = this.#failurePacket(id, error);
    }
    this.#transport.send(answer);
  }

  #answerLater(
    type:
      | typeof Message.commit
      | typeof Message.vote
      | typeof Message.finish
      | typeof Message.abort
      | typeof Message.outcome
      | typeof Message.history
      | typeof Message.iterate
      | typeof Message.sync
      | typeof Message.tryLock
      | typeof Message.lock
      | typeof Message.unlock,
    id: number,
    packet: Uint8Array,
  ): void {
    // What cannot be read is found before anything waits, so that it ends the connection here.
    const reader = new PacketReader(packet);
    let work: Promise<Uint8Array>;
    switch (type) {
      case Message.commit:
      case Message.vote:
        work = this.#commit(type, id, parseCommit(reader));
        break;
      case Message.finish:
        work = this.#finish(reader.uint32()).then((tid) => valuePacket(Message.answer, id, tid));
        break;
      case Message.abort:
        work = this.#abort(reader.uint32()).then(() => newPacket(Message.answer, id, 0));
        break;
      case Message.outcome:
        work = this.#storage
          .outcome(new Uint8Array(reader.bytes(reader.remaining)))
          .then((tid) => valuePacket(Message.answer, id, tid ?? null));
        break;
      case Message.history: {
        const oid = reader.oid();
        const size = reader.uint32();
        work = this.#storage.history(oid, size).then((entries) => valuePacket(Message.answer, id, entries));
        break;
      }
      case Message.iterate:
        work = this.#iterate(id, reader.tid(), reader.tid());
        break;
      case Message.sync:
        work = this.#storage.sync().then((tid) => valuePacket(Message.answer, id, [tid, this.#storage.clock.now()]));
        break;
      case Message.tryLock:
        work = this.#tryLock(readName(packet)).then((got) => valuePacket(Message.answer, id, got));
        break;
      case Message.lock:
        // A wait for a lock is no work to be waited for when the session settles.
        this.#reply(id, this.#lock(id, readName(packet)));
        return;
      case Message.unlock:
        work = this.#unlock(readName(packet)).then(() => newPacket(Message.answer, id, 0));
        break;
      default:
        unreachable(type);
    }
    const done: Promise<void> = this.#reply(id, work).finally(() => {
      this.#underWay.delete(done);
      if (this.#isIdle()) for (const resolve of this.#whenIdle.splice(0)) resolve();
    });
    this.#underWay.add(done);
  }

  async #reply(id: number, work: Promise<Uint8Array>): Promise<void> {
    let answer: Uint8Array;
    try {
      answer = await work;
    } catch (error) {
      answer = this.#failurePacket(id, error);
    }
    if (!this.#closed) this.#transport.send(answer);
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
    while (reader.remaining > 0) {
      const oid = reader.oid();
      handled += 1;
      const revision = this.#loadIfThere(oid, before);
      if (revision === undefined) continue;
      records.push({ oid, ...revision });
      bytes += revision.data.length;
      if (bytes >= BATCH_BYTES) break;
    }
    this.#stats.loads += handled;
    const answer = newPacket(Message.answer, id, 4 + recordsBytes(records));
    new DataView(answer.buffer).setUint32(HEADER_BYTES, handled);
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

  #newOids(id: number, count: number): Uint8Array {
    this.#refuseReadOnly();
    // Ranges, since oids come in rows: start and count, in turn.
    const ranges: number[] = [];
    for (let i = 0; i < Math.min(count, OIDS_PER_BLOCK); i++) {
      const oid = this.#storage.newOid();
      const last = ranges.length - 1;
      if (last > 0 && (ranges[last - 1] as number) + (ranges[last] as number) === oid) (ranges[last] as number)++;
      else ranges.push(oid, 1);
    }
    return valuePacket(Message.answer, id, ranges);
  }

  #storeAhead(packet: Uint8Array): void {
    const reader = new PacketReader(packet);
    const number = reader.uint32();
    const ahead = this.#storesAhead.get(number) ?? [];
    this.#storesAhead.set(number, ahead);
    for (const record of readRecords(reader)) ahead.push(owned(record));
  }

  async #commit(
    type: typeof Message.commit | typeof Message.vote,
    id: number,
    request: CommitRequest,
  ): Promise<Uint8Array> {
    this.#refuseReadOnly();
    if (this.#draining) throw new ClientDisconnected('the storage is being closed');
    const { number } = request;
    const ahead = this.#storesAhead.get(number) ?? [];
    this.#storesAhead.delete(number);
    if (ahead.length !== request.aheadCount) {
      throw new ClientDisconnected('stores that were sent ahead of the commit were lost with the connection');
    }
    const records = [...ahead, ...request.records];
    if (this.#transactions.has(number)) throw new StorageTransactionError('the transaction was voted already');
    const open: OpenTransaction = {
      storageTransaction: request.transaction,
      voted: false,
      aborted: false,
      timer: undefined,
    };
    this.#transactions.set(number, open);
    const storage = this.#storage;
    try {
      storage.tpcBegin(open.storageTransaction);
      for (const { oid, tid, data } of records) storage.store(open.storageTransaction, oid, tid, data);
      for (const { oid, tid } of request.checks) storage.checkCurrentSerial(open.storageTransaction, oid, tid);
      this.#stats.stores += records.length;
      if (type === Message.commit) {
        const { tid, resolved } = await storage.commit(open.storageTransaction);
        this.#transactions.delete(number);
        this.#stats.commits += 1;
        this.#stats.resolved += resolved.length;
        return valuePacket(Message.answer, id, [resolved, tid]);
      }
      const { resolved } = await storage.tpcVote(open.storageTransaction);
      this.#stats.resolved += resolved.length;
      if (open.aborted) throw new StorageTransactionError('the transaction was aborted during its vote');
      open.voted = true;
      this.#limitVoted(number, open);
      return valuePacket(Message.answer, id, [resolved]);
    } catch (error) {
      this.#transactions.delete(number);
      await storage.tpcAbort(open.storageTransaction);
      const canMerge = request.canMerge && error instanceof ConflictError && !(error instanceof ReadConflictError);
      const conflicts = canMerge ? this.#conflicts(records) : [];
      if (conflicts.length === 0) throw error;
      this.#stats.conflicts += 1;
      return valuePacket(Message.conflict, id, [errorToWire(error), conflicts]);
    }
  }

  /** All records of a refused transaction that need a merge, with what a client needs to merge them. */
  #conflicts(records: readonly WireRecord[]): WireConflict[] {
    const conflicts: WireConflict[] = [];
    try {
      for (const { oid, tid } of records) {
        const committed = this.#loadIfThere(oid, (this.#storage.lastTransaction() + 1) as Tid);
        if (committed === undefined || committed.tid === tid) continue;
        conflicts.push([oid, tid, committed.tid, this.#storage.loadSerial(oid, tid), committed.data]);
      }
    } catch (error) {
      // A base that was trimmed away cannot be merged with: the conflict stands.
      if (error instanceof POSKeyError) return [];
      throw error;
    }
    return conflicts;
  }

  /** A client that votes and then neither finishes nor leaves would hold up everybody. */
  #limitVoted(number: number, open: OpenTransaction): void {
    if (this.#transactionTimeoutMs === 0) return;
    open.timer = this.#clock.schedule(this.#transactionTimeoutMs, () => {
      log.critical(`a client did not finish its transaction within ${this.#transactionTimeoutMs} ms: it is dropped`);
      this.close();
      this.#transport.close();
      this.#transactions.delete(number);
    });
  }

  async #finish(number: number): Promise<Tid> {
    const open = this.#transactions.get(number);
    if (!open?.voted) throw new StorageTransactionError('the transaction was not voted on this connection');
    open.timer?.cancel();
    this.#transactions.delete(number);
    const tid = await this.#storage.tpcFinish(open.storageTransaction);
    this.#stats.commits += 1;
    return tid;
  }

  async #abort(number: number): Promise<void> {
    this.#storesAhead.delete(number);
    const open = this.#transactions.get(number);
    if (open === undefined) return;
    this.#stats.aborts += 1;
    open.timer?.cancel();
    open.aborted = true;
    // One whose vote is under way is aborted when the vote has ended.
    if (!open.voted) return;
    this.#transactions.delete(number);
    await this.#storage.tpcAbort(open.storageTransaction);
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

  async #tryLock(name: string): Promise<boolean> {
    return this.#requireLocks().tryLock(name);
  }

  async #lock(id: number, name: string): Promise<Uint8Array> {
    const controller = new AbortController();
    this.#lockWaits.set(id, controller);
    try {
      await this.#requireLocks().lock(name, { signal: controller.signal });
      return newPacket(Message.answer, id, 0);
    } finally {
      this.#lockWaits.delete(id);
    }
  }

  async #unlock(name: string): Promise<void> {
    await this.#requireLocks().unlock(name);
  }

  #watch(name: string): void {
    if (this.#locks === undefined || this.#watches.has(name)) return;
    const stop = this.#locks.watch(name, () => {
      this.#transport.send(valuePacket(Message.lockFell, 0, name));
    });
    this.#watches.set(name, stop);
  }

  #unwatch(name: string): void {
    this.#watches.get(name)?.();
    this.#watches.delete(name);
  }

  #requireLocks(): SessionLocks {
    if (this.#locks === undefined) throw new StorageError('this storage has no locks');
    return this.#locks;
  }

  #refuseReadOnly(): void {
    if (this.#isReadOnly || this.#storage.isReadOnly) throw new ReadOnlyError(`${this.#storage.name} is read-only`);
  }
}

function readName(packet: Uint8Array): string {
  const name = readValue(packet);
  if (typeof name !== 'string') throw new ProtocolError('a lock was asked for without a name');
  return name;
}

function revisionPacket(id: number, revision: Revision | undefined): Uint8Array {
  if (revision === undefined) return newPacket(Message.answer, id, 0);
  const packet = newPacket(Message.answer, id, 16 + revision.data.length);
  writeUint64(packet, HEADER_BYTES, revision.tid);
  writeUint64(packet, HEADER_BYTES + 8, revision.endTid ?? 0);
  packet.set(revision.data, HEADER_BYTES + 16);
  return packet;
}
