import type { Readable } from 'node:stream';
import { inspect } from 'node:util';
import { argumentTypeError, type Clock, Logger, requireProgressOptions } from '../../base/index.js';
import { ObjectCache } from '../cache/object-cache.js';
import type { DB } from '../db.js';
import {
  CommitUnderWayError,
  ConnectionStateError,
  InvalidObjectReference,
  POSKeyError,
  ReadOnlyHistoryError,
  TransactionInDoubtError,
} from '../errors.js';
import { type Oid, ROOT_OID, type Tid, tidToDate, toOid, ZERO_TID } from '../ids.js';
import { describe } from '../persistent/display.js';
import type { Jar } from '../persistent/jar.js';
import type { PersistentMapping } from '../persistent/mapping.js';
import { Persistent } from '../persistent/persistent.js';
import type { ParsedRecord } from '../serialize/reader.js';
import type { RecordReference } from '../serialize/references.js';
import type { Storage } from '../storage/storage.js';
import type { DataManager, DataManagerSavepoint, Synchronizer } from '../transaction/data-manager.js';
import type { Transaction } from '../transaction/transaction.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { BoundaryLink } from './boundary-link.js';
import { Changes } from './changes.js';
import { type ConnectionOpening, type ConnectionOwner, isCurrent } from './connection-owner.js';
import type { Poolable } from './connection-pool.js';
import { ConnectionSet } from './connection-set.js';
import { type ExportDestination, type ExportRequest, exportStream, exportTo, requireDestination } from './exporting.js';
import { Handover } from './handover.js';
import { type ImportSource, readImport } from './importing.js';
import { MutationDetector } from './mutation-detector.js';
import { ObjectLoader } from './object-loader.js';
import { type Wanted, wantedOids } from './prefetching.js';
import { type RootView, rootView } from './root-view.js';
import { StorageShare, storageSortKey } from './storage-share.js';
import type { TransferOptions, TransferProgress } from './transfer.js';
import { type AnyIterable, reachable, requireIterable, type Walked, walk } from './walk.js';

const logger = new Logger('holdfast.connection');

/**
 * One view of a database: its objects as they were at one instant, and the changes of one transaction.
 *
 * A connection belongs to the transaction manager that it was opened with. It takes a new view at every boundary of that
 * manager's transactions; between two, it sees the same snapshot whatever others commit. Reading loads objects when they
 * are touched; what was changed is stored when the transaction commits.
 */
export class Connection<Root extends object = Record<string, unknown>>
  implements Jar, DataManager, Synchronizer, Poolable
{
  readonly #owner: ConnectionOwner;
  readonly #storage: Storage;
  readonly #cache: ObjectCache;
  #opening: ConnectionOpening | undefined;
  #openedMs = 0;
  #link: BoundaryLink | undefined;
  #isDiscarded = false;
  #debugInfo = '';
  #invalidationCursor: number;
  #root: RootView<Root> | undefined;
  #joined = false;
  readonly #changes: Changes;
  readonly #loader: ObjectLoader;
  readonly #mutations: MutationDetector | undefined;
  readonly #readCurrent = new Map<Persistent, Tid>();
  #handover: Handover | undefined;
  #storeCount = 0;
  /** Whether the commit was refused because of a transaction that is in doubt. */
  #metDoubt = false;
  #closeCallbacks: (() => void)[] = [];
  readonly #set: ConnectionSet;

  /** For `DB`: use `db.open()`. With a `set`, the connection is opened and closed together with the others in it. */
  constructor(owner: ConnectionOwner, set?: ConnectionSet) {
    this.#owner = owner;
    this.#storage = owner.storage;
    this.#set = set ?? new ConnectionSet(this as unknown as Connection, owner.databases);
    this.#cache = new ObjectCache(owner.cacheLimits);
    const mutations = owner.detectMutations ? new MutationDetector(this.#cache) : undefined;
    if (mutations) this.#cache.beforeUnload = (object) => mutations.check(object);
    this.#mutations = mutations;
    const connection = this as unknown as Connection;
    const { largeRecordBytes } = owner;
    const parts = {
      connection,
      storage: this.#storage,
      cache: this.#cache,
      set: this.#set,
      mutations,
      largeRecordBytes,
    };
    this.#changes = new Changes(parts);
    this.#loader = new ObjectLoader(parts, this.#changes);
    this.#invalidationCursor = owner.invalidations.end;
  }

  // ---------------------------------------------------------------- reading

  /** The database. */
  get db(): DB<Root> {
    return this.#owner.db as unknown as DB<Root>;
  }

  get databaseName(): string {
    return this.#owner.databaseName;
  }

  get isClosed(): boolean {
    return this.#opening === undefined;
  }

  /** Whether nothing can be stored through this connection. @throws ConnectionStateError after close. */
  get isReadOnly(): boolean {
    return this.#requireOpen('isReadOnly').before !== undefined || this.#storage.isReadOnly;
  }

  /** The manager that the connection was opened with. @throws ConnectionStateError after close. */
  get transactionManager(): TransactionManager {
    return this.#requireOpen('transactionManager').manager;
  }

  /** Everything before this tid is what the connection sees. */
  get before(): Tid {
    return this.#loader.before;
  }

  /** The time of the storage, in ms since the epoch: a client's is its server's. */
  now(): number {
    return this.#storage.clock.now();
  }

  /** The storage below. */
  get storage(): Storage {
    return this.#storage;
  }

  /** The root mapping; its keys can be used as attributes. @throws ConnectionStateError after close. */
  get root(): RootView<Root> {
    this.#requireOpen('root');
    this.#root ??= rootView<Root>(this.get(ROOT_OID) as PersistentMapping<unknown>);
    return this.#root;
  }

  /**
   * The object with this oid.
   *
   * @throws POSKeyError. ConnectionStateError after close. CorruptionError. ClientDisconnected.
   */
  get(oid: number): Persistent {
    this.#requireOpen('get');
    return this.#loader.get(toOid(oid));
  }

  /**
   * Loads many objects in one round trip, so that touching them afterwards needs none.
   *
   * @param wanted oids, objects, or collections of both; what is loaded is passed over, and so is what is not there.
   * @throws TypeError (`ARG_PREFETCH`). RangeError (`ARG_OID`).
   */
  async prefetch(...wanted: Wanted[]): Promise<void> {
    this.#requireOpen('prefetch');
    const oids = wantedOids(wanted, this).filter((oid) => this.#cache.get(oid)?._p_changed === undefined);
    await this.#storage.prefetch(oids, this.#loader.before);
  }

  /**
   * Walks over something large in flat memory: hands on what `source` gives, and between two items, now and then, brings the cache down to
   * its limits and lets others work. What was changed stays in memory until it is committed, or saved by a savepoint.
   *
   *     for await (const account of connection.each(connection.root.accounts.values())) total += account.balance;
   *
   * @throws TypeError (`ARG_ITERABLE`). ConnectionStateError once the connection is closed.
   */
  each<T>(source: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    const walked = this.walked(source);
    return walk(() => walked);
  }

  /**
   * For `DB`: a walk through this connection, over `source`, or over everything that the root reaches in this view, which must not move
   * meanwhile.
   */
  walked<T>(source: AnyIterable<T>): Walked<T>;
  walked(source?: undefined): Walked<Persistent>;
  walked(source?: AnyIterable<unknown>): Walked<unknown> {
    this.#requireOpen('each');
    return {
      parts: source === undefined ? this.#reachable() : [requireIterable(source)],
      cache: this.#cache,
      clock: this.clock,
      check: () => void this.#requireOpen('each'),
    };
  }

  #reachable(): AsyncIterable<Iterable<Persistent>> {
    const object = (oid: Oid, record: ParsedRecord, serial: Tid) => this.#loader.take(oid, record, serial);
    return reachable({ storage: this.#storage, before: this.#loader.before, object });
  }

  /** Asks the storages of all connections of the set for what was committed before this call, and begins a transaction that sees it. */
  async sync(): Promise<void> {
    const { manager } = this.#requireOpen('sync');
    await Promise.all([...this.#set.members.values()].map(({ storage }) => storage.sync()));
    if (manager.explicit && manager.current) manager.current.abort();
    manager.begin();
  }

  activate(object: Persistent): void {
    if (this.isClosed) {
      throw new ConnectionStateError(
        `${describe(object)} cannot be loaded: its connection to database '${this.databaseName}' was closed`,
      );
    }
    this.#loader.activate(object);
  }

  touched(object: Persistent): void {
    this.#cache.touched(object._p_oid as Oid);
  }

  find(reference: RecordReference): Persistent {
    this.#requireOpen('find');
    const object = this.#loader.resolve(reference);
    if (object._p_changed === undefined) object._p_activate();
    return object;
  }

  /** For connections of the same set: the object that a reference of this database means. */
  resolve(reference: RecordReference): Persistent {
    return this.#loader.own(reference);
  }

  get clock(): Clock {
    return this.#storage.clock;
  }

  // ---------------------------------------------------------------- other databases

  /**
   * The connection to another database that is open together with this one: always the same, under the same transaction manager,
   * opened and closed together with this one.
   *
   * @throws LookupError for a name that is not known. ConnectionStateError after close.
   */
  getConnection<Other extends object = Record<string, unknown>>(databaseName: string): Connection<Other> {
    this.#requireOpen('getConnection');
    return this.#set.get(databaseName) as unknown as Connection<Other>;
  }

  /** The connections of the set that there are so far, this one among them, by the names of their databases. */
  get connections(): ReadonlyMap<string, Connection> {
    return this.#set.members;
  }

  /** Whether objects of this database may refer to objects of others. */
  get allowsCrossReferences(): boolean {
    return this.#owner.crossReferences;
  }

  /** For the set: whether the object is new in this transaction, and has its place because something reached it. */
  isPlacedByReach(object: Persistent): boolean {
    return this.#changes.isPlacedByReach(object);
  }

  // ---------------------------------------------------------------- changing

  /**
   * Gives a new object its place in this database, before anything reaches it. What the root does not reach when the
   * transaction commits is stored all the same, and is garbage for the next pack.
   *
   * @throws TypeError for what is no persistent object. InvalidObjectReference for an object of another connection.
   */
  add(object: Persistent): void {
    this.#requireOpen('add');
    if (!(object instanceof Persistent)) {
      throw argumentTypeError('ARG_PERSISTENT', `${inspect(object)} is no persistent object: only these can be added`);
    }
    if (object._p_jar === this) {
      this.#changes.confirm(object);
      return;
    }
    this.#changes.requirePlaceable(object, 'add');
    this.#requireChangeable(object, 'added');
    this.#join();
    this.#changes.adopt(object);
  }

  /**
   * Makes the commit fail with `ReadConflictError` if another transaction changes `object` meanwhile. It is checked once, and only
   * where something is written; it holds for the current transaction.
   *
   * @throws TypeError (`ARG_PERSISTENT`). InvalidObjectReference for an object of another connection. What loading throws.
   */
  readCurrent(object: Persistent): void {
    this.#requireOpen('readCurrent');
    if (!(object instanceof Persistent)) {
      throw argumentTypeError('ARG_PERSISTENT', `readCurrent: ${inspect(object)} is no persistent object`);
    }
    if (object._p_jar !== this) {
      throw new InvalidObjectReference(`readCurrent: ${describe(object)} does not belong to this connection`);
    }
    if (this.#handover) throw commitUnderWay('readCurrent');
    if (object._p_changed === undefined) object._p_activate();
    if (object._p_serial !== ZERO_TID && !this.#readCurrent.has(object))
      this.#readCurrent.set(object, object._p_serial);
  }

  register(object: Persistent): void {
    this.#requireChangeable(object, 'changed');
    this.#join();
    this.#changes.changed(object);
  }

  /** @throws ConnectionStateError. CommitUnderWayError. */
  #requireChangeable(object: Persistent, what: 'added' | 'changed'): void {
    const opening = this.#opening;
    if (!opening) {
      throw new ConnectionStateError(
        `${describe(object)} cannot be ${what}: its connection to database '${this.databaseName}' was closed`,
      );
    }
    if (this.#handover && !this.#changes.isWriting) throw commitUnderWay(`${describe(object)} cannot be ${what}`);
    if (!isCurrent(opening)) {
      throw new ConnectionStateError(
        `${describe(object)} cannot be ${what}: its connection belongs to another transaction manager than the current one; ` +
          'open a connection within the transaction that changes it, or await all work before the transaction ends',
      );
    }
  }

  #join(): void {
    if (this.#joined || this.#changes.isWriting) return;
    const opening = this.#requireOpen('change');
    this.#requirePresent(opening);
    opening.manager.get().join(this);
    this.#joined = true;
  }

  #requirePresent({ before }: ConnectionOpening): void {
    if (before === undefined) return;
    throw new ReadOnlyHistoryError(
      `this connection to database '${this.databaseName}' shows the past (before ${tidToDate(before).toISOString()}): ` +
        'change objects through one that was opened without `at` and `before`',
    );
  }

  // ---------------------------------------------------------------- export and import

  /**
   * Writes an object, and everything that it reaches, as this connection's view shows it; changes that are not committed are no part of it. Weak
   * references are not followed. Memory stays bounded, however much it is.
   *
   * @param what the object, or its oid
   * @param destination a file, which is replaced; or a stream. Without one, the bytes are given as a stream.
   * @throws POSKeyError. InvalidObjectReference for a reference to another database. TypeError. StorageError when the file cannot be
   * written. The reason of `signal`. What loading throws.
   */
  exportFile(what: number | Persistent): Readable;
  exportFile(
    what: number | Persistent,
    destination: ExportDestination,
    options?: TransferOptions,
  ): Promise<TransferProgress>;
  exportFile(
    what: number | Persistent,
    destination?: ExportDestination,
    options: TransferOptions = {},
  ): Readable | Promise<TransferProgress> {
    if (destination === undefined) return exportStream(this.#exportRequest(what, options));
    const exported = async () => {
      requireDestination(destination);
      return exportTo(this.#exportRequest(what, options), destination);
    };
    return exported();
  }

  #exportRequest(what: number | Persistent, options: TransferOptions): ExportRequest {
    this.#requireOpen('exportFile');
    requireProgressOptions('exportFile', options);
    const { before } = this.#loader;
    if (!(what instanceof Persistent)) return { ...options, storage: this.#storage, top: toOid(what), before };
    if (what._p_jar !== this) {
      throw new InvalidObjectReference(`exportFile: ${describe(what)} does not belong to this connection`);
    }
    const top = what._p_oid as Oid;
    if (this.#changes.isNew(top)) {
      throw new POSKeyError(top, 'it was not committed yet; an export holds what is committed');
    }
    return { ...options, storage: this.#storage, top, before };
  }

  /**
   * Takes in the objects of an export, each with an oid of its own here, as part of the current transaction: they are stored when that commits,
   * provided that something reaches the top object, or else are garbage. They stay ghosts until they are touched; their classes
   * need not be known.
   *
   * A weak reference to what was not exported with it is one to what is gone.
   *
   * @param source a file, or a stream
   * @returns the object that was exported
   * @throws FormatVersionError for what is no export, or one of a later version. CorruptionError for one that is damaged or incomplete.
   * StorageError when the file cannot be read. ConnectionStateError when the transaction ends meanwhile. ReadOnlyError. TypeError. The
   * reason of `signal`. Nothing was imported then.
   */
  async importFile(source: ImportSource, options: TransferOptions = {}): Promise<Persistent> {
    const opening = this.#requireOpen('importFile');
    requireProgressOptions('importFile', options);
    this.#requirePresent(opening);
    if (!isCurrent(opening)) {
      throw new ConnectionStateError(
        'importFile: the connection belongs to another transaction manager than the current one',
      );
    }
    const transaction = opening.manager.get();
    const { top, records } = await readImport(this.#storage, source, options);
    if (this.#opening !== opening || opening.manager.current !== transaction || this.#handover) {
      records.discard();
      throw new ConnectionStateError(
        'importFile: the transaction ended before all was read, and nothing was imported: await it before you commit or abort',
      );
    }
    this.#join();
    this.#changes.imported(records);
    return this.#loader.resolve(top);
  }

  // ---------------------------------------------------------------- transaction boundaries

  /** For the transaction manager: takes the newest view. */
  newTransaction(): void {
    if (this.#opening?.before !== undefined) {
      this.#loader.before = this.#opening.before;
      this.#cache.trim();
      return;
    }
    const published = this.#storage.poll();
    const log = this.#owner.invalidations;
    if (this.#invalidationCursor !== log.end) {
      this.#invalidationCursor = log.read(
        this.#invalidationCursor,
        published,
        this.#invalidate,
        this.#invalidateEverything,
      );
    }
    this.#loader.before = (published + 1) as Tid;
    if (this.#readCurrent.size > 0) this.#readCurrent.clear();
    this.#cache.trim();
  }

  readonly #invalidate = (oid: Oid, tid: Tid): void => {
    const object = this.#cache.get(oid);
    // What this connection wrote itself is as new as the transaction that is told of.
    if (!object || object._p_changed === undefined || object._p_serial === tid) return;
    this.#cache.revert(object);
  };

  readonly #invalidateEverything = (): void => this.#cache.invalidateAll();

  beforeCommit(): void {
    this.#mutations?.checkAll();
  }

  beforeCompletion(): void {}

  afterCompletion(transaction: Transaction): void {
    // A failed commit is followed by an abort.
    if (this.#mutations && transaction.status !== 'committed' && transaction.status !== 'failed') {
      this.#mutations.takeBack();
    }
    if (this.#opening && !this.#opening.manager.explicit) this.newTransaction();
  }

  sortKey(): string {
    return storageSortKey(this.#storage, this.databaseName);
  }

  /** Takes the changes back; of the whole transaction, or of all since a savepoint that is older than the first one. */
  abort(_transaction: Transaction): void {
    this.#changes.abort();
    // What was to be current has to stay so until the transaction ends: the next one begins without it.
    this.#joined = false;
  }

  // ---------------------------------------------------------------- commit

  tpcBegin(transaction: Transaction): void {
    this.#handover = new Handover(this, StorageShare.begin(transaction, this.#storage), this.#cache);
  }

  commit(_transaction: Transaction): void {
    const handover = this.#handover as Handover;
    handover.store(this.#changes, this.#readCurrent);
    this.#storeCount += handover.recordCount;
  }

  async tpcVote(): Promise<void> {
    await this.#tried((this.#handover as Handover).vote());
  }

  get decides(): boolean {
    return this.#handover?.decides ?? false;
  }

  async tpcFinish(transaction: Transaction): Promise<Tid | undefined> {
    let tid: Tid | undefined;
    try {
      tid = await (this.#handover as Handover).finish();
    } catch (error) {
      // The disk failed after the vote: nothing is under way any more, and the objects are as they were.
      this.#handover = undefined;
      this.abort(transaction);
      throw error;
    }
    this.#committed();
    return tid;
  }

  async commitOnePhase(): Promise<Tid | undefined> {
    const handover = this.#handover as Handover;
    let tid: Tid | undefined;
    if (handover.recordCount > 0) tid = await this.#tried(handover.commit());
    // Nothing is changed after all, as where `_p_changed` was set to false: that is no transaction.
    else await handover.abort();
    this.#committed();
    return tid;
  }

  async #tried<T>(decision: Promise<T>): Promise<T> {
    try {
      return await decision;
    } catch (error) {
      this.#metDoubt = error instanceof TransactionInDoubtError;
      throw error;
    }
  }

  #committed(): void {
    this.#handover = undefined;
    this.#changes.forget();
    this.#readCurrent.clear();
    this.#joined = false;
  }

  async tpcAbort(transaction: Transaction): Promise<void> {
    const handover = this.#handover;
    this.#handover = undefined;
    this.abort(transaction);
    if (handover) await handover.abort();
    if (!this.#metDoubt) return;
    this.#metDoubt = false;
    // Ordering: nothing is voted any more that the one in doubt would have to wait for.
    await this.#owner.settleDoubts();
  }

  savepoint(): DataManagerSavepoint {
    return this.#changes.savepoint();
  }

  // ---------------------------------------------------------------- opening and closing

  /** For `DB`: opens this connection, with the others of its set. */
  openWith(opening: ConnectionOpening): void {
    this.#set.open(opening);
  }

  /** For the set: opens this connection. */
  openMember(opening: ConnectionOpening): void {
    const { manager, before } = opening;
    this.#loader.isPast = before !== undefined;
    this.#opening = before === undefined ? opening : { ...opening, before: this.#pastBefore(before) };
    this.#openedMs = this.now();
    // Tells of a transaction that is under way, and so gives a view. Before there is one, it is the newest.
    this.#link = new BoundaryLink(manager, this);
    if (!manager.current) this.newTransaction();
  }

  /** The clock of another database of the set may have been ahead: what is committed here from now on is none of the past. */
  #pastBefore(before: Tid): Tid {
    const past = Math.min(before, this.#storage.poll() + 1) as Tid;
    // The cache shows what it was then.
    if (past !== this.#loader.before) this.#cache.minimize();
    return past;
  }

  /** Calls `fn` once, when the connection is closed. */
  onCloseCallback(fn: () => void): void {
    if (typeof fn !== 'function') throw argumentTypeError('ARG_FUNCTION', `${inspect(fn)} is no function to be called`);
    this.#closeCallbacks.push(fn);
  }

  /**
   * Gives the connection back to its database, with its cache; those to other databases, got by `getConnection` or by following
   * references, are closed with it. Closing twice does nothing.
   *
   * @throws ConnectionStateError when there are changes that were neither committed nor aborted. UnnoticedMutationError, with
   * `detectMutations`.
   */
  close(): void {
    if (this.#opening) this.#set.close();
  }

  /** For the set: that the connection can be closed. @throws ConnectionStateError. UnnoticedMutationError. */
  requireSettled(): void {
    if (this.#joined) {
      throw new ConnectionStateError(
        `a connection to database '${this.databaseName}' has changes that were neither committed nor aborted: do either, then close it`,
      );
    }
    this.#mutations?.checkAll();
  }

  /** For the set: closes this connection. */
  closeMember(): void {
    for (const fn of this.#closeCallbacks.splice(0)) {
      try {
        fn();
      } catch (error) {
        logger.error('a close callback failed', error);
      }
    }
    this.#link?.end();
    this.#opening = undefined;
    this.#readCurrent.clear();
    this.#cache.endWalks();
    // The others of the set are kept with the first one, and are not known to the pools of their databases.
    this.#owner.giveBack(this as unknown as Connection);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** For the set: lets go of all objects. */
  clear(): void {
    this.#isDiscarded = true;
    this.#root = undefined;
    this.#cache.clear();
  }

  /** For the pool: lets go of all objects, and of the connections that are kept with this one. */
  discard(): void {
    this.#set.clear();
  }

  /** Turns every unchanged object into a ghost. */
  cacheMinimize(): void {
    this.#cache.minimize();
  }

  /** Brings the cache down to its limits now, rather than at the next boundary. */
  cacheGc(): void {
    this.#cache.trim();
  }

  /** How many states were loaded and handed over to be stored, since the connection was made or the counts were cleared. */
  getTransferCounts(clear = false): { readonly loads: number; readonly stores: number } {
    const counts = { loads: this.#loader.loadCount, stores: this.#storeCount };
    if (clear) {
      this.#loader.loadCount = 0;
      this.#storeCount = 0;
    }
    return counts;
  }

  /** Tells what the connection is used for, to those who look at `db.connectionDebugInfo()`. */
  setDebugInfo(...info: readonly unknown[]): void {
    this.#debugInfo = info.map((each) => (typeof each === 'string' ? each : inspect(each))).join(' ');
  }

  /** What `setDebugInfo` told. */
  get debugInfo(): string {
    return this.#debugInfo;
  }

  /** When it was opened; `undefined` while it is closed. */
  get opened(): Date | undefined {
    return this.#opening && new Date(this.#openedMs);
  }

  /** The connection is open, and shows revisions before this one for ever. */
  get past(): Tid | undefined {
    return this.#opening?.before;
  }

  /** Whether it will not be used again. */
  get isDiscarded(): boolean {
    return this.#isDiscarded;
  }

  /** For statistics: the objects of the cache, ghosts included. */
  cachedObjects(): Iterable<Persistent> {
    return this.#cache;
  }

  /** Loaded objects, all objects (ghosts included), and bytes of the loaded ones' records. */
  get cacheCounts(): { readonly loaded: number; readonly objects: number; readonly loadedBytes: number } {
    return { loaded: this.#cache.loadedCount, objects: this.#cache.objectCount, loadedBytes: this.#cache.loadedBytes };
  }

  [inspect.custom](): string {
    return `<Connection to '${this.databaseName}'${this.isClosed ? ', closed' : ''}>`;
  }

  #requireOpen(what: string): ConnectionOpening {
    if (!this.#opening) {
      throw new ConnectionStateError(`${what}: this connection to database '${this.databaseName}' was closed`);
    }
    return this.#opening;
  }
}

function commitUnderWay(what: string): CommitUnderWayError {
  return new CommitUnderWayError(`${what}: a commit is under way; await its promise first`);
}
