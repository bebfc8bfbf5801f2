import { registerInternal } from '../../serialize/registry.js';
import { fillFrom, notFilled } from './bulk.js';
import type { Key, KeyOf, KeysAlone } from './keys.js';
import { mergeBuckets } from './merge.js';
import type { LeafState } from './node.js';
import { TREE } from './ordered-collection.js';
import { OrderedMap } from './ordered-map.js';

/**
 * An ordered map in one record: for up to some hundreds of entries, which are written together. The larger `BTree` is made of these.
 *
 * Two transactions that change it merge, if they touch different keys and neither empties it.
 */
export class Bucket<K extends Key = Key, V = unknown> extends OrderedMap<K, V> {
  /** An empty one; one with entries is made by `Bucket.from`. */
  constructor(nothing?: undefined) {
    super(undefined);
    if (nothing !== undefined) throw notFilled('Bucket');
  }

  /** A new bucket with these entries, in any order; the last of equal keys wins. */
  static from<K, V>(entries: Iterable<readonly [K, V]> & KeysAlone<K>): Bucket<KeyOf<K>, V> {
    const bucket = new Bucket<KeyOf<K>, V>();
    fillFrom(bucket[TREE], entries as Iterable<readonly [KeyOf<K>, V]>);
    return bucket;
  }

  static resolveConflict(base: unknown, committed: unknown, mine: unknown): LeafState {
    return mergeBuckets(base, committed, mine);
  }
}

registerInternal({ 'holdfast.Bucket': Bucket });
