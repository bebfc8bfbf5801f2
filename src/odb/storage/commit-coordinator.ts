import { type Clock, type Deferred, deferred, Logger, nextTurn } from '../../base/index.js';
import { ConflictError, ReadConflictError, StorageError } from '../errors.js';
import { type Oid, type Tid, ZERO_TID } from '../ids.js';
import { DoubtTable } from './doubt-table.js';
import { nextTid } from './next-ids.js';
import type { CommitOutcome, ConflictRequest, ConflictResolver, Decider, StorageTransaction } from './storage.js';
import { REMOVED, type UndoableRecord, undoRecords } from './undo.js';

const logger = new Logger('holdfast.storage');

/** What a transaction asks for. */
export interface CommitRequest {
  readonly transaction: StorageTransaction;
  readonly stores: readonly StoreRequest[];
  readonly checks: readonly { readonly oid: Oid; readonly serial: Tid }[];
  /** Transactions to be undone, in this order. */
  readonly undos: readonly Tid[];
  /** Bytes of what is stored. */
  readonly bytes?: number;
}

/** Who decides a transaction: another storage, or this one, among several. `undefined` where it is the only one. */
export type DecidedBy = Decider | 'self' | undefined;

export interface StoreRequest {
  readonly oid: Oid;
  /** The revision that it is based on. */
  readonly previous: Tid;
  /** May be read from a file, each time anew. */
  readonly data: Uint8Array;
}

/** A transaction that has passed all checks, with its tid; to be written. */
export interface AcceptedTransaction {
  readonly tid: Tid;
  readonly transaction: StorageTransaction;
  readonly records: readonly AcceptedRecord[];
  readonly resolved: readonly Oid[];
  /** The tid under which a vote wrote it already, so that it only has to be flipped. */
  readonly preparedTid: Tid | undefined;
  readonly decider: DecidedBy;
  /** Bytes of what was stored; 0 where it is not known. */
  readonly bytes: number;
}

/** A store that was accepted as it came, or what became of it. */
export interface AcceptedRecord {
  readonly oid: Oid;
  /** The revision that it supersedes; `ZERO_TID` for a new object. */
  readonly previous: Tid;
  /** May be read from a file, each time anew. */
  readonly data: Uint8Array;
}

/** Watches over commits while the storage is packed. */
export interface CommitGuard {
  /** Whether the object is being dropped: it is there no more. */
  isSwept(oid: Oid): boolean;
  /** What a transaction is about to write. @throws POSKeyError to refuse it. */
  accept(records: readonly AcceptedRecord[]): void;
}

/** What the coordinator needs of a storage. */
export interface CommitBackend {
  /** The current revision of an object as far as it was written; `ZERO_TID` when there is none. */
  currentTid(oid: Oid): Tid;
  /** The bytes of a revision; `undefined` when it is gone. */
  revision(oid: Oid, tid: Tid): Uint8Array | undefined;
  /** What a written transaction wrote; `undefined` when it is not there. */
  written(tid: Tid): readonly UndoableRecord[] | undefined;
  /** How many of these transactions, one at least, can be written in one. Without it: all. */
  together?(transactions: readonly AcceptedTransaction[]): number;
  /** Writes transactions, in order: all of them, or none. Durable when it resolves. */
  write(transactions: readonly AcceptedTransaction[]): Promise<void>;
  /** Writes a transaction with its data, durably, so that it is nothing until a `write` of it. */
  prepare(transaction: AcceptedTransaction): Promise<void>;
  /** Removes what `prepare` wrote. What is left where it fails is dropped at the next open. */
  unprepare(transaction: AcceptedTransaction): Promise<void>;
  /** The outcome of a transaction that was decided here, among several storages, need not be kept any longer. */
  forget(commitId: Uint8Array): void;
  /** A transaction was written: make it readable, and tell of it. Called in tid order. */
  publish(transaction: AcceptedTransaction): void;
}

type PendingRecords = Pick<AcceptedTransaction, 'tid' | 'records'>;

interface Pending {
  readonly accepted: AcceptedTransaction;
  readonly done: Deferred<void>;
}

/** How many objects' current tids are kept in memory, so that a check reads no disk. */
const CURRENT_MAX = 50_000;
/** Of a transaction that stores so many objects, the current tids are looked up before it is decided. */
const STORES_LARGE = 2000;
/** Objects that are looked up between two turns of the event loop. */
const LOOKS_PER_TURN = 100;

/**
 * The one commit path. Whoever commits, it is decided here: the checks, the merge and the tid are one synchronous step, so that nobody
 * comes between; then the transaction waits for the next flush, which takes all that wait. It is published after that, in tid order.
 *
 * Revisions that were accepted but not yet flushed stand in an overlay that the checks look at first. A flush that fails, fails
 * everything that was accepted on top of it.
 *
 * A vote without its finish (several storages in one transaction) holds everybody else back until it is finished or aborted, or put in
 * doubt. One in doubt holds back only who writes the same objects.
 */
export class CommitCoordinator {
  readonly #backend: CommitBackend;
  readonly #clock: Clock;
  readonly #resolver: () => ConflictResolver | undefined;
  /** Accepted, not flushed: who is about to write an object. */
  readonly #overlay = new Map<Oid, PendingRecords>();
  /** Those who wait until an accepted transaction is published, or has failed. */
  readonly #watched = new Map<Tid, Deferred<void>>();
  /** Current tids of objects that were lately written; two generations, of which the older is dropped whole. */
  #recent = new Map<Oid, Tid>();
  #older = new Map<Oid, Tid>();
  /** Current tids that were looked up for large transactions, as far as nobody has written the objects since. */
  readonly #lookedUp = new Set<Map<Oid, Tid>>();
  #lastTid: Tid;
  /** Up to here all accepted transactions are published, or have failed. */
  #endedTid: Tid;
  #queue: Pending[] = [];
  #flushing: Promise<void> | undefined;
  /** Whether the backend is writing. */
  #isWriting = false;
  #failure: unknown;
  /** While a transaction is being voted, or is voted: resolves when it is finished, aborted or put in doubt. */
  #voted: Deferred<void> | undefined;
  /** The one that is. */
  #voter: AcceptedTransaction | undefined;
  #isStopped = false;
  #guard: CommitGuard | undefined;
  readonly #doubts = new DoubtTable();
  /** Doubts that are being resolved. */
  readonly #resolving = new Map<AcceptedTransaction, Promise<Tid | undefined>>();

  constructor(options: {
    readonly backend: CommitBackend;
    readonly clock: Clock;
    readonly lastTid: Tid;
    readonly resolver: () => ConflictResolver | undefined;
    /** Transactions that were found to be in doubt. */
    readonly doubts?: readonly AcceptedTransaction[];
  }) {
    const { doubts = [] } = options;
    this.#backend = options.backend;
    this.#clock = options.clock;
    // Invariant: what is prepared next gets another tid than what is prepared already.
    this.#lastTid = Math.max(options.lastTid, ...doubts.map(({ tid }) => tid)) as Tid;
    this.#endedTid = this.#lastTid;
    this.#resolver = options.resolver;
    for (const doubt of doubts) this.#doubts.add(doubt);
  }

  /** Transactions that were voted, and whose outcome another storage knows. */
  get doubts(): DoubtTable {
    return this.#doubts;
  }

  /** Whether a commit is handed over to be written as soon as the event loop comes round to it: who works beside commits gives way. */
  get isAboutToWrite(): boolean {
    return this.#queue.length > 0 && !this.#isWriting;
  }

  /** Whether the last write failed: nothing has been written since. */
  get isFailing(): boolean {
    return this.#failure !== undefined;
  }

  /** Vote and finish in one step. */
  commit(request: CommitRequest): Promise<CommitOutcome> {
    return this.#afterLookups(request, () => this.#commit(request));
  }

  /** Decides, durably; holds all others back until `finish`, `abort` or `suspend`. */
  vote(request: CommitRequest, decider?: DecidedBy): Promise<AcceptedTransaction> {
    return this.#afterLookups(request, () => this.#vote(request, decider));
  }

  /**
   * Does the work. Where it is about a large transaction, current tids are looked up before, a few at a time: it is decided in one step,
   * in which nobody should wait for the disk.
   */
  async #afterLookups<T>({ stores }: CommitRequest, work: () => Promise<T>): Promise<T> {
    if (stores.length < STORES_LARGE) return work();
    const found = new Map<Oid, Tid>();
    this.#lookedUp.add(found);
    try {
      for (const [i, { oid }] of stores.entries()) {
        if (i % LOOKS_PER_TURN === LOOKS_PER_TURN - 1) {
          await nextTurn(this.#clock);
          this.#requireGoing();
        }
        if (this.#overlay.has(oid) || this.#recent.has(oid) || this.#older.has(oid)) continue;
        const tid = this.#backend.currentTid(oid);
        if (tid !== ZERO_TID) found.set(oid, tid);
      }
      return await work();
    } finally {
      this.#lookedUp.delete(found);
    }
  }

  async #commit(request: CommitRequest): Promise<CommitOutcome> {
    // Ordering: looked at again after the wait: whoever waited too may have come first.
    while (this.#voted) await this.#turn();
    let accepted: AcceptedTransaction;
    try {
      accepted = this.#accept(request);
    } catch (error) {
      await this.#seen(error);
      throw error;
    }
    await this.#write(accepted);
    return { tid: accepted.tid, resolved: accepted.resolved };
  }

  async #vote(request: CommitRequest, decider: DecidedBy): Promise<AcceptedTransaction> {
    while (this.#voted) await this.#turn();
    this.#voted = deferred();
    let accepted: AcceptedTransaction | undefined;
    try {
      // Ordering: what is being written may fail, and takes with it what was accepted on top of it. A vote must stand on firm ground.
      while (this.#flushing) await this.#flushing;
      const checked = this.#accept(request);
      accepted = { ...checked, preparedTid: checked.tid, decider };
      await this.#backend.prepare(accepted);
      this.#voter = accepted;
      return accepted;
    } catch (error) {
      this.#endVote();
      if (!accepted) {
        await this.#seen(error);
        throw error;
      }
      this.#forget(accepted);
      this.#noteFailure(error);
      throw writeFailed(error);
    }
  }

  /**
   * Makes a voted transaction durable and seen. Where that fails, one that another storage decided is in doubt; any other has to be
   * aborted.
   */
  async finish(accepted: AcceptedTransaction): Promise<Tid> {
    try {
      await this.#write(accepted);
    } catch (error) {
      if (isDecidedElsewhere(accepted)) this.#doubts.add(accepted);
      throw error;
    } finally {
      this.#endVote(accepted);
    }
    return accepted.tid;
  }

  /** Takes a vote back. @throws StorageError when what was prepared could not be removed; it is dropped at the next open. */
  async abort(accepted: AcceptedTransaction): Promise<void> {
    this.#forget(accepted);
    try {
      await this.#backend.unprepare(accepted);
    } catch (error) {
      throw new StorageError(`an aborted transaction could not be removed: ${String(error)}`, { cause: error });
    } finally {
      this.#endVote(accepted);
    }
  }

  /** Puts a voted transaction in doubt. */
  suspend(accepted: AcceptedTransaction): void {
    this.#forget(accepted);
    this.#doubts.add(accepted);
    this.#endVote(accepted);
  }

  /** Ends a doubt; resolves to the tid of what has happened. @throws StorageError when that cannot be written. */
  resolve(doubt: AcceptedTransaction, happened: boolean): Promise<Tid | undefined> {
    let resolving = this.#resolving.get(doubt);
    if (!resolving) {
      resolving = (happened ? this.#finishLate(doubt) : this.#abortLate(doubt)).finally(() =>
        this.#resolving.delete(doubt),
      );
      this.#resolving.set(doubt, resolving);
    }
    return resolving;
  }

  async #finishLate(doubt: AcceptedTransaction): Promise<Tid> {
    while (this.#voted) await this.#turn();
    // Later transactions are published already: it gets a tid of now. What it supersedes is current still, since nobody could write it.
    const accepted = { ...doubt, tid: this.#newTid(undefined) };
    this.#guard?.accept(accepted.records);
    this.#enter(accepted);
    // Ordering: its objects refuse to be written until it is durable; a write that fails leaves it in doubt.
    await this.#write(accepted);
    this.#doubts.remove(doubt);
    return accepted.tid;
  }

  async #abortLate(doubt: AcceptedTransaction): Promise<undefined> {
    await this.#backend.unprepare(doubt);
    this.#doubts.remove(doubt);
  }

  /** Has a guard asked about every commit from now on; resolves when those accepted before are written or aborted. */
  async watch(guard: CommitGuard): Promise<void> {
    this.#guard = guard;
    while (this.#voted) await this.#turn();
    if (this.#endedTid < this.#lastTid) await this.#ended(this.#lastTid);
    // What is in doubt may yet be seen: what it references is kept.
    for (const { records } of this.#doubts) guard.accept(records);
  }

  /** The guard is asked no more; what a pack has left is asked instead. */
  unwatch(lasting?: CommitGuard): void {
    this.#guard = lasting;
  }

  /** Whether no accepted transaction is about to write the object; what is known of it is forgotten then. */
  release(oid: Oid): boolean {
    if (this.#overlay.has(oid)) return false;
    this.#forgetCurrent(oid);
    for (const found of this.#lookedUp) found.delete(oid);
    return true;
  }

  /** Whether an accepted transaction, or one in doubt, is about to write the object. */
  isPending(oid: Oid): boolean {
    return this.#overlay.has(oid) || this.#doubts.has(oid);
  }

  /** Takes nothing more: those who wait for their turn are refused. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Resolves when all that was accepted is written, or has failed. */
  async drain(): Promise<void> {
    while (this.#flushing) await this.#flushing;
  }

  /**
   * A conflict with what is still being written is told once that can be seen: who runs the transaction again at once would read the
   * same old state, and meet the same conflict.
   */
  async #seen(error: unknown): Promise<void> {
    if (!(error instanceof ConflictError || error instanceof ReadConflictError)) return;
    const pending = this.#overlay.get(error.oid);
    if (pending) await this.#ended(pending.tid);
  }

  /** Resolves when a transaction that was accepted, and has not ended, is published or has failed. */
  #ended(tid: Tid): Promise<void> {
    let watched = this.#watched.get(tid);
    if (!watched) {
      watched = deferred();
      this.#watched.set(tid, watched);
    }
    return watched.promise;
  }

  #tellWatchers(tid: Tid): void {
    if (tid > this.#endedTid) this.#endedTid = tid;
    const watched = this.#watched.get(tid);
    if (!watched) return;
    this.#watched.delete(tid);
    watched.resolve();
  }

  /** Waits until the present vote ends. Another may have begun by then: whoever waits looks again. */
  async #turn(): Promise<void> {
    await this.#voted?.promise;
    this.#requireGoing();
  }

  #requireGoing(): void {
    if (this.#isStopped) throw new StorageError('the storage was closed before this transaction could be committed');
  }

  /** The others go on: a vote failed, or `voter` has ended its transaction. */
  #endVote(voter?: AcceptedTransaction): void {
    if (voter !== this.#voter) return;
    this.#voter = undefined;
    const voted = this.#voted;
    this.#voted = undefined;
    voted?.resolve();
  }

  /** The checks, the merges and the tid: synchronous, first come, first served. */
  #accept({ transaction, stores, checks, undos, bytes = 0 }: CommitRequest): AcceptedTransaction {
    for (const { oid, serial } of checks) {
      this.#doubts.require(oid);
      const committedSerial = this.#current(oid);
      if (committedSerial !== serial) throw new ReadConflictError({ oid, baseSerial: serial, committedSerial });
    }
    const isRestored = transaction.tid !== undefined;
    const records: AcceptedRecord[] = [];
    const resolved: Oid[] = [];
    for (const store of stores) {
      const { oid } = store;
      this.#doubts.require(oid);
      const previous = this.#current(oid);
      if (previous === store.previous) records.push(store);
      else if (isRestored) records.push({ oid, previous, data: store.data });
      else {
        records.push({ oid, previous, data: this.#merge(store, previous) });
        resolved.push(oid);
      }
    }
    if (undos.length > 0) this.#undo(undos, records, resolved);
    const tid = this.#newTid(transaction.tid);
    this.#guard?.accept(records);
    const isRepeated = this.#enter({ tid, records }) || undos.length > 0;
    return {
      tid,
      transaction,
      records: isRepeated ? lastOfEach(records) : records,
      resolved,
      preparedTid: undefined,
      decider: undefined,
      bytes,
    };
  }

  /** Takes an accepted transaction into the overlay; returns whether it has several records of one object. */
  #enter({ tid, records }: PendingRecords): boolean {
    this.#lastTid = tid;
    const pending = { tid, records };
    let isRepeated = false;
    for (const { oid } of records) {
      if (this.#overlay.get(oid) === pending) isRepeated = true;
      this.#overlay.set(oid, pending);
      for (const found of this.#lookedUp) found.delete(oid);
    }
    return isRepeated;
  }

  /** What an accepted transaction is about to write. */
  #pendingData(oid: Oid): Uint8Array | undefined {
    return this.#overlay.get(oid)?.records.findLast((record) => record.oid === oid)?.data;
  }

  #newTid(wanted: Tid | undefined): Tid {
    if (wanted === undefined) return nextTid(this.#lastTid, this.#clock.now());
    if (wanted > this.#lastTid) return wanted;
    throw new StorageError(
      `the transaction ${wanted} cannot be restored: it is not newer than the last one here, ${this.#lastTid}; ` +
        'copy into an empty storage, or what came after that one',
    );
  }

  #undo(undos: readonly Tid[], records: AcceptedRecord[], resolved: Oid[]): void {
    const pending = new Map(records.map(({ oid, data }) => [oid, data]));
    const undone = undoRecords(undos, pending, {
      written: (tid) => this.#backend.written(tid),
      current: (oid) => {
        const tid = this.#current(oid);
        return { tid, data: this.#pendingData(oid) ?? this.#backend.revision(oid, tid) ?? REMOVED };
      },
      merge: (request) => this.#resolve(request),
    });
    for (const { oid, data, isMerged } of undone) {
      this.#doubts.require(oid);
      records.push({ oid, previous: this.#current(oid), data });
      if (isMerged || pending.has(oid)) resolved.push(oid);
    }
  }

  #current(oid: Oid): Tid {
    const pending = this.#overlay.get(oid);
    if (pending) return pending.tid;
    if (this.#guard?.isSwept(oid)) return ZERO_TID;
    const known = this.#recent.get(oid) ?? this.#older.get(oid);
    if (known !== undefined) return known;
    for (const found of this.#lookedUp) {
      const tid = found.get(oid);
      if (tid !== undefined) return tid;
    }
    const tid = this.#backend.currentTid(oid);
    this.#remember(oid, tid);
    return tid;
  }

  #remember(oid: Oid, tid: Tid): void {
    // What has no revision is as a rule about to get its first one.
    if (tid === ZERO_TID) return;
    this.#recent.set(oid, tid);
    if (this.#recent.size < CURRENT_MAX) return;
    this.#older = this.#recent;
    this.#recent = new Map();
  }

  #forgetCurrent(oid: Oid): void {
    this.#recent.delete(oid);
    this.#older.delete(oid);
  }

  #merge({ oid, previous: serial, data }: StoreRequest, committedSerial: Tid): Uint8Array {
    const conflict = (reason?: string) => new ConflictError({ oid, baseSerial: serial, committedSerial, reason });
    if (serial === ZERO_TID) throw conflict('both made it new');
    const committed = this.#pendingData(oid) ?? this.#backend.revision(oid, committedSerial);
    const base = this.#backend.revision(oid, serial);
    if (data.length === 0) throw conflict('this one removes it');
    if (!committed?.length || !base?.length)
      throw conflict('it was removed, or the revision that it is based on is gone');
    const merged = this.#resolve({ oid, baseSerial: serial, committedSerial, base, committed, mine: data });
    if (!merged) throw conflict();
    return merged;
  }

  /** The merge; `undefined` where nobody here knows how. @throws ConflictError. */
  #resolve(request: ConflictRequest): Uint8Array | undefined {
    try {
      return this.#resolver()?.resolve(request);
    } catch (error) {
      if (error instanceof ConflictError) throw error;
      const { oid, baseSerial, committedSerial } = request;
      logger.warning(`oid ${oid} could not be merged; the transaction conflicts`, error);
      throw new ConflictError({ oid, baseSerial, committedSerial, reason: `the merge failed: ${String(error)}` });
    }
  }

  #write(accepted: AcceptedTransaction): Promise<void> {
    const done = deferred();
    this.#queue.push({ accepted, done });
    this.#flushing ??= this.#flush();
    return done.promise;
  }

  async #flush(): Promise<void> {
    // What is committed until the end of this turn shares the first flush too, wherever it comes from: a job's finish, and the claim that
    // takes its slot.
    await nextTurn(this.#clock);
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      this.#isWriting = true;
      try {
        await this.#backend.write(group.map(({ accepted }) => accepted));
      } catch (error) {
        this.#failed(group, error);
        continue;
      } finally {
        this.#isWriting = false;
      }
      this.#failure = undefined;
      for (const { accepted, done } of group) {
        this.#settled(accepted);
        this.#backend.publish(accepted);
        done.resolve();
        this.#tellWatchers(accepted.tid);
      }
      // Those who commit in company tend to commit again at once: the next flush waits for them until the end of this turn.
      if (group.length > 1) await nextTurn(this.#clock);
    }
    this.#flushing = undefined;
  }

  #takeGroup(): readonly Pending[] {
    const count = this.#backend.together?.(this.#queue.map(({ accepted }) => accepted)) ?? this.#queue.length;
    return this.#queue.splice(0, count);
  }

  #settled({ tid, records }: AcceptedTransaction): void {
    for (let i = 0; i < records.length; i++) {
      const { oid } = records[i] as AcceptedRecord;
      // More would push each other out. What is remembered of the others is out of date.
      if (i >= records.length - CURRENT_MAX) this.#remember(oid, tid);
      else this.#forgetCurrent(oid);
      if (this.#overlay.get(oid)?.tid === tid) this.#overlay.delete(oid);
    }
  }

  /** Ordering: what was accepted meanwhile may build on what was not written, and fails with it. */
  #failed(group: readonly Pending[], error: unknown): void {
    this.#noteFailure(error);
    const failed = [...group, ...this.#queue];
    this.#queue = [];
    for (const { accepted, done } of failed) {
      this.#forget(accepted);
      done.reject(writeFailed(error));
    }
  }

  #noteFailure(error: unknown): void {
    if (this.#failure === undefined) {
      logger.critical('a write failed: the storage is read-only until one succeeds', error);
    }
    this.#failure = error;
  }

  #forget({ records, tid }: AcceptedTransaction): void {
    for (const { oid } of records) {
      if (this.#overlay.get(oid)?.tid === tid) this.#overlay.delete(oid);
    }
    this.#tellWatchers(tid);
  }
}

function isDecidedElsewhere({ decider }: AcceptedTransaction): boolean {
  return decider !== undefined && decider !== 'self';
}

/** One record for each object: the one that was stored last. */
function lastOfEach(records: readonly AcceptedRecord[]): AcceptedRecord[] {
  return [...new Map(records.map((record) => [record.oid, record])).values()];
}

function writeFailed(cause: unknown): StorageError {
  return new StorageError(`the commit could not be written, and is not seen by anybody: ${String(cause)}`, { cause });
}
