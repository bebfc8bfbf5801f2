type Fields = Record<string, unknown>;

/** What is known of one field of a class. */
export interface Field {
  readonly key: string;
  /**
   * The accessor of a loaded object: `delete` fails, instead of going unnoticed. `undefined` where the key is stored, but is no
   * property of the object: a getter or setter of the class takes precedence, or the name is reserved.
   */
  readonly fixed: PropertyDescriptor | undefined;
  /** The accessor of a ghost, to be taken away when its record turns out not to have the key. */
  readonly removable: PropertyDescriptor | undefined;
}

/** The getter and the setter of one field. */
export interface AccessorPair {
  get(): unknown;
  set(value: unknown): void;
}

/** Makes the pair of a key, compiled from text of its own or not. */
export type AccessorFactory = (key: string, compiled: boolean) => AccessorPair;

/** The fields that ghosts of a class are made with, as long as nothing new is learned of the class. */
export interface Shape {
  readonly owner: ClassFields;
  /** Those that every record had, in the order of the first one. */
  readonly required: readonly Field[];
  /** Those that only some records had. They come last: the engine takes back cheaply only what was added last. */
  readonly optional: readonly Field[];
}

/** Each compiled pair costs some kilobytes; an object that is used as a dictionary has many keys, each used little. */
const COMPILED_KEYS_MAX = 200;

/**
 * The fields of one class, as far as this process has seen them: which keys a ghost is to list before its record is read, and their
 * accessors, made once for each class and key.
 */
export class ClassFields {
  /** Whether a record was read, or an object adopted: before, nothing is known. */
  learned = false;
  /** Whether the first object is just being loaded. */
  learning = false;
  shape: Shape = { owner: this, required: [], optional: [] };
  readonly #byKey = new Map<string, Field>();
  readonly #prototype: object;
  readonly #end: object;
  readonly #factory: AccessorFactory;

  /**
   * @param prototype of the class
   * @param end the prototype at which the classes of the user end
   */
  constructor(prototype: object, end: object, factory: AccessorFactory) {
    this.#prototype = prototype;
    this.#end = end;
    this.#factory = factory;
  }

  /** The values of fields that a record may lack; `undefined` where the class gives none. */
  get defaults(): unknown {
    return (this.#prototype.constructor as { defaults?: unknown }).defaults;
  }

  /** The field of a key, which from now on is known to occur. */
  field(key: string): Field {
    return this.#byKey.get(key) ?? this.#add(key, false);
  }

  /** Learns from the keys of a state. */
  learn(state: object): void {
    if (!this.learned) {
      for (const key of Object.keys(state)) if (!this.#byKey.has(key)) this.#add(key, true);
      this.learned = true;
    }
    const missing = this.shape.required.filter(({ key }) => !Object.hasOwn(state, key));
    if (missing.length === 0) return;
    this.shape = {
      owner: this,
      required: this.shape.required.filter((field) => !missing.includes(field)),
      optional: [...this.shape.optional, ...missing],
    };
  }

  #add(key: string, required: boolean): Field {
    const pair = this.#isHidden(key)
      ? undefined
      : { ...this.#factory(key, isCompilable(key) && this.#byKey.size < COMPILED_KEYS_MAX), enumerable: true };
    const field: Field = {
      key,
      fixed: pair && { ...pair, configurable: false },
      removable: pair && { ...pair, configurable: true },
    };
    this.#byKey.set(key, field);
    const { shape } = this;
    this.shape = required
      ? { ...shape, required: [...shape.required, field] }
      : { ...shape, optional: [...shape.optional, field] };
    return field;
  }

  #isHidden(key: string): boolean {
    if (isReserved(key) || isVolatile(key)) return true;
    for (let at: object | null = this.#prototype; at && at !== this.#end; at = Object.getPrototypeOf(at)) {
      const own = Object.getOwnPropertyDescriptor(at, key);
      if (own) return own.get !== undefined || own.set !== undefined;
    }
    return false;
  }
}

/** Makes the accessors of an object agree with the keys of its state. */
export function settle(object: object, state: object, fields: ClassFields): Shape {
  if (fits(fields.shape, state)) {
    const { required } = fields.shape;
    for (let i = 0; i < required.length; i++) makeTracked(object, required[i] as Field);
    return fields.shape;
  }
  fields.learn(state);
  const found = Object.keys(state).map((key) => fields.field(key));
  const { shape } = fields;
  // All that can be taken away goes, the last one first, and what the record has comes back to stay: only so the engine keeps the
  // object fast. Nothing can be taken away from an object that was loaded before.
  for (let i = shape.optional.length - 1; i >= 0; i--) Reflect.deleteProperty(object, (shape.optional[i] as Field).key);
  for (const field of found) makeTracked(object, field);
  return shape;
}

function makeTracked(object: object, { key, fixed }: Field): void {
  if (fixed && !Object.hasOwn(object, key)) Object.defineProperty(object, key, fixed);
}

/** Whether a state has just the keys of a shape, in its order: then an object that was made with it needs no more accessors. */
export function fits(shape: Shape, state: object): boolean {
  const { required, optional } = shape;
  if (optional.length > 0) return false;
  let count = 0;
  for (const key in state) {
    if (count === required.length || required[count]?.key !== key) return false;
    count++;
  }
  return count === required.length;
}

/** Whether an object lists just the fields of a shape, in its order: one that was settled with it has nothing else then. */
export function listsJust(object: object, { required, optional }: Shape): boolean {
  if (optional.length > 0) return false;
  const keys = Object.keys(object);
  if (keys.length !== required.length) return false;
  for (let i = 0; i < keys.length; i++) if (keys[i] !== (required[i] as Field).key) return false;
  return true;
}

const PLAIN_IDENTIFIER = /^[A-Za-z_$][A-Za-z0-9_$]*$/;

/**
 * Whether a key may stand in text that is compiled. A key comes from a record, and so from whoever could write to the database: only
 * plain identifiers are ever compiled. What every object inherits needs a look at the state's own keys, which compiled text spares.
 */
export function isCompilable(key: string): boolean {
  return PLAIN_IDENTIFIER.test(key) && !(key in Object.prototype);
}

/** Volatile attributes are never stored, and vanish with the state. */
export function isVolatile(key: string): boolean {
  return key.startsWith('_v_');
}

const RESERVED: ReadonlySet<string> = new Set(['then', 'constructor', 'getState', 'setState']);

/**
 * Names that are never a field: those of persistence itself, and two that the language asks every object for. Were `then` a field,
 * `await account` would load the account, and might call what it finds.
 */
export function isReserved(key: string): boolean {
  return RESERVED.has(key) || key.startsWith('_p_');
}

/**
 * Makes a factory of accessor pairs.
 *
 * One pair of functions for each class and key, with source text of its own: functions that share their text share what the engine
 * learned of them, and become slow once many classes use one key.
 *
 * @param compile makes a pair from text that has the key in it, and the number, by which no two texts are the same
 * @param close makes a pair from closures, where the key must not be compiled
 */
export function accessorFactory(
  compile: (key: string, number: number) => AccessorPair,
  close: (key: string) => AccessorPair,
): AccessorFactory {
  let isAllowed = true;
  let count = 0;
  return (key, compiled) => {
    if (!compiled || !isAllowed) return close(key);
    try {
      return compile(key, count++);
    } catch (error) {
      // Code generation from strings is switched off in this process.
      if (!(error instanceof EvalError)) throw error;
      isAllowed = false;
      return close(key);
    }
  };
}

/** Sets an own property whatever its name: `__proto__` is a name like any other. */
export function setField(state: Fields, key: string, value: unknown): void {
  if (key === '__proto__') definePlain(state, key, value, true);
  else state[key] = value;
}

export function definePlain(object: object, key: string | symbol, value: unknown, enumerable: boolean): boolean {
  return Reflect.defineProperty(object, key, { value, writable: true, enumerable, configurable: true });
}

export function isPlain(object: object, key: string): boolean {
  return Object.getOwnPropertyDescriptor(object, key)?.get === undefined;
}

export function addDefaults(state: Fields, defaults: unknown): void {
  const isFunction = typeof defaults === 'function';
  const values = (isFunction ? defaults() : defaults) as Fields;
  for (const key of Object.keys(values)) {
    if (Object.hasOwn(state, key)) continue;
    const value = values[key];
    // Objects of one class must not share a list that one of them may change.
    setField(state, key, !isFunction && typeof value === 'object' ? structuredClone(value) : value);
  }
}
