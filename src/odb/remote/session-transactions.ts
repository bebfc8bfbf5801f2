import { type Clock, type Deferred, deferred, Logger, type Timer } from '../../base/index.js';
import {
  ClientDisconnected,
  CommitUncertainError,
  ConflictError,
  POSKeyError,
  ReadConflictError,
  ReadOnlyError,
  StorageTransactionError,
} from '../errors.js';
import { type Tid, ZERO_TID } from '../ids.js';
import { blobOf } from '../storage/blob/blob-info.js';
import type { Storage, StorageTransaction } from '../storage/storage.js';
import { PacketReader, readRecords, valuePacket, type WireRecord } from './codec.js';
import { type CommitRequest, owned, type WireConflict } from './commit-message.js';
import { CommitRegistry } from './commit-registry.js';
import { errorToWire } from './error-codec.js';
import { Message } from './messages.js';
import type { SessionBlobs } from './session-blobs.js';

const log = new Logger('holdfast.session');

const NO_FILES: ReadonlyMap<number, string> = new Map();

/** What sessions have done so far. */
export class SessionStats {
  loads = 0;
  stores = 0;
  commits = 0;
  aborts = 0;
  conflicts = 0;
  resolved = 0;
}

/** How {@link SessionTransactions} work. */
export interface SessionTransactionsOptions {
  readonly storage: Storage;
  readonly blobs: SessionBlobs;
  readonly isReadOnly: boolean;
  /** A voted transaction that is not finished within this many ms is aborted. 0: never. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly stats: SessionStats;
  /** A voted transaction was not finished in time: its client is to be dropped. */
  readonly onTimeout: () => void;
}

/** A transaction of a client, from its commit or vote to its end. */
interface OpenTransaction {
  readonly storageTransaction: StorageTransaction;
  /** Whether another storage decides it: it is not taken back when its client is gone. */
  readonly isDecidedElsewhere: boolean;
  voted: boolean;
  /** Aborted while its vote was under way. */
  aborted: boolean;
  timer: Timer | undefined;
  /** Resolves when it is committed or aborted. */
  readonly end: Deferred<void>;
}

/** The transactions of one client, known by the numbers that the client gave them. */
export class SessionTransactions {
  readonly #options: SessionTransactionsOptions;
  readonly #registry: CommitRegistry;
  readonly #open = new Map<number, OpenTransaction>();
  /** Stores that came ahead of their commit. */
  readonly #storesAhead = new Map<number, WireRecord[]>();
  #isDraining = false;

  constructor(options: SessionTransactionsOptions) {
    this.#options = options;
    this.#registry = CommitRegistry.of(options.storage);
  }

  /** Voted transactions that wait for their second phase. */
  get votedCount(): number {
    let count = 0;
    for (const { voted } of this.#open.values()) if (voted) count += 1;
    return count;
  }

  /** Refuses further commits and votes. */
  drain(): void {
    this.#isDraining = true;
  }

  /** Keeps stores that come ahead of their commit. */
  storeAhead(packet: Uint8Array): void {
    const reader = new PacketReader(packet);
    const number = reader.uint32();
    const ahead = this.#storesAhead.get(number) ?? [];
    this.#storesAhead.set(number, ahead);
    for (const record of readRecords(reader)) ahead.push(owned(record));
  }

  /** Commits or votes; resolves to the answering packet. */
  async decide(
    type: typeof Message.commit | typeof Message.vote,
    id: number,
    request: CommitRequest,
  ): Promise<Uint8Array> {
    const { storage, stats } = this.#options;
    const { number, transaction, checks, undos, decider } = request;
    const ahead = this.#storesAhead.get(number) ?? [];
    this.#storesAhead.delete(number);
    this.refuseReadOnly();
    if (this.#isDraining) throw new ClientDisconnected('the storage is being closed');
    if (this.#open.has(number)) throw new StorageTransactionError('the transaction was voted already');
    if (ahead.length !== request.aheadCount) {
      throw new ClientDisconnected('stores that were sent ahead of the commit were lost with the connection');
    }
    const records = [...ahead, ...request.records];
    const end = deferred();
    const open: OpenTransaction = {
      storageTransaction: transaction,
      isDecidedElsewhere: decider !== undefined && decider.identity !== storage.identity,
      voted: false,
      aborted: false,
      timer: undefined,
      end,
    };
    this.#registry.begin(transaction.commitId, end.promise);
    this.#open.set(number, open);
    try {
      // Ordering: what has no contents waits for nothing.
      const files = records.some(({ data }) => blobOf(data)) ? await this.#contents(records) : NO_FILES;
      storage.tpcBegin(transaction);
      for (const [i, { oid, tid, data }] of records.entries()) {
        const file = files.get(i);
        if (file === undefined) storage.store(transaction, oid, tid, data);
        else storage.storeBlob(transaction, oid, tid, data, file);
      }
      for (const { oid, tid } of checks) storage.checkCurrentSerial(transaction, oid, tid);
      for (const tid of undos) storage.undo(transaction, tid);
      stats.stores += records.length;
      if (type === Message.commit) {
        const { tid, resolved } = await storage.commit(transaction);
        this.#open.delete(number);
        end.resolve();
        this.#dropContents(records);
        stats.commits += 1;
        stats.resolved += resolved.length;
        return valuePacket(Message.answer, id, [resolved, tid]);
      }
      const { resolved } = await storage.tpcVote(transaction, decider);
      stats.resolved += resolved.length;
      if (open.aborted) throw new StorageTransactionError('the transaction was aborted during its vote');
      open.voted = true;
      this.#dropContents(records);
      this.#limitVoted(open);
      return valuePacket(Message.answer, id, [resolved]);
    } catch (error) {
      this.#open.delete(number);
      await storage.tpcAbort(transaction).finally(end.resolve);
      const conflicts = request.canMerge && isOpenToMerge(error) ? this.#conflicts(records) : [];
      if (conflicts.length === 0) throw error;
      stats.conflicts += 1;
      return valuePacket(Message.conflict, id, [errorToWire(error), conflicts]);
    }
  }

  /** Files with the contents that came for these records, by their place. */
  async #contents(records: readonly WireRecord[]): Promise<ReadonlyMap<number, string>> {
    const files = new Map<number, string>();
    for (const [i, { oid, data }] of records.entries()) {
      const info = blobOf(data);
      const file = info && (await this.#options.blobs.take(oid, info));
      if (file !== undefined) files.set(i, file);
    }
    return files;
  }

  /** The storage has made the contents its own. */
  #dropContents(records: readonly WireRecord[]): void {
    this.#options.blobs.drop(records.flatMap(({ data }) => blobOf(data)?.id ?? []));
  }

  /** The second phase. */
  async finish(number: number): Promise<Tid> {
    const open = this.#open.get(number);
    if (!open?.voted) throw new StorageTransactionError('the transaction was not voted on this connection');
    open.timer?.cancel();
    this.#open.delete(number);
    const { storage, stats } = this.#options;
    const { storageTransaction: transaction } = open;
    try {
      const tid = await storage.tpcFinish(transaction);
      stats.commits += 1;
      return tid;
    } catch (error) {
      // What cannot be made certain has to be asked for, as after a lost answer.
      await storage.tpcAbort(transaction).catch((cause: unknown) => {
        throw new CommitUncertainError(transaction.commitId, undefined, { cause });
      });
      throw error;
    } finally {
      open.end.resolve();
    }
  }

  /** Puts a voted transaction in doubt. */
  async suspend(number: number): Promise<void> {
    const open = this.#open.get(number);
    if (!open?.voted) return;
    if (!open.isDecidedElsewhere)
      throw new StorageTransactionError('suspend: no other storage decides the transaction');
    open.timer?.cancel();
    this.#open.delete(number);
    await this.#options.storage.doubts.suspend(open.storageTransaction).finally(open.end.resolve);
  }

  /** Forgets a transaction; one whose vote is under way is aborted when the vote has ended. */
  async abort(number: number): Promise<void> {
    this.#storesAhead.delete(number);
    const open = this.#open.get(number);
    if (open === undefined) return;
    this.#options.stats.aborts += 1;
    open.aborted = true;
    open.timer?.cancel();
    if (!open.voted) return;
    this.#open.delete(number);
    await this.#options.storage.tpcAbort(open.storageTransaction).finally(open.end.resolve);
  }

  /** The client is gone: forgets all of its transactions. A commit that is under way goes on. */
  close(): void {
    this.#storesAhead.clear();
    for (const [number, { voted, isDecidedElsewhere }] of [...this.#open]) {
      // Crash: the client may have had it decided elsewhere before it was lost.
      const ended = voted && isDecidedElsewhere ? this.suspend(number) : this.abort(number);
      ended.catch((error: unknown) => log.error('a transaction of a lost client was not ended', error));
    }
  }

  /** Ends a doubt. */
  async resolve(commitId: Uint8Array, happened: boolean): Promise<Tid | undefined> {
    this.refuseReadOnly();
    return this.#options.storage.doubts.resolve(commitId, happened);
  }

  /** All that took part in a transaction have finished. */
  async forget(commitId: Uint8Array): Promise<void> {
    this.refuseReadOnly();
    await this.#options.storage.doubts.forget(commitId);
  }

  /** What became of a commit. */
  outcome(commitId: Uint8Array): Promise<Tid | undefined> {
    return this.#registry.outcome(commitId);
  }

  /** @throws ReadOnlyError. */
  refuseReadOnly(): void {
    const { isReadOnly, storage } = this.#options;
    if (isReadOnly) throw new ReadOnlyError(`${storage.name} is read-only`);
  }

  /** All records of a refused transaction that need a merge, with what a client needs to merge them. */
  #conflicts(records: readonly WireRecord[]): WireConflict[] {
    const { storage } = this.#options;
    const conflicts: WireConflict[] = [];
    for (const { oid, tid } of records) {
      // What was made new by two clients has no base to merge from.
      if (tid === ZERO_TID) continue;
      try {
        const committed = storage.load(oid);
        if (committed.tid === tid) continue;
        conflicts.push([oid, tid, committed.tid, storage.loadSerial(oid, tid), committed.data]);
      } catch (error) {
        // A base that was trimmed away cannot be merged with: the conflict stands.
        if (!(error instanceof POSKeyError)) throw error;
      }
    }
    return conflicts;
  }

  /** A client that votes and then neither finishes nor leaves would hold up everybody. */
  #limitVoted(open: OpenTransaction): void {
    const { timeoutMs, clock, onTimeout } = this.#options;
    if (timeoutMs === 0) return;
    open.timer = clock.schedule(timeoutMs, () => {
      log.critical(`a client did not finish its transaction within ${timeoutMs} ms: it is dropped`);
      onTimeout();
    });
  }
}

/** Whether nobody has tried to merge: a resolver that knows the class and refuses says why. */
function isOpenToMerge(error: unknown): boolean {
  return error instanceof ConflictError && !(error instanceof ReadConflictError) && error.reason === undefined;
}
