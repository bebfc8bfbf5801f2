import { persistable } from 'holdfast/odb';
import { Bucket } from '#src/odb/persistent/btree/bucket.js';
import { BucketSet } from '#src/odb/persistent/btree/bucket-set.js';
import type { Key } from '#src/odb/persistent/btree/keys.js';
import { mergeBuckets } from '#src/odb/persistent/btree/merge.js';
import { type LeafNode, NODE } from '#src/odb/persistent/btree/node.js';
import { OrderedMap } from '#src/odb/persistent/btree/ordered-map.js';
import { OrderedSet } from '#src/odb/persistent/btree/ordered-set.js';

const limits = { leafKeysMax: 4, branchChildrenMax: 4 };

/** A map whose nodes are so small that a hundred keys make a tree of four levels. */
export class SmallTree<K extends Key = Key, V = unknown> extends OrderedMap<K, V> {
  constructor() {
    super({ newLeaf: () => new Bucket()[NODE] as LeafNode<K, V>, ...limits });
  }

  static resolveConflict(base: unknown, committed: unknown, mine: unknown): unknown {
    return mergeBuckets(base, committed, mine);
  }
}

/** A map whose nodes are just large enough to be searched by the heads of strings; some hundred keys make a tree of three levels. */
export class MiddleTree<K extends Key = Key, V = unknown> extends OrderedMap<K, V> {
  constructor() {
    super({ newLeaf: () => new Bucket()[NODE] as LeafNode<K, V>, leafKeysMax: 16, branchChildrenMax: 24 });
  }
}

/** A set of nodes as those of `SmallTree`. */
export class SmallTreeSet<K extends Key = Key> extends OrderedSet<K> {
  constructor() {
    super({ newLeaf: () => new BucketSet()[NODE] as LeafNode<K, undefined>, ...limits });
  }

  static resolveConflict(base: unknown, committed: unknown, mine: unknown): unknown {
    return mergeBuckets(base, committed, mine);
  }
}

persistable('test.trees', import.meta, { SmallTree, SmallTreeSet, MiddleTree });
