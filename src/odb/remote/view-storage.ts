import {
  argumentTypeError,
  type Clock,
  Logger,
  systemClock,
  type Timer,
  untilAborted,
  writeUint64,
} from '../../base/index.js';
import { ClientDisconnected, POSKeyError, ReadOnlyError, StorageError } from '../errors.js';
import { MAX_TID, type Oid, ROOT_OID, type Tid, toOid, toTid, ZERO_TID } from '../ids.js';
import { SNAPSHOT_REPORT_MS } from '../limits.js';
import { strongReferences } from '../serialize/reader.js';
import { type BlobInfo, blobOf } from '../storage/blob/blob-info.js';
import { type OldestSnapshot, OpenSnapshots } from '../storage/open-snapshots.js';
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
  StorageLocks,
  StorageSupports,
  StorageTransaction,
  SubscribeOptions,
  TransactionRecord,
  UndoLogEntry,
  VoteOutcome,
} from '../storage/storage.js';
import { doubtProblems, type Problem, type VerifyOptions, verifyByReading } from '../storage/verify.js';
import { newPacket, pairPacket, readValue } from './codec.js';
import type { HubState } from './hub-memory.js';
import { HEADER_BYTES, Message } from './messages.js';
import { ViewBlobs } from './view-blobs.js';
import { ViewChannel } from './view-channel.js';
import { attachment } from './view-hub.js';
import { ViewLocks } from './view-locks.js';
import { ViewLog } from './view-log.js';
import { ViewOids } from './view-oids.js';
import type { ViewData } from './view-parts.js';
import { ViewRevisions } from './view-revisions.js';
import { ViewTransactions } from './view-transactions.js';

const log = new Logger('holdfast.view');

/** Reads revisions without asking the serving thread, where views can. */
export interface RevisionReader {
  /** As `Storage.loadBefore`; `before` is never past what was published. */
  loadBefore(oid: Oid, before: Tid): Revision | undefined;
  /** As `Storage.loadSerial`. */
  loadSerial(oid: Oid, tid: Tid): Uint8Array;
  close(): Promise<void>;
}

/** Options of a {@link ViewStorage}. */
export interface ViewOptions {
  readonly data: ViewData;
  /** Merges what the serving side cannot. */
  readonly resolver?: ConflictResolver | undefined;
  readonly reader?: RevisionReader | undefined;
}

/**
 * A storage whose data another thread or process keeps.
 *
 * Reads are answered from revisions that this thread has, then by blocking until the other thread answers. What is
 * published is learned from shared memory, so that `poll` and `lastTransaction` ask nobody.
 */
export class ViewStorage implements Storage {
  readonly name: string;
  readonly clock: Clock;
  readonly locks: StorageLocks;
  readonly #data: ViewData;
  readonly #channel: ViewChannel;
  readonly #reader: RevisionReader | undefined;
  readonly #locks: ViewLocks;
  readonly #revisions: ViewRevisions;
  readonly #blobs: ViewBlobs;
  readonly #transactions: ViewTransactions;
  readonly #log: ViewLog;
  readonly #oids: ViewOids;
  readonly #listeners = new Set<InvalidationListener>();
  /** Those for whom this thread is woken. */
  readonly #promptListeners = new Set<InvalidationListener>();
  #lastTid: Tid;
  #polling = false;
  #counts: Counts = [0, 0, ROOT_OID];
  readonly #snapshots = new OpenSnapshots();
  #snapshotTimer: Timer | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: ViewOptions) {
    const { data } = options;
    this.#data = data;
    this.name = data.name;
    this.#reader = options.reader;
    const channel = new ViewChannel(data, {
      poll: () => this.poll(),
      lockFell: (name) => this.#locks.lockFell(name),
      closed: () => void this.close(),
    });
    this.#channel = channel;
    this.#revisions = new ViewRevisions(channel, data.cacheBytesMax);
    this.#lastTid = channel.ring.lastTid;
    this.#locks = new ViewLocks(channel);
    this.locks = this.#locks;
    this.clock = {
      now: () => systemClock.now() + channel.hub.clockOffsetMs,
      schedule: (delayMs, fn, timer) => systemClock.schedule(delayMs, fn, timer),
    };
    this.#blobs = new ViewBlobs(data.name, channel, data.blobs, this.clock);
    this.#oids = new ViewOids(channel);
    this.#log = new ViewLog(channel, {
      suspend: (transaction) => this.#transactions.suspend(transaction),
      isClosed: () => this.#closing !== undefined,
    });
    this.#transactions = new ViewTransactions({
      channel,
      blobs: this.#blobs,
      name: data.name,
      get isReadOnly() {
        return channel.hub.isReadOnly;
      },
      resolver: options.resolver,
      holdInvalidations: () => this.#revisions.holdInvalidations(),
      written: (written) => {
        if (!this.#reader) this.#revisions.written(written);
      },
      distrust: (oids) => this.#revisions.distrust(oids),
      outcome: (commitId, signal) => this.#log.certainOutcome(commitId, signal),
    });
  }

  get identity(): string {
    return this.#channel.hub.identity;
  }

  get supports(): StorageSupports {
    return this.#channel.hub.supports;
  }

  /** Whether the storage can be reached. */
  protected get hubState(): HubState {
    return this.#channel.hub.state;
  }

  get isReadOnly(): boolean {
    return this.#channel.hub.isReadOnly;
  }

  load(oid: Oid): Revision {
    this.#refuseClosed();
    toOid(oid);
    if (this.#reader) return this.#mustExist(oid, this.#loadFromReader(oid, (this.lastTransaction() + 1) as Tid));
    if (this.#channel.ring.isCurrent) {
      const cached = this.#revisions.cachedCurrent(oid);
      if (cached) return cached;
    }
    return this.#mustExist(oid, this.#revisions.fetch(Message.load, oid));
  }

  loadBefore(oid: Oid, before: Tid): Revision | undefined {
    this.#refuseClosed();
    toOid(oid);
    toTid(before);
    if (this.#reader) return this.#loadFromReader(oid, before);
    // What is current as far as this thread was told answers for no later time.
    if (before <= this.#lastTid + 1 || this.#channel.ring.isCurrent) {
      const cached = this.#revisions.cached(oid, before);
      if (cached) return cached;
    }
    return this.#revisions.fetch(Message.loadBefore, oid, before);
  }

  loadSerial(oid: Oid, tid: Tid): Uint8Array {
    this.#refuseClosed();
    toOid(oid);
    toTid(tid);
    if (this.#reader) return this.#reader.loadSerial(oid, tid);
    const cached = this.#revisions.cachedSerial(oid, tid);
    if (cached) return cached.data;
    return this.#channel.call((id) => pairPacket(Message.loadSerial, id, oid, tid)).subarray(HEADER_BYTES);
  }

  async prefetch(oids: readonly Oid[], before: Tid): Promise<void> {
    toTid(before);
    for (const oid of oids) toOid(oid);
    if (!this.#reader) await this.#revisions.prefetch(oids, before);
  }

  lastTransaction(): Tid {
    return this.#lastTid;
  }

  poll(): Tid {
    const { ring } = this.#channel;
    // A listener that polls is being told already.
    if (this.#polling || ring.isCurrent) return this.#lastTid;
    this.#polling = true;
    try {
      for (let entry = ring.next(); entry !== undefined; entry = ring.next()) {
        const { tid, oids } = entry;
        if (oids === 'all') this.#revisions.invalidateAll();
        else this.#revisions.invalidate(tid, oids);
        for (const listener of this.#listeners) {
          try {
            if (oids === 'all') listener.invalidateAll(tid);
            else listener.invalidate(tid, oids);
          } catch (error) {
            // What was told is told: the others, and this view, have to know of it all the same.
            log.critical(`a subscriber of ${this.name} failed to take note of transaction ${tid}`, error);
          }
        }
        // Ordering: the tid can be seen only after everybody was told what came with it.
        this.#lastTid = tid;
      }
    } finally {
      this.#polling = false;
    }
    return this.#lastTid;
  }

  sync(): Promise<Tid> {
    return this.#channel.request(
      (id) => newPacket(Message.sync, id, 0),
      () => this.#lastTid,
    );
  }

  subscribe(listener: InvalidationListener, options: SubscribeOptions = {}): () => void {
    // One listener may subscribe twice: each subscription ends by itself.
    const entry: InvalidationListener = {
      invalidate: (tid, oids) => listener.invalidate(tid, oids),
      invalidateAll: (tid) => listener.invalidateAll(tid),
    };
    this.#listeners.add(entry);
    if (!options.isLazy) this.#promptListeners.add(entry);
    this.#channel.wantsWake = this.#promptListeners.size > 0;
    return () => {
      this.#listeners.delete(entry);
      this.#promptListeners.delete(entry);
      this.#channel.wantsWake = this.#promptListeners.size > 0;
    };
  }

  keepSnapshots(oldest: OldestSnapshot): () => void {
    const end = this.#snapshots.keep(oldest);
    this.#tellSnapshots();
    return end;
  }

  /** Tells now, and then now and again, which snapshot is the oldest; one that is opened later is no older than what was published here. */
  #tellSnapshots(): void {
    this.#snapshotTimer?.cancel();
    if (this.#closing || this.#snapshots.isEmpty) return;
    const packet = newPacket(Message.snapshots, 0, 8);
    writeUint64(packet, HEADER_BYTES, Math.min(this.#snapshots.oldest(), this.#lastTid + 1));
    this.#channel.post(packet);
    this.#snapshotTimer = this.clock.schedule(SNAPSHOT_REPORT_MS, () => this.#tellSnapshots());
  }

  useConflictResolver(): void {
    // The owner of the data has its own, and a view has had one since it was opened.
  }

  newOid(above: Oid = ROOT_OID): Oid {
    if (this.isReadOnly) throw new ReadOnlyError(`${this.name} is read-only`);
    this.#refuseClosed();
    return this.#oids.next(toOid(above));
  }

  tpcBegin(transaction: StorageTransaction): void {
    this.#transactions.begin(transaction);
  }

  store(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array): void {
    this.#transactions.store(transaction, oid, serial, data);
  }

  storeBlob(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array, file: string): void {
    const info = blobOf(data);
    if (!info) throw argumentTypeError('ARG_BLOB_RECORD', `storeBlob: the record of oid ${oid} is not that of a blob`);
    this.#transactions.store(transaction, oid, serial, data, { info, file });
  }

  async loadBlob(oid: Oid, info: BlobInfo): Promise<string> {
    this.#refuseClosed();
    return this.#blobs.load(oid, info);
  }

  get temporaryDirectory(): string | undefined {
    return this.#blobs.temporaryDirectory;
  }

  checkCurrentSerial(transaction: StorageTransaction, oid: Oid, serial: Tid): void {
    this.#transactions.check(transaction, oid, serial);
  }

  undo(transaction: StorageTransaction, tid: Tid): void {
    this.#transactions.undo(transaction, tid);
  }

  commit(transaction: StorageTransaction): Promise<CommitOutcome> {
    return this.#transactions.commit(transaction);
  }

  tpcVote(transaction: StorageTransaction, decider?: Decider): Promise<VoteOutcome> {
    return this.#transactions.vote(transaction, decider);
  }

  tpcFinish(transaction: StorageTransaction): Promise<Tid> {
    return this.#transactions.finish(transaction);
  }

  tpcAbort(transaction: StorageTransaction): Promise<void> {
    return this.#transactions.abort(transaction);
  }

  get doubts(): StorageDoubts {
    return this.#log.doubts;
  }

  outcome(commitId: Uint8Array): Promise<Tid | undefined> {
    return this.#log.outcome(commitId);
  }

  history(oid: Oid, size?: number): Promise<HistoryEntry[]> {
    return this.#log.history(oid, size);
  }

  undoLog(options?: { readonly before?: Tid; readonly size?: number }): Promise<UndoLogEntry[]> {
    return this.#log.undoLog(options);
  }

  iterate(from: Tid = ZERO_TID, to: Tid = MAX_TID): AsyncGenerator<TransactionRecord> {
    return this.#log.iterate(toTid(from), Math.min(toTid(to), this.poll()) as Tid);
  }

  /** The owner of the storage packs it: by its own rule of what is referenced, and to the end though nobody waits for it any more. */
  async pack({ before, references, keeps, signal }: PackOptions): Promise<void> {
    if (keeps || references !== strongReferences) {
      throw new StorageError(
        `${this.name} is packed by who owns it, who cannot ask this process: pack it there, beneath what stands over it here`,
      );
    }
    signal?.throwIfAborted();
    toTid(before);
    // So that only what is open is in the way.
    this.#tellSnapshots();
    const done = this.#channel.request(
      (id) => {
        const packet = newPacket(Message.pack, id, 8);
        writeUint64(packet, HEADER_BYTES, before);
        return packet;
      },
      () => undefined,
    );
    await untilAborted(done, signal);
  }

  async *verify(options: VerifyOptions): AsyncGenerator<Problem> {
    this.#refuseClosed();
    yield* verifyByReading(this, options);
    yield* doubtProblems(this);
  }

  attach(): StorageAttachment {
    const { hub, ring, servingThreadId, name, cacheBytesMax, readTimeoutMs, reader, blobs } = this.#data;
    return attachment(this.#channel.attach(), {
      hub,
      ring,
      servingThreadId,
      name,
      cacheBytesMax,
      readTimeoutMs,
      reader,
      blobs,
    });
  }

  get length(): number {
    return this.#count()[0];
  }

  get size(): number {
    return this.#count()[1];
  }

  get highestOid(): Oid {
    return this.#count()[2];
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#snapshotTimer?.cancel();
    this.#listeners.clear();
    // Ordering: the reader lets go of the files before the port closes, which is what the owner of the files waits for.
    await this.#reader?.close();
    await this.#blobs.settled();
    this.#channel.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #refuseClosed(): void {
    if (this.#closing) throw new ClientDisconnected(`${this.name} was closed`);
  }

  #mustExist(oid: Oid, revision: Revision | undefined): Revision {
    if (revision === undefined) throw new POSKeyError(oid);
    return revision;
  }

  #loadFromReader(oid: Oid, before: Tid): Revision | undefined {
    // What the files hold beyond the last published transaction is not to be seen yet.
    const limit = Math.min(before, this.#lastTid + 1) as Tid;
    const revision = (this.#reader as RevisionReader).loadBefore(oid, limit);
    if (revision?.endTid === undefined || revision.endTid <= this.#lastTid) return revision;
    return { data: revision.data, tid: revision.tid, endTid: undefined };
  }

  /** Asked for where there is a connection, else as they were last. */
  #count(): Counts {
    if (this.#closing || this.#channel.hub.state !== 'connected') return this.#counts;
    this.#counts = readValue(this.#channel.call((id) => newPacket(Message.stats, id, 0))) as Counts;
    return this.#counts;
  }
}

type Counts = readonly [length: number, size: number, highestOid: Oid];
