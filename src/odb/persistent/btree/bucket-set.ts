import { registerInternal } from '../../serialize/registry.js';
import { fillFrom, keysAsEntries, notFilled } from './bulk.js';
import type { Key, KeyOf, KeysAlone } from './keys.js';
import { mergeBuckets } from './merge.js';
import type { LeafState } from './node.js';
import { TREE } from './ordered-collection.js';
import { OrderedSet } from './ordered-set.js';

/**
 * An ordered set in one record: for up to some hundreds of keys, which are written together. The larger `TreeSet` is made of these.
 *
 * Two transactions that change it merge, if they touch different keys and neither empties it.
 */
export class BucketSet<K extends Key = Key> extends OrderedSet<K> {
  /** An empty one; one with entries is made by `BucketSet.from`. */
  constructor(nothing?: undefined) {
    super(undefined);
    if (nothing !== undefined) throw notFilled('BucketSet');
  }

  /** A new set of these keys, in any order. */
  static from<K>(keys: Iterable<K> & KeysAlone<K>): BucketSet<KeyOf<K>> {
    const bucket = new BucketSet<KeyOf<K>>();
    fillFrom(bucket[TREE], keysAsEntries<KeyOf<K>, undefined>(keys as Iterable<KeyOf<K>>));
    return bucket;
  }

  static resolveConflict(base: unknown, committed: unknown, mine: unknown): LeafState {
    return mergeBuckets(base, committed, mine);
  }
}

registerInternal({ 'holdfast.BucketSet': BucketSet });
