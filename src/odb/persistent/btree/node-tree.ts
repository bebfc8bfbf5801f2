import { Persistent } from '../persistent.js';
import { TreeBranch } from './branch.js';
import { ownKey, requireKey } from './keys.js';
import { BranchNode, LeafNode, NODE, type Node, type NodeOwner } from './node.js';

/** What a tree is made of. */
export interface TreeGrowth<K, V> {
  /** Makes an empty leaf with an owner of its own. */
  readonly newLeaf: () => LeafNode<K, V>;
  /** Keys that a leaf holds at most: 2 or more. */
  readonly leafKeysMax: number;
  /** Children that a branch holds at most: 3 or more. */
  readonly branchChildrenMax: number;
}

/** A step of the way from the top of a tree to a leaf. */
interface Step<K, V> {
  readonly branch: BranchNode<K, V>;
  readonly index: number;
}

/** A leaf, and the index of an entry in it. */
export interface Place<K, V> {
  readonly leaf: LeafNode<K, V>;
  readonly index: number;
}

/** The leaf where a key is, or would be, and its index there, or `~index` of the first key after it. */
export interface Found<K, V> {
  readonly leaf: LeafNode<K, V>;
  readonly at: number;
}

/**
 * The nodes of one collection, and all that is done with them.
 *
 * A collection is one leaf, which is its own record, as long as that is small; a collection without `growth` always is. A larger one is
 * a tree: its own record is the topmost branch, every leaf and every other branch has a record of its own. Leaves are linked in
 * ascending order. In a tree no leaf is empty and no branch without children; nodes are split when they overflow, and dropped when they
 * become empty, but never joined otherwise.
 *
 * Transactions that change one tree at the same time are kept apart by the records that they write. A node that is dropped is stored
 * empty, and a split changes a leaf's successor: so whoever changed the same node meanwhile gets a conflict, rather than a change in a
 * node where nobody looks.
 */
export class NodeTree<K, V> {
  /** For an unloaded collection a leaf, whatever its record holds. */
  root: Node<K, V>;
  /** Counts keys added and removed through this object, so that a walk notices what is changed under it. */
  changeCount = 0;

  constructor(
    readonly owner: NodeOwner,
    readonly hasValues: boolean,
    /** What a tree is made of; `undefined` for a collection that is always one leaf. */
    readonly growth: TreeGrowth<K, V> | undefined,
  ) {
    this.root = new LeafNode<K, V>(owner, hasValues);
  }

  // ---------------------------------------------------------------- finding

  /** Finds a key, or the place where it would be. @throws TypeError (`ARG_KEY`) for what is no key. */
  find(key: K): Found<K, V> {
    if (typeof key === 'string') {
      const found = this.#guess(key);
      if (found) return found;
    }
    const leaf = this.#leafFor(key);
    return { leaf, at: leaf.find(key) };
  }

  /**
   * Finds a string, without a look at the prefixes of the branches on the way: were one of them not the string's, this is a wrong leaf.
   *
   * What is found is right wherever the leaf came from, and so is a place between two keys of a leaf, or behind the last one of all. Of
   * a place at another end of a leaf nothing is known, unless no branch guessed: then there is no answer.
   */
  #guess(key: K): Found<K, V> | undefined {
    this.root.use();
    let node = this.root;
    let isSure = true;
    while (!node.isLeaf) {
      if (node.hasHeads) isSure = false;
      node = node.children[node.guessChildIndex(key)] as Node<K, V>;
      node.use();
    }
    const at = node.find(key);
    if (isSure || at >= 0) return { leaf: node, at };
    const index = ~at;
    const isInside = index > 0 && (index < node.keys.length || node.next === undefined);
    return isInside ? { leaf: node, at } : undefined;
  }

  /** The leaf where a key is, or would be. @throws TypeError (`ARG_KEY`) for what is no key. */
  #leafFor(key: K): LeafNode<K, V> {
    requireKey(key);
    this.root.use();
    let node = this.root;
    while (!node.isLeaf) {
      node = node.children[node.childIndex(key)] as Node<K, V>;
      node.use();
    }
    return node;
  }

  /** The first leaf; empty only in an empty collection. */
  firstLeaf(): LeafNode<K, V> {
    this.root.use();
    return first(this.root);
  }

  /** The last leaf; empty only in an empty collection. */
  lastLeaf(): LeafNode<K, V> {
    this.root.use();
    return last(this.root);
  }

  /** The leaf before the one where a key is, or would be. */
  leafBefore(key: K): LeafNode<K, V> | undefined {
    return predecessor(this.#pathTo(key).path);
  }

  /** The first entry from a key on; behind the key, if `exclude`. */
  placeFrom(key: K, exclude: boolean): Place<K, V> | undefined {
    const { leaf, at } = this.find(key);
    const index = at < 0 ? ~at : exclude ? at + 1 : at;
    if (index < leaf.keys.length) return { leaf, index };
    const { next } = leaf;
    next?.use();
    return next && { leaf: next, index: 0 };
  }

  /** The last entry up to a key; before the key, if `exclude`. */
  placeUpTo(key: K, exclude: boolean): Place<K, V> | undefined {
    const { leaf, at } = this.find(key);
    const index = at < 0 ? ~at - 1 : exclude ? at - 1 : at;
    if (index >= 0) return { leaf, index };
    const before = this.leafBefore(key);
    return before && { leaf: before, index: before.keys.length - 1 };
  }

  #pathTo(key: K): { path: Step<K, V>[]; leaf: LeafNode<K, V> } {
    const path: Step<K, V>[] = [];
    this.root.use();
    let node = this.root;
    while (!node.isLeaf) {
      const index = node.childIndex(key);
      path.push({ branch: node, index });
      node = node.children[index] as Node<K, V>;
      node.use();
    }
    return { path, leaf: node };
  }

  // ---------------------------------------------------------------- adding

  /**
   * Gives a key its value. One that is there already keeps its value unless `replace`; writing the same primitive value, or the same
   * persistent object, again changes nothing.
   *
   * @returns whether the key is new
   */
  put(key: K, value: V, replace: boolean): boolean {
    // A guess is for keys that are there: for a new one at an end of its leaf, as all are that ascend, it would be made in vain.
    const leaf = this.#leafFor(key);
    const at = leaf.find(key);
    if (at >= 0) {
      if (replace && leaf.values && !isUnchanged(leaf.values[at], value)) {
        leaf.change();
        leaf.values[at] = value;
      }
      return false;
    }
    const own = ownKey(key);
    const { growth } = this;
    if (growth && leaf.keys.length >= growth.leafKeysMax) this.#putAndSplit(own, value, growth);
    else {
      leaf.change();
      leaf.insertAt(~at, own, value);
    }
    this.changeCount++;
    return true;
  }

  #putAndSplit(key: K, value: V, { newLeaf, branchChildrenMax }: TreeGrowth<K, V>): void {
    const { path, leaf } = this.#pathTo(key);
    // Ordering: what may fail comes before the first change.
    leaf.change();
    for (let depth = path.length - 1; depth >= 0; depth--) {
      const { branch } = path[depth] as Step<K, V>;
      branch.change();
      if (branch.children.length < branchChildrenMax) break;
    }
    const at = ~leaf.find(key);
    // Where keys are added in ascending order, the leaves left behind are full rather than half full.
    const isAppended = leaf.next === undefined && at === leaf.keys.length;
    leaf.insertAt(at, key, value);
    if (leaf === this.root) {
      const left = newLeaf();
      left.takeFrom(leaf);
      const right = splitLeaf(left, isAppended, newLeaf);
      const top = new BranchNode<K, V>(this.owner);
      top.set([right.keys[0] as K], [left, right]);
      this.root = top;
      return;
    }
    let child: Node<K, V> = splitLeaf(leaf, isAppended, newLeaf);
    let separator = child.keys[0] as K;
    for (let depth = path.length - 1; depth >= 0; depth--) {
      const { branch, index } = path[depth] as Step<K, V>;
      branch.insertAfter(index, separator, child);
      if (branch.children.length <= branchChildrenMax) return;
      if (depth > 0) ({ separator, right: child } = splitBranch<K, V>(branch, isAppended));
      else {
        const left = newBranch<K, V>();
        left.takeFrom(branch);
        const split = splitBranch<K, V>(left, isAppended);
        branch.set([split.separator], [left, split.right]);
      }
    }
  }

  // ---------------------------------------------------------------- removing

  /** Removes a key; returns whether it was there. */
  remove(key: K): boolean {
    const { leaf, at } = this.find(key);
    if (at < 0) return false;
    if (leaf.keys.length === 1 && leaf !== this.root) this.#removeLeaf(key);
    else {
      leaf.change();
      leaf.removeAt(at);
    }
    this.changeCount++;
    return true;
  }

  /** Removes the leaf of a key, its last one, and the branches that become empty by that. */
  #removeLeaf(key: K): void {
    const { path, leaf } = this.#pathTo(key);
    let depth = path.length - 1;
    while (depth > 0 && path[depth]?.branch.children.length === 1) depth--;
    // The lowest branch that remains, unless the tree becomes empty.
    const { branch, index } = path[depth] as Step<K, V>;
    const before = predecessor(path);
    const survivors =
      depth === 0 && branch.children.length === 2 ? this.#loneDescendants(branch.children[1 - index]) : [];
    // Ordering: what may fail comes before the first change.
    leaf.change();
    before?.change();
    for (let i = depth; i < path.length; i++) path[i]?.branch.change();
    for (const survivor of survivors) survivor.change();

    if (before) before.next = leaf.next;
    leaf.clear();
    for (let i = depth + 1; i < path.length; i++) path[i]?.branch.clear();
    branch.removeAt(index);
    if (branch.children.length === 0) this.root = new LeafNode<K, V>(this.owner, this.hasValues);
    for (const survivor of survivors) this.#moveToTop(survivor);
  }

  /**
   * What moves into the record of the top when this is its only child, from the top down: branches as long as they are the only
   * child, and a leaf if there is room in it for more.
   */
  #loneDescendants(child: Node<K, V> | undefined): Node<K, V>[] {
    const found: Node<K, V>[] = [];
    for (let node = child; node; ) {
      node.use();
      if (node.isLeaf) {
        if (node.keys.length <= (this.growth as TreeGrowth<K, V>).leafKeysMax / 2) found.push(node);
        return found;
      }
      found.push(node);
      node = node.children.length === 1 ? node.children[0] : undefined;
    }
    return found;
  }

  /** The only child of the top moves into the record of the top; its own is stored empty. */
  #moveToTop(node: Node<K, V>): void {
    if (node.isLeaf) {
      const top = new LeafNode<K, V>(this.owner, this.hasValues);
      top.takeFrom(node);
      this.root = top;
    } else (this.root as BranchNode<K, V>).takeFrom(node);
  }

  /** Removes everything. */
  clear(): void {
    this.root.use();
    const nodes: Node<K, V>[] = [];
    const collect = (node: Node<K, V>) => {
      node.use();
      nodes.push(node);
      if (!node.isLeaf) node.children.forEach(collect);
    };
    collect(this.root);
    if (this.root.isLeaf && this.root.keys.length === 0) return;
    for (const node of nodes) node.change();
    for (const node of nodes) node.clear();
    if (!this.root.isLeaf) this.root = new LeafNode<K, V>(this.owner, this.hasValues);
    this.changeCount++;
  }

  // ---------------------------------------------------------------- filling at once

  /** Fills the empty collection with ascending keys, which it takes over. */
  fill(keys: K[], values: V[] | undefined): void {
    this.root.use();
    this.root.change();
    this.changeCount++;
    const { growth } = this;
    if (!growth || keys.length <= growth.leafKeysMax) {
      (this.root as LeafNode<K, V>).set(keys, values, undefined);
      return;
    }
    let nodes: Node<K, V>[] = [];
    // The least key of each node but the first.
    let separators: K[] = [];
    let previous: LeafNode<K, V> | undefined;
    for (const [start, end] of portions(keys.length, Math.floor(growth.leafKeysMax * FILL))) {
      const leaf = growth.newLeaf();
      leaf.set(keys.slice(start, end), values?.slice(start, end), undefined);
      if (previous) {
        previous.next = leaf;
        separators.push(keys[start] as K);
      }
      nodes.push(leaf);
      previous = leaf;
    }
    while (nodes.length > growth.branchChildrenMax) {
      const above: Node<K, V>[] = [];
      const separatorsAbove: K[] = [];
      for (const [start, end] of portions(nodes.length, Math.floor(growth.branchChildrenMax * FILL))) {
        const branch = newBranch<K, V>();
        branch.set(separators.slice(start, end - 1), nodes.slice(start, end));
        if (start > 0) separatorsAbove.push(separators[start - 1] as K);
        above.push(branch);
      }
      nodes = above;
      separators = separatorsAbove;
    }
    const top = new BranchNode<K, V>(this.owner);
    top.set(separators, nodes);
    this.root = top;
  }
}

/** Part of a node that is filled when all entries are known: what is added later does not split every node at once. */
const FILL = 7 / 8;
/** Part that stays in a node that is split where keys are added in ascending order. */
const APPENDED = 7 / 8;

function newBranch<K, V>(): BranchNode<K, V> {
  return new TreeBranch()[NODE] as BranchNode<K, V>;
}

function splitLeaf<K, V>(leaf: LeafNode<K, V>, isAppended: boolean, newLeaf: () => LeafNode<K, V>): LeafNode<K, V> {
  const right = newLeaf();
  leaf.splitTo(right, splitIndex(leaf.keys.length, isAppended));
  return right;
}

function splitBranch<K, V>(branch: BranchNode<K, V>, isAppended: boolean): { separator: K; right: BranchNode<K, V> } {
  const right = newBranch<K, V>();
  const separator = branch.splitTo(right, splitIndex(branch.children.length, isAppended));
  return { separator, right };
}

function splitIndex(count: number, isAppended: boolean): number {
  return Math.floor(count * (isAppended ? APPENDED : 1 / 2));
}

function first<K, V>(top: Node<K, V>): LeafNode<K, V> {
  let node = top;
  while (!node.isLeaf) {
    node = node.children[0] as Node<K, V>;
    node.use();
  }
  return node;
}

function last<K, V>(top: Node<K, V>): LeafNode<K, V> {
  let node = top;
  while (!node.isLeaf) {
    node = node.children.at(-1) as Node<K, V>;
    node.use();
  }
  return node;
}

/** The leaf before the one that a path leads to. */
function predecessor<K, V>(path: readonly Step<K, V>[]): LeafNode<K, V> | undefined {
  for (let depth = path.length - 1; depth >= 0; depth--) {
    const { branch, index } = path[depth] as Step<K, V>;
    if (index === 0) continue;
    const node = branch.children[index - 1] as Node<K, V>;
    node.use();
    return last(node);
  }
  return undefined;
}

/** Divides `count` things into portions of nearly the same size, at most `max`. */
function* portions(count: number, max: number): Generator<[start: number, end: number]> {
  const portionCount = Math.ceil(count / max);
  for (let i = 0; i < portionCount; i++) {
    yield [Math.floor((i * count) / portionCount), Math.floor(((i + 1) * count) / portionCount)];
  }
}

/** Whether storing `value` where `old` stands changes nothing. A plain object may have been changed inside. */
function isUnchanged(old: unknown, value: unknown): boolean {
  if (!Object.is(old, value)) return false;
  return (typeof value !== 'object' && typeof value !== 'function') || value === null || value instanceof Persistent;
}
