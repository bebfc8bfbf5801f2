import { type InspectOptions, inspect } from 'node:util';
import { argumentTypeError } from '../../base/index.js';
import { SerializationError } from '../errors.js';
import { type Oid, type Tid, tidToDate, ZERO_TID } from '../ids.js';
import {
  type AccessorPair,
  accessorFactory,
  addDefaults,
  ClassFields,
  definePlain,
  type Field,
  fits,
  isPlain,
  isReserved,
  isVolatile,
  listsJust,
  type Shape,
  setField,
  settle,
} from './accessors.js';
import { classNameOf, describe, inspectPersistent, jsonOf } from './display.js';
import type { Jar } from './jar.js';

/** A class of persistent objects. */
export type PersistentClass<T extends Persistent = Persistent> = abstract new (...args: never[]) => T;

type Fields = Record<string, unknown>;

/*
 * The status of an object, as a number that setters compare:
 *
 * - GHOST: has a place in a database, and no state. The first touch of a field loads it.
 * - RESTING: clean, and its state is set aside, so that the first touch is noticed: it gives the state back, and tells the jar.
 * - CLEAN: its state is that of its serial, or was handed over to be stored. The first change registers it with its jar.
 * - CHANGED: registered with its jar; to be stored by the transaction that is current there.
 * - NEW: has no place, or is just being filled. Changes concern nobody.
 */
const GHOST = 0;
const RESTING = 1;
const CLEAN = 2;
const CHANGED = 3;
const NEW = 4;

/** What the connection does to an object, by way of `lifecycle.ts`. */
export interface Internals {
  /** An object of the class, without a state, that lists the fields that the class is known to have. */
  makeShell(cls: PersistentClass): Persistent;
  /** Whether the object keeps its state itself. */
  isManaged(object: Persistent): boolean;
  classFields(cls: PersistentClass): ClassFields;
  place(object: Persistent, jar: Jar, oid: Oid, status: 'ghost' | 'changed'): void;
  unplace(object: Persistent): void;
  dropState(object: Persistent): void;
  /** Makes plain fields tracked ones. */
  adoptFields(object: Persistent): void;
  /** Lets the object take a state, which becomes that of `serial`. */
  fill(object: Persistent, state: unknown, serial: Tid, sizeBytes: number): void;
  stored(object: Persistent, serial: Tid, sizeBytes: number): void;
  /** Lets a clean object rest; returns whether it does. */
  rest(object: Persistent): boolean;
  /** The state itself; loads a ghost. */
  fields(object: Persistent): Fields;
  readable(object: Persistent): void;
  writable(object: Persistent): void;
}

export let internals: Internals;
let installFields: (object: Persistent, state: Fields) => void;
let clearManaged: (object: ManagedPersistent) => void;
let allowChange: (object: ManagedPersistent) => void;
let hideManaged: (object: ManagedPersistent) => void;
let showManaged: (object: ManagedPersistent) => void;

const NO_ARGUMENTS: readonly never[] = [];

/** Names of the volatile attributes of objects that have some, in the order in which they were added. */
const volatileNames = new WeakMap<Persistent, string[]>();

/**
 * Base of the classes whose instances can be stored.
 *
 * An instance is stored because the root of a database reaches it. Its fields are tracked: assigning one marks the object changed, and
 * the transaction that commits next stores it; touching one of an object that is not loaded loads it. A change inside a plain value of a
 * field (an array, a map) is not noticed: assign the field anew, or use a persistent collection.
 *
 * Constructors do not run when an object is loaded; `static defaults = { limit: 100 }` (or a function that returns such an object) gives
 * the values of fields that older records lack. `#private` fields are not stored, and do not exist on loaded objects. Attributes whose
 * names begin with `_v_` are volatile: never stored, no change, gone with the state.
 */
export abstract class Persistent {
  /** `undefined` while the fields are plain ones, `null` for a ghost, and while the object rests. */
  #state: Fields | null | undefined = undefined;
  /** The state of an object that rests. */
  #setAside: Fields | undefined = undefined;
  #status = NEW;
  #jar: Jar | undefined = undefined;
  #oid: Oid | undefined = undefined;
  /** `undefined` stands for 0: the engine would give a field that is always a number a box in each object, read or not. */
  #serial: Tid | undefined = undefined;
  #recordBytes = 0;
  /** Invariant: when `#shape` is the current one of its class and has no optional fields, the object has just the accessors of it. */
  #shape: Shape | undefined = undefined;

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
    return this.#serial ?? ZERO_TID;
  }

  /**
   * `true` when changed, `false` when not, `undefined` for a ghost. Set it to `true` after a change that could not be noticed;
   * `undefined` is `_p_deactivate()`.
   */
  get _p_changed(): boolean | undefined {
    if (this.#status === GHOST) return undefined;
    return this.#status === CHANGED;
  }

  set _p_changed(changed: boolean | undefined) {
    if (changed === undefined) this._p_deactivate();
    else if (changed) internals.writable(this);
    else if (this.#status === CHANGED) this.#status = CLEAN;
  }

  get _p_state(): 'ghost' | 'up-to-date' | 'changed' {
    if (this.#status === GHOST) return 'ghost';
    return this.#status === CHANGED ? 'changed' : 'up-to-date';
  }

  /** Time of the commit that wrote the state; `undefined` before the first commit, and for a ghost. */
  get _p_mtime(): Date | undefined {
    return this._p_serial === ZERO_TID ? undefined : tidToDate(this._p_serial);
  }

  /** For classes whose state is not made of their fields: what a place in it is called in messages. */
  statePath(keys: readonly (string | number)[]): readonly (string | number)[] {
    return keys;
  }

  /** Bytes of the record that was last read or written. */
  get _p_estimatedSize(): number {
    return this.#recordBytes;
  }

  /** Loads the state, if it is not loaded. @throws POSKeyError. ReadConflictError. ConnectionStateError. ClientDisconnected. */
  _p_activate(): void {
    internals.readable(this);
  }

  /** Makes the object a ghost, if it is unchanged. */
  _p_deactivate(): void {
    if (this.#status === CLEAN || this.#status === RESTING) internals.dropState(this);
  }

  /** Drops the state, changed or not. */
  _p_invalidate(): void {
    if (this.#status !== GHOST && this.#status !== NEW) internals.dropState(this);
  }

  /** Removes a field from the record. It reads `undefined` from then on, and may stay listed until the object is made anew. */
  _p_delete(field: string): void {
    internals.readable(this);
    const state = this.#state;
    if (state && Object.hasOwn(state, field)) {
      internals.writable(this);
      delete state[field];
    }
    // Refused by the language for a tracked field.
    Reflect.deleteProperty(this, field);
  }

  /**
   * The state to be stored. Override it, together with `setState`, where the stored form differs from the fields. The base gives a
   * fresh object of all fields.
   */
  getState(): unknown {
    return { ...internals.fields(this) };
  }

  /**
   * Takes a stored state, and owns it from then on. Override it to take another stored form or to migrate old records, as in
   * `super.setState(migrated(state))`: what is assigned here marks no change. The base installs the fields.
   */
  setState(state: unknown): void {
    if (typeof state !== 'object' || state === null || Object.getPrototypeOf(state) !== Object.prototype) {
      throw new SerializationError(
        `the state of ${describe(this)} is ${inspect(state, { depth: 0 })}, not fields: override setState to take it`,
      );
    }
    installFields(this, state as Fields);
  }

  /** The fields, for `JSON.stringify`; a persistent object below is written as its oid and class, unless it has a `toJSON` of its own. */
  toJSON(): unknown {
    return jsonOf(this.jsonState(), hasPlainJson);
  }

  /** What `JSON.stringify` writes of the object. */
  protected jsonState(): unknown {
    return internals.fields(this);
  }

  /** What `console.log` shows of a loaded object. */
  protected inspectState(): Record<string, unknown> {
    return internals.fields(this);
  }

  /** What `console.log` calls the class of the object. */
  protected inspectTitle(): string {
    return classNameOf(this);
  }

  [inspect.custom](depth: number | null, options: InspectOptions): string {
    if (!(#status in this)) return `<${classNameOf(this)} that was never constructed>`;
    return inspectPersistent(this, { ...options, depth }, this.inspectTitle(), () =>
      this.#status === GHOST ? undefined : this.inspectState(),
    );
  }

  static {
    /**
     * Whether the object keeps its state itself. All others have a state of ours, or `null`, as soon as they have a place: for these the
     * question is answered without a walk up the prototypes, to the `Proxy` at their end, which costs more than the rest of a load.
     */
    const isManaged = (object: Persistent): object is ManagedPersistent =>
      object.#state === undefined && object instanceof ManagedPersistent;

    /** Loads a ghost, or wakes an object that rests. */
    const load = (object: Persistent): Fields => {
      const jar = object.#jar as Jar;
      if (object.#status === RESTING) {
        if (isManaged(object)) showManaged(object);
        else if (object.#state === null) object.#state = object.#setAside;
        object.#setAside = undefined;
        object.#status = CLEAN;
        jar.touched(object);
      } else jar.activate(object);
      return object.#state as Fields;
    };

    /** Loads a ghost, and announces a change of it. Ordering: the jar may refuse, so it is asked before anything is changed. */
    const register = (object: Persistent): void => {
      if (object.#status < CLEAN) load(object);
      if (isManaged(object)) allowChange(object);
      (object.#jar as Jar).register(object);
      object.#status = CHANGED;
    };

    const dropState = (object: Persistent): void => {
      const names = volatileNames.get(object);
      if (names) {
        // The last one first: the engine takes back cheaply what was added last.
        for (let i = names.length - 1; i >= 0; i--) Reflect.deleteProperty(object, names[i] as string);
        volatileNames.delete(object);
      }
      if (isManaged(object)) clearManaged(object);
      else {
        object.#state = null;
        object.#setAside = undefined;
      }
      // After the state, so that code of the class that touches the object here loads nothing.
      object.#status = GHOST;
      object.#serial = undefined;
    };

    // Only text that is compiled here can name the private state; the two functions are used by it alone.
    void [load, register];
    const factory = accessorFactory(
      (key, number) =>
        // biome-ignore lint/security/noGlobalEval: the one foreign thing in the text is a plain identifier
        eval(`({
          get() { /* ${number} */ const s = this.#state; return s === null ? load(this).${key} : s.${key}; },
          set(v) { /* ${number} */ if (this.#status < ${CHANGED}) register(this); this.#state.${key} = v; },
        })`) as AccessorPair,
      (key) => ({
        get(this: Persistent) {
          const state = this.#state === null ? load(this) : (this.#state as Fields);
          return Object.hasOwn(state, key) ? state[key] : undefined;
        },
        set(this: Persistent, value: unknown) {
          if (this.#status < CHANGED) register(this);
          setField(this.#state as Fields, key, value);
        },
      }),
    );

    const fieldsByPrototype = new WeakMap<object, ClassFields>();
    const classFields = (prototype: object): ClassFields => {
      let fields = fieldsByPrototype.get(prototype);
      if (!fields) {
        fields = new ClassFields(prototype, Persistent.prototype, factory);
        fieldsByPrototype.set(prototype, fields);
      }
      return fields;
    };
    const fieldsOfClass = (object: Persistent): ClassFields =>
      object.#shape?.owner ?? classFields(Object.getPrototypeOf(object) as object);

    /** Moves plain properties, which a constructor or `setState` made, into the state. */
    const absorb = (object: Persistent): void => {
      requireExtensible(object);
      const former = object.#state ?? undefined;
      const names = plainNames(object, former);
      if (names.length === 0) {
        object.#state = former ?? {};
        return;
      }
      const reserved = names.find(isReserved);
      if (reserved !== undefined) {
        throw new SerializationError(`${describe(object)} has a field '${reserved}', which is no name for a field`);
      }
      const taken = takeAway(object, names);
      const volatile = names.filter(isVolatile);
      let state = former;
      if (!state && volatile.length === 0) state = taken;
      else {
        state ??= {};
        for (const key of names) if (!isVolatile(key)) setField(state, key, taken[key]);
      }
      object.#state = state;
      object.#shape = settle(object, state, fieldsOfClass(object));
      if (volatile.length === 0) return;
      for (const key of volatile) definePlain(object, key, taken[key], false);
      volatileNames.set(object, volatile);
    };

    /** Properties that are not tracked; a tracked field stands in the state already, or was deleted and is listed still. */
    const plainNames = (object: Persistent, state: Fields | undefined): readonly string[] => {
      const names = volatileNames.has(object) ? Object.getOwnPropertyNames(object) : Object.keys(object);
      return state ? names.filter((key) => !Object.hasOwn(state, key) && isPlain(object, key)) : names;
    };

    /**
     * Takes plain properties away, and returns their values. The last one first: the engine undoes the way in which they were added, and
     * the object ends up with the same hidden class as a ghost. Turning a plain field into an accessor in place would make the object a
     * slow dictionary for ever.
     */
    const takeAway = (object: Persistent, names: readonly string[]): Fields => {
      const values: Fields = {};
      for (const key of names) setField(values, key, (object as unknown as Fields)[key]);
      for (let i = names.length - 1; i >= 0; i--) {
        if (Reflect.deleteProperty(object, names[i] as string)) continue;
        for (let j = i + 1; j < names.length; j++)
          definePlain(object, names[j] as string, values[names[j] as string], true);
        throw new SerializationError(
          `${describe(object)}.${names[i]} is not configurable: it cannot become a tracked field`,
        );
      }
      return values;
    };

    installFields = (object, state) => {
      if (object.#state === undefined) {
        for (const [key, value] of Object.entries(state)) definePlain(object, key, value, true);
        return;
      }
      const fields = fieldsOfClass(object);
      const { defaults } = fields;
      if (defaults !== undefined) addDefaults(state, defaults);
      object.#state = state;
      if (object.#shape !== fields.shape || !fits(fields.shape, state)) object.#shape = settle(object, state, fields);
    };

    internals = {
      isManaged,
      makeShell(cls) {
        const shell = Reflect.construct(Persistent, NO_ARGUMENTS, cls) as Persistent;
        const { shape } = classFields(cls.prototype as object);
        const { required, optional } = shape;
        for (let i = 0; i < required.length; i++) {
          const field = required[i] as Field;
          if (field.fixed) Object.defineProperty(shell, field.key, field.fixed);
        }
        for (let i = 0; i < optional.length; i++) {
          const field = optional[i] as Field;
          if (field.removable) Object.defineProperty(shell, field.key, field.removable);
        }
        shell.#state = null;
        shell.#shape = shape;
        return shell;
      },
      classFields: (cls) => classFields(cls.prototype as object),
      place(object, jar, oid, status) {
        object.#jar = jar;
        object.#oid = oid;
        object.#serial = undefined;
        object.#status = status === 'ghost' ? GHOST : CHANGED;
      },
      unplace(object) {
        object.#jar = undefined;
        object.#oid = undefined;
        object.#serial = undefined;
        object.#status = NEW;
      },
      dropState,
      adoptFields: absorb,
      fill(object, state, serial, sizeBytes) {
        object.#status = NEW;
        try {
          if (isManaged(object)) object.setState(state);
          else {
            object.#state ??= {};
            object.setState(state);
            if (object.setState !== Persistent.prototype.setState) absorb(object);
          }
        } catch (error) {
          for (const key of isManaged(object) ? [] : Object.keys(object)) {
            if (isPlain(object, key)) Reflect.deleteProperty(object, key);
          }
          dropState(object);
          throw error;
        }
        object.#serial = serial;
        object.#recordBytes = sizeBytes;
        object.#status = CLEAN;
      },
      stored(object, serial, sizeBytes) {
        object.#recordBytes = sizeBytes;
        // Made a ghost meanwhile: the next touch loads what was stored.
        if (object.#status === GHOST) return;
        object.#serial = serial;
        if (object.#status !== RESTING) object.#status = CLEAN;
      },
      rest(object) {
        if (object.#status !== CLEAN) return false;
        if (isManaged(object)) hideManaged(object);
        else {
          object.#setAside = object.#state as Fields;
          object.#state = null;
        }
        object.#status = RESTING;
        return true;
      },
      fields(object) {
        if (object.#status < CLEAN) load(object);
        if (object.#state) {
          // Properties that were defined past the setters, or assigned while the object had no place.
          if (!object.#shape || !listsJust(object, object.#shape)) absorb(object);
          return object.#state;
        }
        const plain: Fields = {};
        for (const key of Object.keys(object)) {
          if (!isVolatile(key)) setField(plain, key, (object as unknown as Fields)[key]);
        }
        return plain;
      },
      readable(object) {
        if (object.#status < CLEAN) load(object);
      },
      writable(object) {
        if (object.#status < CHANGED) register(object);
      },
    };

    // Only keys that an object does not have come this far up its prototypes.
    const chainEnd = new Proxy({}, {
      get(_, key, receiver: Persistent) {
        if (typeof key === 'symbol' || key in Object.prototype) return Reflect.get(Object.prototype, key, receiver);
        if (isReserved(key) || isVolatile(key) || !(#status in receiver) || receiver.#status !== GHOST)
          return undefined;
        load(receiver);
        return Object.hasOwn(receiver, key) ? (receiver as unknown as Fields)[key] : undefined;
      },
      has: (_, key) => key in Object.prototype,
      set(_, key, value, receiver: Persistent) {
        if (key === '__proto__') return Reflect.set(Object.prototype, key, value, receiver);
        if (!(#status in receiver)) return definePlain(receiver, key, value, true);
        if (typeof key === 'symbol') return definePlain(receiver, key, value, false);
        if (isReserved(key)) {
          throw argumentTypeError('ARG_RESERVED_FIELD', `'${key}' is no name for a field of ${describe(receiver)}`);
        }
        if (isVolatile(key)) {
          if (receiver.#status === GHOST) load(receiver);
          if (!definePlain(receiver, key, value, false)) return false;
          const names = volatileNames.get(receiver);
          if (names) names.push(key);
          else volatileNames.set(receiver, [key]);
          return true;
        }
        if (receiver.#status === NEW) return definePlain(receiver, key, value, true);
        if (receiver instanceof ManagedPersistent) {
          allowChange(receiver);
          throw argumentTypeError('ARG_UNKNOWN_FIELD', `${describe(receiver)} stores no field '${key}'`);
        }
        if (!Object.isExtensible(receiver)) return false;
        if (receiver.#status < CHANGED) register(receiver);
        const { removable } = fieldsOfClass(receiver).field(key);
        setField(receiver.#state as Fields, key, value);
        // Loading may have made the accessor.
        return Object.hasOwn(receiver, key) || !removable || Reflect.defineProperty(receiver, key, removable);
      },
    } as ProxyHandler<object>);
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

  /** To be called first in whatever changes: loads a ghost, and registers the change. Nothing was changed if it throws. */
  protected writable(): void {
    internals.writable(this);
  }

  /** For a class that does not call `readable` where it sees that it is loaded: makes it call. The object rests. */
  protected hideState(): void {}

  /** Takes `hideState` back. */
  protected showState(): void {}

  /** Called before a change is registered; throws to refuse it. */
  protected allowChange(): void {}

  protected override jsonState(): unknown {
    return this.getState();
  }

  static {
    clearManaged = (object) => object.clearState();
    hideManaged = (object) => object.hideState();
    showManaged = (object) => object.showState();
    allowChange = (object) => object.allowChange();
  }
}

/** @throws SerializationError for a frozen object: its fields could not be tracked, and freezing does not protect what is stored. */
export function requireExtensible(object: Persistent): void {
  if (!Object.isExtensible(object)) {
    throw new SerializationError(`${describe(object)} is frozen, sealed or not extensible: it cannot be stored`);
  }
}

/**
 * For collections that store no fields of their own.
 *
 * @throws SerializationError when a subclass has declared one: it would be lost.
 */
export function requireNoFields(object: ManagedPersistent): void {
  const field = Object.keys(object).find((key) => !isVolatile(key));
  if (field === undefined) return;
  throw new SerializationError(
    `${describe(object)} stores no field '${field}': let an object of another class hold both, or keep it as an entry`,
  );
}

function hasPlainJson(value: object): value is Persistent {
  return value instanceof Persistent && value.toJSON === Persistent.prototype.toJSON;
}
