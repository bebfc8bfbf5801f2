import {
  argumentTypeError,
  type Clock,
  type Deferred,
  deferred,
  Logger,
  nextTurn,
  systemClock,
  toHex,
} from '../../base/index.js';
import { ReadOnlyError, StorageError, StorageTransactionError, TransactionInDoubtError } from '../errors.js';
import { type Oid, ROOT_OID, type Tid, toOid, toTid } from '../ids.js';
import { SNAPSHOT_AGE_MAX_MS } from '../limits.js';
import { requireCommitId, requireDecider, requireStore, requireTransaction } from './arguments.js';
import { type BlobInfo, blobOf, contentIds } from './blob/blob-info.js';
import type { BlobStore, PlacedBlob } from './blob/blob-store.js';
import { type BlobKeeper, type BlobRequest, StorageBlobs } from './blob/storage-blobs.js';
import {
  type AcceptedTransaction,
  type CommitBackend,
  CommitCoordinator,
  type StoreRequest,
} from './commit-coordinator.js';
import { doubtOf } from './doubt-table.js';
import { hostStorage, type StorageHosting } from './hosting.js';
import { type LockSession, LockTable } from './lock-table.js';
import { type OldestSnapshot, OpenSnapshots } from './open-snapshots.js';
import type { Marking } from './pack/marking.js';
import { type PackBackend, type PackCommits, pack } from './pack/pack.js';
import { SpillFile } from './spill-file.js';
import { SpilledStore } from './spilled-store.js';
import type {
  CommitOutcome,
  ConflictResolver,
  Decider,
  HistoryEntry,
  InvalidationListener,
  PackOptions,
  Revision,
  Storage,
  StorageAttachment,
  StorageDoubts,
  StorageSupports,
  StorageTransaction,
  TransactionRecord,
  UndoLogEntry,
  VoteOutcome,
} from './storage.js';
import { doubtProblems, type Problem, type VerifyOptions, verifyByReading } from './verify.js';

const logger = new Logger('holdfast.storage');

/** Options of every storage that holds its data itself. */
export interface BaseStorageOptions {
  readonly clock?: Clock;
  readonly readOnly?: boolean;
  /** Merges what conflicts; without one, every conflict is an error. */
  readonly conflictResolver?: ConflictResolver;
}

/**
 * How far a transaction has come.
 *
 * - `open`: takes stores and checks.
 * - `deciding`: a vote, a commit or a finish is under way. Nothing is allowed but to wait for it.
 * - `voted`: is to be finished or aborted.
 * - `failed`: is to be aborted.
 */
type Phase = 'open' | 'deciding' | 'voted' | 'failed';

interface OpenTransaction {
  readonly transaction: StorageTransaction;
  phase: Phase;
  readonly stores: StoreRequest[];
  /** Bytes of the stores, and the file in which they are past a bound. */
  bytes: number;
  spill: SpillFile | undefined;
  readonly checks: { oid: Oid; serial: Tid }[];
  readonly undos: Tid[];
  readonly blobs: BlobRequest[];
  /** Contents that stand in their places, and go again if the transaction does not happen. */
  placed: PlacedBlob[];
  accepted: AcceptedTransaction | undefined;
  /** Settles when a vote, a commit or a finish is decided. Never rejects. */
  decided: Promise<unknown> | undefined;
  /** Under way. */
  aborting: Promise<void> | undefined;
  /** Once it was voted: resolves when it is over. */
  ended: Deferred<void> | undefined;
}

/** What storages that hold their data themselves have in common: the order of calls, the commit path, locks, attaching. */
export abstract class BaseStorage implements Storage {
  abstract readonly name: string;
  abstract readonly identity: string;
  abstract readonly supports: StorageSupports;
  readonly clock: Clock;
  readonly #readOnly: boolean;
  #resolver: ConflictResolver | undefined;
  readonly #transactions = new Map<StorageTransaction, OpenTransaction>();
  /** Transactions of which somebody was told that they did not happen, while they were open. */
  readonly #denied = new WeakSet<StorageTransaction>();
  /** What transactions in doubt have placed, and where their stores are. */
  readonly #doubted = new Map<string, Pick<OpenTransaction, 'placed' | 'spill'>>();
  /** Contents whose transactions are durable, and of which that is being noted: nobody but `close` waits. */
  readonly #settling = new Set<Promise<void>>();
  /** One listener may subscribe twice: each subscription ends by itself. */
  readonly #listeners = new Map<symbol, InvalidationListener>();
  readonly #lockTable = new LockTable();
  readonly locks: LockSession = this.#lockTable.session();
  #coordinator: CommitCoordinator | undefined;
  #backend: CommitBackend | undefined;
  readonly #snapshots = new OpenSnapshots();
  #hosting: StorageHosting | undefined;
  #closing: Promise<void> | undefined;
  /** Of the last pack that came so far: it goes on to refuse references to what was packed away. */
  #marking: Marking | undefined;
  #packing: { readonly done: Promise<void>; readonly stop: AbortController } | undefined;

  constructor(options: BaseStorageOptions) {
    this.clock = options.clock ?? systemClock;
    this.#readOnly = options.readOnly ?? false;
    this.#resolver = options.conflictResolver;
  }

  /**
   * For subclasses, once they know their last transaction: begins to take commits.
   *
   * @param doubts transactions that were found to be in doubt
   * @param contents the contents of blobs that these have placed, by their ids
   */
  protected start(
    backend: CommitBackend,
    lastTid: Tid,
    doubts: readonly AcceptedTransaction[] = [],
    contents: ReadonlyMap<string, PlacedBlob> = new Map(),
  ): void {
    for (const doubt of doubts) {
      const placed = contentIds(doubt.records).flatMap((id) => contents.get(id) ?? []);
      if (placed.length > 0) this.#doubted.set(toHex(doubt.transaction.commitId), { placed, spill: undefined });
    }
    const resolver = () => this.#resolver;
    this.#backend = backend;
    this.#coordinator = new CommitCoordinator({ backend, clock: this.clock, lastTid, resolver, doubts });
  }

  /** For subclasses: tells of a published transaction. */
  protected announce({ tid, records }: AcceptedTransaction): void {
    if (this.#listeners.size === 0) return;
    const oids = records.map(({ oid }) => oid);
    for (const listener of this.#listeners.values()) {
      try {
        listener.invalidate(tid, oids);
      } catch (error) {
        // The transaction is durable by now: nothing may come between it and its answer.
        logger.critical(`a subscriber of ${this.name} failed to take note of transaction ${tid}`, error);
      }
    }
  }

  keepSnapshots(oldest: OldestSnapshot): () => void {
    return this.#snapshots.keep(oldest);
  }

  useConflictResolver(resolver: ConflictResolver): void {
    this.#resolver ??= resolver;
  }

  get isReadOnly(): boolean {
    return this.#readOnly || (this.#coordinator?.isFailing ?? false);
  }

  abstract load(oid: Oid): Revision;
  abstract loadBefore(oid: Oid, before: Tid): Revision | undefined;
  abstract loadSerial(oid: Oid, tid: Tid): Uint8Array;
  abstract lastTransaction(): Tid;
  /** For subclasses: the tid of a commit that was written and published. */
  protected abstract findOutcome(commitId: Uint8Array): Tid | undefined | Promise<Tid | undefined>;
  abstract history(oid: Oid, size?: number): Promise<HistoryEntry[]>;
  abstract undoLog(options?: { readonly before?: Tid; readonly size?: number }): Promise<UndoLogEntry[]>;
  abstract iterate(from?: Tid, to?: Tid): AsyncIterable<TransactionRecord>;
  abstract get length(): number;
  abstract get size(): number;
  abstract get highestOid(): Oid;
  /** For subclasses: an oid that nobody has, above this one. */
  protected abstract nextOid(above: Oid): Oid;
  /** For subclasses: releases what they hold. All that was accepted has been written. */
  protected abstract release(): Promise<void>;
  /** For subclasses: how they are packed, if they can be. */
  protected get packBackend(): PackBackend | undefined {
    return undefined;
  }

  /** For subclasses: what one transaction stores is kept in memory up to this many bytes; more goes to a temporary file. */
  protected get storesInMemoryBytesMax(): number {
    return Number.POSITIVE_INFINITY;
  }

  /** For subclasses: where the contents of blobs are, if there are any. */
  protected get blobs(): BlobKeeper | undefined {
    return undefined;
  }

  /** For subclasses: where the contents of blobs are, before the first one is stored, if there can be any. */
  protected makeBlobs(): BlobKeeper | undefined {
    return this.blobs;
  }

  /** For subclasses: keeps the contents of blobs. */
  protected blobsIn(store: BlobStore): StorageBlobs {
    return new StorageBlobs(store, {
      turn: () => this.turn(),
      revisions: (oid) => this.packBackend?.revisions(oid) ?? [],
      isPending: (oid) => this.#coordinator?.isPending(oid) ?? false,
    });
  }

  /**
   * For subclasses, and for what works beside commits: lets all others have their turn, and a commit that is about to be written be handed
   * over. What follows is done while the disk is waited for.
   */
  protected async turn(): Promise<void> {
    await nextTurn(this.clock);
    // Only once more: where there is no disk to wait for, another may always be about to be written.
    if (this.#coordinator?.isAboutToWrite) await nextTurn(this.clock);
  }

  /** For subclasses: how other threads can read for themselves, if they can. */
  protected get reader(): { readonly module: string; readonly data: unknown } | undefined {
    return undefined;
  }

  async prefetch(): Promise<void> {}

  poll(): Tid {
    return this.lastTransaction();
  }

  async sync(): Promise<Tid> {
    return this.lastTransaction();
  }

  subscribe(listener: InvalidationListener): () => void {
    const subscription = Symbol();
    this.#listeners.set(subscription, listener);
    return () => {
      this.#listeners.delete(subscription);
    };
  }

  newOid(above: Oid = ROOT_OID): Oid {
    this.#requireWritable('newOid');
    return this.nextOid(toOid(above));
  }

  /** Opens a holder of locks of its own, for another client of this storage. */
  lockSession(): LockSession {
    return this.#lockTable.session();
  }

  tpcBegin(transaction: StorageTransaction): void {
    this.#requireWritable('tpcBegin');
    requireTransaction(transaction);
    if (this.#transactions.has(transaction)) {
      throw new StorageTransactionError('tpcBegin: this transaction is under way already');
    }
    this.#refuseDenied(transaction, 'tpcBegin');
    this.#transactions.set(transaction, {
      transaction,
      phase: 'open',
      stores: [],
      bytes: 0,
      spill: undefined,
      checks: [],
      undos: [],
      blobs: [],
      placed: [],
      accepted: undefined,
      decided: undefined,
      aborting: undefined,
      ended: undefined,
    });
  }

  store(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array): void {
    requireStore(oid, serial, data);
    const open = this.#require(transaction, 'open', 'store');
    const info = blobOf(data);
    if (info) this.#storeContent(open, oid, info, undefined);
    this.#keep(open, { oid, previous: serial, data });
  }

  storeBlob(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array, file: string): void {
    requireStore(oid, serial, data);
    const open = this.#require(transaction, 'open', 'storeBlob');
    const info = blobOf(data);
    if (!info) throw argumentTypeError('ARG_BLOB_RECORD', `storeBlob: the record of oid ${oid} is not that of a blob`);
    this.#storeContent(open, oid, info, file);
    this.#keep(open, { oid, previous: serial, data });
  }

  #keep(open: OpenTransaction, store: StoreRequest): void {
    open.bytes += store.data.length;
    if (open.bytes > this.storesInMemoryBytesMax && !open.spill) {
      open.spill = new SpillFile();
      // Small records take as much memory again as they have bytes.
      for (const [i, each] of open.stores.entries()) open.stores[i] = new SpilledStore(each, open.spill);
    }
    open.stores.push(open.spill ? new SpilledStore(store, open.spill) : store);
  }

  #storeContent({ blobs }: OpenTransaction, oid: Oid, info: BlobInfo, file: string | undefined): void {
    this.requireBlobs('store');
    blobs.push({ oid, info, file });
  }

  async loadBlob(oid: Oid, info: BlobInfo): Promise<string> {
    this.requireOpen('loadBlob');
    return this.requireBlobs('loadBlob').load(oid, info);
  }

  get temporaryDirectory(): string | undefined {
    return this.makeBlobs()?.temporaryDirectory;
  }

  checkCurrentSerial(transaction: StorageTransaction, oid: Oid, serial: Tid): void {
    this.#require(transaction, 'open', 'checkCurrentSerial').checks.push({ oid: toOid(oid), serial: toTid(serial) });
  }

  undo(transaction: StorageTransaction, tid: Tid): void {
    if (!this.supports.undo) throw new StorageError(`the storage ${this.name} does not support undo`);
    this.#require(transaction, 'open', 'undo').undos.push(toTid(tid));
  }

  async commit(transaction: StorageTransaction): Promise<CommitOutcome> {
    const open = this.#require(transaction, 'open', 'commit');
    open.phase = 'deciding';
    try {
      const outcome = await this.#decide(
        open,
        this.#withContents(open, () => this.#commits.commit(open)),
      );
      this.#settleContents(open.placed);
      this.#end(open);
      return outcome;
    } catch (error) {
      open.phase = 'failed';
      await this.#takeBackContents(open.placed);
      throw error;
    }
  }

  async tpcVote(transaction: StorageTransaction, decider?: Decider): Promise<VoteOutcome> {
    requireDecider(decider);
    const open = this.#require(transaction, 'open', 'tpcVote');
    const decidedBy = decider?.identity === this.identity ? 'self' : decider;
    open.phase = 'deciding';
    try {
      open.accepted = await this.#decide(
        open,
        this.#withContents(open, () => this.#commits.vote(open, decidedBy)),
      );
    } catch (error) {
      open.phase = 'failed';
      await this.#takeBackContents(open.placed);
      throw error;
    }
    open.phase = 'voted';
    open.ended = deferred();
    return { resolved: open.accepted.resolved };
  }

  async tpcFinish(transaction: StorageTransaction): Promise<Tid> {
    const open = this.#require(transaction, 'voted', 'tpcFinish');
    open.phase = 'deciding';
    try {
      const tid = await this.#decide(open, this.#commits.finish(open.accepted as AcceptedTransaction));
      this.#settleContents(open.placed);
      this.#end(open);
      return tid;
    } catch (error) {
      open.phase = 'failed';
      if (this.#commits.doubts.get(transaction.commitId)) this.#keepDoubted(open);
      throw error;
    }
  }

  async tpcAbort(transaction: StorageTransaction): Promise<void> {
    const open = this.#transactions.get(transaction);
    if (!open) return;
    if (open.phase === 'deciding' && !open.aborting) {
      throw new StorageTransactionError('tpcAbort: this transaction is being decided; await its vote first');
    }
    open.aborting ??= this.#abort(open).finally(() => {
      open.aborting = undefined;
    });
    await open.aborting;
  }

  async #abort(open: OpenTransaction): Promise<void> {
    const { phase, accepted } = open;
    if (!accepted) {
      this.#end(open);
      return;
    }
    open.phase = 'deciding';
    try {
      await this.#decide(open, this.#commits.abort(accepted));
    } catch (error) {
      // Crash: a finish that failed may be found to have happened at the next open; until then it can be tried again to remove it. A
      // vote that stays behind without a finish is dropped then.
      if (phase === 'failed') {
        open.phase = 'failed';
        throw error;
      }
      logger.warning('an aborted transaction stays behind as prepared until the next open', error);
    }
    await this.#takeBackContents(open.placed);
    this.#end(open);
  }

  #end(open: OpenTransaction): void {
    this.#transactions.delete(open.transaction);
    open.spill?.close();
    open.ended?.resolve();
  }

  readonly doubts: StorageDoubts = {
    list: async () => {
      this.requireOpen('doubts');
      return this.#commits.doubts.list();
    },
    suspend: async (transaction) => this.#suspend(this.#require(transaction, 'voted', 'suspend')),
    resolve: (commitId, happened) => this.#resolve(commitId, happened),
    forget: async (commitId) => {
      this.#requireWritable('forget');
      requireCommitId(commitId);
      this.#backend?.forget(commitId);
    },
  };

  #suspend(open: OpenTransaction): void {
    const accepted = open.accepted as AcceptedTransaction;
    if (accepted.decider === undefined || accepted.decider === 'self') {
      throw new StorageTransactionError('suspend: no other storage decides this transaction: abort it');
    }
    this.#commits.suspend(accepted);
    this.#keepDoubted(open);
  }

  #keepDoubted(open: OpenTransaction): void {
    const { placed, spill, transaction } = open;
    if (placed.length > 0 || spill) this.#doubted.set(toHex(transaction.commitId), { placed, spill });
    open.placed = [];
    open.spill = undefined;
    this.#end(open);
  }

  async #resolve(commitId: Uint8Array, happened: boolean): Promise<Tid | undefined> {
    this.#requireWritable('resolve');
    requireCommitId(commitId);
    // One who was lost may have left it voted.
    const voted = this.#withCommitId(commitId);
    if (voted?.phase === 'voted') this.#suspend(voted);
    const doubt = this.#commits.doubts.get(commitId);
    if (!doubt) return this.outcome(commitId);
    const tid = await this.#commits.resolve(doubt, happened);
    const { placed, spill } = this.#doubted.get(toHex(commitId)) ?? { placed: [] };
    this.#doubted.delete(toHex(commitId));
    spill?.close();
    if (happened) this.#settleContents(placed);
    else await this.#takeBackContents(placed);
    return tid;
  }

  #withCommitId(commitId: Uint8Array): OpenTransaction | undefined {
    for (const open of this.#transactions.values()) {
      if (Buffer.compare(open.transaction.commitId, commitId) === 0) return open;
    }
    return undefined;
  }

  async outcome(commitId: Uint8Array): Promise<Tid | undefined> {
    this.requireOpen('outcome');
    requireCommitId(commitId);
    for (;;) {
      const open = this.#withCommitId(commitId);
      if (!open) break;
      // Invariant: who was told that it did not happen relies on it. One that is open may still be committed, and elsewhere be taken back.
      if (open.phase === 'open') this.#denied.add(open.transaction);
      // Where it failed to finish, the answer is certain once nothing is left of it.
      if (open.phase === 'open' || open.phase === 'failed') await this.tpcAbort(open.transaction);
      else await (open.phase === 'voted' ? open.ended?.promise : open.decided);
    }
    const doubt = this.#commits.doubts.get(commitId);
    if (doubt) throw new TransactionInDoubtError(doubtOf(doubt));
    this.requireOpen('outcome');
    return this.findOutcome(commitId);
  }

  /**
   * Decides once the contents that the transaction stores stand in their places. Ordering: they are durable there before the transaction
   * is, and a transaction without any waits for nothing.
   */
  #withContents<T>(open: OpenTransaction, decide: () => Promise<T>): Promise<T> {
    const placing = this.placeContents(open.transaction, open.blobs);
    if (!placing) return decide();
    return placing.then((placed) => {
      open.placed = placed;
      return decide();
    });
  }

  /** For subclasses: puts the contents of a transaction into their places; `undefined` where there is nothing to wait for. */
  protected placeContents(_: StorageTransaction, requests: readonly BlobRequest[]): Promise<PlacedBlob[]> | undefined {
    return requests.length === 0 ? undefined : this.requireBlobs('commit').place(requests);
  }

  #settleContents(placed: PlacedBlob[]): void {
    for (const each of placed.splice(0)) {
      const settling: Promise<void> = each
        .settle()
        .catch((error: unknown) => logger.warning('the mark of a content could not be removed', error))
        .finally(() => this.#settling.delete(settling));
      this.#settling.add(settling);
    }
  }

  async #takeBackContents(placed: PlacedBlob[]): Promise<void> {
    for (const each of placed.splice(0)) {
      // Crash: a write that failed may be found to have happened at the next open.
      if (!this.#commits.isFailing) await each.takeBack();
    }
  }

  /** @throws StorageError where there are no blobs. */
  protected requireBlobs(what: string): BlobKeeper {
    const blobs = this.makeBlobs();
    if (blobs) return blobs;
    throw new StorageError(`${what}: the storage ${this.name} does not support blobs; open one that does`);
  }

  async pack(options: PackOptions): Promise<void> {
    this.#requireWritable('pack');
    const backend = this.packBackend;
    if (!backend) throw new StorageError(`the storage ${this.name} does not support packing`);
    if (this.#packing) throw new StorageError(`the storage ${this.name} is being packed already: wait for its end`);
    const stop = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    // What was superseded longer ago is no longer kept for anybody: a transaction that is never ended would hold back all packs.
    const keptSince = Math.max(0, Math.floor((this.clock.now() - SNAPSHOT_AGE_MAX_MS) * 1000));
    const snapshots = Math.max(this.#snapshots.oldest(), keptSince);
    // What is yet to be written is not to be taken for what was packed away.
    const before = Math.min(toTid(options.before), this.lastTransaction() + 1, snapshots) as Tid;
    const done = this.#pack(backend, { ...options, before, signal });
    this.#packing = { done: done.catch(() => {}), stop };
    try {
      await done;
    } finally {
      this.#packing = undefined;
    }
  }

  async #pack(backend: PackBackend, options: PackOptions): Promise<void> {
    const commits: PackCommits = {
      turn: () => this.turn(),
      begin: (marking) => this.#commits.watch(marking),
      release: (oid) => this.#commits.release(oid),
      former: this.#marking,
      end: (marking) => {
        this.#marking = marking;
        this.#commits.unwatch(marking);
      },
    };
    await pack(backend, commits, options);
    await this.blobs?.collectAll(options.signal);
  }

  async *verify(options: VerifyOptions): AsyncGenerator<Problem> {
    this.requireOpen('verify');
    yield* this.verifyRecords(options);
    if (this.blobs) yield* this.blobs.orphans();
    yield* doubtProblems(this);
  }

  /** For subclasses: checks what is stored but for contents of blobs that no record names. */
  protected verifyRecords(options: VerifyOptions): AsyncIterable<Problem> {
    return verifyByReading(this, options);
  }

  attach(): StorageAttachment {
    this.requireOpen('attach');
    this.#hosting ??= hostStorage({ storage: this, locks: () => this.lockSession(), reader: this.reader });
    return this.#hosting.attach();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#packing?.stop.abort(new StorageError(`the storage ${this.name} was closed while it was packed`));
    await this.#packing?.done;
    await this.#hosting?.close();
    this.#coordinator?.stop();
    // Ordering: those who wait for their turn are let go when what is voted is aborted; what they were about to vote comes next.
    await this.#abortAll();
    await Promise.all([...this.#transactions.values()].map(({ decided }) => decided));
    await this.#abortAll();
    await this.#coordinator?.drain();
    // What stays in doubt stands on the disk, as prepared.
    for (const { spill } of this.#doubted.values()) spill?.close();
    this.locks.close();
    await Promise.all(this.#settling);
    await this.blobs?.settled();
    await this.release();
  }

  async #abortAll(): Promise<void> {
    for (const open of [...this.#transactions.values()]) {
      const { phase, accepted, transaction } = open;
      const { decider } = accepted ?? {};
      // What another storage decides stays prepared on the disk, and in doubt.
      if (phase === 'voted' && decider !== undefined && decider !== 'self') this.#suspend(open);
      else if (phase !== 'deciding') {
        await this.tpcAbort(transaction).catch((error: unknown) => {
          logger.warning(`whether a transaction has happened is found out when ${this.name} is opened again`, error);
          this.#end(open);
        });
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @throws StorageError after close. */
  protected requireOpen(what: string): void {
    if (this.#closing) throw new StorageError(`${what}: the storage ${this.name} was closed`);
  }

  #decide<T>(open: OpenTransaction, decision: Promise<T>): Promise<T> {
    open.decided = decision.catch(() => {});
    return decision;
  }

  get #commits(): CommitCoordinator {
    return this.#coordinator as CommitCoordinator;
  }

  #requireWritable(what: string): void {
    this.requireOpen(what);
    if (this.#readOnly) throw new ReadOnlyError(`${what}: the storage ${this.name} was opened to be read only`);
  }

  #require(transaction: StorageTransaction, phase: Phase, what: string): OpenTransaction {
    const open = this.#transactions.get(transaction);
    if (!open) {
      this.#refuseDenied(transaction, what);
      throw new StorageTransactionError(`${what}: this transaction is not under way (tpcBegin comes first)`);
    }
    if (open.phase !== phase) {
      throw new StorageTransactionError(`${what}: this transaction is ${open.phase}, and has to be ${phase} for that`);
    }
    return open;
  }

  #refuseDenied(transaction: StorageTransaction, what: string): void {
    if (!this.#denied.has(transaction)) return;
    throw new StorageTransactionError(
      `${what}: too late: somebody has asked what became of this transaction, and was told that it did not happen`,
    );
  }
}
