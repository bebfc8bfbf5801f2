import { SerializationError } from '../errors.js';
import { registerInternal } from '../serialize/registry.js';
import { mergeMaps } from './merge.js';
import { ManagedPersistent, requireNoFields } from './persistent.js';

/** What a mapping can be filled from: an object, or pairs of key and value. */
export type Entries<V, K> = Iterable<readonly [K, V]> | { readonly [key: string]: V };

/**
 * A map that is stored as one record, and notices its changes. For up to some hundreds of entries; a `BTree` is for more.
 *
 * Keys are compared as by a `Map`: strings as a rule, also numbers or other values without an identity of their own, and persistent
 * objects. Two transactions that change different keys merge.
 */
export class PersistentMapping<V = unknown, K = string> extends ManagedPersistent implements Iterable<[K, V]> {
  #entries = new Map<K, V>();

  /** @param entries to begin with */
  constructor(entries?: Entries<V, K>) {
    super();
    if (entries !== undefined) this.#entries = new Map(pairsOf(entries));
  }

  /** Number of entries. */
  get size(): number {
    this.readable();
    return this.#entries.size;
  }

  get(key: K): V | undefined {
    this.readable();
    return this.#entries.get(key);
  }

  has(key: K): boolean {
    this.readable();
    return this.#entries.has(key);
  }

  set(key: K, value: V): this {
    this.writable();
    this.#entries.set(key, value);
    return this;
  }

  /** Removes a key; returns whether it was there. Without it nothing is changed. */
  delete(key: K): boolean {
    this.readable();
    if (!this.#entries.has(key)) return false;
    this.writable();
    return this.#entries.delete(key);
  }

  clear(): void {
    this.readable();
    if (this.#entries.size === 0) return;
    this.writable();
    this.#entries.clear();
  }

  /** The value of a key; stores and returns `value` where there is none. */
  setDefault(key: K, value: V): V {
    this.readable();
    if (this.#entries.has(key)) return this.#entries.get(key) as V;
    this.set(key, value);
    return value;
  }

  /** Sets many entries. */
  update(entries: Entries<V, K>): void {
    this.writable();
    for (const [key, value] of pairsOf(entries)) this.#entries.set(key, value);
  }

  /** Removes a key and returns its value, or `fallback` where it is not there. */
  pop(key: K, fallback?: V): V | undefined {
    this.readable();
    if (!this.#entries.has(key)) return fallback;
    const value = this.#entries.get(key);
    this.delete(key);
    return value;
  }

  keys(): MapIterator<K> {
    this.readable();
    return this.#entries.keys();
  }

  values(): MapIterator<V> {
    this.readable();
    return this.#entries.values();
  }

  entries(): MapIterator<[K, V]> {
    this.readable();
    return this.#entries.entries();
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }

  forEach(fn: (value: V, key: K, mapping: this) => void): void {
    for (const [key, value] of this.entries()) fn(value, key, this);
  }

  override getState(): Map<K, V> {
    this.readable();
    requireNoFields(this);
    return new Map(this.#entries);
  }

  override setState(state: unknown): void {
    if (!(state instanceof Map)) throw new SerializationError('the state of a PersistentMapping is not a map');
    this.#entries = state;
  }

  protected override clearState(): void {
    this.#entries = new Map();
  }

  /** An object, or pairs of key and value where not all keys are strings. */
  protected override jsonState(): unknown {
    const pairs = [...this.entries()];
    return pairs.every(([key]) => typeof key === 'string') ? Object.fromEntries(pairs) : pairs;
  }

  protected override inspectState(): Record<string, unknown> {
    return { entries: this.#entries };
  }

  /** Merges changes of different keys. */
  static resolveConflict<K, V>(base: Map<K, V>, committed: Map<K, V>, mine: Map<K, V>): Map<K, V> {
    return mergeMaps(base, committed, mine);
  }
}

function pairsOf<V, K>(entries: Entries<V, K>): Iterable<readonly [K, V]> {
  if (Symbol.iterator in entries) return entries as Iterable<readonly [K, V]>;
  return Object.entries(entries) as Iterable<readonly [unknown, V]> as Iterable<readonly [K, V]>;
}

registerInternal({ 'holdfast.PersistentMapping': PersistentMapping });
