import {
  argumentTypeError,
  type Clock,
  deferred,
  delay,
  systemClock,
  type Timer,
  writeUint32,
  writeUint64,
} from '../../base/index.js';
import { ClientDisconnected, POSKeyError, ReadOnlyError, StorageError } from '../errors.js';
import { MAX_TID, type Oid, ROOT_OID, type Tid, ZERO_TID } from '../ids.js';
import { SNAPSHOT_REPORT_MS } from '../limits.js';
import { strongReferences } from '../serialize/reader.js';
import { type BlobInfo, blobOf } from '../storage/blob/blob-info.js';
import { type OldestSnapshot, OpenSnapshots } from '../storage/open-snapshots.js';
import type {
  CommitOutcome,
  ConflictResolver,
  Decider,
  Doubt,
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
import { newPacket, PacketReader, readRecords, readValue } from './codec.js';
import type { HubState } from './hub-memory.js';
import { HEADER_BYTES, Message, OIDS_PER_BLOCK } from './messages.js';
import { RevisionCache } from './revision-cache.js';
import type { WireDoubt } from './session.js';
import { ViewBlobs } from './view-blobs.js';
import { ViewChannel } from './view-channel.js';
import { attachment } from './view-hub.js';
import { ViewLocks } from './view-locks.js';
import type { ViewData } from './view-parts.js';
import { ViewTransactions, type WrittenRecords } from './view-transactions.js';

/** Oids of one request to `prefetch`. */
const PREFETCH_COUNT = 1000;
/** Pauses between questions for the outcome of a commit while the server is away. */
const OUTCOME_PAUSE_MS = 200;
/** Invalidated oids that are remembered for answers under way; past it, those answers are not cached. */
const HELD_OIDS_MAX = 100_000;

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
  readonly #cache: RevisionCache;
  readonly #blobs: ViewBlobs;
  readonly #transactions: ViewTransactions;
  readonly #listeners = new Set<InvalidationListener>();
  /** Those for whom this thread is woken. */
  readonly #promptListeners = new Set<InvalidationListener>();
  #lastTid: Tid;
  #polling = false;
  /** Answers under way that fill the cache, and what was invalidated since the first of them. */
  #heldCount = 0;
  #heldAll = false;
  readonly #held = new Map<Oid, Tid>();
  /** Ranges of oids to give away: start and count, in turn. */
  #oids: number[] = [];
  #oidsEpoch = 0;
  #oidsUnderWay = false;
  #counts: Counts = [0, 0, ROOT_OID];
  readonly #snapshots = new OpenSnapshots();
  #snapshotTimer: Timer | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: ViewOptions) {
    const { data } = options;
    this.#data = data;
    this.name = data.name;
    this.#reader = options.reader;
    this.#cache = new RevisionCache(data.cacheBytesMax);
    const channel = new ViewChannel(data, {
      poll: () => this.poll(),
      lockFell: (name) => this.#locks.lockFell(name),
      closed: () => void this.close(),
    });
    this.#channel = channel;
    this.#lastTid = channel.ring.lastTid;
    this.#locks = new ViewLocks(channel);
    this.locks = this.#locks;
    this.clock = {
      now: () => systemClock.now() + channel.hub.clockOffsetMs,
      schedule: (delayMs, fn, timer) => systemClock.schedule(delayMs, fn, timer),
    };
    this.#blobs = new ViewBlobs(data.name, channel, data.blobs, this.clock);
    this.#transactions = new ViewTransactions({
      channel,
      blobs: this.#blobs,
      name: data.name,
      get isReadOnly() {
        return channel.hub.isReadOnly;
      },
      resolver: options.resolver,
      holdInvalidations: () => this.#holdInvalidations(),
      written: (written) => this.#cacheWritten(written),
      distrust: (oids) => {
        for (const oid of oids) this.#cache.drop(oid);
      },
      outcome: (commitId, signal) => this.#certainOutcome(commitId, signal),
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
    if (this.#reader) return this.#mustExist(oid, this.#loadFromReader(oid, (this.lastTransaction() + 1) as Tid));
    if (this.#channel.ring.isCurrent) {
      const cached = this.#cache.getCurrent(oid);
      if (cached) return cached;
    }
    return this.#mustExist(oid, this.#loadRemote(Message.load, oid));
  }

  loadBefore(oid: Oid, before: Tid): Revision | undefined {
    if (this.#reader) return this.#loadFromReader(oid, before);
    // What is current as far as this thread was told answers for no later time.
    if (before <= this.#lastTid + 1 || this.#channel.ring.isCurrent) {
      const cached = this.#cache.get(oid, before);
      if (cached) return cached;
    }
    return this.#loadRemote(Message.loadBefore, oid, before);
  }

  loadSerial(oid: Oid, tid: Tid): Uint8Array {
    if (this.#reader) {
      this.#refuseClosed();
      return this.#reader.loadSerial(oid, tid);
    }
    const cached = this.#cache.getSerial(oid, tid);
    if (cached) return cached.data;
    return this.#channel.call((id) => keyPacket(Message.loadSerial, id, oid, tid)).subarray(HEADER_BYTES);
  }

  async prefetch(oids: readonly Oid[], before: Tid): Promise<void> {
    if (this.#reader) return;
    const wanted = oids.filter((oid) => this.#cache.get(oid, before) === undefined);
    const requests: Promise<void>[] = [];
    for (let i = 0; i < wanted.length; i += PREFETCH_COUNT) {
      requests.push(this.#prefetchSome(wanted.slice(i, i + PREFETCH_COUNT), before));
    }
    await Promise.all(requests);
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
        if (oids === 'all') this.#invalidateAll(tid);
        else this.#invalidate(tid, oids);
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
    const { hub } = this.#channel;
    // A server that was restored from a backup may give the rest of the range to somebody else.
    if (this.#oidsEpoch !== hub.epoch || (this.#oids[0] ?? 0) <= above) this.#oids = [];
    if (this.#oids.length === 0) {
      this.#oids = readValue(this.#channel.call((id) => oidsPacket(id, above))) as number[];
      this.#oidsEpoch = hub.epoch;
    }
    const oid = this.#oids[0] as number;
    const left = (this.#oids[1] as number) - 1;
    if (left === 0) this.#oids.splice(0, 2);
    else {
      this.#oids[0] = oid + 1;
      this.#oids[1] = left;
    }
    if (this.#oids.length <= 2 && left < OIDS_PER_BLOCK / 4) this.#fetchOids();
    return oid as Oid;
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

  loadBlob(oid: Oid, info: BlobInfo): Promise<string> {
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

  readonly doubts: StorageDoubts = {
    list: () =>
      this.#channel.request(
        (id) => newPacket(Message.doubts, id, 0),
        (packet) => (readValue(packet) as WireDoubt[]).map(doubtFromWire),
      ),
    suspend: (transaction) => this.#transactions.suspend(transaction),
    resolve: (commitId, happened) =>
      this.#channel.request(
        (id) => {
          const packet = newPacket(Message.resolve, id, 1 + commitId.length);
          packet[HEADER_BYTES] = happened ? 1 : 0;
          packet.set(commitId, HEADER_BYTES + 1);
          return packet;
        },
        (packet) => (readValue(packet) as Tid | null) ?? undefined,
      ),
    forget: (commitId) =>
      this.#channel.request(
        (id) => commitIdPacket(Message.forget, id, commitId),
        () => undefined,
      ),
  };

  outcome(commitId: Uint8Array): Promise<Tid | undefined> {
    return this.#channel.request(
      (id) => commitIdPacket(Message.outcome, id, commitId),
      (packet) => (readValue(packet) as Tid | null) ?? undefined,
    );
  }

  history(oid: Oid, size = 1): Promise<HistoryEntry[]> {
    return this.#channel.request(
      (id) => {
        const packet = newPacket(Message.history, id, 12);
        writeUint64(packet, HEADER_BYTES, oid);
        writeUint32(packet, HEADER_BYTES + 8, Math.min(size, 0xffff_ffff));
        return packet;
      },
      (packet) => readValue(packet) as HistoryEntry[],
    );
  }

  async undoLog({ before = MAX_TID, size = 20 } = {}): Promise<UndoLogEntry[]> {
    const entries: UndoLogEntry[] = [];
    while (entries.length < size) {
      const older = entries.at(-1)?.tid ?? before;
      const some = await this.#channel.request(
        (id) => {
          const packet = newPacket(Message.undoLog, id, 12);
          writeUint64(packet, HEADER_BYTES, older);
          writeUint32(packet, HEADER_BYTES + 8, Math.min(size - entries.length, 0xffff_ffff));
          return packet;
        },
        (packet) => readValue(packet) as UndoLogEntry[],
      );
      if (some.length === 0) break;
      entries.push(...some);
    }
    return entries;
  }

  iterate(from: Tid = ZERO_TID, to: Tid = Number.MAX_SAFE_INTEGER as Tid): AsyncGenerator<TransactionRecord> {
    return this.#transactionsFrom(from, Math.min(to, this.poll()) as Tid);
  }

  async *#transactionsFrom(from: Tid, end: Tid): AsyncGenerator<TransactionRecord> {
    // Each batch is asked for by where it begins: the server keeps nothing between two.
    for (let next = from; next <= end; ) {
      const [isDone, transactions] = await this.#channel.request(
        (id) => keyPacket(Message.iterate, id, next, end),
        (packet) => readValue(packet) as [boolean, WireTransaction[]],
      );
      for (const [tid, user, description, extension, records] of transactions) {
        yield {
          tid,
          user,
          description,
          extension,
          records: records.map(([oid, serial, data]) => ({ oid, tid: serial, data: data ?? undefined })),
        };
        next = (tid + 1) as Tid;
      }
      if (isDone) return;
    }
  }

  /** The owner of the storage packs it: by its own rule of what is referenced, and to the end though nobody waits for it any more. */
  async pack({ before, references, keeps, signal }: PackOptions): Promise<void> {
    if (keeps || references !== strongReferences) {
      throw new StorageError(
        `${this.name} is packed by who owns it, who cannot ask this process: pack it there, beneath what stands over it here`,
      );
    }
    signal?.throwIfAborted();
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
    if (!signal) return done;
    const aborted = deferred<never>();
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    aborted.promise.catch(() => undefined);
    try {
      await Promise.race([done, aborted.promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async *verify(options: VerifyOptions): AsyncGenerator<Problem> {
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
    this.#refuseClosed();
    // What the files hold beyond the last published transaction is not to be seen yet.
    const limit = Math.min(before, this.#lastTid + 1) as Tid;
    const revision = (this.#reader as RevisionReader).loadBefore(oid, limit);
    if (revision?.endTid === undefined || revision.endTid <= this.#lastTid) return revision;
    return { data: revision.data, tid: revision.tid, endTid: undefined };
  }

  #loadRemote(
    type: typeof Message.load | typeof Message.loadBefore,
    oid: Oid,
    before = ZERO_TID,
  ): Revision | undefined {
    const packet = this.#channel.call((id) => keyPacket(type, id, oid, before));
    if (packet.length === HEADER_BYTES) return undefined;
    const reader = new PacketReader(packet);
    const tid = reader.tid();
    const endTid = reader.tid();
    const revision: Revision = {
      tid,
      endTid: endTid === 0 ? undefined : endTid,
      data: reader.bytes(reader.remaining),
    };
    // What is current was so when the answer was sent; a later end is in the ring still, past this thread's place in it.
    this.#cache.put(oid, revision);
    return revision;
  }

  async #prefetchSome(oids: readonly Oid[], before: Tid): Promise<void> {
    for (let handled = 0; handled < oids.length; ) {
      const some = oids.slice(handled);
      const release = this.#holdInvalidations();
      try {
        handled += await this.#channel.request(
          (id) => {
            const packet = newPacket(Message.prefetch, id, 8 + some.length * 8);
            writeUint64(packet, HEADER_BYTES, before);
            for (const [index, oid] of some.entries()) writeUint64(packet, HEADER_BYTES + 8 + index * 8, oid);
            return packet;
          },
          (packet) => {
            const reader = new PacketReader(packet);
            const count = reader.uint32();
            for (const { oid, tid, endTid, data } of readRecords(reader)) this.#cacheLate(oid, { tid, endTid, data });
            return count;
          },
        );
      } finally {
        release();
      }
    }
  }

  #holdInvalidations(): () => void {
    this.#heldCount += 1;
    return () => {
      this.#heldCount -= 1;
      if (this.#heldCount > 0) return;
      this.#held.clear();
      this.#heldAll = false;
    };
  }

  /** Caches a revision that was on its way while this thread went on: it may have been superseded meanwhile. */
  #cacheLate(oid: Oid, revision: Revision): void {
    if (revision.endTid === undefined) {
      if (this.#heldAll || (this.#held.get(oid) ?? ZERO_TID) > revision.tid) return;
    }
    this.#cache.put(oid, revision);
  }

  #cacheWritten({ tid, records, resolvedByServer }: WrittenRecords): void {
    if (this.#reader) return;
    for (const { oid, data } of records) {
      if (resolvedByServer.has(oid) || data.length === 0) this.#cache.drop(oid);
      else this.#cacheLate(oid, { tid, endTid: undefined, data });
    }
  }

  #invalidate(tid: Tid, oids: readonly Oid[]): void {
    this.#cache.invalidate(tid, oids);
    if (this.#heldCount > 0) {
      if (this.#held.size + oids.length > HELD_OIDS_MAX) this.#heldAll = true;
      else for (const oid of oids) this.#held.set(oid, tid);
    }
    for (const listener of this.#listeners) listener.invalidate(tid, oids);
  }

  #invalidateAll(tid: Tid): void {
    this.#cache.dropCurrent();
    if (this.#heldCount > 0) this.#heldAll = true;
    for (const listener of this.#listeners) listener.invalidateAll(tid);
  }

  #fetchOids(): void {
    if (this.#oidsUnderWay) return;
    this.#oidsUnderWay = true;
    const { hub } = this.#channel;
    const { epoch } = hub;
    this.#channel
      .request(
        (id) => oidsPacket(id, ROOT_OID),
        (packet) => {
          if (epoch === hub.epoch && epoch === this.#oidsEpoch) this.#oids.push(...(readValue(packet) as number[]));
        },
      )
      // The next `newOid` asks again, and says what is wrong.
      .catch(() => undefined)
      .finally(() => {
        this.#oidsUnderWay = false;
      });
  }

  /** Asked for where there is a connection, else as they were last. */
  #count(): Counts {
    if (this.#closing || this.#channel.hub.state !== 'connected') return this.#counts;
    this.#counts = readValue(this.#channel.call((id) => newPacket(Message.stats, id, 0))) as Counts;
    return this.#counts;
  }

  /** Asks for the outcome of a commit until there is an answer, or the signal aborts. */
  async #certainOutcome(commitId: Uint8Array, signal: AbortSignal | undefined): Promise<Tid | undefined> {
    signal?.throwIfAborted();
    const aborted = deferred<never>();
    const onAbort = () => aborted.reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    // Nobody may be waiting when it aborts.
    aborted.promise.catch(() => undefined);
    try {
      for (;;) {
        try {
          return await Promise.race([this.outcome(commitId), aborted.promise]);
        } catch (error) {
          if (!(error instanceof ClientDisconnected) || signal?.aborted || this.#closing) throw error;
        }
        await delay(systemClock, OUTCOME_PAUSE_MS, signal ? { signal } : {});
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }
}

type Counts = readonly [length: number, size: number, highestOid: Oid];

type WireTransaction = readonly [
  tid: Tid,
  user: string,
  description: string,
  extension: Uint8Array,
  records: readonly (readonly [oid: Oid, tid: Tid, data: Uint8Array | null])[],
];

function keyPacket(
  type: typeof Message.load | typeof Message.loadBefore | typeof Message.loadSerial | typeof Message.iterate,
  id: number,
  first: number,
  second: number,
): Uint8Array {
  const packet = newPacket(type, id, 16);
  writeUint64(packet, HEADER_BYTES, first);
  writeUint64(packet, HEADER_BYTES + 8, second);
  return packet;
}

function commitIdPacket(
  type: typeof Message.outcome | typeof Message.forget,
  id: number,
  commitId: Uint8Array,
): Uint8Array {
  const packet = newPacket(type, id, commitId.length);
  packet.set(commitId, HEADER_BYTES);
  return packet;
}

function doubtFromWire([commitId, decider, deciderName, tid, user, description, objects]: WireDoubt): Doubt {
  return { commitId: new Uint8Array(commitId), decider, deciderName, tid, user, description, objects };
}

function oidsPacket(id: number, above: Oid): Uint8Array {
  const packet = newPacket(Message.newOids, id, 12);
  writeUint32(packet, HEADER_BYTES, OIDS_PER_BLOCK);
  writeUint64(packet, HEADER_BYTES + 4, above);
  return packet;
}
