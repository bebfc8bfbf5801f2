import { keysAsEntries, loadAscending, mergeWalk, requireIterable, sortedKeys, type Wanted } from './bulk.js';
import type { Key } from './keys.js';
import type { TreeGrowth } from './node-tree.js';
import { OrderedCollection, TREE } from './ordered-collection.js';
import { EntryWalk, type RangeOptions } from './range.js';

/** What sets in the order of their keys have in common. */
export abstract class OrderedSet<K extends Key> extends OrderedCollection<K, undefined> implements Iterable<K> {
  protected constructor(growth: TreeGrowth<K, undefined> | undefined) {
    super(false, growth);
  }

  // ---------------------------------------------------------------- asking

  has(key: K): boolean {
    return this[TREE].find(key).at >= 0;
  }

  /** The keys of a range, in order; the same as `keys`. */
  values(range: RangeOptions<K> = {}): IterableIterator<K> {
    return this.keys(range);
  }

  [Symbol.iterator](): IterableIterator<K> {
    return new EntryWalk<K, undefined, K>(this[TREE], 'key', {});
  }

  /** Calls `fn` for each key, in order. */
  forEach(fn: (key: K, set: this) => void): void {
    for (const key of this) fn(key, this);
  }

  /** Whether every key of this set is in `other`. */
  isSubsetOf(other: OrderedCollection<K, unknown> | Iterable<K>): boolean {
    return this.#walk(other, { first: true, both: false, second: false }).next().done === true;
  }

  /** Whether every key of `other` is in this set. */
  isSupersetOf(other: OrderedCollection<K, unknown> | Iterable<K>): boolean {
    return this.#walk(other, { first: false, both: false, second: true }).next().done === true;
  }

  /** Whether no key is in both. */
  isDisjointFrom(other: OrderedCollection<K, unknown> | Iterable<K>): boolean {
    return this.#walk(other, { first: false, both: true, second: false }).next().done === true;
  }

  // ---------------------------------------------------------------- changing

  /** Adds a key. */
  add(key: K): this {
    this[TREE].put(key, undefined, false);
    return this;
  }

  /** Adds a key; returns whether it was not there yet. */
  insert(key: K): boolean {
    return this[TREE].put(key, undefined, false);
  }

  /** Removes the least key and returns it; `undefined` where there is none. */
  pop(): K | undefined {
    const key = this.minKey();
    if (key !== undefined) this[TREE].remove(key);
    return key;
  }

  /** Adds many keys, in any order. */
  update(keys: Iterable<K>): void {
    requireIterable(keys);
    for (const key of keys) this.add(key);
  }

  /**
   * Fills the empty set with ascending keys: several times as fast as adding them. Nothing is changed if it throws.
   *
   * @throws RangeError (`ARG_NOT_ASCENDING`, `ARG_NOT_EMPTY`)
   */
  load(keys: Iterable<K>): this {
    loadAscending(this[TREE], keysAsEntries<K, undefined>(keys));
    return this;
  }

  protected override jsonState(): unknown {
    return [...this];
  }

  // ---------------------------------------------------------------- algebra

  /** A new set of the keys of both. */
  union(other: OrderedCollection<K, unknown> | Iterable<K>): this {
    return this.#combined(other, { first: true, both: true, second: true });
  }

  /** A new set of the keys that are in both. */
  intersection(other: OrderedCollection<K, unknown> | Iterable<K>): this {
    return this.#combined(other, { first: false, both: true, second: false });
  }

  /** A new set of the keys that are not in `other`. */
  difference(other: OrderedCollection<K, unknown> | Iterable<K>): this {
    return this.#combined(other, { first: true, both: false, second: false });
  }

  /** A new set of the keys that are in one of the two alone. */
  symmetricDifference(other: OrderedCollection<K, unknown> | Iterable<K>): this {
    return this.#combined(other, { first: true, both: false, second: true });
  }

  #combined(other: OrderedCollection<K, unknown> | Iterable<K>, wanted: Wanted): this {
    const result = this.emptyLike();
    loadAscending(result[TREE], this.#walk(other, wanted));
    return result;
  }

  #walk(other: OrderedCollection<K, unknown> | Iterable<K>, wanted: Wanted): Generator<readonly [K, undefined]> {
    return mergeWalk(keysAsEntries<K, undefined>(this), keysAsEntries<K, undefined>(sortedKeys(other)), wanted);
  }
}
