import { registerInternal } from '../../serialize/registry.js';
import { Bucket } from './bucket.js';
import { fillFrom, notFilled } from './bulk.js';
import type { Key, KeyOf, KeysAlone } from './keys.js';
import { mergeBuckets } from './merge.js';
import { type LeafNode, type LeafState, NODE } from './node.js';
import type { TreeGrowth } from './node-tree.js';
import { TREE } from './ordered-collection.js';
import { OrderedMap } from './ordered-map.js';

/**
 * An ordered map of any size. A small one is one record; a larger one is a tree of buckets, which are loaded when they are needed and
 * written when they are changed.
 *
 * Transactions that change different buckets do not meet. Two that change the same one merge, if they touch different keys and neither
 * splits or empties it.
 *
 * ```ts
 * const ages = new BTree<string, number>();
 * ages.set('Ada', 36).set('Charles', 79);
 * [...ages.keys({ min: 'B' })]; // => [ 'Charles' ]
 * ```
 */
export class BTree<K extends Key = Key, V = unknown> extends OrderedMap<K, V> {
  /** An empty one; one with entries is made by `BTree.from`. */
  constructor(nothing?: undefined) {
    super(growth as TreeGrowth<K, V>);
    if (nothing !== undefined) throw notFilled('BTree');
  }

  /** A new tree with these entries, in any order; the last of equal keys wins. Fastest where the keys ascend. */
  static from<K, V>(entries: Iterable<readonly [K, V]> & KeysAlone<K>): BTree<KeyOf<K>, V> {
    const tree = new BTree<KeyOf<K>, V>();
    fillFrom(tree[TREE], entries as Iterable<readonly [KeyOf<K>, V]>);
    return tree;
  }

  /** A tree that is one bucket merges like one; inner nodes conflict. */
  static resolveConflict(base: unknown, committed: unknown, mine: unknown): LeafState {
    return mergeBuckets(base, committed, mine);
  }
}

const growth: TreeGrowth<Key, unknown> = {
  newLeaf: () => new Bucket()[NODE] as LeafNode<Key, unknown>,
  leafKeysMax: 96,
  branchChildrenMax: 256,
};

registerInternal({ 'holdfast.BTree': BTree });
