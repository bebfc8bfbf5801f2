import { inspect } from 'node:util';
import { argumentTypeError, type Clock, Logger } from '../../base/index.js';
import type { InvalidationLog } from '../cache/invalidation-log.js';
import { ObjectCache } from '../cache/object-cache.js';
import type { DB } from '../db.js';
import {
  CommitUnderWayError,
  ConnectionStateError,
  InvalidObjectReference,
  POSKeyError,
  ReadConflictError,
  ReadOnlyHistoryError,
  UnregisteredError,
} from '../errors.js';
import { type Oid, ROOT_OID, type Tid, tidToDate, toOid, ZERO_TID } from '../ids.js';
import { RECORD_BYTES_WARN } from '../limits.js';
import { isBroken, makeBrokenGhost } from '../persistent/broken.js';
import type { Jar } from '../persistent/jar.js';
import {
  adopt,
  disown,
  fill,
  makeGhost,
  makeGhostAgain,
  markStored,
  type PersistentClass,
  recordState,
} from '../persistent/lifecycle.js';
import type { PersistentMapping } from '../persistent/mapping.js';
import { Persistent } from '../persistent/persistent.js';
import { StoredTarget, targetOf, WeakReference } from '../persistent/weak-reference.js';
import { readRecord, readState } from '../serialize/reader.js';
import type { RecordReference, ReferenceReader, ReferenceWriter } from '../serialize/references.js';
import { nameOf, resolveName } from '../serialize/registry.js';
import { writeRecord } from '../serialize/writer.js';
import type { Revision, Storage } from '../storage/storage.js';
import type { DataManager, DataManagerSavepoint, Synchronizer } from '../transaction/data-manager.js';
import type { Transaction } from '../transaction/transaction.js';
import { contextManager, currentManager, type TransactionManager } from '../transaction/transaction-manager.js';
import type { Poolable } from './connection-pool.js';
import { type RootView, rootView } from './root-view.js';
import { StorageShare } from './storage-share.js';
import { TemporaryStore } from './temporary-store.js';

const logger = new Logger('holdfast.connection');

/** The database of a connection, as the connection sees it. */
export interface ConnectionOwner {
  readonly db: DB;
  readonly databaseName: string;
  readonly storage: Storage;
  readonly invalidations: InvalidationLog;
  readonly cacheObjectsMax: number;
  readonly cacheBytesMax: number;
  giveBack(connection: Connection): void;
}

/** How a connection is opened, for `DB`. */
export interface ConnectionOpening {
  readonly manager: TransactionManager;
  /** The caller named the manager, rather than being in its context. */
  readonly managerWasNamed: boolean;
  /** The connection shows the past, for ever: revisions before this tid. */
  readonly before?: Tid | undefined;
}

/** What a commit under way has handed to the storage. */
interface Handover {
  readonly share: StorageShare;
  readonly stored: Persistent[];
  resolved: readonly Oid[];
}

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
  /** The view: revisions before this tid. */
  #before: Tid = ZERO_TID;
  #invalidationCursor: number;
  #root: RootView<Root> | undefined;
  #joined = false;
  /** Changed objects, those that have a revision. */
  readonly #changed = new Set<Persistent>();
  /** Objects new in this transaction, by their new oid. */
  readonly #added = new Map<Oid, Persistent>();
  readonly #readCurrent = new Map<Persistent, Tid>();
  #temporary: TemporaryStore | undefined;
  #handover: Handover | undefined;
  /** While states are taken: objects still to be stored. */
  #writeQueue: Persistent[] | undefined;
  /** Where objects that are being stored for the first time were found. */
  readonly #paths = new Map<Persistent, string>();
  #closeCallbacks: (() => void)[] = [];

  /** For `DB`: use `db.open()`. */
  constructor(owner: ConnectionOwner) {
    this.#owner = owner;
    this.#storage = owner.storage;
    this.#cache = new ObjectCache(owner.cacheObjectsMax, owner.cacheBytesMax);
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
    return this.#before;
  }

  /** The time of the storage, in ms since the epoch: a client's is its server's. */
  now(): number {
    return this.#storage.clock.now();
  }

  /** The storage below. */
  get storage(): Storage {
    return this.#storage;
  }

  /** The root mapping; its keys can be used as attributes. */
  get root(): RootView<Root> {
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
    const id = toOid(oid);
    const known = this.#cache.get(id) ?? this.#added.get(id);
    if (known) return known;
    const { data, serial } = this.#loadRevision(id);
    const object = this.#ghost(id, readRecord(data).className);
    // Making the first ghost of a class may have loaded it.
    if (object._p_changed === undefined) this.#fill(object, id, data, serial);
    return object;
  }

  /**
   * Loads many objects in one round trip, so that touching them afterwards needs none.
   *
   * @param wanted oids, or objects; loaded ones are passed over.
   */
  async prefetch(...wanted: (number | Persistent | Iterable<number | Persistent>)[]): Promise<void> {
    this.#requireOpen('prefetch');
    const oids: Oid[] = [];
    const want = (item: number | Persistent) => {
      const oid = typeof item === 'number' ? toOid(item) : item._p_oid;
      if (oid === undefined) return;
      const object = this.#cache.get(oid);
      if (!object || object._p_changed === undefined) oids.push(oid);
    };
    for (const item of wanted) {
      if (typeof item === 'number' || item instanceof Persistent) want(item);
      else for (const each of item) want(each);
    }
    await this.#storage.prefetch(oids, this.#before);
  }

  /** Asks the storage for everything that was committed before this call, and begins a transaction that sees it. */
  async sync(): Promise<void> {
    const { manager } = this.#requireOpen('sync');
    await this.#storage.sync();
    if (manager.explicit && manager.current) manager.current.abort();
    manager.begin();
  }

  activate(object: Persistent): void {
    const oid = object._p_oid as Oid;
    if (this.isClosed) {
      throw new ConnectionStateError(
        `${describe(object)} cannot be loaded: its connection to database '${this.databaseName}' was closed`,
      );
    }
    const { data, serial } = this.#loadRevision(oid);
    this.#fill(object, oid, data, serial);
  }

  #loadRevision(oid: Oid): { data: Uint8Array; serial: Tid } {
    const saved = this.#temporary?.get(oid);
    if (saved) return saved;
    const revision = this.#opening?.before ? this.#loadPast(oid) : this.#storage.loadBefore(oid, this.#before);
    if (!revision) {
      throw new ReadConflictError({
        oid,
        baseSerial: ZERO_TID,
        committedSerial: this.#before,
        reason: 'it has no revision as old as the view of this transaction',
      });
    }
    return { data: revision.data, serial: revision.tid };
  }

  #loadPast(oid: Oid): Revision {
    let cause: unknown;
    try {
      const revision = this.#storage.loadBefore(oid, this.#before);
      if (revision) return revision;
    } catch (error) {
      if (!(error instanceof ReadConflictError)) throw error;
      cause = error;
    }
    const time = tidToDate(this.#before).toISOString();
    throw new POSKeyError(
      oid,
      cause ? `its state before ${time} was trimmed from history` : `it was made after ${time}`,
    );
  }

  #fill(object: Persistent, oid: Oid, data: Uint8Array, serial: Tid): void {
    if (isBroken(object)) fill(object, data, serial, data.length);
    else fill(object, readState(data, this.#references), serial, data.length);
    this.#cache.used(oid, object, data.length);
  }

  #ghost(oid: Oid, className: string): Persistent {
    const cls = resolveName(className) as PersistentClass | undefined;
    const object = cls
      ? makeGhost(cls, this, oid, (ghost) => this.#cache.addGhost(oid, ghost))
      : makeBrokenGhost(className, this, oid);
    if (!cls) this.#cache.addGhost(oid, object);
    return object;
  }

  /** Translates between objects and the references of records. */
  readonly #references: ReferenceReader & ReferenceWriter = {
    resolve: (reference: RecordReference) =>
      reference.kind === 'weak' ? new WeakReference(new StoredTarget(this, reference)) : this.#object(reference),
    isPersistent: (value: object) => value instanceof Persistent || value instanceof WeakReference,
    reference: (value: object, path: string) =>
      value instanceof WeakReference ? this.#weakReference(value, path) : this.#reference(value as Persistent, path),
  };

  #object({ oid, className }: RecordReference): Persistent {
    return this.#cache.get(oid) ?? this.#added.get(oid) ?? this.#ghost(oid, className);
  }

  find(reference: RecordReference): Persistent {
    const object = this.#object(reference);
    if (object._p_changed === undefined) this.activate(object);
    return object;
  }

  get clock(): Clock {
    return this.#storage.clock;
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
    if (object._p_jar === this) return;
    this.#requirePlaceable(object, 'add');
    this.#join();
    this.#adopt(object);
  }

  /** Makes the commit fail with `ReadConflictError` if another transaction changes `object` meanwhile. */
  readCurrent(object: Persistent): void {
    this.#requireOpen('readCurrent');
    if (object._p_jar !== this) {
      throw new InvalidObjectReference(`readCurrent: ${describe(object)} does not belong to this connection`);
    }
    if (object._p_changed === undefined) object._p_activate();
    if (object._p_serial !== ZERO_TID && !this.#readCurrent.has(object))
      this.#readCurrent.set(object, object._p_serial);
  }

  register(object: Persistent): void {
    const opening = this.#opening;
    if (!opening) {
      throw new ConnectionStateError(
        `${describe(object)} cannot be changed: its connection to database '${this.databaseName}' was closed`,
      );
    }
    if (this.#handover && !this.#writeQueue) {
      throw new CommitUnderWayError(
        `${describe(object)} cannot be changed while a commit is under way: await its promise`,
      );
    }
    const here = opening.managerWasNamed ? (contextManager() ?? opening.manager) : currentManager();
    if (here !== opening.manager) {
      throw new ConnectionStateError(
        `${describe(object)} belongs to a connection of another transaction manager than the current one: ` +
          'open a connection within the transaction that changes it, or await all work before the transaction ends',
      );
    }
    this.#join();
    this.#changed.add(object);
    this.#writeQueue?.push(object);
  }

  #join(): void {
    if (this.#joined || this.#writeQueue) return;
    const { manager, before } = this.#requireOpen('change');
    if (before !== undefined) {
      throw new ReadOnlyHistoryError(
        `this connection to database '${this.databaseName}' shows the past (before ${tidToDate(before).toISOString()}): ` +
          'change objects through one that was opened without `at` and `before`',
      );
    }
    manager.get().join(this);
    this.#joined = true;
  }

  #adopt(object: Persistent): Oid {
    const oid = this.#storage.newOid();
    adopt(object, this, oid);
    this.#added.set(oid, object);
    return oid;
  }

  #requirePlaceable(object: Persistent, path: string): void {
    if (object._p_jar === undefined) return;
    throw new InvalidObjectReference(
      `${path}: ${describe(object)} belongs to another connection` +
        ` (database '${object._p_jar.databaseName}'): load it through this one, with get(${String(object._p_oid)})`,
    );
  }

  #reference(object: Persistent, path: string): RecordReference {
    let oid = object._p_oid;
    if (object._p_jar !== this) {
      this.#requirePlaceable(object, path);
      oid = this.#adopt(object);
      this.#paths.set(object, path);
      this.#writeQueue?.push(object);
    }
    return { oid: oid as Oid, className: classNameOf(object, path), kind: 'strong' };
  }

  #weakReference(value: WeakReference, path: string): RecordReference {
    const target = targetOf(value);
    if (target instanceof Persistent) return { ...this.#reference(target, path), kind: 'weak' };
    if (target.jar === this) return target.reference;
    throw new InvalidObjectReference(
      `${path}: a weak reference to oid ${target.reference.oid} belongs to another connection` +
        ` (database '${target.jar.databaseName}'): make one to an object of this connection`,
    );
  }

  // ---------------------------------------------------------------- transaction boundaries

  /** For the transaction manager: takes the newest view. */
  newTransaction(): void {
    if (this.#opening?.before !== undefined) {
      this.#before = this.#opening.before;
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
    this.#before = (published + 1) as Tid;
    if (this.#readCurrent.size > 0) this.#readCurrent.clear();
    this.#cache.trim();
  }

  readonly #invalidate = (oid: Oid, tid: Tid): void => {
    const object = this.#cache.get(oid);
    // What this connection wrote itself is as new as the transaction that is told of.
    if (!object || object._p_changed === undefined || object._p_serial === tid) return;
    makeGhostAgain(object);
    this.#cache.ghosted(oid);
  };

  readonly #invalidateEverything = (): void => this.#cache.invalidateAll();

  beforeCompletion(): void {}

  afterCompletion(): void {
    if (this.#opening && !this.#opening.manager.explicit) this.newTransaction();
  }

  sortKey(): string {
    return `${this.#storage.name}:${this.databaseName}`;
  }

  abort(_transaction: Transaction): void {
    for (const object of this.#changed) this.#takeBack(object);
    for (const [oid, object] of this.#added) {
      this.#cache.remove(oid);
      disown(object);
    }
    for (const [oid] of this.#temporary?.entries() ?? []) {
      const object = this.#cache.get(oid);
      if (object) this.#takeBack(object);
    }
    this.#forgetChanges();
  }

  #takeBack(object: Persistent): void {
    const oid = object._p_oid as Oid;
    if (this.#added.has(oid)) return;
    makeGhostAgain(object);
    this.#cache.ghosted(oid);
  }

  #forgetChanges(): void {
    this.#changed.clear();
    this.#added.clear();
    this.#readCurrent.clear();
    this.#paths.clear();
    this.#temporary = undefined;
    this.#joined = false;
  }

  // ---------------------------------------------------------------- commit

  tpcBegin(transaction: Transaction): void {
    this.#handover = { share: StorageShare.begin(transaction, this.#storage), stored: [], resolved: [] };
  }

  commit(_transaction: Transaction): void {
    const { share, stored } = this.#handover as Handover;
    if (this.#temporary) {
      this.#saveChanges(this.#temporary);
      for (const [oid, { data, serial }] of this.#temporary.entries()) {
        share.store(this, oid, serial, data);
        const object = this.#cache.get(oid) ?? this.#added.get(oid);
        if (object && object._p_changed !== undefined) stored.push(object);
      }
    } else {
      this.#takeStates((object, data) => {
        share.store(this, object._p_oid as Oid, object._p_serial, data);
        stored.push(object);
      });
    }
    const written = new Set(this.#readCurrent.size > 0 ? stored : []);
    for (const [object, serial] of this.#readCurrent) {
      if (!written.has(object)) share.checkCurrentSerial(object._p_oid as Oid, serial);
    }
  }

  /** Writes the record of every changed or new object, those included that are found on the way. */
  #takeStates(store: (object: Persistent, data: Uint8Array) => void): void {
    // An object is written once, although it may be queued more than once.
    const queue = [...this.#changed, ...this.#added.values()];
    this.#writeQueue = queue;
    try {
      for (let i = 0; i < queue.length; i++) {
        const object = queue[i] as Persistent;
        if (object._p_changed !== true) continue;
        const path = this.#paths.get(object) ?? (object._p_oid === ROOT_OID ? 'root' : describe(object));
        const data = writeRecord({
          className: classNameOf(object, path),
          state: recordState(object),
          references: this.#references,
          path,
          owner: object,
        });
        if (data.length > RECORD_BYTES_WARN) {
          logger.warning(
            `${path} has a record of ${data.length} bytes: let its larger parts be persistent objects of their own`,
          );
        }
        store(object, data);
        // From here on a change is a new one, and is refused while the commit is under way.
        markStored(object, object._p_serial, data.length);
      }
    } finally {
      this.#writeQueue = undefined;
      this.#paths.clear();
    }
  }

  async tpcVote(): Promise<void> {
    const handover = this.#handover as Handover;
    handover.resolved = (await handover.share.vote()).resolved;
  }

  async tpcFinish(): Promise<Tid> {
    const { share, resolved } = this.#handover as Handover;
    const tid = await share.finish();
    this.#finished(tid, resolved);
    return tid;
  }

  async commitOnePhase(): Promise<Tid> {
    const { share } = this.#handover as Handover;
    const { tid, resolved } = await share.commit();
    this.#finished(tid, resolved);
    return tid;
  }

  #finished(tid: Tid, resolved: readonly Oid[]): void {
    const { stored } = this.#handover as Handover;
    for (const object of stored) {
      const bytes = object._p_estimatedSize;
      markStored(object, tid, bytes);
      this.#cache.used(object._p_oid as Oid, object, bytes);
    }
    for (const oid of resolved) {
      const object = this.#cache.get(oid);
      if (!object) continue;
      makeGhostAgain(object);
      this.#cache.ghosted(oid);
    }
    this.#handover = undefined;
    this.#forgetChanges();
  }

  async tpcAbort(transaction: Transaction): Promise<void> {
    const handover = this.#handover;
    this.#handover = undefined;
    this.abort(transaction);
    if (handover) await handover.share.abort();
  }

  // ---------------------------------------------------------------- savepoints

  savepoint(): DataManagerSavepoint {
    this.#temporary ??= new TemporaryStore();
    const temporary = this.#temporary;
    this.#saveChanges(temporary);
    const records = temporary.snapshot();
    const added = new Map(this.#added);
    return { rollback: () => this.#rollback(temporary, records, added) };
  }

  #saveChanges(temporary: TemporaryStore): void {
    this.#takeStates((object, data) => {
      temporary.set(object._p_oid as Oid, { data, serial: object._p_serial });
      this.#cache.used(object._p_oid as Oid, object, data.length);
    });
    this.#changed.clear();
    this.#cache.trim();
  }

  #rollback(
    temporary: TemporaryStore,
    records: ReturnType<TemporaryStore['snapshot']>,
    added: Map<Oid, Persistent>,
  ): void {
    for (const [oid, object] of this.#added) {
      if (added.has(oid)) continue;
      // The object stays usable with its values, which may be in the temporary store alone.
      object._p_activate();
      this.#added.delete(oid);
      this.#changed.delete(object);
      this.#cache.remove(oid);
      disown(object);
    }
    const revert = (object: Persistent | undefined) => {
      if (!object) return;
      makeGhostAgain(object);
      this.#cache.ghosted(object._p_oid as Oid);
    };
    for (const object of this.#changed) revert(object);
    this.#changed.clear();
    for (const oid of temporary.restore(records)) revert(this.#cache.get(oid) ?? this.#added.get(oid));
  }

  // ---------------------------------------------------------------- opening and closing

  /** For `DB`. */
  openWith(opening: ConnectionOpening): void {
    this.#opening = opening;
    opening.manager.registerSynch(this);
    if (!opening.manager.explicit || opening.manager.current) this.newTransaction();
  }

  /** Calls `fn` once, when the connection is closed. */
  onCloseCallback(fn: () => void): void {
    this.#closeCallbacks.push(fn);
  }

  /**
   * Gives the connection back to its database, with its cache. Closing twice does nothing.
   *
   * @throws ConnectionStateError when there are changes that were neither committed nor aborted.
   */
  close(): void {
    const opening = this.#opening;
    if (!opening) return;
    if (this.#joined) {
      throw new ConnectionStateError(
        `a connection to database '${this.databaseName}' has changes that were neither committed nor aborted: do either, then close it`,
      );
    }
    for (const fn of this.#closeCallbacks.splice(0)) {
      try {
        fn();
      } catch (error) {
        logger.error('a close callback failed', error);
      }
    }
    opening.manager.unregisterSynch(this);
    this.#opening = undefined;
    this.#readCurrent.clear();
    this.#owner.giveBack(this as unknown as Connection);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** For the pool: lets go of all objects. */
  discard(): void {
    this.#cache.minimize();
    this.#root = undefined;
  }

  /** Turns every unchanged object into a ghost. */
  cacheMinimize(): void {
    this.#cache.minimize();
  }

  /** Brings the cache down to its limits now, rather than at the next boundary. */
  cacheGc(): void {
    this.#cache.trim();
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

function describe(object: Persistent): string {
  const name = Object.getPrototypeOf(object)?.constructor?.name ?? 'object';
  return object._p_oid === undefined ? `a new ${name}` : `${name} oid ${object._p_oid}`;
}

function classNameOf(object: Persistent, path: string): string {
  if (isBroken(object)) return object._p_brokenClassName;
  const cls = Object.getPrototypeOf(object).constructor as PersistentClass & { name: string };
  const name = nameOf(cls);
  if (name === undefined) {
    throw new UnregisteredError(
      `${path}: the class ${cls.name} has no persistent name; add to its module: ` +
        `persistable('${cls.name.toLowerCase()}', import.meta, { ${cls.name} });`,
      { path },
    );
  }
  return name;
}
