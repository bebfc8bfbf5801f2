import { inspect } from 'node:util';
import { argumentRangeError, argumentTypeError } from '../../../base/index.js';
import { compareKeys, type Key, ownKey } from './keys.js';
import type { NodeTree } from './node-tree.js';
import { OrderedCollection } from './ordered-collection.js';

type Entry<K, V> = readonly [K, V];

/** What a constructor throws that is given entries, and would begin empty. */
export function notFilled(cls: string): TypeError {
  return argumentTypeError('ARG_ENTRIES', `new ${cls} makes an empty one: use ${cls}.from(…), or load`);
}

/** @throws TypeError (`ARG_ENTRIES`) for what cannot be walked over. */
export function requireIterable(source: unknown): void {
  if (source !== undefined && source !== null && typeof Object(source)[Symbol.iterator] === 'function') return;
  throw argumentTypeError('ARG_ENTRIES', `${inspect(source, { depth: 0 })} is nothing that can be walked over`);
}

/** @throws TypeError (`ARG_ENTRIES`) for what is no pair. */
export function requireEntry(entry: unknown): void {
  if (typeof entry === 'object' && entry !== null) return;
  throw argumentTypeError('ARG_ENTRIES', `${inspect(entry)} is no pair of a key and a value`);
}

/**
 * Fills an empty collection with entries whose keys ascend. Nothing is changed if it throws.
 *
 * @throws RangeError (`ARG_NOT_ASCENDING`, `ARG_NOT_EMPTY`). TypeError (`ARG_KEY`)
 */
export function loadAscending<K, V>(tree: NodeTree<K, V>, entries: Iterable<Entry<K, V>>): void {
  if (tree.firstLeaf().keys.length > 0) {
    throw argumentRangeError('ARG_NOT_EMPTY', 'load fills empty collections: use update for one that has keys already');
  }
  requireIterable(entries);
  const collected = new Ascending(tree);
  for (const entry of entries) {
    requireEntry(entry);
    const [key, value] = entry;
    if (collected.push(key, value)) continue;
    throw argumentRangeError(
      'ARG_NOT_ASCENDING',
      `load takes ascending keys, and key ${collected.count} is not after the one before it: use update, or from`,
    );
  }
  collected.fill();
}

/** Fills a new collection with entries in any order, the last of equal keys winning; as fast as `load` as long as they ascend. */
export function fillFrom<K, V>(tree: NodeTree<K, V>, entries: Iterable<Entry<K, V>>): void {
  requireIterable(entries);
  const collected = new Ascending(tree);
  let isAscending = true;
  for (const entry of entries) {
    requireEntry(entry);
    const [key, value] = entry;
    if (isAscending) {
      if (collected.push(key, value)) continue;
      isAscending = false;
      collected.fill();
    }
    tree.put(key, value, true);
  }
  if (isAscending) collected.fill();
}

class Ascending<K, V> {
  readonly #tree: NodeTree<K, V>;
  readonly #keys: K[] = [];
  readonly #values: V[] | undefined;

  constructor(tree: NodeTree<K, V>) {
    this.#tree = tree;
    this.#values = tree.hasValues ? [] : undefined;
  }

  get count(): number {
    return this.#keys.length;
  }

  /** Takes the entry, unless its key is not after the one before. */
  push(key: K, value: V): boolean {
    const own = ownKey(key);
    if (this.#keys.length > 0 && compareKeys(this.#keys.at(-1), own) >= 0) return false;
    this.#keys.push(own);
    this.#values?.push(value);
    return true;
  }

  fill(): void {
    if (this.#keys.length > 0) this.#tree.fill(this.#keys, this.#values);
  }
}

/** The keys of a collection or of anything else, ascending, each once. */
export function sortedKeys<K extends Key>(source: OrderedCollection<K, unknown> | Iterable<K>): Iterable<K> {
  if (source instanceof OrderedCollection) return source.keys();
  requireIterable(source);
  const keys = [...source].map(ownKey).sort(compareKeys);
  return keys.filter((key, i) => i === 0 || compareKeys(keys[i - 1], key) !== 0);
}

/** Entries in any order as ascending ones, the last of equal keys winning. */
export function sortedEntries<K extends Key, V>(source: Iterable<Entry<K, V>>): Iterable<Entry<K, V>> {
  requireIterable(source);
  const entries = [...source].map((entry) => {
    requireEntry(entry);
    return [ownKey(entry[0]), entry[1]] as const;
  });
  // The sort is stable: of equal keys the last one stays last.
  entries.sort(([a], [b]) => compareKeys(a, b));
  return entries.filter(([key], i) => {
    const next = entries[i + 1];
    return next === undefined || compareKeys(key, next[0]) !== 0;
  });
}

export function* keysAsEntries<K, V>(keys: Iterable<K>): Generator<Entry<K, V>> {
  requireIterable(keys);
  for (const key of keys) yield [key, undefined as V];
}

/** Which entries a walk over two ascending sequences gives: those of keys in the first alone, in both, in the second alone. */
export interface Wanted {
  readonly first: boolean;
  readonly both: boolean;
  readonly second: boolean;
}

/** Walks two ascending sequences side by side. Of entries in both the first one's is given. */
export function* mergeWalk<K, V>(
  first: Iterable<Entry<K, V>>,
  second: Iterable<Entry<K, V>>,
  wanted: Wanted,
): Generator<Entry<K, V>> {
  const others = second[Symbol.iterator]();
  let other = others.next();
  for (const entry of first) {
    let order = -1;
    while (!other.done) {
      order = compareKeys(entry[0], other.value[0]);
      if (order <= 0) break;
      if (wanted.second) yield other.value;
      other = others.next();
      order = -1;
    }
    if (order === 0) {
      if (wanted.both) yield entry;
      other = others.next();
    } else if (wanted.first) yield entry;
    else if (other.done && !wanted.second) return;
  }
  if (!wanted.second) return;
  for (; !other.done; other = others.next()) yield other.value;
}
