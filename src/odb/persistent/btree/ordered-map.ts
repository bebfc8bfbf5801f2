import {
  keysAsEntries,
  loadAscending,
  mergeWalk,
  requireEntry,
  requireIterable,
  sortedEntries,
  sortedKeys,
} from './bulk.js';
import type { Key } from './keys.js';
import type { TreeGrowth } from './node-tree.js';
import { OrderedCollection, TREE } from './ordered-collection.js';
import { EntryWalk, type RangeOptions, requireRange } from './range.js';

/** What maps in the order of their keys have in common. */
export abstract class OrderedMap<K extends Key, V> extends OrderedCollection<K, V> implements Iterable<[K, V]> {
  protected constructor(growth: TreeGrowth<K, V> | undefined) {
    super(true, growth);
  }

  // ---------------------------------------------------------------- asking

  /** The value of a key. @throws TypeError (`ARG_KEY`) for what is no key, as all methods that take one. */
  get(key: K): V | undefined {
    const { leaf, at } = this[TREE].find(key);
    return at < 0 ? undefined : (leaf.values as V[])[at];
  }

  has(key: K): boolean {
    return this[TREE].find(key).at >= 0;
  }

  /** The values of a range, in the order of their keys. */
  values(range: RangeOptions<K> = {}): IterableIterator<V> {
    requireRange(range);
    return new EntryWalk<K, V, V>(this[TREE], 'value', range);
  }

  /** Keys and values of a range, in the order of the keys. */
  entries(range: RangeOptions<K> = {}): IterableIterator<[K, V]> {
    requireRange(range);
    return new EntryWalk<K, V, [K, V]>(this[TREE], 'entry', range);
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return new EntryWalk<K, V, [K, V]>(this[TREE], 'entry', {});
  }

  /** Calls `fn` for each entry, in the order of the keys. */
  forEach(fn: (value: V, key: K, map: this) => void): void {
    for (const [key, value] of this) fn(value, key, this);
  }

  // ---------------------------------------------------------------- changing

  /** Gives a key its value, new or another one. */
  set(key: K, value: V): this {
    this[TREE].put(key, value, true);
    return this;
  }

  /** Adds a key, if it is not there yet; returns whether it was added. */
  insert(key: K, value: V): boolean {
    return this[TREE].put(key, value, false);
  }

  /** The value of a key; stores and returns `value` where there is none. */
  setDefault(key: K, value: V): V {
    return this[TREE].put(key, value, false) ? value : (this.get(key) as V);
  }

  /** Removes a key and returns its value, or `fallback` where it is not there. */
  pop(key: K): V | undefined;
  pop<F>(key: K, fallback: F): V | F;
  pop(key: K, fallback?: unknown): unknown {
    const { leaf, at } = this[TREE].find(key);
    if (at < 0) return fallback;
    const value = leaf.values?.[at];
    this[TREE].remove(key);
    return value;
  }

  /** Removes the entry with the least key and returns it; `undefined` where there is none. */
  popItem(): [K, V] | undefined {
    const { keys, values } = this[TREE].firstLeaf();
    if (keys.length === 0) return undefined;
    const entry: [K, V] = [keys[0] as K, values?.[0] as V];
    this[TREE].remove(entry[0]);
    return entry;
  }

  /** Sets many entries, in any order. @throws TypeError (`ARG_ENTRIES`), once those before are set. */
  update(entries: Iterable<readonly [K, V]>): void {
    requireIterable(entries);
    for (const entry of entries) {
      requireEntry(entry);
      this.set(entry[0], entry[1]);
    }
  }

  /**
   * Fills the empty map with entries whose keys ascend: several times as fast as setting them. Nothing is changed if it throws.
   *
   * @throws RangeError (`ARG_NOT_ASCENDING`, `ARG_NOT_EMPTY`)
   */
  load(entries: Iterable<readonly [K, V]>): this {
    loadAscending(this[TREE], entries);
    return this;
  }

  /** An object, or pairs of key and value where not all keys are strings. */
  protected override jsonState(): unknown {
    const pairs = [...this];
    return pairs.every(([key]) => typeof key === 'string') ? Object.fromEntries(pairs) : pairs;
  }

  // ---------------------------------------------------------------- algebra

  /** A new map of the entries of both. Where both have a key, the value is this map's. */
  union(other: Iterable<readonly [K, V]>): this {
    const others = other instanceof OrderedMap ? other : sortedEntries(other);
    return this.emptyLike().load(mergeWalk(this, others, { first: true, both: true, second: true }));
  }

  /** A new map of the entries whose keys `other` has too. */
  intersection(other: OrderedCollection<K, unknown> | Iterable<K>): this {
    const others = keysAsEntries<K, V>(sortedKeys(other));
    return this.emptyLike().load(mergeWalk(this, others, { first: false, both: true, second: false }));
  }

  /** A new map of the entries whose keys `other` does not have. */
  difference(other: OrderedCollection<K, unknown> | Iterable<K>): this {
    const others = keysAsEntries<K, V>(sortedKeys(other));
    return this.emptyLike().load(mergeWalk(this, others, { first: true, both: false, second: false }));
  }
}
