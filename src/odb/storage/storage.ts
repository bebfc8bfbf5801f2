import type { Clock } from '../../base/index.js';
import type { Oid, Tid } from '../ids.js';
import type { BlobInfo } from './blob/blob-info.js';
import type { OldestSnapshot } from './open-snapshots.js';
import type { Problem, VerifyOptions } from './verify.js';

/**
 * What a storage promises. It knows bytes, oids and tids; it never sees an object or a class.
 *
 * An observer may rely on this:
 *
 * 1. **Atomic and durable.** A transaction whose `commit` or `tpcFinish` resolved is there after any crash, whole;
 *    of any other, nothing is ever seen.
 * 2. **First committer wins.** A store whose `serial` is not the object's current one is merged, or refused with
 *    `ConflictError`; a check whose serial is not current is refused with `ReadConflictError`.
 * 3. **Tids rise** strictly, even when the clock steps back, and are published in order: when `lastTransaction()` is T,
 *    everything up to T can be read, and every subscriber has been told of everything up to T.
 * 4. **Oids are never given twice**, whoever crashes.
 * 5. **Reads are synchronous** and see only published revisions; a revision once read at a tid reads the same for ever,
 *    until a pack drops it.
 * 6. **Blobs.** The record of a blob (`blobOf` tells it from others) names its content, which is a file: there, whole and never changed,
 *    for as long as any revision names it. Contents are asked for by promises, since a client may have to fetch them.
 *
 * Arguments that are none (a fraction as an oid, no bytes as a record) are refused with a TypeError or RangeError whose code begins with
 * `ARG_`, and change nothing.
 *
 * `load*`, `newOid`, `lastTransaction` and `poll` are synchronous; building a transaction (`tpcBegin`, `store`,
 * `checkCurrentSerial`) is too, since it only collects; what decides or waits returns a promise.
 */
export interface Storage {
  /** For people and for the order of participants in a commit: the path, the address, or `memory:<n>`. */
  readonly name: string;
  /**
   * Names the storage for ever, wherever and however it is opened: storages that take part in one transaction are ordered by it, which
   * has to be the same for all who commit to them. That of a storage that does not outlive its process sorts after all others.
   */
  readonly identity: string;
  readonly supports: StorageSupports;
  readonly isReadOnly: boolean;
  /** The time of the storage: a client's is corrected to its server's. */
  readonly clock: Clock;
  /** Named locks that fall with their session, where `supports.locks`. */
  readonly locks: StorageLocks | undefined;

  /**
   * The current revision.
   * @throws POSKeyError when no object has this oid; with `removedBy` where a transaction removed it. CorruptionError. ClientDisconnected.
   */
  load(oid: Oid): Revision;
  /**
   * The revision that was current just before `before`; `undefined` when the object's first one is not before it.
   * @throws POSKeyError when no object has this oid, or it was removed by then, as `load`. ReadConflictError when the revision was
   * trimmed from history. CorruptionError. ClientDisconnected.
   */
  loadBefore(oid: Oid, before: Tid): Revision | undefined;
  /**
   * The bytes that the transaction `tid` wrote for the object.
   * @throws POSKeyError when it wrote none.
   */
  loadSerial(oid: Oid, tid: Tid): Uint8Array;
  /**
   * Loads many objects in one round trip, so that a following `loadBefore` of each is answered without one. An oid that
   * does not exist is passed over. Does nothing where a load needs no round trip.
   */
  prefetch(oids: readonly Oid[], before: Tid): Promise<void>;

  /** The newest published transaction; `ZERO_TID` for an empty storage. */
  lastTransaction(): Tid;
  /**
   * Tells subscribers of everything that was published up to now by other threads or processes, and returns the newest
   * published tid. Costs next to nothing when there is nothing new.
   */
  poll(): Tid;
  /** Resolves once everything committed by anyone before this call is published here (and polled). */
  sync(): Promise<Tid>;
  /** Registers for what is published from now on. Returns the function that ends it. */
  subscribe(listener: InvalidationListener, options?: SubscribeOptions): () => void;

  /** An oid that nobody has, above `above` where that is given. @throws ReadOnlyError. ClientDisconnected. StorageError when none is left. */
  newOid(above?: Oid): Oid;
  /** No oid above this one was ever given out or stored; may be more than that. */
  readonly highestOid: Oid;

  /**
   * Opens a transaction of this storage. Any number may be open side by side.
   * @throws StorageTransactionError if it is open already. ReadOnlyError.
   */
  tpcBegin(transaction: StorageTransaction): void;
  /**
   * Adds a record to an open transaction. `serial` is the revision that it is based on, `ZERO_TID` for a new object.
   * The bytes belong to the storage from now on. No bytes: the object is removed, and has no state until it is stored again.
   * @throws StorageTransactionError when the transaction is not open, or voted.
   */
  store(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array): void;
  /**
   * As `store`, for the record of a blob. `file` has its content. It stays the caller's, who changes it no more, and may remove it once the
   * transaction has ended; the storage makes its own of it, by a link where it can. Without it (by `store`) the content has to be there
   * already. Only where `supports.blobs`; elsewhere the record of a blob is refused by `store`, too.
   * @throws as `store`. StorageError without that ability. The commit, or the vote, throws StorageError when the file is not what the
   * record says.
   */
  storeBlob(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array, file: string): void;
  /** Adds a condition to an open transaction: `serial` must be current when it is voted. */
  checkCurrentSerial(transaction: StorageTransaction, oid: Oid, serial: Tid): void;
  /**
   * Adds the undo of a transaction to an open one: each object that it wrote gets the state back that it superseded, which may be none.
   * What was changed later is merged where it can be. Several are undone in the order of the calls. What the transaction stores besides
   * is stored first.
   * The commit, or the vote, throws UndoError where it cannot be done. Only where `supports.undo`.
   * @throws StorageTransactionError. StorageError without that ability.
   */
  undo(transaction: StorageTransaction, tid: Tid): void;
  /**
   * The whole commit in one step, for a transaction in which no other storage takes part: vote and finish. A rejection
   * leaves the transaction voted-and-failed: abort it.
   * @throws ConflictError. ReadConflictError. ReadOnlyError. ClientDisconnected. CommitUncertainError. StorageError.
   */
  commit(transaction: StorageTransaction): Promise<CommitOutcome>;
  /**
   * First phase: after it, finish does not fail.
   *
   * Where several storages take part, one of them decides: the transaction has happened once that one has finished. All are told which,
   * itself too. One that has voted for another to decide never takes its vote back by itself: without a `tpcFinish` or `tpcAbort` the
   * transaction stays in doubt (see `doubts`), over crashes too.
   * @throws as `commit`.
   */
  tpcVote(transaction: StorageTransaction, decider?: Decider): Promise<VoteOutcome>;
  /** Second phase: durable and published when it resolves. @throws StorageTransactionError when it was not voted. */
  tpcFinish(transaction: StorageTransaction): Promise<Tid>;
  /**
   * Forgets the transaction, in whatever phase; one that is not open is ignored.
   * @throws StorageTransactionError while a commit, a vote or a finish of it is under way. StorageError after a `tpcFinish` that failed, where it cannot be made certain that nothing of it will be found at the next
   * open.
   */
  tpcAbort(transaction: StorageTransaction): Promise<void>;
  /** Transactions of several storages, in which the outcome has to get from one to another. */
  readonly doubts: StorageDoubts;

  /**
   * The path of a file with a content of a blob, for reading only; its size is checked, its checksum is not. Open it at once: it may be
   * removed when it is packed away, and when a client's cache makes room.
   * @throws POSKeyError when the blob has no such content, or has it no more. CorruptionError. ClientDisconnected. StorageError without
   * the ability.
   */
  loadBlob(oid: Oid, info: BlobInfo): Promise<string>;
  /**
   * Where files that are to become contents are best made: a folder, to be made where it is missing, from which they need not be copied.
   * `undefined` without the ability.
   */
  readonly temporaryDirectory: string | undefined;

  /**
   * What became of a commit: its tid, or `undefined` when it did not happen and never will. Is known for an hour; for a transaction of
   * several storages that this one decided, until it is told to forget it. Waits for a commit that is under way; a transaction that is
   * open, and neither committed nor voted yet, cannot be any more.
   * @throws TransactionInDoubtError when another storage has to be asked.
   */
  outcome(commitId: Uint8Array): Promise<Tid | undefined>;
  /** The newest `size` revisions of an object, newest first. @throws POSKeyError. */
  history(oid: Oid, size?: number): Promise<HistoryEntry[]>;
  /** Transactions that can be undone, newest first: `size` of them, older than `before`. */
  undoLog(options?: { readonly before?: Tid; readonly size?: number }): Promise<UndoLogEntry[]>;
  /** Transactions in order, both bounds inclusive, each with its records. What is published after the call is not among them. */
  iterate(from?: Tid, to?: Tid): AsyncIterable<TransactionRecord>;

  /**
   * Drops revisions that were superseded before a time, and objects that nothing reaches; beside readers and writers. What open
   * snapshots show is kept: see `keepSnapshots`. Only where `supports.pack`.
   * @throws StorageError while another pack is under way. ReadOnlyError. The signal's reason; what was dropped by then was garbage.
   */
  pack(options: PackOptions): Promise<void>;
  /**
   * Has packs keep what open snapshots show: `oldest` tells before which transaction the oldest of them reads, `undefined` while none is
   * open. What was superseded more than an hour ago goes all the same: to read it raises ReadConflictError, or POSKeyError for an object
   * that nothing reaches any more. Returns the function that ends it.
   */
  keepSnapshots(oldest: OldestSnapshot): () => void;
  /**
   * Has conflicts merged by this, unless the storage was opened with a resolver of its own or was given one before. `DB.open` gives the
   * one that knows records.
   */
  useConflictResolver(resolver: ConflictResolver): void;

  /**
   * Checks what is stored, and tells of what is wrong: records that do not decode, references to what is not there; on the disk also
   * checksums, and that the indexes agree. Best while nobody writes.
   */
  verify(options: VerifyOptions): AsyncIterable<Problem>;
  /** What another thread of this process needs to open its own view of this storage; see {@link StorageAttachment}. */
  attach(): StorageAttachment;
  /** Number of objects, or an estimate. */
  readonly length: number;
  /** Bytes used, or an estimate; the contents of blobs do not count. */
  readonly size: number;
  /** Releases everything. May be called twice. */
  close(): Promise<void>;
}

/** Which optional abilities a storage has: declared, never probed. */
export interface StorageSupports {
  /** Old revisions are kept (for a time). */
  readonly history: boolean;
  readonly undo: boolean;
  readonly pack: boolean;
  /** Large contents as files of their own. */
  readonly blobs: boolean;
  readonly locks: boolean;
}

/** How a storage is packed. */
export interface PackOptions {
  /** Revisions that transactions before this one superseded go. */
  readonly before: Tid;
  /** The oids that a record references and keeps alive. */
  readonly references: (data: Uint8Array) => Iterable<Oid>;
  /**
   * For who knows more than this storage of what reaches its objects: asked of each object that would be dropped, at the moment when it
   * would; `true` keeps it, and `false` is final. A storage that another thread or process keeps cannot ask.
   */
  readonly keeps?: ((oid: Oid) => boolean) | undefined;
  /** Stops it. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PackProgress) => void) | undefined;
}

/** How far a pack is: it trims history, marks what is reached, sweeps the rest. */
export interface PackProgress {
  readonly phase: 'trim' | 'mark' | 'sweep';
  /** Objects that were marked, or looked at by the sweep. */
  readonly objects: number;
}

/** One revision of an object. */
export interface Revision {
  readonly data: Uint8Array;
  /** The transaction that wrote it. */
  readonly tid: Tid;
  /** The transaction that superseded it; `undefined` while it is current. */
  readonly endTid: Tid | undefined;
}

/** A transaction as a storage sees it: made by the caller, known by identity until it ends. */
export interface StorageTransaction {
  /** 16 random bytes by which its outcome can be asked for. */
  readonly commitId: Uint8Array;
  readonly user: string;
  readonly description: string;
  /** MessagePack of the extended information; empty when there is none. */
  readonly extension: Uint8Array;
  /**
   * Restores a transaction of another storage: it gets this tid, which has to be newer than all that are here, and whatever it stores
   * supersedes what is current. See `copyTransactions`.
   */
  readonly tid?: Tid | undefined;
}

/** The storage that decides a transaction of several. */
export interface Decider {
  readonly identity: string;
  /** For people. */
  readonly name: string;
}

/**
 * What a storage does about transactions in which others take part.
 *
 * A transaction is in doubt where a storage has voted, and cannot know whether the one that decides has finished: it was closed or killed
 * in between, or its client was lost. Until it is resolved, it is not seen, and whoever wants to write the same objects is refused.
 */
export interface StorageDoubts {
  /** The transactions that are in doubt here. */
  list(): Promise<readonly Doubt[]>;
  /** Puts a voted transaction in doubt: whether it happened could not be found out for now. */
  suspend(transaction: StorageTransaction): Promise<void>;
  /**
   * Ends a doubt by what the deciding storage said (`outcome`): finishes the transaction, under a tid of now, or takes it back. Resolves
   * to the tid. May be repeated.
   */
  resolve(commitId: Uint8Array, happened: boolean): Promise<Tid | undefined>;
  /** All that took part have finished: the outcome of a transaction that this storage decided need not be kept any longer. */
  forget(commitId: Uint8Array): Promise<void>;
}

/** A transaction that is in doubt. */
export interface Doubt {
  readonly commitId: Uint8Array;
  /** Identity of the storage that decides. */
  readonly decider: string;
  /** What that one was called when the transaction was voted. */
  readonly deciderName: string;
  /** Tells when it was voted. */
  readonly tid: Tid;
  readonly user: string;
  readonly description: string;
  /** How many objects it writes. */
  readonly objects: number;
}

/** What a vote found. */
export interface VoteOutcome {
  /** Objects whose stored state is a merge, not what was handed in: their copies in memory are out of date. */
  readonly resolved: readonly Oid[];
}

/** What a commit did. */
export interface CommitOutcome extends VoteOutcome {
  readonly tid: Tid;
}

/** One entry of an object's history. */
export interface HistoryEntry {
  readonly tid: Tid;
  readonly user: string;
  readonly description: string;
  readonly extension: Uint8Array;
  /** Bytes of the record. */
  readonly sizeBytes: number;
}

/** A transaction, without what it wrote. */
export interface UndoLogEntry {
  readonly tid: Tid;
  readonly user: string;
  readonly description: string;
  readonly extension: Uint8Array;
}

/** A stored transaction. */
export interface TransactionRecord extends UndoLogEntry {
  readonly records: readonly DataRecord[];
}

/** A record of a stored transaction; no data where the transaction removed the object. */
export interface DataRecord {
  readonly oid: Oid;
  readonly tid: Tid;
  readonly data: Uint8Array | undefined;
}

/**
 * Told of what is published. Calls come in tid order, and must not throw; what they throw is logged as critical. A listener takes note, and begins no transaction: what it is
 * told of can be read once it has returned.
 */
export interface InvalidationListener {
  /** The transaction `tid` changed these objects. */
  invalidate(tid: Tid, oids: readonly Oid[]): void;
  /** Anything may have changed up to `tid`: what was missed can no longer be told one by one. */
  invalidateAll(tid: Tid): void;
}

/** How a subscriber wants to be told. */
export interface SubscribeOptions {
  /**
   * It is enough to be told at the next `poll`, and now and then: where another thread or process publishes, waking this one for each
   * transaction costs more than the transaction. Default: false.
   */
  readonly isLazy?: boolean;
}

/** Named locks. A lock falls when the session that holds it ends. */
export interface StorageLocks {
  /** Takes the lock if it is free; resolves to whether it was. */
  tryLock(name: string): Promise<boolean>;
  /**
   * Waits for the lock, in order; a session that holds it need not wait. Rejects with the signal's reason when `signal` aborts, with
   * StorageError when the session ends.
   */
  lock(name: string, options?: { signal?: AbortSignal }): Promise<void>;
  /** Gives the lock up; ignored when this session does not hold it. */
  unlock(name: string): Promise<void>;
  /**
   * Calls `fn` each time a session ends that holds the lock; what it throws is logged. Returns the function that ends the watch.
   */
  watch(name: string, fn: () => void): () => void;
}

/**
 * How another thread opens its own view: it imports `module` and calls its exported
 * `openAttached(data): Promise<Storage>`. An attachment is for one thread; the thread closes its view before the owner
 * closes the storage.
 */
export interface StorageAttachment {
  /** URL of the module. */
  readonly module: string;
  /** Structured-cloneable. */
  readonly data: unknown;
  readonly transferList: readonly import('node:worker_threads').MessagePort[];
}

/** Merges two changes of one object; given to a storage by those who know records. */
export interface ConflictResolver {
  /**
   * The merged record of `oid`, whose revision `base` was changed to `committed` by others and to `mine` by the caller.
   * Returns `undefined` when the class of the record is not known here, so that somebody else may be able to.
   * @throws ConflictError when the class is known and the changes do not merge; without a `reason` when something within them is not
   * known here.
   */
  resolve(request: ConflictRequest): Uint8Array | undefined;
}

/** Two changes of one object that are to be merged: serials, and records. */
export interface ConflictRequest {
  readonly oid: Oid;
  /** The revision that both changes are based on. */
  readonly baseSerial: Tid;
  /** The revision that others have made of it. */
  readonly committedSerial: Tid;
  readonly base: Uint8Array;
  readonly committed: Uint8Array;
  /** The record that is to be stored. */
  readonly mine: Uint8Array;
}
