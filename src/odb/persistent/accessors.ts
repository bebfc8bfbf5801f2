/**
 * What is known of the fields of one class: their accessors, made once per class and key, and which keys a ghost is to have
 * before its record is read.
 */
export interface FieldAccessor {
  readonly key: string;
  /** For a key that every record seen had: it cannot be deleted by mistake. */
  readonly fixed: PropertyDescriptor;
  /** For a key that only some records have: it can be taken away once the record is read. */
  readonly removable: PropertyDescriptor;
  /** Whether every record seen so far had the key. */
  inEveryRecord: boolean;
}

/** The source of getter and setter functions of one field. */
export type AccessorFactory = (key: string) => { get: () => unknown; set: (value: unknown) => void };

/** The fields of one class, as far as this process has seen them. */
export class ClassFields {
  /** Whether an object of this class was ever loaded or adopted: only then its keys are known. */
  seen = false;
  readonly accessors = new Map<string, FieldAccessor>();
  /** The same, in order, for making ghosts. */
  readonly list: FieldAccessor[] = [];
  readonly #prototype: object;
  readonly #end: object;
  readonly #factory: AccessorFactory;

  /**
   * @param prototype of the class
   * @param end prototype at which the classes of the user end
   */
  constructor(prototype: object, end: object, factory: AccessorFactory) {
    this.#prototype = prototype;
    this.#end = end;
    this.#factory = factory;
  }

  /** The accessor of a key; `undefined` where a getter, setter or method of the class takes precedence. */
  accessor(key: string): FieldAccessor | undefined {
    const known = this.accessors.get(key);
    if (known) return known;
    if (this.#isDeclaredByClass(key)) return undefined;
    const pair = { ...this.#factory(key), enumerable: true };
    const accessor: FieldAccessor = {
      key,
      fixed: { ...pair, configurable: false },
      removable: { ...pair, configurable: true },
      // A key that comes up after others were seen cannot have been in every record.
      inEveryRecord: !this.seen,
    };
    this.accessors.set(key, accessor);
    this.list.push(accessor);
    return accessor;
  }

  #isDeclaredByClass(key: string): boolean {
    for (let at: object | null = this.#prototype; at && at !== this.#end; at = Object.getPrototypeOf(at)) {
      const own = Object.getOwnPropertyDescriptor(at, key);
      if (own) return own.get !== undefined || own.set !== undefined;
    }
    return false;
  }
}

const PLAIN_IDENTIFIER = /^[A-Za-z_$][A-Za-z0-9_$]*$/;
/** Words that may follow a dot, but have a meaning of their own somewhere; and what never is a field. */
const RESERVED = new Set(['__proto__', 'constructor', 'prototype', 'then']);

/**
 * Whether a key may stand in source text that is compiled. A key comes from a record, and so from whoever could write to
 * the database: only plain identifiers are ever compiled.
 */
export function isCompilable(key: string): boolean {
  return PLAIN_IDENTIFIER.test(key) && !RESERVED.has(key);
}
