import { inspect } from 'node:util';
import {
  argumentTypeError,
  durationMs,
  refuseDuringImport,
  requireOptions,
  requireProgressOptions,
  type Size,
  sizeBytes,
} from '../base/index.js';
import { InvalidationLog } from './cache/invalidation-log.js';
import type { CacheLimits } from './cache/object-cache.js';
import { recordConflictResolver } from './connection/conflict-resolution.js';
import { Connection } from './connection/connection.js';
import type { ConnectionOwner } from './connection/connection-owner.js';
import { ConnectionPool } from './connection/connection-pool.js';
import {
  type CachedClass,
  type CachedObject,
  type ConnectionInfo,
  ConnectionRegister,
} from './connection/connection-register.js';
import type { ConnectionSet, Databases } from './connection/connection-set.js';
import { settleDoubts } from './connection/settle-doubts.js';
import { type RevisionInfo, revisionInfo, type TransactionInfo } from './connection/transaction-info.js';
import { UndoParticipant } from './connection/undo-participant.js';
import { walk } from './connection/walk.js';
import { checkNames, requireDistinct, requireFree } from './database-names.js';
import {
  checkCount,
  checkOpening,
  type DBOptions,
  type DBPackOptions,
  type OpenOptions,
  storageOptions,
} from './db-options.js';
import { ConnectionStateError, LookupError } from './errors.js';
import { type Tid, toOid } from './ids.js';
import { RECORD_BYTES_WARN } from './limits.js';
import { makeRoot } from './make-root.js';
import { packedBefore, pastOf } from './past.js';
import type { Persistent } from './persistent/persistent.js';
import { strongReferences } from './serialize/reader.js';
import { toCount } from './storage/arguments.js';
import type { Doubt, Storage, StorageAttachment } from './storage/storage.js';
import { openStorage } from './storage/uri.js';
import { Transaction } from './transaction/transaction.js';
import {
  contextManager,
  currentManager,
  type RunOptions,
  requireFunction,
  TransactionManager,
} from './transaction/transaction-manager.js';
import { havingFields, readUndoLog, type TransactionFilter } from './undo-log.js';

/** A database: a storage, and the connections through which its objects are used. */
export class DB<Root extends object = Record<string, unknown>> {
  readonly storage: Storage;
  readonly databaseName: string;
  readonly #pool: ConnectionPool<Connection>;
  /** Connections that show the past. */
  readonly #historicalPool: ConnectionPool<Connection>;
  readonly #historicalOwner: ConnectionOwner;
  readonly #connections = new ConnectionRegister();
  readonly #owner: ConnectionOwner;
  readonly #cacheLimits: CacheLimits;
  readonly #unsubscribe: () => void;
  readonly #endSnapshots: () => void;
  readonly #refuseDefaultManager: boolean;
  readonly #databases: Databases;
  #closing: Promise<void> | undefined;

  private constructor(storage: Storage, options: DBOptions) {
    this.storage = storage;
    this.databaseName = options.databaseName ?? 'unnamed';
    const databases = options.databases ?? new Map();
    requireFree(this.databaseName, databases);
    requireDistinct(storage, databases);
    this.#databases = databases;
    this.#refuseDefaultManager = options.refuseDefaultManager ?? false;
    const { clock } = storage;
    this.#pool = new ConnectionPool({
      size: options.poolSize ?? 7,
      timeoutMs: durationMs(options.poolTimeout ?? Number.POSITIVE_INFINITY),
      clock,
      what: `connections to database '${this.databaseName}'`,
    });
    this.#historicalPool = new ConnectionPool({
      size: options.historicalPoolSize ?? 3,
      timeoutMs: durationMs(options.historicalTimeout ?? { minutes: 5 }),
      clock,
      what: `connections to the past of database '${this.databaseName}'`,
    });
    const invalidations = new InvalidationLog();
    this.#unsubscribe = storage.subscribe(invalidations, { isLazy: true });
    this.#endSnapshots = storage.keepSnapshots(() => this.#connections.oldestPresent());
    this.#cacheLimits = {
      objectsMax: options.cacheSize ?? 10_000,
      bytesMax: sizeBytes(options.cacheBytes ?? '64MB'),
    };
    this.#owner = {
      db: this as unknown as DB,
      databaseName: this.databaseName,
      storage,
      invalidations,
      cacheLimits: this.#cacheLimits,
      databases,
      crossReferences: options.crossReferences ?? true,
      detectMutations: options.detectMutations ?? false,
      largeRecordBytes: sizeBytes(options.largeRecordSize ?? RECORD_BYTES_WARN),
      settleDoubts: () => settleDoubts(this.#storages()),
      giveBack: (connection) => this.#pool.giveBack(connection),
    };
    this.#historicalOwner = {
      ...this.#owner,
      cacheLimits: { objectsMax: options.historicalCacheSize ?? 1000, bytesMax: this.#cacheLimits.bytesMax },
      giveBack: (connection) => this.#historicalPool.giveBack(connection),
    };
    databases.set(this.databaseName, this as unknown as DB);
  }

  /**
   * Opens a database, and makes its root object if it is new.
   *
   * @param storage a storage, or where to find one: `memory:`, a path, `zeo://host:port`.
   * @throws NotADatabaseError. StorageLockedError. FormatVersionError. CorruptionError. ClientDisconnected. RangeError
   * (`ARG_DATABASE_NAME`) when another of `databases` has the name. TypeError, RangeError (`ARG_STORAGE`, `ARG_…`) for what is no
   * storage, or no value of an option.
   */
  static async open<Root extends object = Record<string, unknown>>(
    storage: Storage | string,
    options: DBOptions = {},
  ): Promise<DB<Root>> {
    refuseDuringImport('DB.open');
    checkOpening(storage, options);
    checkNames(options);
    const opened =
      typeof storage === 'string'
        ? await openStorage(storage, { ...storageOptions(options), conflictResolver: recordConflictResolver })
        : storage;
    try {
      opened.useConflictResolver(recordConflictResolver);
      await makeRoot(opened);
      const db = new DB<Root>(opened, options);
      if (db.databases.size > 1) await settleDoubts(db.#storages());
      return db;
    } catch (error) {
      if (typeof storage === 'string') await opened.close();
      throw error;
    }
  }

  /** Opens, in a worker thread, the database whose storage another thread of this process owns: see `storage.attach()`. */
  static async openAttached<Root extends object = Record<string, unknown>>(
    attachment: Pick<StorageAttachment, 'module' | 'data'>,
    options: DBOptions = {},
  ): Promise<DB<Root>> {
    const module = (await import(attachment.module)) as { openAttached(data: unknown): Promise<Storage> };
    return DB.open<Root>(await module.openAttached(attachment.data), options);
  }

  /**
   * Opens a connection for the current transaction manager, or the named one; with `at` or `before` one that shows the past.
   *
   * @throws ConnectionStateError when the database is closed, or refuses the default manager. TypeError (`ARG_AT`), RangeError
   * (`ARG_AT`, `ARG_TID`) for what is no time of the past.
   */
  open(options: OpenOptions = {}): Connection<Root> {
    if (this.#closing) throw new ConnectionStateError(`database '${this.databaseName}' was closed`);
    requireOptions('open', options, OPEN_OPTIONS);
    const named = options.transactionManager;
    if (named !== undefined && !(named instanceof TransactionManager)) {
      throw argumentTypeError('ARG_TRANSACTION_MANAGER', `${inspect(named)} is no TransactionManager`);
    }
    if (!named && this.#refuseDefaultManager && !contextManager()) {
      throw new ConnectionStateError(
        `database '${this.databaseName}' refuses the process's default transaction manager: ` +
          'open connections within db.transaction, transaction.run, transaction.isolate or a job',
      );
    }
    const before = pastOf(options, this.storage);
    const opening = { manager: named ?? currentManager(), managerWasNamed: named !== undefined, before };
    const connection =
      before === undefined
        ? this.#pool.take(() => this.#connections.add(new Connection(this.#owner)))
        : this.#historicalPool.take(
            () => this.#connections.add(new Connection(this.#historicalOwner)),
            (past) => past.before === before,
          );
    connection.openWith(opening);
    return connection as unknown as Connection<Root>;
  }

  /** The storages of the databases that are open together. */
  #storages(): Storage[] {
    return [...this.#databases.values()].map(({ storage }) => storage);
  }

  /**
   * Transactions of several databases that are in doubt here: this database has voted for them, and the one that decided was not asked
   * yet. That is done by itself once both are open together.
   */
  doubts(): Promise<readonly Doubt[]> {
    return this.storage.doubts.list();
  }

  /**
   * Ends a doubt by hand, when the database that decided is lost for good.
   *
   * @param happened whether the transaction is to be finished, or taken back; what the other databases have of it is up to you to know.
   * @returns the tid of what was finished.
   */
  async settleDoubt(commitId: Uint8Array, happened: boolean): Promise<Tid | undefined> {
    if (!(await this.doubts()).some((doubt) => Buffer.compare(doubt.commitId, commitId) === 0)) {
      throw new LookupError(
        `no transaction with the commit id ${inspect(commitId)} is in doubt in '${this.databaseName}'`,
      );
    }
    return this.storage.doubts.resolve(commitId, happened);
  }

  /** For sets of connections: one that is opened and closed together with those of other databases. */
  connectionFor(set: ConnectionSet): Connection {
    return this.#connections.add(new Connection(this.#owner, set));
  }

  /**
   * Opens a connection, runs `fn` with it in a transaction of its own, commits, and closes; runs `fn` again after a
   * conflict. The form for application code.
   *
   * @throws what `fn` throws; the last error of the commit once the retries are used up.
   */
  async transaction<T>(fn: (connection: Connection<Root>) => T | Promise<T>, options: RunOptions = {}): Promise<T> {
    requireFunction(fn);
    const manager = new TransactionManager({ clock: this.storage.clock });
    const connection = manager.enter(() => this.open());
    try {
      return await manager.run(() => fn(connection), options);
    } finally {
      connection.close();
    }
  }

  /**
   * Walks over a large database in flat memory, through a connection of its own that shows one view to the end: over what `source` makes of
   * that connection, or over every object that the root reaches, once each. The objects are there to be read, while the walk is on; change
   * them in a `transaction`, where `connection.each` walks.
   *
   * ```ts
   * for await (const [name, account] of db.each(({ root }) => root.accounts)) …
   * for await (const object of db.each()) …
   * ```
   *
   * @throws as `open`, and TypeError (`ARG_FUNCTION`, `ARG_ITERABLE`), with the first step.
   */
  each(source?: undefined, options?: Pick<OpenOptions, 'at' | 'before'>): AsyncGenerator<Persistent, void, undefined>;
  each<T>(
    source: (connection: Connection<Root>) => Iterable<T> | AsyncIterable<T>,
    options?: Pick<OpenOptions, 'at' | 'before'>,
  ): AsyncGenerator<T, void, undefined>;
  each<T>(
    source?: (connection: Connection<Root>) => Iterable<T> | AsyncIterable<T>,
    options: Pick<OpenOptions, 'at' | 'before'> = {},
  ): AsyncGenerator<T | Persistent, void, undefined> {
    return walk<T | Persistent>(() => {
      if (source !== undefined && typeof source !== 'function') {
        throw argumentTypeError('ARG_FUNCTION', `each: ${inspect(source)} is no function of a connection`);
      }
      const connection = this.open({
        ...options,
        transactionManager: new TransactionManager({ clock: this.storage.clock }),
      });
      const end = () => connection.close();
      try {
        return { ...(source ? connection.walked(source(connection)) : connection.walked()), end };
      } catch (error) {
        end();
        throw error;
      }
    });
  }

  /** The newest transaction that connections opened now would see. */
  lastTransaction(): Tid {
    return this.storage.lastTransaction();
  }

  /**
   * The last transactions that can be undone, newest first.
   *
   * @param first how many of those that pass are left out
   * @param last where to end; a negative number says how many to tell of
   * @throws RangeError (`ARG_RANGE`). TypeError (`ARG_FUNCTION`).
   */
  undoLog(first = 0, last = -20, filter: TransactionFilter = () => true): Promise<TransactionInfo[]> {
    return readUndoLog(this.storage, first, last, filter);
  }

  /** The same, of transactions whose fields have the given values. @throws as `undoLog`. TypeError (`ARG_OPTIONS`). */
  async undoInfo(first = 0, last = -20, specification: Partial<TransactionInfo> = {}): Promise<TransactionInfo[]> {
    return this.undoLog(first, last, havingFields(specification));
  }

  /**
   * Undoes a transaction as part of the current one: when that is committed, everything that the other changed is again as it was
   * before. Later changes of the same objects stay where they merge; else the commit throws UndoError, and the later transactions have
   * to be undone first. An undo can itself be undone.
   *
   * @param tid as `undoLog` and `commit` give it
   * @throws StorageError where the storage has no undo. ReadOnlyError. ConnectionStateError when the database is closed. What joining
   * a transaction throws. TypeError, RangeError (`ARG_TID`, `ARG_TRANSACTION`).
   */
  undo(tid: Tid, transaction: Transaction = currentManager().get()): void {
    this.undoMultiple([tid], transaction);
  }

  /** Undoes several transactions together, in the given order: the newest one goes first. @throws as `undo`. */
  undoMultiple(tids: readonly Tid[], transaction: Transaction = currentManager().get()): void {
    if (this.#closing) throw new ConnectionStateError(`undo: database '${this.databaseName}' was closed`);
    const participant = new UndoParticipant(this.storage, tids);
    if (!(transaction instanceof Transaction)) {
      throw argumentTypeError('ARG_TRANSACTION', `${inspect(transaction, { depth: 0 })} is no Transaction`);
    }
    if (tids.length > 0) transaction.join(participant);
  }

  /**
   * Drops what was superseded before a time, and the objects that nothing reaches: neither the root, nor what was written since, nor any
   * revision that is kept. Runs beside readers and writers, in bounded memory. What an open connection shows of the past is kept.
   *
   * @throws StorageError while another pack is under way. ReadOnlyError. The reason of `signal`. RangeError (`ARG_DAYS`, `ARG_DATE`).
   */
  async pack(options: DBPackOptions = {}): Promise<void> {
    requireProgressOptions('pack', options, ['days', 'before']);
    const { signal, onProgress } = options;
    const asked = packedBefore(options, this.storage);
    const before = Math.min(asked, this.#connections.oldestPast() ?? asked) as Tid;
    return this.storage.pack({ before, references: strongReferences, signal, onProgress });
  }

  /**
   * The newest `size` revisions of an object, newest first.
   *
   * @throws POSKeyError. RangeError (`ARG_OID`, `ARG_COUNT`).
   */
  async history(oid: number, size = 1): Promise<RevisionInfo[]> {
    return (await this.storage.history(toOid(oid), toCount(size))).map(revisionInfo);
  }

  /** The databases that are open together with this one, itself among them, by name. */
  get databases(): ReadonlyMap<string, DB> {
    return this.#databases;
  }

  /** Connections that are kept for reuse; may be changed. */
  get poolSize(): number {
    return this.#pool.size;
  }

  set poolSize(size: number) {
    // Dispatchers take back what they added, which may be more than somebody left there.
    checkCount('poolSize', size < 0 ? 0 : size);
    this.#pool.size = size;
  }

  /** Connections to the past that are kept for reuse; may be changed. */
  get historicalPoolSize(): number {
    return this.#historicalPool.size;
  }

  set historicalPoolSize(size: number) {
    checkCount('historicalPoolSize', size);
    this.#historicalPool.size = size;
  }

  /** Turns every unchanged object of all connections, open or kept, into a ghost. */
  cacheMinimize(): void {
    for (const connection of this.#connections) connection.cacheMinimize();
  }

  /** What the caches of all connections hold, by classes. */
  cacheDetail(): CachedClass[] {
    return this.#connections.cachedClasses();
  }

  /** Every object in the caches of all connections. */
  cacheExtremeDetail(): CachedObject[] {
    return this.#connections.cachedObjects();
  }

  /** All connections, open or kept for reuse, and the sizes of their caches. */
  connectionDebugInfo(): ConnectionInfo[] {
    return this.#connections.info();
  }

  /** Objects that a connection keeps loaded; may be changed, and counts from the next trim of each cache. */
  get cacheSize(): number {
    return this.#cacheLimits.objectsMax;
  }

  set cacheSize(objects: number) {
    checkCount('cacheSize', objects);
    this.#cacheLimits.objectsMax = objects;
  }

  /** Bytes of records that a connection keeps loaded; may be changed as `cacheSize`. */
  get cacheBytes(): number {
    return this.#cacheLimits.bytesMax;
  }

  set cacheBytes(size: Size) {
    this.#cacheLimits.bytesMax = sizeBytes(size);
  }

  /** Closes the database with its storage. Closing twice does nothing. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#databases.get(this.databaseName) === (this as unknown as DB)) this.#databases.delete(this.databaseName);
    this.#unsubscribe();
    this.#endSnapshots();
    this.#pool.close();
    this.#historicalPool.close();
    await this.storage.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  [inspect.custom](): string {
    return `<DB '${this.databaseName}' on ${this.storage.name}>`;
  }
}

const OPEN_OPTIONS = ['transactionManager', 'at', 'before'];
