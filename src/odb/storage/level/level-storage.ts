import { type Duration, durationMs, Logger, type Size, toHex } from '../../../base/index.js';
import { CorruptionError, POSKeyError, StorageError } from '../../errors.js';
import { MAX_TID, type Oid, ROOT_OID, type Tid, tidFromDate, ZERO_TID } from '../../ids.js';
import { OID_BLOCK_COUNT, OUTCOME_AGE_MAX_MS } from '../../limits.js';
import { BaseStorage, type BaseStorageOptions } from '../base-storage.js';
import type { AcceptedTransaction, CommitBackend } from '../commit-coordinator.js';
import type { HistoryEntry, Revision, StorageSupports, TransactionRecord } from '../storage.js';
import { type HeldDirectory, holdDirectory } from './directory.js';
import { HistoryTrimmer } from './history-trimmer.js';
import {
  bookkeepingKey,
  currentKey,
  decodeEntry,
  encodeEntry,
  encodeRevision,
  olderKey,
  PREPARED_KEY,
  type PreparedEntry,
  type StoredRevision,
  TRANSACTIONS_END,
  type TransactionEntry,
  transactionKey,
} from './keyspace.js';
import { type Level, LevelReader, openLevel } from './level-reader.js';

const logger = new Logger('holdfast.storage');

/** How long superseded revisions are kept. */
export type History = 'all' | 'none' | Duration;

/** Options of {@link LevelStorage.open}. */
export interface LevelStorageOptions extends BaseStorageOptions {
  /** Make the database where there is none. Default: true. */
  readonly create?: boolean;
  /** How long superseded revisions are kept. `'none'` keeps them only as long as open snapshots may need them. Default: 7 days. */
  readonly history?: History;
  /**
   * Wait for the disk before a commit is acknowledged. `false` is faster, and loses the last commits when the machine (not only the
   * process) goes down. Default: true.
   */
  readonly durable?: boolean;
  readonly cacheBytes?: Size;
}

const DEFAULT_HISTORY: Duration = { days: 7 };
/** A snapshot may be this old, in ms; what it needs is not trimmed. */
const SNAPSHOT_AGE_MAX_MS = 3_600_000;
const FUTURE_WARNING_MS = 15 * 60_000;
const FUTURE_CRITICAL_MS = 3_600_000;
const CHECKPOINT_COMMITS = 1000;
const RECENT_COMMITS_MAX = 10_000;

/** What is written now and then, so that opening need not walk all transactions. */
interface Checkpoint {
  readonly sequence: number;
  readonly tid: Tid;
}

/** Keeps a database in a directory, by LevelDB. */
export class LevelStorage extends BaseStorage {
  readonly name: string;
  readonly supports: StorageSupports = { history: true, undo: false, pack: false, blobs: false, locks: true };
  readonly #directory: HeldDirectory;
  readonly #level: Level;
  readonly #reader: LevelReader;
  readonly #durable: boolean;
  readonly #trimmer: HistoryTrimmer | undefined;
  #published: Checkpoint = { sequence: 0, tid: ZERO_TID };
  #written: Checkpoint = { sequence: 0, tid: ZERO_TID };
  #checkpoint: Checkpoint = { sequence: 0, tid: ZERO_TID };
  /** The highest oid that was handed out. */
  #lastOid: number = ROOT_OID;
  /** Oids up to here are reserved on the disk. */
  #reservedOid = 0;
  readonly #recentCommits = new Map<string, Tid>();

  private constructor(directory: HeldDirectory, level: Level, options: LevelStorageOptions) {
    super(options);
    this.name = directory.path;
    this.#directory = directory;
    this.#level = level;
    this.#reader = new LevelReader(level);
    this.#durable = options.durable ?? true;
    const history = options.history ?? DEFAULT_HISTORY;
    if (history !== 'all' && !options.readOnly) {
      this.#trimmer = new HistoryTrimmer({
        level,
        clock: this.clock,
        keepMs: Math.max(history === 'none' ? 0 : durationMs(history), SNAPSHOT_AGE_MAX_MS),
      });
    }
  }

  /**
   * Opens the database in a directory, and makes it where it is missing or empty.
   *
   * @throws NotADatabaseError for a file, or a directory with something else in it. StorageLockedError while it is open elsewhere.
   * FormatVersionError. CorruptionError.
   */
  static async open(path: string, options: LevelStorageOptions = {}): Promise<LevelStorage> {
    const directory = holdDirectory(path, { create: options.create ?? true, readOnly: options.readOnly ?? false });
    let level: Level | undefined;
    try {
      level = await openDirectory(directory);
      const storage = new LevelStorage(directory, level, options);
      await storage.#recover();
      return storage;
    } catch (error) {
      await level?.close();
      directory.lock.release();
      throw error;
    }
  }

  /** Reads the bookkeeping, and walks the transactions since the last checkpoint: none may be missing. */
  async #recover(): Promise<void> {
    const level = this.#level;
    const read = <T>(key: Buffer, what: string): T | undefined => {
      const value = level.getSync(key);
      return value === undefined ? undefined : decodeEntry<T>(value, `${this.name}: ${what}`);
    };
    this.#reservedOid = read<number>(bookkeepingKey('oids'), 'the mark of reserved oids') ?? 0;
    this.#lastOid = this.#reservedOid;
    let last = read<Checkpoint>(bookkeepingKey('checkpoint'), 'the checkpoint') ?? this.#checkpoint;
    this.#checkpoint = last;
    const range = { gt: transactionKey(last.tid), lt: TRANSACTIONS_END };
    for await (const value of level.values(range)) {
      const entry = decodeEntry<TransactionEntry>(value, `${this.name}: a transaction after ${last.tid}`, last.tid);
      if (entry.previousTid !== last.tid || entry.sequence !== last.sequence + 1) {
        throw new CorruptionError(
          `${this.name}: transactions are missing between ${last.tid} and ${entry.tid}: restore the database from a copy`,
          { tid: last.tid },
        );
      }
      this.#remember(entry.commitId, entry.tid);
      last = { sequence: entry.sequence, tid: entry.tid };
    }
    this.#published = last;
    this.#written = last;
    const prepared = read<PreparedEntry>(PREPARED_KEY, 'a prepared transaction');
    // It was never finished, and this database is the one that decides: it did not happen.
    if (prepared) await level.del(PREPARED_KEY, { sync: true });
    this.#warnOfFuture(last.tid);
    this.start(this.#backend, last.tid);
    this.#trimmer?.start();
  }

  #warnOfFuture(tid: Tid): void {
    const aheadMs = tid / 1000 - this.clock.now();
    if (aheadMs < FUTURE_WARNING_MS) return;
    const message = `${this.name}: its last transaction is ${Math.round(aheadMs / 60_000)} minutes ahead of the clock; set the clock`;
    if (aheadMs >= FUTURE_CRITICAL_MS) logger.critical(message);
    else logger.warning(message);
  }

  readonly #backend: CommitBackend = {
    currentTid: (oid) => this.#reader.current(oid)?.tid ?? ZERO_TID,
    revision: (oid, tid) => {
      try {
        return this.#reader.loadSerial(oid, tid);
      } catch (error) {
        if (error instanceof POSKeyError) return undefined;
        throw error;
      }
    },
    write: (transactions) => this.#write(transactions),
    prepare: async ({ tid, transaction: { commitId } }) => {
      const entry: PreparedEntry = { tid, commitId, decider: '' };
      await this.#level.put(PREPARED_KEY, encodeEntry(entry), { sync: this.#durable });
    },
    unprepare: () => this.#level.del(PREPARED_KEY, { sync: this.#durable }),
    publish: (accepted) => {
      const { sequence } = this.#published;
      this.#published = { sequence: sequence + 1, tid: accepted.tid };
      this.#remember(accepted.transaction.commitId, accepted.tid);
      this.announce(accepted);
    },
  };

  /** One batch, one sync. */
  async #write(transactions: readonly AcceptedTransaction[]): Promise<void> {
    const operations: { type: 'put'; key: Buffer; value: Buffer }[] | { type: 'del'; key: Buffer }[] = [];
    const put = (key: Buffer, value: Buffer) =>
      (operations as { type: 'put'; key: Buffer; value: Buffer }[]).push({ type: 'put', key, value });
    /** What this very batch has written: revisions of one object may follow each other in it. */
    const inBatch = transactions.length > 1 ? new Map<Oid, { n: number; value: Buffer }>() : undefined;
    let { sequence, tid: previousTid } = this.#written;
    let highestOid = this.#lastOid;
    for (const { tid, transaction, records, isPrepared } of transactions) {
      const numbers: number[] = [];
      for (const { oid, previous, data } of records) {
        const n: number = previous === ZERO_TID ? 0 : this.#supersede(oid, inBatch, put);
        const value = encodeRevision(oid, n, tid, data);
        put(currentKey(oid), value);
        inBatch?.set(oid, { n, value });
        numbers.push(oid, n);
        if (oid > highestOid) highestOid = oid;
      }
      sequence++;
      const { commitId, user, description, extension } = transaction;
      put(
        transactionKey(tid),
        encodeEntry({ sequence, tid, previousTid, commitId, user, description, extension, records: numbers }),
      );
      if (isPrepared) (operations as { type: 'del'; key: Buffer }[]).push({ type: 'del', key: PREPARED_KEY });
      previousTid = tid;
    }
    const written: Checkpoint = { sequence, tid: previousTid };
    let reserved = this.#reservedOid;
    if (highestOid > reserved) {
      reserved = highestOid + OID_BLOCK_COUNT;
      put(bookkeepingKey('oids'), encodeEntry(reserved));
    }
    const isCheckpoint = sequence - this.#checkpoint.sequence >= CHECKPOINT_COMMITS;
    // The checkpoint says where this batch begins: the walk at open looks at every transaction after it.
    if (isCheckpoint) put(bookkeepingKey('checkpoint'), encodeEntry({ ...this.#written }));
    await this.#level.batch(operations as { type: 'put'; key: Buffer; value: Buffer }[], { sync: this.#durable });
    if (isCheckpoint) this.#checkpoint = this.#written;
    this.#written = written;
    this.#reservedOid = reserved;
    this.#lastOid = Math.max(this.#lastOid, highestOid);
  }

  /** Files the current revision among the older ones; returns the number of its successor. */
  #supersede(
    oid: Oid,
    inBatch: Map<Oid, { n: number; value: Buffer }> | undefined,
    put: (key: Buffer, value: Buffer) => void,
  ): number {
    const written = inBatch?.get(oid);
    if (written) {
      put(olderKey(oid, written.n), written.value);
      return written.n + 1;
    }
    const current = this.#reader.currentValue(oid);
    if (!current) throw new StorageError(`oid ${oid} has lost its current revision: check the database with verify`);
    put(olderKey(oid, current.n), current.value);
    return current.n + 1;
  }

  #remember(commitId: Uint8Array, tid: Tid): void {
    this.#recentCommits.set(toHex(commitId), tid);
    if (this.#recentCommits.size <= RECENT_COMMITS_MAX) return;
    const [oldest] = this.#recentCommits.keys();
    this.#recentCommits.delete(oldest as string);
  }

  load(oid: Oid): Revision {
    // What was written may not be published yet.
    const revision = this.loadBefore(oid, (this.#published.tid + 1) as Tid);
    if (!revision) throw new POSKeyError(oid);
    return revision.endTid === undefined || revision.endTid <= this.#published.tid
      ? revision
      : { ...revision, endTid: undefined };
  }

  loadBefore(oid: Oid, before: Tid): Revision | undefined {
    this.requireOpen('load');
    return this.#reader.loadBefore(oid, before);
  }

  loadSerial(oid: Oid, tid: Tid): Uint8Array {
    this.requireOpen('loadSerial');
    return this.#reader.loadSerial(oid, tid);
  }

  lastTransaction(): Tid {
    return this.#published.tid;
  }

  async outcome(commitId: Uint8Array): Promise<Tid | undefined> {
    this.requireOpen('outcome');
    const known = this.#recentCommits.get(toHex(commitId));
    if (known !== undefined) return known;
    const since = tidFromDate(new Date(Math.max(0, this.clock.now() - OUTCOME_AGE_MAX_MS)));
    const wanted = toHex(commitId);
    for await (const value of this.#level.values({ gte: transactionKey(since), lt: TRANSACTIONS_END })) {
      const entry = decodeEntry<TransactionEntry>(value, `${this.name}: a transaction`);
      if (toHex(entry.commitId) === wanted) return entry.tid;
    }
    return undefined;
  }

  async history(oid: Oid, size = 1): Promise<HistoryEntry[]> {
    this.requireOpen('history');
    const entries: HistoryEntry[] = [];
    let revision: StoredRevision | undefined = this.#reader.current(oid);
    if (!revision) throw new POSKeyError(oid);
    while (revision && entries.length < size) {
      const { n, tid, data }: StoredRevision = revision;
      const value = await this.#level.get(transactionKey(tid));
      const { user, description, extension } = value
        ? decodeEntry<TransactionEntry>(value, `${this.name}: the transaction ${tid}`, tid)
        : { user: '', description: '', extension: new Uint8Array(0) };
      entries.push({ tid, user, description, extension, sizeBytes: data.length });
      revision = n === 0 ? undefined : this.#reader.revision(oid, n - 1);
    }
    return entries;
  }

  async *iterate(from: Tid = ZERO_TID, to: Tid = MAX_TID): AsyncGenerator<TransactionRecord> {
    this.requireOpen('iterate');
    // What is committed from now on is not part of it.
    const end = Math.min(to, this.#published.tid) as Tid;
    if (from > end) return;
    for await (const value of this.#level.values({ gte: transactionKey(from), lte: transactionKey(end) })) {
      const entry = decodeEntry<TransactionEntry>(value, `${this.name}: a transaction`);
      const { tid, user, description, extension } = entry;
      const records = [];
      for (let i = 0; i < entry.records.length; i += 2) {
        const oid = entry.records[i] as Oid;
        const revision = this.#reader.revision(oid, entry.records[i + 1] as number);
        records.push({ oid, tid, data: revision?.data });
      }
      yield { tid, user, description, extension, records };
    }
  }

  /** The number of oids handed out: an upper bound. */
  get length(): number {
    return this.#lastOid + 1;
  }

  /** Bytes of what was flushed to tables; what is in the log is not counted. */
  get size(): number {
    return Number(this.#level.getProperty('leveldb.approximate-memory-usage'));
  }

  protected override nextOid(): Oid {
    return ++this.#lastOid as Oid;
  }

  protected override get reader(): { readonly module: string; readonly data: unknown } {
    return {
      module: new URL('./level-reader.js', import.meta.url).href,
      data: { folder: this.#directory.levelFolder },
    };
  }

  protected override async release(): Promise<void> {
    await this.#trimmer?.stop();
    await this.#level.close();
    this.#directory.lock.release();
  }
}

async function openDirectory({ path, levelFolder }: HeldDirectory): Promise<Level> {
  try {
    return await openLevel(levelFolder, { createIfMissing: true });
  } catch (error) {
    const cause = (error as { cause?: { code?: string } }).cause;
    if (cause?.code === 'LEVEL_CORRUPTION') {
      throw new CorruptionError(`${path} is damaged: ${String(cause)}; restore the database from a copy`, {
        cause: error,
      });
    }
    throw new StorageError(`${path} cannot be opened: ${String(cause ?? error)}`, { cause: error });
  }
}
