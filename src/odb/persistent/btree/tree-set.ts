import { registerInternal } from '../../serialize/registry.js';
import { BucketSet } from './bucket-set.js';
import { fillFrom, keysAsEntries, notFilled } from './bulk.js';
import type { Key, KeyOf, KeysAlone } from './keys.js';
import { mergeBuckets } from './merge.js';
import { type LeafNode, type LeafState, NODE } from './node.js';
import type { TreeGrowth } from './node-tree.js';
import { TREE } from './ordered-collection.js';
import { OrderedSet } from './ordered-set.js';

/**
 * An ordered set of any size. A small one is one record; a larger one is a tree of buckets, which are loaded when they are needed and
 * written when they are changed.
 *
 * Transactions that change different buckets do not meet. Two that change the same one merge, if they touch different keys and neither
 * splits or empties it.
 */
export class TreeSet<K extends Key = Key> extends OrderedSet<K> {
  /** An empty one; one with entries is made by `TreeSet.from`. */
  constructor(nothing?: undefined) {
    super(growth as TreeGrowth<K, undefined>);
    if (nothing !== undefined) throw notFilled('TreeSet');
  }

  /** A new set of these keys, in any order. Fastest where they ascend. */
  static from<K>(keys: Iterable<K> & KeysAlone<K>): TreeSet<KeyOf<K>> {
    const tree = new TreeSet<KeyOf<K>>();
    fillFrom(tree[TREE], keysAsEntries<KeyOf<K>, undefined>(keys as Iterable<KeyOf<K>>));
    return tree;
  }

  /** A tree that is one bucket merges like one; inner nodes conflict. */
  static resolveConflict(base: unknown, committed: unknown, mine: unknown): LeafState {
    return mergeBuckets(base, committed, mine);
  }
}

const growth: TreeGrowth<Key, undefined> = {
  newLeaf: () => new BucketSet()[NODE] as LeafNode<Key, undefined>,
  leafKeysMax: 96,
  branchChildrenMax: 256,
};

registerInternal({ 'holdfast.TreeSet': TreeSet });
