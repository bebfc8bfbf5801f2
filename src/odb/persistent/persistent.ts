import { type InspectOptions, inspect } from 'node:util';
import { argumentTypeError } from '../../base/index.js';
import { SerializationError } from '../errors.js';
import { type Oid, type Tid, tidToDate, ZERO_TID } from '../ids.js';
import { nameOf } from '../serialize/registry.js';
import { type AccessorFactory, ClassFields, isCompilable } from './accessors.js';
import type { Jar } from './jar.js';

/** A class of persistent objects. */
export type PersistentClass<T extends Persistent = Persistent> = abstract new (...args: never[]) => T;

type Fields = Record<string, unknown>;

/*
 * The states of an object, as a number that setters compare:
 *
 * - GHOST: has a place in a database, and no state. The first touch of a field loads it.
 * - CLEAN: its state is that of its serial.
 * - CHANGED: registered with its jar; to be stored by the transaction that is current there.
 * - NEW: has no place yet, or is being filled. Changes concern nobody.
 */
const GHOST = 0;
const CLEAN = 1;
const CHANGED = 2;
const NEW = 3;

/** What the connection does to an object; see `lifecycle.ts`. */
export interface Internals {
  place(object: Persistent, jar: Jar, oid: Oid, status: 'ghost' | 'changed'): void;
  unplace(object: Persistent): void;
  toGhost(object: Persistent): void;
  toClean(object: Persistent, serial: Tid, sizeBytes: number): void;
  adoptFields(object: Persistent): void;
  fillFields(object: Persistent, state: unknown): void;
  /** Runs `fn` with the object in a state where changes concern nobody. */
  filling(object: Persistent, fn: () => void): void;
  fields(object: Persistent): Fields;
  readable(object: Persistent): void;
  writable(object: Persistent): void;
  makeGhost(cls: PersistentClass): Persistent;
}

export let internals: Internals;
/** Whether the keys of a class are known, so that its ghosts can be made with them. */
export let isKnownClass: (cls: PersistentClass) => boolean;
/** Says that they are, or are just being learned. */
export let markKnownClass: (cls: PersistentClass) => void;

// Given by the class below, which alone can reach its private fields.
let installFields: (object: Persistent, state: Fields) => void;
let fieldsOf: (object: Persistent) => Fields;
let clearManaged: (object: ManagedPersistent) => void;

/**
 * Base of the classes whose instances can be stored.
 *
 * An instance is stored because the root of a database reaches it. Its fields are tracked: assigning one marks the object
 * changed, and the transaction that commits next stores it; touching one of an object that is not loaded loads it. A change
 * inside a plain value of a field (an array, a map) is not noticed: assign the field anew, or use a persistent collection.
 *
 * Constructors do not run when an object is loaded; `static defaults = { limit: 100 }` (or a function that returns such an
 * object) gives the values of fields that older records lack. `#private` fields are not stored.
 */
export abstract class Persistent {
  /** `undefined` while the fields are plain ones (a new object), `null` for a ghost. */
  #state: Fields | null | undefined = undefined;
  #status = NEW;
  #jar: Jar | undefined = undefined;
  #oid: Oid | undefined = undefined;
  #serial: Tid = ZERO_TID;
  #bytes = 0;
  /** Names of volatile attributes, which vanish with the state. */
  #volatile: string[] | undefined = undefined;

  /** Identity within the database; `undefined` for an object that has no place in one. */
  get _p_oid(): Oid | undefined {
    return this.#oid;
  }

  /** The connection that the object belongs to. */
  get _p_jar(): Jar | undefined {
    return this.#jar;
  }

  /** The transaction that wrote the state; 0 before the first commit, and for a ghost. */
  get _p_serial(): Tid {
    return this.#serial;
  }

  /** `true` when changed, `false` when not, `undefined` for a ghost. Setting it to `true` registers a change. */
  get _p_changed(): boolean | undefined {
    switch (this.#status) {
      case GHOST:
        return undefined;
      case CHANGED:
        return true;
      default:
        return false;
    }
  }

  set _p_changed(changed: boolean | undefined) {
    if (changed === undefined) this._p_invalidate();
    else if (changed) {
      if (this.#status === GHOST) this.#load();
      if (this.#status === CLEAN) this.#register();
    } else if (this.#status === CHANGED) this.#status = CLEAN;
  }

  get _p_state(): 'ghost' | 'up-to-date' | 'changed' {
    if (this.#status === GHOST) return 'ghost';
    return this.#status === CHANGED ? 'changed' : 'up-to-date';
  }

  /** Time of the commit that wrote the state; loads a ghost. `undefined` before the first commit. */
  get _p_mtime(): Date | undefined {
    this._p_activate();
    return this.#serial === ZERO_TID ? undefined : tidToDate(this.#serial);
  }

  /** Bytes of the record that was last read or written. */
  get _p_estimatedSize(): number {
    return this.#bytes;
  }

  /** Loads the state, if it is not loaded. @throws POSKeyError. ConnectionStateError. ClientDisconnected. */
  _p_activate(): void {
    if (this.#status === GHOST) this.#load();
  }

  /** Makes the object a ghost, if it is unchanged. */
  _p_deactivate(): void {
    if (this.#status === CLEAN && this.#jar) this.#toGhost();
  }

  /** Drops the state, changed or not. */
  _p_invalidate(): void {
    if (this.#jar && this.#status !== GHOST) this.#toGhost();
  }

  /** Removes a field from the record. It reads `undefined` from then on, and may stay listed until the object is made anew. */
  _p_delete(field: string): void {
    if (this.#status === GHOST) this.#load();
    const state = this.#state;
    if (!state) {
      delete (this as unknown as Fields)[field];
      return;
    }
    if (!Object.hasOwn(state, field)) return;
    if (this.#status < CHANGED) this.#register();
    delete state[field];
    const own = Object.getOwnPropertyDescriptor(this, field);
    if (own?.configurable) delete (this as unknown as Fields)[field];
  }

  /**
   * The state to be stored. Override it, together with `setState`, where the stored form differs from the fields.
   * The base gives a fresh object of all fields.
   */
  getState(): unknown {
    return { ...fieldsOf(this) };
  }

  /**
   * Takes a stored state. Override it to migrate old records: assigning fields here does not mark a change.
   * The base installs the fields.
   */
  setState(state: unknown): void {
    if (typeof state !== 'object' || state === null || Object.getPrototypeOf(state) !== Object.prototype) {
      throw new SerializationError(
        `the record of ${describe(this)} holds ${inspect(state, { depth: 0 })}, not fields: override setState to take it`,
      );
    }
    installFields(this, state as Fields);
  }

  /** The fields; a persistent object below is written as its oid and class, unless its class has a `toJSON` of its own. */
  toJSON(): unknown {
    const json: Fields = {};
    for (const [key, value] of Object.entries(fieldsOf(this))) json[key] = jsonOf(value);
    return json;
  }

  [inspect.custom](_depth: number, options: InspectOptions, inspectValue: typeof inspect): string {
    if (this.#status === GHOST) return `<${className(this)} oid ${this.#oid}>`;
    const shown: Fields = {};
    if (this.#oid !== undefined) shown['_p_oid'] = this.#oid;
    for (const [key, value] of Object.entries(this.inspectFields())) shown[key] = shownOf(value, 0);
    return `${className(this)} ${inspectValue(shown, options)}`;
  }

  /** What `console.log` shows of a loaded object. */
  protected inspectFields(): Record<string, unknown> {
    return fieldsOf(this);
  }

  #load(): void {
    (this.#jar as Jar).activate(this);
  }

  /** Ordering: the jar may refuse, so it is asked before anything is changed. */
  #register(): void {
    (this.#jar as Jar).register(this);
    this.#status = CHANGED;
  }

  #toGhost(): void {
    this.#status = GHOST;
    this.#serial = ZERO_TID;
    if (this.#volatile) {
      for (const name of this.#volatile) delete (this as unknown as Fields)[name];
      this.#volatile = undefined;
    }
    if (this instanceof ManagedPersistent) clearManaged(this);
    else this.#state = null;
  }

  static {
    const fieldsByClass = new WeakMap<object, ClassFields>();

    const load = (object: Persistent): Fields => {
      object.#load();
      return object.#state as Fields;
    };
    const register = (object: Persistent): void => {
      if (object.#status === GHOST) object.#load();
      object.#register();
    };

    let compiles = true;
    let compiledCount = 0;
    // One pair of functions for each class and key, with source text of its own: functions that share their text share what
    // the compiler learned of them, and become slow once many classes use one key.
    const compile = (key: string): { get: () => unknown; set: (value: unknown) => void } => {
      const source = `({
        get() { /* ${compiledCount} */ const s = this.#state; return s === null ? load(this).${key} : s.${key}; },
        set(v) { /* ${compiledCount} */ if (this.#status < 2) register(this); this.#state.${key} = v; },
      })`;
      compiledCount++;
      // biome-ignore lint/security/noGlobalEval: the only way to compile text that may name private fields; the key is a plain identifier
      return eval(source) as ReturnType<typeof compile>;
    };
    const closure: AccessorFactory = (key) => ({
      get(this: Persistent) {
        const state = this.#state === null ? load(this) : (this.#state as Fields);
        return Object.hasOwn(state, key) ? state[key] : undefined;
      },
      set(this: Persistent, value: unknown) {
        if (this.#status < CHANGED) register(this);
        setField(this.#state as Fields, key, value);
      },
    });
    const factory: AccessorFactory = (key) => {
      if (compiles && isCompilable(key)) {
        try {
          return compile(key);
        } catch (error) {
          // Code generation from strings is switched off in this process.
          if (!(error instanceof EvalError)) throw error;
          compiles = false;
        }
      }
      return closure(key);
    };
    // The names are used by compiled text alone.
    void load;
    void register;

    const classFields = (object: object): ClassFields => {
      const prototype = Object.getPrototypeOf(object) as object;
      let fields = fieldsByClass.get(prototype);
      if (!fields) {
        fields = new ClassFields(prototype, Persistent.prototype, factory);
        fieldsByClass.set(prototype, fields);
      }
      return fields;
    };

    /** Makes the accessors of an object agree with the keys of its state. */
    const settle = (object: Persistent, state: Fields): void => {
      const fields = classFields(object);
      let known = 0;
      for (const key of Object.keys(state)) {
        const accessor = fields.accessors.get(key) ?? fields.accessor(key);
        if (!accessor) continue;
        known++;
        if (!Object.hasOwn(object, key)) {
          Object.defineProperty(object, key, accessor.inEveryRecord ? accessor.fixed : accessor.removable);
        }
      }
      if (known < fields.list.length) {
        for (const accessor of fields.list) {
          if (Object.hasOwn(state, accessor.key)) continue;
          accessor.inEveryRecord = false;
          const own = Object.getOwnPropertyDescriptor(object, accessor.key);
          if (own?.configurable) delete (object as unknown as Fields)[accessor.key];
        }
      }
      fields.seen = true;
    };

    /** Turns plain own properties, which a constructor or `setState` made, into fields of the state. */
    const absorb = (object: Persistent): void => {
      if (!Object.isExtensible(object)) {
        throw new SerializationError(`${describe(object)} is frozen, sealed or not extensible: it cannot be stored`);
      }
      const state: Fields = object.#state ?? {};
      const fields = classFields(object);
      const plain: string[] = [];
      for (const key of Object.keys(object)) {
        if (isVolatile(key)) continue;
        const own = Object.getOwnPropertyDescriptor(object, key) as PropertyDescriptor;
        if (own.get || own.set) continue;
        setField(state, key, own.value);
        plain.push(key);
      }
      // The last field first: the engine undoes the way in which they were added, and the object ends up with the same hidden class as
      // a ghost. Turning a plain field into an accessor in place would make the object a slow dictionary for ever.
      for (let i = plain.length - 1; i >= 0; i--) {
        if (!Reflect.deleteProperty(object, plain[i] as string)) {
          throw new SerializationError(`${describe(object)}.${plain[i]} is not configurable, and cannot become a tracked field`);
        }
      }
      for (const key of plain) {
        const accessor = fields.accessor(key);
        if (accessor) Object.defineProperty(object, key, accessor.inEveryRecord ? accessor.fixed : accessor.removable);
      }
      object.#state = state;
    };

    installFields = (object, state) => {
      const defaults = (object.constructor as { defaults?: Fields | (() => Fields) }).defaults;
      if (defaults !== undefined) {
        const given = typeof defaults === 'function' ? defaults() : defaults;
        for (const [key, value] of Object.entries(given)) {
          if (Object.hasOwn(state, key)) continue;
          state[key] = typeof defaults === 'object' && typeof value === 'object' ? structuredClone(value) : value;
        }
      }
      object.#state = state;
      settle(object, state);
    };

    fieldsOf = (object) => {
      if (object.#status === GHOST) object.#load();
      if (object.#state) {
        // Fields that were assigned while the object had no place are plain ones.
        if (object.#status === NEW) absorb(object);
        return object.#state;
      }
      const plain: Fields = {};
      for (const key of Object.keys(object)) {
        if (!isVolatile(key)) setField(plain, key, (object as unknown as Fields)[key]);
      }
      return plain;
    };

    internals = {
      place(object, jar, oid, status) {
        object.#jar = jar;
        object.#oid = oid;
        object.#serial = ZERO_TID;
        object.#status = status === 'ghost' ? GHOST : CHANGED;
      },
      unplace(object) {
        object.#jar = undefined;
        object.#oid = undefined;
        object.#serial = ZERO_TID;
        object.#status = NEW;
      },
      toGhost: (object) => object._p_invalidate(),
      toClean(object, serial, sizeBytes) {
        object.#serial = serial;
        object.#bytes = sizeBytes;
        object.#status = CLEAN;
      },
      adoptFields(object) {
        absorb(object);
        settle(object, object.#state as Fields);
      },
      fillFields(object, state) {
        object.#status = NEW;
        try {
          if (object.setState === Persistent.prototype.setState) object.setState(state);
          else {
            object.#state = {};
            object.setState(state);
            absorb(object);
            settle(object, object.#state);
          }
        } catch (error) {
          object.#status = GHOST;
          object.#state = null;
          throw error;
        }
      },
      filling(object, fn) {
        const { serial, status } = { serial: object.#serial, status: object.#status };
        object.#status = NEW;
        try {
          fn();
        } finally {
          object.#status = status;
          object.#serial = serial;
        }
      },
      fields: (object) => fieldsOf(object),
      readable(object) {
        if (object.#status === GHOST) object.#load();
      },
      writable(object) {
        if (object.#status < CHANGED) register(object);
      },
      makeGhost(cls) {
        const ghost = Reflect.construct(Persistent, [], cls) as Persistent;
        ghost.#state = null;
        const { list } = classFields(ghost);
        for (let i = 0; i < list.length; i++) {
          const accessor = list[i] as (typeof list)[number];
          Object.defineProperty(ghost, accessor.key, accessor.inEveryRecord ? accessor.fixed : accessor.removable);
        }
        return ghost;
      },
    };

    isKnownClass = (cls) => fieldsByClass.get(cls.prototype as object)?.seen ?? false;
    markKnownClass = (cls) => {
      classFields(Object.create(cls.prototype as object) as object).seen = true;
    };

    // Only keys that an object does not have come this far up its prototypes.
    const chainEnd = new Proxy({} as Persistent, {
      get(_, key, receiver) {
        if (typeof key === 'symbol' || key in Object.prototype) return Reflect.get(Object.prototype, key, receiver);
        if (key === 'then' || isReserved(key) || !(#status in receiver) || receiver.#status !== GHOST) return undefined;
        receiver.#load();
        return Object.hasOwn(receiver, key) ? (receiver as unknown as Fields)[key] : undefined;
      },
      has: (_, key) => key in Object.prototype,
      set(_, key, value, receiver) {
        const plain = { value, writable: true, enumerable: true, configurable: true };
        if (!(#status in receiver)) return Reflect.defineProperty(receiver, key, plain);
        if (typeof key === 'symbol') return Reflect.defineProperty(receiver, key, { ...plain, enumerable: false });
        if (key.startsWith('_p_')) {
          throw argumentTypeError('ARG_RESERVED_FIELD', `${key}: names that begin with _p_ belong to persistence`);
        }
        if (isVolatile(key)) {
          receiver.#volatile ??= [];
          receiver.#volatile.push(key);
          return Reflect.defineProperty(receiver, key, { ...plain, enumerable: false });
        }
        if (receiver.#status === GHOST) receiver.#load();
        if (receiver.#status === NEW || receiver instanceof ManagedPersistent) {
          return Reflect.defineProperty(receiver, key, plain);
        }
        if (receiver.#status < CHANGED) receiver.#register();
        const accessor = classFields(receiver).accessor(key);
        setField(receiver.#state as Fields, key, value);
        if (accessor && !Object.hasOwn(receiver, key)) {
          accessor.inEveryRecord = false;
          return Reflect.defineProperty(receiver, key, accessor.removable);
        }
        return true;
      },
    } as ProxyHandler<Persistent>);
    Object.setPrototypeOf(Persistent.prototype, chainEnd);
  }
}

/**
 * Base of our own hot classes, which keep their state in ordinary fields and mark their changes themselves. A subclass can be
 * constructed without arguments, at next to no cost: that is how its ghosts are made.
 */
export abstract class ManagedPersistent extends Persistent {
  abstract override getState(): unknown;
  abstract override setState(state: unknown): void;
  /** Goes back to the empty state of a ghost. */
  protected abstract clearState(): void;

  /** To be called first in whatever reads: loads a ghost. */
  protected readable(): void {
    internals.readable(this);
  }

  /** To be called first in whatever changes: loads a ghost, and registers the change. */
  protected writable(): void {
    internals.writable(this);
  }

  override toJSON(): unknown {
    return jsonOf(this.getState());
  }

  static {
    clearManaged = (object) => object.clearState();
  }
}

function isVolatile(key: string): boolean {
  return key.startsWith('_v_');
}

function isReserved(key: string): boolean {
  return key.startsWith('_p_') || key.startsWith('_v_');
}

/** Sets an own property whatever its name: `__proto__` is a name like any other. */
function setField(state: Fields, key: string, value: unknown): void {
  if (key === '__proto__')
    Object.defineProperty(state, key, { value, writable: true, enumerable: true, configurable: true });
  else state[key] = value;
}

function className(object: Persistent): string {
  return (Object.getPrototypeOf(object) as { constructor: { name: string } }).constructor.name;
}

function describe(object: Persistent): string {
  return object._p_oid === undefined ? `a new ${className(object)}` : `${className(object)} oid ${object._p_oid}`;
}

function jsonOf(value: unknown): unknown {
  if (value instanceof Persistent) {
    const own = value.toJSON;
    if (own !== Persistent.prototype.toJSON && own !== ManagedPersistent.prototype.toJSON) return value;
    const cls = (Object.getPrototypeOf(value) as { constructor: new () => unknown }).constructor;
    return { _p_oid: value._p_oid, _p_class: nameOf(cls) ?? cls.name };
  }
  if (Array.isArray(value)) return value.map(jsonOf);
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, jsonOf(inner)]));
  }
  return value;
}

const SHOWN_DEPTH_MAX = 4;

/** The value with persistent objects replaced by their short form, so that printing loads nothing. */
function shownOf(value: unknown, depth: number): unknown {
  if (value instanceof Persistent) {
    const short = `<${className(value)} ${value._p_oid === undefined ? 'new' : `oid ${value._p_oid}`}>`;
    return { [inspect.custom]: () => short };
  }
  if (depth >= SHOWN_DEPTH_MAX) return value;
  if (Array.isArray(value)) return value.map((inner) => shownOf(inner, depth + 1));
  if (value instanceof Map) {
    return new Map([...value].map(([key, inner]) => [shownOf(key, depth + 1), shownOf(inner, depth + 1)]));
  }
  if (value instanceof Set) return new Set([...value].map((inner) => shownOf(inner, depth + 1)));
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shownOf(inner, depth + 1)]));
  }
  return value;
}
