import { requireNoFields } from '../persistent.js';
import { checkNodes } from './check.js';
import type { Bound, Key } from './keys.js';
import {
  BranchNode,
  damaged,
  fillBranch,
  fillLeaf,
  isBranchState,
  isLeafState,
  LeafNode,
  NODE,
  type Node,
  NodeOwner,
  nodeState,
} from './node.js';
import { NodeTree, type TreeGrowth } from './node-tree.js';
import { EntryWalk, type RangeOptions, requireRange } from './range.js';

/** The nodes of a collection. */
export const TREE: unique symbol = Symbol('tree');

/**
 * What maps and sets in the order of their keys have in common.
 *
 * Keys are copied when they are added; the ones that are handed out must not be changed. While a collection is walked, values may be
 * replaced; adding or removing keys makes the walk throw {@link CollectionChangedError}.
 */
export abstract class OrderedCollection<K extends Key, V> extends NodeOwner {
  readonly [TREE]: NodeTree<K, V>;

  protected constructor(hasValues: boolean, growth: TreeGrowth<K, V> | undefined) {
    super();
    this[TREE] = new NodeTree<K, V>(this, hasValues, growth);
  }

  get [NODE](): Node {
    return this[TREE].root as Node;
  }

  // ---------------------------------------------------------------- asking

  /** Whether there are no keys. */
  get isEmpty(): boolean {
    return this[TREE].firstLeaf().keys.length === 0;
  }

  /** Number of keys. Visits every bucket: keep a `Length` beside a large tree whose size is asked for often. */
  get size(): number {
    let count = 0;
    for (let leaf: LeafNode<K, V> | undefined = this[TREE].firstLeaf(); leaf; leaf = leaf.next) {
      leaf.use();
      count += leaf.keys.length;
    }
    return count;
  }

  /** The least key, or the least one that is not before `from`; `undefined` where there is none. */
  minKey(from?: Bound<K>): K | undefined {
    if (from === undefined) return this[TREE].firstLeaf().keys[0];
    const place = this[TREE].placeFrom(from as K, false);
    return place?.leaf.keys[place.index];
  }

  /** The greatest key, or the greatest one that is not after `to`; `undefined` where there is none. */
  maxKey(to?: Bound<K>): K | undefined {
    if (to === undefined) return this[TREE].lastLeaf().keys.at(-1);
    const place = this[TREE].placeUpTo(to as K, false);
    return place?.leaf.keys[place.index];
  }

  /** The keys of a range, in order. Buckets are loaded as the walk comes to them. */
  keys(range: RangeOptions<K> = {}): IterableIterator<K> {
    requireRange(range);
    return new EntryWalk<K, V, K>(this[TREE], 'key', range);
  }

  // ---------------------------------------------------------------- changing

  /** Removes a key; returns whether it was there. */
  delete(key: K): boolean {
    return this[TREE].remove(key);
  }

  /**
   * Removes everything. Loads and writes every bucket, so that nothing that others add meanwhile is lost in silence; to drop a large
   * tree at no cost, put a new one in its place.
   */
  clear(): void {
    this[TREE].clear();
  }

  // ---------------------------------------------------------------- structure

  /**
   * Walks the whole structure, and throws if a rule of it does not hold: ascending keys, each within the bounds of its bucket, buckets
   * linked in order, none empty, all at one depth.
   *
   * @throws CorruptionError
   */
  check(): void {
    checkNodes(this[TREE] as NodeTree<unknown, unknown>);
  }

  /** An empty collection of the same class. */
  protected emptyLike(): this {
    return new (this.constructor as new () => this)();
  }

  override getState(): unknown {
    this.readable();
    requireNoFields(this);
    return nodeState(this[NODE]);
  }

  override setState(state: unknown): void {
    const tree = this[TREE] as NodeTree<unknown, unknown>;
    if (isLeafState(state)) {
      if (!tree.root.isLeaf) tree.root = new LeafNode(this, tree.hasValues);
      fillLeaf(tree.root as LeafNode, state);
    } else if (isBranchState(state) && tree.growth) {
      const top = new BranchNode(this);
      fillBranch(top, state);
      tree.root = top;
    } else throw damaged(this, 'its record is none of its kind');
  }

  protected override clearState(): void {
    const tree = this[TREE];
    if (tree.root.isLeaf) tree.root.clear();
    else tree.root = new LeafNode<K, V>(this, tree.hasValues);
  }

  protected override inspectState(): Record<string, unknown> {
    // Of one that rests, the node shows nothing.
    this.readable();
    const { root } = this[TREE];
    if (!root.isLeaf) return { children: root.children.map((child) => child.owner) };
    const { keys, values } = root;
    return values ? { entries: new Map(keys.map((key, i) => [key, values[i]])) } : { keys: new Set(keys) };
  }
}
