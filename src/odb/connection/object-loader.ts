import type { ObjectCache } from '../cache/object-cache.js';
import { POSKeyError, ReadConflictError } from '../errors.js';
import { type Oid, type Tid, tidToDate, ZERO_TID } from '../ids.js';
import { restoreDraft } from '../persistent/blob/blob.js';
import { isBroken, makeBrokenGhost } from '../persistent/broken.js';
import type { Jar } from '../persistent/jar.js';
import { fill, makeGhost, persistentClass } from '../persistent/lifecycle.js';
import type { Persistent } from '../persistent/persistent.js';
import { StoredTarget, WeakReference } from '../persistent/weak-reference.js';
import { type ParsedRecord, readRecord, readState } from '../serialize/reader.js';
import type { RecordReference, ReferenceReader } from '../serialize/references.js';
import type { Revision, Storage } from '../storage/storage.js';
import type { Changes } from './changes.js';
import type { ConnectionParts } from './connection-parts.js';
import type { ConnectionSet } from './connection-set.js';
import type { MutationDetector } from './mutation-detector.js';
import type { TemporaryRecord } from './temporary-store.js';

/** Gives each oid the one object that stands for it in a connection, and each ghost its state, as the connection's view shows it. */
export class ObjectLoader {
  /** The view: revisions before this tid. */
  before: Tid = ZERO_TID;
  /** States that were loaded. */
  loadCount = 0;
  /** Whether the view is one of the past, and stays. */
  isPast = false;
  readonly #jar: Jar;
  readonly #storage: Storage;
  readonly #cache: ObjectCache;
  readonly #changes: Changes;
  readonly #set: ConnectionSet;
  readonly #mutations: MutationDetector | undefined;

  constructor({ connection, storage, cache, set, mutations }: ConnectionParts, changes: Changes) {
    this.#jar = connection;
    this.#storage = storage;
    this.#cache = cache;
    this.#changes = changes;
    this.#set = set;
    this.#mutations = mutations;
  }

  /** The object with this oid. @throws POSKeyError. ReadConflictError. CorruptionError. ClientDisconnected. */
  get(oid: Oid): Persistent {
    const known = this.#known(oid);
    if (known) return known;
    const loaded = this.#loadRevision(oid);
    const record = readRecord(loaded.data);
    const object = this.#ghost(oid, record.className);
    // Making the first ghost of a class may have loaded it.
    if (object._p_changed === undefined) this.#fill(object, oid, loaded, record);
    return object;
  }

  /** The object, loaded, of which the record of the view is at hand. */
  take(oid: Oid, record: ParsedRecord, serial: Tid): Persistent {
    const object = this.#known(oid) ?? this.#ghost(oid, record.className);
    if (object._p_changed === undefined) this.#fill(object, oid, { data: record.bytes, serial }, record);
    return object;
  }

  /** The object that a reference means; a ghost, where it is not known yet. */
  resolve(reference: RecordReference): Persistent {
    const { databaseName } = reference;
    if (databaseName === undefined || databaseName === this.#jar.databaseName) return this.own(reference);
    return this.#set.resolve(databaseName, reference);
  }

  /** The object of this database that a reference means. */
  own(reference: RecordReference): Persistent {
    const { oid, className } = reference;
    const known = this.#known(oid);
    if (known) return known;
    const cls = persistentClass(className);
    return this.#ghost(oid, cls ? className : (this.#storedClassName(oid) ?? className), cls);
  }

  /** The class that an object's own record names: a reference may name it as it was called when that was written. */
  #storedClassName(oid: Oid): string | undefined {
    try {
      return readRecord(this.#loadRevision(oid).data).className;
    } catch {
      // Whoever touches the object gets the error.
      return undefined;
    }
  }

  /** Loads the state of a ghost. @throws as `get`. */
  activate(object: Persistent): void {
    const oid = object._p_oid as Oid;
    this.#fill(object, oid, this.#loadRevision(oid));
  }

  #known(oid: Oid): Persistent | undefined {
    return this.#cache.get(oid) ?? this.#changes.added(oid);
  }

  #loadRevision(oid: Oid): TemporaryRecord {
    const saved = this.#changes.saved(oid);
    if (saved) return saved;
    const revision = this.isPast ? this.#loadPast(oid) : this.#storage.loadBefore(oid, this.before);
    if (!revision) {
      throw new ReadConflictError({
        oid,
        baseSerial: ZERO_TID,
        committedSerial: this.before,
        reason: 'it has no revision as old as the view of this transaction',
      });
    }
    return { data: revision.data, serial: revision.tid };
  }

  #loadPast(oid: Oid): Revision {
    let cause: unknown;
    try {
      const revision = this.#storage.loadBefore(oid, this.before);
      if (revision) return revision;
    } catch (error) {
      if (!(error instanceof ReadConflictError)) throw error;
      cause = error;
    }
    const time = tidToDate(this.before).toISOString();
    throw new POSKeyError(
      oid,
      cause ? `its state before ${time} was trimmed from history` : `it was made after ${time}`,
    );
  }

  #fill(object: Persistent, oid: Oid, { data, serial, draft }: TemporaryRecord, record?: ParsedRecord): void {
    if (isBroken(object)) fill(object, data, serial, data.length);
    else fill(object, readState(record ?? data, this.#references), serial, data.length);
    if (draft) restoreDraft(object, draft);
    this.loadCount++;
    this.#cache.used(oid, object, data.length);
    this.#mutations?.remember(object);
  }

  readonly #references: ReferenceReader = {
    resolve: (reference) =>
      reference.kind === 'weak' ? new WeakReference(new StoredTarget(this.#jar, reference)) : this.resolve(reference),
  };

  #ghost(oid: Oid, className: string, cls = persistentClass(className)): Persistent {
    const object = cls
      ? makeGhost(cls, this.#jar, oid, (ghost) => this.#cache.addGhost(oid, ghost))
      : makeBrokenGhost(className, this.#jar, oid);
    if (!cls) this.#cache.addGhost(oid, object);
    return object;
  }
}
