import { isDeepStrictEqual } from 'node:util';
import { MergeRefusedError } from '../errors.js';

/**
 * Merges two changes of one map: what either side added, removed or replaced, as long as they touched different keys.
 *
 * @throws MergeRefusedError when both touched the same key.
 */
export function mergeMaps<K, V>(
  base: ReadonlyMap<K, V>,
  committed: ReadonlyMap<K, V>,
  mine: ReadonlyMap<K, V>,
): Map<K, V> {
  const merged = new Map(committed);
  const untouched = (key: K) =>
    base.has(key) === committed.has(key) && (!base.has(key) || isDeepStrictEqual(base.get(key), committed.get(key)));
  const requireUntouched = (key: K) => {
    if (!untouched(key)) throw new MergeRefusedError(`both changed the key ${String(key)}`);
  };
  for (const [key, value] of mine) {
    if (base.has(key) && isDeepStrictEqual(base.get(key), value)) continue;
    requireUntouched(key);
    merged.set(key, value);
  }
  for (const key of base.keys()) {
    if (mine.has(key)) continue;
    requireUntouched(key);
    merged.delete(key);
  }
  return merged;
}
