import {
  type Duration,
  durationMs,
  Logger,
  nextTurn,
  type Random,
  type Size,
  sizeBytes,
  systemClock,
  systemRandom,
} from '../../../base/index.js';
import { CorruptionError, POSKeyError, StorageError } from '../../errors.js';
import { MAX_TID, type Oid, type Tid, tidFromDate, toOid, toTid, ZERO_TID } from '../../ids.js';
import { OID_BLOCK_COUNT, OUTCOME_AGE_MAX_MS, SNAPSHOT_AGE_MAX_MS } from '../../limits.js';
import { toCount } from '../arguments.js';
import { BaseStorage, type BaseStorageOptions } from '../base-storage.js';
import { type BlobInfo, contentIds } from '../blob/blob-info.js';
import { BlobStore, type PlacedBlob } from '../blob/blob-store.js';
import type { StorageBlobs } from '../blob/storage-blobs.js';
import type { AcceptedTransaction } from '../commit-coordinator.js';
import { nextOid } from '../next-ids.js';
import type { PackBackend } from '../pack/pack.js';
import type {
  DataRecord,
  HistoryEntry,
  PackOptions,
  Revision,
  StorageAttachment,
  StorageSupports,
  TransactionRecord,
  UndoLogEntry,
} from '../storage.js';
import { dataOrNone, REMOVED, type UndoableRecord } from '../undo.js';
import type { Problem, VerifyOptions } from '../verify.js';
import { LAST_COMMIT, machineDisk, OIDS } from './directory.js';
import type { Disk, EntryRange, HeldDirectory, Level } from './disk.js';
import {
  COMMIT_ID_RANGE,
  commitIdKey,
  commitIdsBefore,
  decisionKey,
  decodeNumbers,
  decodeTransaction,
  periodOf,
  periodOfKey,
  type StoredRevision,
  tidOfKey,
  transactionKey,
} from './keyspace.js';
import { type ChainPlace, LastCommitFile } from './last-commit-file.js';
import { LevelPack } from './level-pack.js';
import { LevelReader, levelError } from './level-reader.js';
import { verifyLevel } from './level-verify.js';
import { LevelWriter } from './level-writer.js';
import { OidFile } from './oid-file.js';
import { recover } from './recovery.js';
import { Upkeep, type UpkeepOptions } from './upkeep.js';

const logger = new Logger('holdfast.storage');

/** How long superseded revisions are kept. */
export type History = 'all' | 'none' | Duration;

/** Options of {@link LevelStorage.open}. */
export interface LevelStorageOptions extends BaseStorageOptions {
  /** What the identity of a new database is made of. Default: the machine's randomness. */
  readonly random?: Random;
  /** Make the database where there is none. Default: true. */
  readonly create?: boolean;
  /**
   * How long superseded revisions are kept, at least an hour: so long may a transaction be open. `'none'` is that hour. Default: 7 days.
   */
  readonly history?: History;
  /**
   * Wait for the disk before a commit is acknowledged. `false` is faster, and loses the last commits when the machine (not only the
   * process) goes down. Default: true.
   */
  readonly durable?: boolean;
  /** Memory for blocks of the files that were lately read. Default: `'32MB'`. */
  readonly blockCacheSize?: Size;
  /**
   * What one transaction writes is kept in memory up to this size while it is committed. What is larger is in a temporary file until then, and
   * is written in batches of this size at most. Default: `'8MB'`.
   */
  readonly batchSize?: Size;
}

const DEFAULT_BATCH_SIZE = '8MB';
/** LevelDB's binding takes more than this for something else. */
const LIMIT_MAX = 0x7fff_ffff;

/** Of the records of one transaction, two numbers each, so many are read before others get their turn. */
const NUMBERS_PER_TURN = 1000;

const DEFAULT_HISTORY: Duration = { days: 7 };
const FUTURE_WARNING_MS = 15 * 60_000;
const FUTURE_CRITICAL_MS = 3_600_000;

/** Keeps a database in a directory, by LevelDB. */
export class LevelStorage extends BaseStorage {
  readonly name: string;
  readonly identity: string;
  readonly supports: StorageSupports;
  readonly #directory: HeldDirectory;
  readonly #level: Level;
  readonly #reader: LevelReader;
  readonly #lastCommit: LastCommitFile;
  readonly #writer: LevelWriter;
  readonly #upkeep: Upkeep | undefined;
  readonly #blobs: StorageBlobs | undefined;
  #lastTid: Tid;
  readonly #oids: OidFile;
  readonly #batchBytes: number;
  /** The highest oid that was ever written. */
  #highestStored: number;
  /** The highest oid that was handed out. */
  #lastOid: number;
  #reservedOid: number;

  private constructor(opened: Opened, options: LevelStorageOptions) {
    super(options);
    const { directory, level, lastCommit, oids, last, checkpoint, highestOid, blobStore } = opened;
    this.name = directory.path;
    this.supports = { history: true, undo: true, pack: true, blobs: directory.blobFolder !== undefined, locks: true };
    this.identity = opened.identity;
    this.#directory = directory;
    this.#level = level;
    this.#lastCommit = lastCommit;
    this.#reader = new LevelReader(level);
    this.#lastTid = last.tid;
    this.#oids = oids;
    this.#reservedOid = Math.max(oids.read() ?? 0, highestOid);
    this.#lastOid = this.#reservedOid;
    this.#highestStored = highestOid;
    const durable = options.durable ?? true;
    this.#batchBytes = sizeBytes(options.batchSize ?? DEFAULT_BATCH_SIZE);
    const reader = this.#reader;
    this.#writer = new LevelWriter({
      level,
      reader,
      clock: this.clock,
      directory,
      durable,
      batchBytes: this.#batchBytes,
      lastCommit,
      written: last,
      checkpoint,
      turn: () => this.turn(),
    });
    if (!options.readOnly) {
      const keepMs = keepMsOf(options.history ?? DEFAULT_HISTORY);
      const checkpointTid = () => this.#writer.checkpointTid;
      const write: UpkeepOptions['write'] = (put) => this.#writer.writeWithNext(put);
      const secure = () => this.#writer.secure();
      const trimmed = (blobs: Iterable<Oid>) => this.#blobs?.collect(blobs);
      const { clock } = this;
      const turn = () => this.turn();
      this.#upkeep = new Upkeep({ level, reader, clock, turn, keepMs, checkpointTid, write, secure, trimmed });
    }
    this.#blobs = blobStore && this.blobsIn(blobStore);
    const named = new Set(opened.doubts.flatMap(({ records }) => contentIds(records)));
    this.#begin(opened.doubts, options.readOnly ? undefined : this.#blobs?.recover(named));
  }

  /**
   * Opens the database in a directory, and makes it where it is missing or empty.
   *
   * @throws NotADatabaseError for a file, or a directory with something else in it. StorageLockedError while it is open elsewhere.
   * FormatVersionError. CorruptionError.
   */
  static async open(path: string, options: LevelStorageOptions = {}, disk: Disk = machineDisk): Promise<LevelStorage> {
    const isReadOnly = options.readOnly ?? false;
    const directory = disk.hold(path, { create: (options.create ?? true) && !isReadOnly });
    let level: Level | undefined;
    let lastCommit: LastCommitFile | undefined;
    let oids: OidFile | undefined;
    try {
      level = await openDirectory(directory, options);
      lastCommit = new LastCommitFile(directory.openFile(LAST_COMMIT), options.clock ?? systemClock);
      oids = new OidFile(directory.openFile(OIDS), { durable: options.durable ?? true });
      const blobStore =
        directory.blobFolder === undefined ? undefined : BlobStore.open(directory.blobFolder, directory.blobFiles);
      const recovered = await recover({
        level,
        name: directory.path,
        isReadOnly,
        lastCommit: lastCommit.read(),
        random: options.random ?? systemRandom,
      });
      if (options.durable === false && !isReadOnly) lastCommit.clear();
      if (directory.isNew) directory.mark();
      return new LevelStorage({ directory, level, lastCommit, oids, blobStore, ...recovered }, options);
    } catch (error) {
      lastCommit?.close();
      oids?.close();
      await level?.close();
      directory.release();
      throw levelError(error, directory.path);
    }
  }

  #begin(doubts: readonly AcceptedTransaction[], contents?: ReadonlyMap<string, PlacedBlob>): void {
    const aheadMs = this.#lastTid / 1000 - this.clock.now();
    if (aheadMs >= FUTURE_WARNING_MS) {
      const message = `${this.name}: its last transaction is ${Math.round(aheadMs / 60_000)} minutes ahead of the clock; set the clock`;
      if (aheadMs >= FUTURE_CRITICAL_MS) logger.critical(message);
      else logger.warning(message);
    }
    const reader = this.#reader;
    const writer = this.#writer;
    this.start(
      {
        currentTid: (oid) => this.#currentTid(oid),
        revision: (oid, tid) => {
          try {
            return reader.loadSerial(oid, tid);
          } catch (error) {
            if (error instanceof POSKeyError) return undefined;
            throw error;
          }
        },
        written: (tid) => this.#written(tid),
        write: (transactions) => {
          this.#passOids(transactions);
          return writer.write(transactions);
        },
        prepare: (transaction) => writer.prepare(transaction),
        unprepare: (transaction) => writer.unprepare(transaction),
        forget: (commitId) => writer.forget(commitId),
        publish: (accepted) => {
          this.#lastTid = accepted.tid;
          this.announce(accepted);
        },
      },
      this.#lastTid,
      doubts,
      contents,
    );
    this.#upkeep?.start();
  }

  #currentTid(oid: Oid): Tid {
    if (oid > this.#highestStored) return ZERO_TID;
    const tid = this.#reader.current(oid)?.tid ?? ZERO_TID;
    // A later one was written ahead of a transaction that failed.
    return tid > this.#lastTid ? ZERO_TID : tid;
  }

  #written(tid: Tid): UndoableRecord[] | undefined {
    const value = this.#getSync(transactionKey(tid), `the transaction ${tid}`, tid);
    if (value === undefined) return undefined;
    const { records } = decodeTransaction(tid, value);
    const undoable: UndoableRecord[] = [];
    for (let i = 0; i < records.length; i += 2) {
      const oid = records[i] as Oid;
      const n = records[i + 1] as number;
      const superseded = n === 0 ? REMOVED : this.#reader.revision(oid, n - 1, tid)?.data;
      undoable.push({ oid, data: this.#reader.revision(oid, n, tid)?.data, superseded });
    }
    return undoable;
  }

  /** Oids may be stored that were not given out here: none of them is given out from now on. */
  #passOids(transactions: readonly AcceptedTransaction[]): void {
    for (const { records } of transactions) {
      for (const { oid } of records) if (oid > this.#highestStored) this.#highestStored = oid;
    }
    if (this.#highestStored > this.#lastOid) this.#lastOid = this.#highestStored;
  }

  load(oid: Oid): Revision {
    const revision = this.loadBefore(oid, MAX_TID);
    if (!revision) throw new POSKeyError(oid);
    return revision;
  }

  loadBefore(oid: Oid, before: Tid): Revision | undefined {
    this.requireOpen('load');
    const last = this.#lastTid;
    // What was written may not be published yet.
    const revision = this.#reader.loadBefore(toOid(oid), toTid(before) > last ? ((last + 1) as Tid) : before);
    if (revision?.endTid === undefined || revision.endTid <= last) return revision;
    return { data: revision.data, tid: revision.tid, endTid: undefined };
  }

  loadSerial(oid: Oid, tid: Tid): Uint8Array {
    this.requireOpen('loadSerial');
    if (toTid(tid) > this.#lastTid) throw new POSKeyError(oid, `there is no transaction ${tid}`);
    return this.#reader.loadSerial(toOid(oid), tid);
  }

  lastTransaction(): Tid {
    return this.#lastTid;
  }

  protected override async findOutcome(commitId: Uint8Array): Promise<Tid | undefined> {
    const decision = this.#getSync(decisionKey(commitId), 'the outcome of a commit');
    if (decision !== undefined) return this.#publishedTid(decision);
    const since = tidFromDate(new Date(Math.max(0, this.clock.now() - OUTCOME_AGE_MAX_MS)));
    const oldest = Math.min(periodOf(since), periodOf(this.#lastTid));
    // Where a transaction of a time to come was restored, many periods have none.
    for await (const period of this.#periodsSince(oldest)) {
      const value = this.#getSync(commitIdKey(period, commitId), 'the outcome of a commit');
      if (value !== undefined) return this.#publishedTid(value);
    }
    // Crash: a write whose sync failed may stand in the log, and be found at the next open.
    await this.#writer.settleDoubt();
    return undefined;
  }

  /** The periods in which there are commit ids, the newest first. */
  async *#periodsSince(oldest: number): AsyncGenerator<number> {
    let { lt } = COMMIT_ID_RANGE;
    for (;;) {
      const range = { gte: commitIdsBefore(oldest).lt, lt, reverse: true, limit: 1 };
      const [key] = await this.#level
        .keys(range)
        .all()
        .catch((error: unknown) => {
          throw levelError(error, `the outcome of a commit in ${this.name}`);
        });
      if (!key) return;
      const period = periodOfKey(key);
      yield period;
      lt = commitIdsBefore(period).lt;
    }
  }

  #publishedTid(outcome: Buffer): Tid | undefined {
    const [tid] = decodeNumbers(`${this.name}: the outcome of a commit`, outcome) as [Tid];
    return tid <= this.#lastTid ? tid : undefined;
  }

  async history(oid: Oid, size = 1): Promise<HistoryEntry[]> {
    this.requireOpen('history');
    toCount(size);
    const entries: HistoryEntry[] = [];
    let revision: StoredRevision | undefined = this.#reader.current(toOid(oid));
    if (!revision) throw new POSKeyError(oid);
    // One that is written but not yet published does not count.
    while (revision && (entries.length < size || entries.length === 0)) {
      const { n, tid, data }: StoredRevision = revision;
      if (tid <= this.#lastTid) {
        const { user, description, extension } = this.#transaction(tid);
        entries.push({ tid, user, description, extension, sizeBytes: data.length });
      }
      revision = n === 0 ? undefined : this.#reader.revision(oid, n - 1, tid);
    }
    if (entries.length === 0) throw new POSKeyError(oid);
    return entries.slice(0, size);
  }

  #transaction(tid: Tid) {
    const value = this.#getSync(transactionKey(tid), `the transaction ${tid}`, tid);
    if (value !== undefined) return decodeTransaction(tid, value);
    throw new CorruptionError(`${this.name}: the transaction ${tid} is lost; restore the database from a copy`, {
      tid,
    });
  }

  #getSync(key: Buffer, what: string, tid?: Tid): Buffer | undefined {
    try {
      return this.#level.getSync(key);
    } catch (error) {
      throw levelError(error, `${what} in ${this.name}`, tid ? { tid } : {});
    }
  }

  async undoLog({ before = MAX_TID, size = 20 } = {}): Promise<UndoLogEntry[]> {
    this.requireOpen('undoLog');
    const end = Math.min(toTid(before), this.#lastTid + 1) as Tid;
    const limit = Math.min(toCount(size), LIMIT_MAX);
    const entries: UndoLogEntry[] = [];
    const range = { gt: transactionKey(this.#reader.trimmedTid), lt: transactionKey(end), reverse: true, limit };
    for await (const [key, value] of this.#entries(range)) {
      const { tid, user, description, extension } = decodeTransaction(tidOfKey(key), value);
      entries.push({ tid, user, description, extension });
    }
    return entries;
  }

  iterate(from: Tid = ZERO_TID, to: Tid = MAX_TID): AsyncGenerator<TransactionRecord> {
    return this.#transactions(toTid(from), Math.min(toTid(to), this.#lastTid) as Tid);
  }

  async *#transactions(from: Tid, end: Tid): AsyncGenerator<TransactionRecord> {
    this.requireOpen('iterate');
    if (from > end) return;
    const range = { gte: transactionKey(from), lte: transactionKey(end) };
    for await (const [key, value] of this.#entries(range)) {
      const { tid, user, description, extension, records: numbers } = decodeTransaction(tidOfKey(key), value);
      const records: DataRecord[] = [];
      for (let i = 0; i < numbers.length; i += 2) {
        const oid = numbers[i] as Oid;
        const revision = this.#reader.revision(oid, numbers[i + 1] as number, tid);
        if (i % NUMBERS_PER_TURN === NUMBERS_PER_TURN - 2) await nextTurn(this.clock);
        // What was trimmed is no part of the transaction any more.
        if (revision) records.push({ oid, tid, data: dataOrNone(revision.data) });
      }
      yield { tid, user, description, extension, records };
    }
  }

  async *#entries(range: EntryRange): AsyncGenerator<[Buffer, Buffer]> {
    try {
      yield* this.#level.iterator(range);
    } catch (error) {
      throw levelError(error, `the transactions in ${this.name}`);
    }
  }

  protected override verifyRecords(options: VerifyOptions): AsyncGenerator<Problem> {
    const checkContent = (oid: Oid, info: BlobInfo) => (this.#blobs as StorageBlobs).check(oid, info, options.signal);
    return verifyLevel(this.#level, this.#reader, { ...options, checkContent, clock: this.clock });
  }

  /** The number of oids handed out: an upper bound. */
  get length(): number {
    return this.#lastTid === ZERO_TID ? 0 : this.#lastOid + 1;
  }

  /** Bytes of LevelDB's files; the contents of blobs are others. */
  get size(): number {
    return this.#directory.levelBytes;
  }

  get highestOid(): Oid {
    return this.#reservedOid > this.#lastOid ? (this.#reservedOid as Oid) : (this.#lastOid as Oid);
  }

  protected override nextOid(above: Oid): Oid {
    const oid = nextOid(Math.max(this.#lastOid, above));
    if (oid > this.#reservedOid) {
      this.#reserveOids(Math.min(oid - 1 + OID_BLOCK_COUNT, Number.MAX_SAFE_INTEGER));
    }
    this.#lastOid = oid;
    return oid;
  }

  #reserveOids(until: number): void {
    try {
      this.#oids.write(until);
    } catch (error) {
      throw new StorageError(`${this.name} cannot reserve oids: ${(error as Error).message}`, { cause: error });
    }
    this.#reservedOid = until;
  }

  /** The next to open it begins where this one ended. */
  #giveBackOids(): void {
    if (this.isReadOnly || this.#lastOid === this.#reservedOid) return;
    try {
      this.#reserveOids(this.#lastOid);
    } catch (error) {
      // What stays reserved is lost, no more.
      logger.warning('reserved oids could not be given back', error);
    }
  }

  override async pack(options: PackOptions): Promise<void> {
    try {
      await super.pack(options);
    } catch (error) {
      throw levelError(error, this.name);
    }
  }

  protected override get storesInMemoryBytesMax(): number {
    return this.#batchBytes;
  }

  protected override get blobs(): StorageBlobs | undefined {
    return this.#blobs;
  }

  protected override get packBackend(): PackBackend {
    const upkeep = this.#upkeep as Upkeep;
    const turn = () => this.turn();
    const { isShared, levelFolder } = this.#directory;
    const folder = isShared ? levelFolder : undefined;
    return new LevelPack({ level: this.#level, reader: this.#reader, writer: this.#writer, upkeep, turn, folder });
  }

  protected override get reader(): Pick<StorageAttachment, 'module' | 'data'> | undefined {
    const { isShared, levelFolder: folder } = this.#directory;
    return isShared ? { module: new URL('./level-reader.js', import.meta.url).href, data: { folder } } : undefined;
  }

  protected override async release(): Promise<void> {
    await this.#upkeep?.stop();
    await this.#writer.tidy();
    await this.#writer.settled();
    await this.#level.close();
    this.#giveBackOids();
    this.#oids.close();
    this.#lastCommit.close();
    this.#directory.release();
  }
}

/** What {@link LevelStorage.open} found and made. */
interface Opened {
  readonly directory: HeldDirectory;
  readonly level: Level;
  readonly lastCommit: LastCommitFile;
  readonly oids: OidFile;
  readonly last: ChainPlace;
  readonly checkpoint: ChainPlace;
  readonly highestOid: number;
  readonly blobStore: BlobStore | undefined;
  readonly identity: string;
  readonly doubts: readonly AcceptedTransaction[];
}

/** How long superseded revisions are kept; `undefined`: for ever. */
function keepMsOf(history: History): number | undefined {
  if (history === 'all') return undefined;
  return Math.max(history === 'none' ? 0 : durationMs(history), SNAPSHOT_AGE_MAX_MS);
}

async function openDirectory(directory: HeldDirectory, options: LevelStorageOptions): Promise<Level> {
  const { path, isNew } = directory;
  const cacheSize = options.blockCacheSize === undefined ? {} : { cacheSize: sizeBytes(options.blockCacheSize) };
  try {
    return await directory.openLevel({ createIfMissing: isNew, ...cacheSize });
  } catch (error) {
    const cause = (error as { cause?: { code?: string; message?: string } }).cause;
    // What cannot be read or written for now, as on a full disk, need not be damaged.
    const isMissing = !isNew && /No such file or directory|does not exist/.test(cause?.message ?? '');
    if (cause?.code === 'LEVEL_CORRUPTION' || isMissing) {
      throw new CorruptionError(`${path} is damaged: ${String(cause ?? error)}; restore the database from a copy`, {
        cause: error,
      });
    }
    throw new StorageError(`${path} cannot be opened: ${String(cause ?? error)}`, { cause: error });
  }
}
