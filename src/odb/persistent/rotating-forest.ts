import { argumentRangeError, type Duration, durationMs, systemClock } from '../../base/index.js';
import { registerInternal } from '../serialize/registry.js';
import { BTree } from './btree/btree.js';
import { type Bound, compareKeys, type Key } from './btree/keys.js';
import { type RangeOptions, requireRange } from './btree/range.js';
import { Persistent } from './persistent.js';

/** How long a {@link RotatingForest} keeps what it is given. */
export interface RotatingForestOptions {
  /** Each entry is kept for this time at least. */
  readonly period: Duration;
  /** Number of trees, 2 or more. Default 2. Entries are kept for up to `period × count ÷ (count - 1)`. */
  readonly count?: number;
}

/**
 * An ordered map that forgets: what was not set for a while goes, a whole B-tree at a time, at no cost per entry. For sessions, caches and
 * the like.
 *
 * Entries are set in the newest of a few trees. When that has been the newest for its share of the period, the next write puts a new one
 * before it, and drops the oldest. Reading never rotates, and what is read is not renewed by it.
 *
 * (After zope.bforest's periodic forests.)
 */
export class RotatingForest<K extends Key, V> extends Persistent implements Iterable<[K, V]> {
  /** Newest first. */
  private trees: readonly BTree<K, V>[];
  /** Since when the newest is the newest, in ms since the epoch; 0 while nothing was set. */
  private rotatedMs = 0;
  private readonly spanMs: number;

  /** @throws RangeError (`ARG_PERIOD`, `ARG_COUNT`). TypeError (`ARG_DURATION`). */
  constructor({ period, count = 2 }: RotatingForestOptions) {
    super();
    const periodMs = durationMs(period);
    if (!(periodMs > 0)) throw argumentRangeError('ARG_PERIOD', `a period of ${periodMs} ms is too short`);
    if (!Number.isInteger(count) || count < 2) {
      throw argumentRangeError('ARG_COUNT', `${String(count)} trees: give a whole number, 2 or more`);
    }
    this.trees = Array.from({ length: count }, () => new BTree<K, V>());
    this.spanMs = periodMs / (count - 1);
  }

  /** Puts a new tree before the others and drops the oldest, whatever the time is. */
  rotate(): void {
    this.trees = [new BTree<K, V>(), ...this.trees.slice(0, -1)];
    this.rotatedMs = this.nowMs;
  }

  private get nowMs(): number {
    return (this._p_jar?.clock ?? systemClock).now();
  }

  /** The tree that is written to. */
  private newest(): BTree<K, V> {
    const nowMs = this.nowMs;
    if (this.rotatedMs === 0) this.rotatedMs = nowMs;
    // Who comes after a long time drops them all.
    const spans = Math.min(Math.floor((nowMs - this.rotatedMs) / this.spanMs), this.trees.length);
    for (let i = 0; i < spans; i++) this.rotate();
    return this.trees[0] as BTree<K, V>;
  }

  // ---------------------------------------------------------------- asking

  /** The value of a key. @throws TypeError (`ARG_KEY`) for what is no key, as all methods that take one. */
  get(key: K): V | undefined {
    return this.trees.find((tree) => tree.has(key))?.get(key);
  }

  has(key: K): boolean {
    return this.trees.some((tree) => tree.has(key));
  }

  get isEmpty(): boolean {
    return this.trees.every((tree) => tree.isEmpty);
  }

  /** Number of keys. Visits every one. */
  get size(): number {
    let count = 0;
    for (const _ of this.keys()) count++;
    return count;
  }

  /** The least key, or the least one that is not before `from`; `undefined` where there is none. */
  minKey(from?: Bound<K>): K | undefined {
    return this.extreme((tree) => tree.minKey(from), 1);
  }

  /** The greatest key, or the greatest one that is not after `to`; `undefined` where there is none. */
  maxKey(to?: Bound<K>): K | undefined {
    return this.extreme((tree) => tree.maxKey(to), -1);
  }

  private extreme(of: (tree: BTree<K, V>) => K | undefined, sign: 1 | -1): K | undefined {
    let found: K | undefined;
    for (const tree of this.trees) {
      const key = of(tree);
      if (key !== undefined && (found === undefined || sign * compareKeys(key, found) < 0)) found = key;
    }
    return found;
  }

  /** Keys and values of a range, in the order of the keys. @throws TypeError (`ARG_RANGE`), as `keys` and `values`. */
  entries(range: RangeOptions<K> = {}): IterableIterator<[K, V]> {
    requireRange(range);
    return this.walk(range);
  }

  private *walk(range: RangeOptions<K>): IterableIterator<[K, V]> {
    const walks = this.trees.map((tree) => tree.entries(range));
    const heads = walks.map((walk) => walk.next());
    const sign = range.reverse ? -1 : 1;
    for (;;) {
      let first = -1;
      for (const [i, head] of heads.entries()) {
        if (head.done) continue;
        const order = first < 0 ? -1 : sign * compareKeys(head.value[0], heads[first]?.value[0]);
        if (order < 0) first = i;
        // A newer tree has this key too.
        else if (order === 0) heads[i] = (walks[i] as IterableIterator<[K, V]>).next();
      }
      if (first < 0) return;
      yield heads[first]?.value as [K, V];
      heads[first] = (walks[first] as IterableIterator<[K, V]>).next();
    }
  }

  /** The keys of a range, in order. */
  keys(range: RangeOptions<K> = {}): IterableIterator<K> {
    return partsOf(this.entries(range), 0);
  }

  /** The values of a range, in the order of their keys. */
  values(range: RangeOptions<K> = {}): IterableIterator<V> {
    return partsOf(this.entries(range), 1);
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entries();
  }

  // ---------------------------------------------------------------- changing

  /** Gives a key its value, and its time anew. */
  set(key: K, value: V): this {
    this.newest().set(key, value);
    return this;
  }

  /** Adds a key, if it is not there yet; returns whether it was added. */
  insert(key: K, value: V): boolean {
    const newest = this.newest();
    return !this.has(key) && newest.insert(key, value);
  }

  /** Removes a key; returns whether it was there. */
  delete(key: K): boolean {
    let wasThere = false;
    for (const tree of this.trees) wasThere = tree.delete(key) || wasThere;
    return wasThere;
  }

  /** Sets many entries. */
  update(entries: Iterable<readonly [K, V]>): void {
    for (const [key, value] of entries) this.set(key, value);
  }

  /** Removes everything, at once. */
  clear(): void {
    this.trees = this.trees.map(() => new BTree<K, V>());
    this.rotatedMs = 0;
  }
}

function* partsOf<K, V, I extends 0 | 1>(entries: Iterable<[K, V]>, part: I): IterableIterator<[K, V][I]> {
  for (const entry of entries) yield entry[part];
}

registerInternal({ 'holdfast.RotatingForest': RotatingForest });
