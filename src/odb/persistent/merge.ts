import { inspect, isDeepStrictEqual } from 'node:util';
import { MergeRefusedError } from '../errors.js';
import { PersistentReference } from '../serialize/references.js';

/**
 * Merges two changes of one map: what either side added, removed or replaced, as long as they touched different keys.
 * The keys that `committed` added stand before those that `mine` did.
 *
 * @throws MergeRefusedError when both touched the same key, or a key is an object (a date, an array), which is another one in each of
 * the three states.
 */
export function mergeMaps<K, V>(
  base: ReadonlyMap<K, V>,
  committed: ReadonlyMap<K, V>,
  mine: ReadonlyMap<K, V>,
): Map<K, V> {
  for (const map of [base, committed, mine]) requireComparableKeys(map);
  const merged = new Map(committed);
  for (const [key, value] of mine) {
    if (isSame(base, key, mine)) continue;
    requireUntouched(base, committed, key);
    merged.set(key, value);
  }
  for (const key of base.keys()) {
    if (mine.has(key)) continue;
    requireUntouched(base, committed, key);
    merged.delete(key);
  }
  return merged;
}

function isSame<K, V>(base: ReadonlyMap<K, V>, key: K, other: ReadonlyMap<K, V>): boolean {
  return base.has(key) === other.has(key) && isDeepStrictEqual(base.get(key), other.get(key));
}

function requireUntouched<K, V>(base: ReadonlyMap<K, V>, committed: ReadonlyMap<K, V>, key: K): void {
  if (!isSame(base, key, committed)) throw bothChanged(key);
}

/** The refusal to merge two changes of one key. */
export function bothChanged(key: unknown): MergeRefusedError {
  // A reference must not be turned into text.
  const shown = key instanceof PersistentReference ? `oid ${key.oid}` : inspect(key, { maxStringLength: 100 });
  return new MergeRefusedError(`both changed the key ${shown}`);
}

function requireComparableKeys<K, V>(map: ReadonlyMap<K, V>): void {
  for (const key of map.keys()) {
    // References are the same value wherever they mean the same object.
    if (typeof key === 'object' && key !== null && !(key instanceof PersistentReference)) {
      throw new MergeRefusedError('a key is an object, which cannot be compared with those of the other changes');
    }
  }
}
