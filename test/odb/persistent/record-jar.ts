import { systemClock } from '#src/base/index.js';
import { POSKeyError } from '#src/odb/errors.js';
import type { Oid, Tid } from '#src/odb/ids.js';
import type { Jar } from '#src/odb/persistent/jar.js';
import { adopt, fill, makeGhost, type PersistentClass, recordState } from '#src/odb/persistent/lifecycle.js';
import type { Persistent } from '#src/odb/persistent/persistent.js';

/** A jar over states kept in memory, by oid. It counts what it is asked for, and can be told to refuse. */
export class RecordJar implements Jar {
  readonly databaseName = 'records';
  isClosed = false;
  readonly states = new Map<Oid, unknown>();
  /** Every load, in order. */
  readonly loads: Oid[] = [];
  /** Every object that was woken, in order. */
  readonly touches: Oid[] = [];
  /** Every object registered, in order. */
  readonly registered: Persistent[] = [];
  refusal: Error | undefined;
  #lastOid = 0;

  readonly clock = systemClock;

  readonly storage = {
    loadBlob: () => Promise.reject(new Error('there are no blobs here')),
    temporaryDirectory: undefined,
  };

  find(): never {
    throw new Error('there are no weak references here');
  }

  activate(object: Persistent): void {
    const oid = object._p_oid as Oid;
    this.loads.push(oid);
    if (!this.states.has(oid)) throw new POSKeyError(oid);
    const state = this.states.get(oid);
    const isFields = typeof state === 'object' && state !== null && Object.getPrototypeOf(state) === Object.prototype;
    fill(object, isFields ? { ...state } : state, (oid + 100) as Tid, 64);
  }

  touched(object: Persistent): void {
    this.touches.push(object._p_oid as Oid);
  }

  register(object: Persistent): void {
    if (this.refusal) throw this.refusal;
    this.registered.push(object);
  }

  nextOid(): Oid {
    return ++this.#lastOid as Oid;
  }

  /** A ghost of a new record. */
  ghost<T extends Persistent>(cls: PersistentClass<T>, state: unknown): T {
    const oid = this.nextOid();
    this.states.set(oid, state);
    return makeGhost(cls, this, oid) as T;
  }

  /** An object that was loaded. */
  loaded<T extends Persistent>(cls: PersistentClass<T>, state: unknown): T {
    const object = this.ghost(cls, state);
    object._p_activate();
    return object;
  }

  /** A class whose fields are known from one record with this state. */
  teach(cls: PersistentClass, state: unknown): void {
    this.loaded(cls, state);
    this.forget();
  }

  /** Gives a new object its place. */
  adopt<T extends Persistent>(object: T): T {
    adopt(object, this, this.nextOid());
    return object;
  }

  /** What would be stored. */
  stored(object: Persistent): unknown {
    return recordState(object);
  }

  /** Begins to count anew. */
  forget(): void {
    this.loads.length = 0;
    this.registered.length = 0;
  }
}
