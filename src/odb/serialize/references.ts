import type { Oid } from '../ids.js';

/** A reference as a record holds it. */
export interface RecordReference {
  readonly oid: Oid;
  /** Name of the object's class, so that its ghost is made without a read. */
  readonly className: string;
  readonly kind: 'strong' | 'weak';
  /** Where the object is in another database of the same multi-database. */
  readonly databaseName?: string;
}

/** Gives the writer a reference for each persistent object that it meets; new objects get their oids here. */
export interface ReferenceWriter {
  /** Whether the value is stored as a reference. */
  isPersistent(value: object): boolean;
  /** @param where tells where the object was found; to be asked at once, if at all */
  reference(object: object, where: () => string): RecordReference;
}

/** Gives the reader the object for each reference of a record. */
export interface ReferenceReader {
  resolve(reference: RecordReference): unknown;
}

/**
 * A reference as conflict resolution sees it: an opaque value. Two of them can be compared for identity, by `equals`, since equal
 * references of one resolution are the same value; nothing is loaded.
 */
export class PersistentReference implements RecordReference {
  readonly oid: Oid;
  readonly className: string;
  readonly kind: 'strong' | 'weak';
  declare readonly databaseName?: string;

  constructor(reference: RecordReference) {
    this.oid = reference.oid;
    this.className = reference.className;
    this.kind = reference.kind;
    if (reference.databaseName !== undefined) this.databaseName = reference.databaseName;
  }

  /** Whether both mean the same object. */
  equals(other: PersistentReference): boolean {
    return this.oid === other.oid && this.databaseName === other.databaseName;
  }

  /** References have no order: a state that is sorted by objects cannot be merged. */
  [Symbol.toPrimitive](): never {
    throw new TypeError('references to persistent objects cannot be ordered or converted while a conflict is resolved');
  }
}
