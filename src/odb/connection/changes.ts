import { Logger } from '../../base/index.js';
import type { ObjectCache } from '../cache/object-cache.js';
import { InvalidObjectReference, UnregisteredError } from '../errors.js';
import { type Oid, ROOT_OID, ZERO_TID } from '../ids.js';
import { draftToStore, reclaimDraft } from '../persistent/blob/blob.js';
import type { BlobDraft } from '../persistent/blob/blob-draft.js';
import { isBroken } from '../persistent/broken.js';
import { describe } from '../persistent/display.js';
import { adopt, disown, markStored, type PersistentClass, recordState } from '../persistent/lifecycle.js';
import { Persistent } from '../persistent/persistent.js';
import { targetOf, WeakReference } from '../persistent/weak-reference.js';
import type { RecordReference, ReferenceWriter } from '../serialize/references.js';
import { nameOf, registrationHint } from '../serialize/registry.js';
import { writeRecord } from '../serialize/writer.js';
import type { Storage } from '../storage/storage.js';
import type { DataManagerSavepoint } from '../transaction/data-manager.js';
import type { Connection } from './connection.js';
import type { ConnectionParts } from './connection-parts.js';
import type { ConnectionSet } from './connection-set.js';
import type { ImportedRecords } from './imported-records.js';
import type { MutationDetector } from './mutation-detector.js';
import { type SavedRecords, type TemporaryRecord, TemporaryStore } from './temporary-store.js';

const logger = new Logger('holdfast.connection');

/** What a connection has changed and not yet committed: objects, and records that were saved for savepoints. */
export class Changes {
  readonly #jar: Connection;
  readonly #storage: Storage;
  readonly #cache: ObjectCache;
  readonly #set: ConnectionSet;
  readonly #mutations: MutationDetector | undefined;
  readonly #largeRecordBytes: number;
  /** Changed objects, those that have a revision. */
  readonly #changed = new Set<Persistent>();
  /** Objects new in this transaction, by their new oid. */
  readonly #added = new Map<Oid, Persistent>();
  /** Those among the new objects that have their place because something reached them, with where they were found. */
  readonly #reached = new Map<Persistent, string>();
  #temporary: TemporaryStore | undefined;
  /** Records that a commit under way has handed over: what is dropped from memory meanwhile is loaded from here, not as it was before. */
  #handedRecords: TemporaryRecord[] = [];
  #handedOids: Oid[] = [];
  /** The same by oid, once one of them was asked for. */
  #handedOver: ReadonlyMap<Oid, TemporaryRecord> | undefined;
  /** While states are taken: objects still to be stored. */
  #queue: Persistent[] | undefined;
  /** Contents of blobs that were handed over, or saved; removed in the end, those excepted that a new blob has got back. */
  readonly #drafts = new Set<BlobDraft>();

  constructor({ connection, storage, cache, set, mutations, largeRecordBytes }: ConnectionParts) {
    this.#largeRecordBytes = largeRecordBytes;
    this.#jar = connection;
    this.#storage = storage;
    this.#cache = cache;
    this.#set = set;
    this.#mutations = mutations;
  }

  /** Whether the records of changes are just being written: what is changed now is stored with them. */
  get isWriting(): boolean {
    return this.#queue !== undefined;
  }

  /** The object that was added under this oid. */
  added(oid: Oid): Persistent | undefined {
    return this.#added.get(oid);
  }

  /** Whether the object is new, and has its place because something reached it. */
  isPlacedByReach(object: Persistent): boolean {
    return this.#reached.has(object);
  }

  /** A new object is to have the place that it has, whatever else reaches it. */
  confirm(object: Persistent): void {
    this.#reached.delete(object);
  }

  /** The record that was saved of this object, or is being committed. */
  saved(oid: Oid): TemporaryRecord | undefined {
    if (this.#temporary) return this.#temporary.get(oid);
    if (this.#handedOids.length === 0) return undefined;
    this.#handedOver ??= new Map(this.#handedOids.map((each, i) => [each, this.#handedRecords[i] as TemporaryRecord]));
    return this.#handedOver.get(oid);
  }

  /** Whether the object is of this transaction: added, or imported. */
  isNew(oid: Oid): boolean {
    return this.#added.has(oid) || this.#temporary?.get(oid)?.serial === ZERO_TID;
  }

  /** An object that has a revision was changed. */
  changed(object: Persistent): void {
    this.#changed.add(object);
    this.#queue?.push(object);
  }

  /** Gives a new object its place. */
  adopt(object: Persistent): Oid {
    const oid = this.#storage.newOid();
    adopt(object, this.#jar, oid);
    this.#added.set(oid, object);
    this.#queue?.push(object);
    return oid;
  }

  /** Takes in records of new objects, which stay ghosts until they are touched. */
  imported(records: ImportedRecords): void {
    this.#temporary ??= new TemporaryStore();
    this.#temporary.take(records);
    for (const draft of records.drafts.values()) this.#own(draft);
  }

  /** @throws InvalidObjectReference for an object that has a place elsewhere. */
  requirePlaceable(object: Persistent, path: string): void {
    if (object._p_jar === undefined) return;
    throw new InvalidObjectReference(
      `${path}: ${describe(object)} belongs to another connection` +
        ` (database '${object._p_jar.databaseName}'): load it through this one, with get(${String(object._p_oid)})`,
    );
  }

  // ---------------------------------------------------------------- writing

  /**
   * Writes the record of every changed or new object, those included that are found on the way, and gives them to `store`. An object
   * that is saved already, and was not changed since, is given with the record of then; `object` is `undefined` where it is no longer
   * loaded.
   */
  store(store: (record: TemporaryRecord, oid: Oid, object: Persistent | undefined) => void): void {
    if (!this.#temporary) {
      this.#takeStates((object, record) => {
        const oid = object._p_oid as Oid;
        this.#handedOids.push(oid);
        this.#handedRecords.push(record);
        store(record, oid, object);
      });
      return;
    }
    this.#save(this.#temporary);
    for (const [oid, record] of this.#temporary.entries()) {
      const object = this.#cache.get(oid) ?? this.#added.get(oid);
      store(record, oid, object?._p_changed === undefined ? undefined : object);
    }
  }

  #takeStates(store: (object: Persistent, record: TemporaryRecord) => void): void {
    // An object is written once, although it may be queued more than once.
    const queue = [...this.#changed, ...this.#added.values()];
    this.#queue = queue;
    try {
      for (let i = 0; i < queue.length; i++) {
        const object = queue[i] as Persistent;
        if (object._p_changed !== true) continue;
        const path = () => this.#reached.get(object) ?? (object._p_oid === ROOT_OID ? 'root' : describe(object));
        const data = writeRecord({
          className: storedClassName(object, path),
          state: recordState(object),
          references: this.#references,
          path,
          owner: object,
        });
        if (data.length > this.#largeRecordBytes) {
          logger.warning(
            `${path()} has a record of ${data.length} bytes: let its larger parts be persistent objects of their own`,
          );
        }
        store(object, { data, serial: object._p_serial, draft: this.#takeDraft(object) });
        // From here on a change is a new one, and is refused while the commit is under way.
        markStored(object, object._p_serial, data.length);
      }
      // Now that all that is new has its oid.
      if (this.#mutations) for (const object of new Set(queue)) this.#mutations.remember(object);
    } finally {
      this.#queue = undefined;
    }
  }

  /** Takes over the content of a blob that is not committed. */
  #takeDraft(object: Persistent): BlobDraft | undefined {
    const draft = draftToStore(object);
    if (draft) this.#own(draft);
    return draft;
  }

  #own(draft: BlobDraft): void {
    draft.isOfTransaction = true;
    this.#drafts.add(draft);
  }

  readonly #references: ReferenceWriter = {
    isPersistent: (value: object) => value instanceof Persistent || value instanceof WeakReference,
    reference: (value, where) =>
      value instanceof Persistent ? this.#reference(value, where) : this.#weakReference(value as WeakReference, where),
  };

  #reference(object: Persistent, where: () => string): RecordReference {
    const jar = object._p_jar;
    if (jar === undefined) {
      this.adopt(object);
      this.#reached.set(object, where());
    } else if (jar !== this.#jar) {
      this.#set.requireReferable(object, this.#jar, where());
    }
    const reference = { oid: object._p_oid as Oid, className: storedClassName(object, where), kind: 'strong' } as const;
    return jar === undefined || jar === this.#jar ? reference : { ...reference, databaseName: jar.databaseName };
  }

  #weakReference(value: WeakReference, where: () => string): RecordReference {
    const target = targetOf(value);
    if (target instanceof Persistent) return { ...this.#reference(target, where), kind: 'weak' };
    const { jar, reference } = target;
    if (jar === this.#jar) return reference;
    const databaseName = reference.databaseName ?? jar.databaseName;
    if (!this.#set.has(jar)) {
      throw new InvalidObjectReference(
        `${where()}: a weak reference to oid ${reference.oid} belongs to another connection` +
          ` (database '${databaseName}'): make one to an object of this connection`,
      );
    }
    const { oid, className, kind } = reference;
    if (databaseName === this.#jar.databaseName) return { oid, className, kind };
    if (this.#jar.allowsCrossReferences) return { oid, className, kind, databaseName };
    throw new InvalidObjectReference(
      `${where()}: a weak reference leads to the database '${databaseName}', and '${this.#jar.databaseName}' was opened with ` +
        'crossReferences: false',
    );
  }

  // ---------------------------------------------------------------- going back

  /** Takes everything back: changed objects become ghosts, added ones lose their place. */
  abort(): void {
    for (const object of this.#changed) this.#takeBack(object);
    for (const [oid, object] of this.#added) this.#disown(oid, object);
    for (const [oid, record] of this.#temporary?.entries() ?? []) this.#takeBackSaved(oid, record, undefined);
    this.forget();
  }

  /** Takes a new object's place away. It stays usable with its values, which may be in the temporary store alone. */
  #disown(oid: Oid, object: Persistent): void {
    try {
      disown(object);
    } catch (error) {
      // Its class refuses the state that was saved. Everything else is taken back all the same.
      logger.error(`${describe(object)} was new, and cannot be given its values back`, error);
    }
    // Ordering: it may just have been loaded, for the last time.
    this.#cache.remove(oid);
    reclaimDraft(object);
  }

  #takeBack(object: Persistent): void {
    if (!this.#added.has(object._p_oid as Oid)) this.#cache.revert(object);
  }

  /** @param former the record that is gone back to */
  #takeBackSaved(oid: Oid, saved: TemporaryRecord, former: TemporaryRecord | undefined): void {
    const object = this.#cache.get(oid);
    if (!object || this.#added.has(oid)) return;
    this.#cache.revert(object);
    // It was imported: there is no such object any more, nor will there be.
    if (!former && saved.serial === ZERO_TID) this.#cache.remove(oid);
  }

  /** Forgets what was changed: it is committed, or taken back. */
  forget(): void {
    for (const draft of this.#drafts) if (draft.isOfTransaction) draft.remove();
    for (const each of [this.#changed, this.#added, this.#reached, this.#drafts]) empty(each);
    if (this.#handedOids.length > 0) {
      this.#handedOids = [];
      this.#handedRecords = [];
      this.#handedOver = undefined;
    }
    this.#temporary?.close();
    this.#temporary = undefined;
  }

  /** Marks the present state, to go back to. The changes are saved, so that their objects need not stay loaded. */
  savepoint(): DataManagerSavepoint {
    this.#mutations?.checkAll();
    this.#temporary ??= new TemporaryStore();
    const temporary = this.#temporary;
    this.#save(temporary);
    const records = temporary.snapshot();
    const added = new Map(this.#added);
    return { rollback: () => this.#rollback(temporary, records, added) };
  }

  #save(temporary: TemporaryStore): void {
    this.#takeStates((object, record) => {
      temporary.set(object._p_oid as Oid, record);
      this.#cache.used(object._p_oid as Oid, object, record.data.length);
    });
    this.#changed.clear();
    this.#cache.trim();
  }

  #rollback(temporary: TemporaryStore, records: SavedRecords, added: Map<Oid, Persistent>): void {
    for (const [oid, object] of this.#added) {
      if (added.has(oid)) continue;
      this.#disown(oid, object);
      this.#added.delete(oid);
      this.#reached.delete(object);
      this.#changed.delete(object);
    }
    for (const object of this.#changed) this.#cache.revert(object);
    this.#changed.clear();
    for (const [oid, record] of temporary.restore(records)) {
      const object = this.#added.get(oid);
      if (object) this.#cache.revert(object);
      else this.#takeBackSaved(oid, record, records.get(oid));
    }
  }
}

/** To empty what is empty takes memory too: most transactions fill one of these. */
function empty(set: { readonly size: number; clear(): void }): void {
  if (set.size > 0) set.clear();
}

function storedClassName(object: Persistent, where: () => string): string {
  if (isBroken(object)) return object._p_brokenClassName;
  const cls = Object.getPrototypeOf(object).constructor as PersistentClass & { name: string };
  const name = nameOf(cls);
  if (name === undefined) {
    const path = where();
    throw new UnregisteredError(
      `${path}: the class ${cls.name || '(anonymous)'} has no persistent name; ${registrationHint(cls, cls.name.toLowerCase())}`,
      { path },
    );
  }
  return name;
}
