import { CorruptionError } from '../../errors.js';
import { ManagedPersistent } from '../persistent.js';
import { insert, NONE, SortedKeys } from './sorted-keys.js';

/** The node that a persistent object stores. */
export const NODE: unique symbol = Symbol('node');
/** Loads the object, if it is a ghost. */
export const USE: unique symbol = Symbol('use');
/** Registers a change of the object. */
export const CHANGE: unique symbol = Symbol('change');

/** A persistent object whose record is a node: a bucket, a branch, or a whole collection, whose topmost node it is. */
export abstract class NodeOwner extends ManagedPersistent {
  abstract readonly [NODE]: Node;

  [USE](): void {
    this.readable();
  }

  [CHANGE](): void {
    this.writable();
  }

  protected override hideState(): void {
    this[NODE].hide();
  }

  protected override showState(): void {
    this[NODE].show();
  }
}

/**
 * Entries in ascending order of their keys.
 *
 * The arrays are changed in place, and replaced when the state is loaded or dropped: whoever walks them sees by their identity whether
 * that happened.
 */
export class LeafNode<K = unknown, V = unknown> extends SortedKeys<K> {
  readonly isLeaf = true;
  /** `undefined` where there are only keys. */
  values: V[] | undefined;
  /** The leaf that follows in the tree. */
  next: LeafNode<K, V> | undefined = undefined;
  /** The keys, while the owner rests. */
  #hidden: K[] | undefined = undefined;

  constructor(
    readonly owner: NodeOwner,
    readonly hasValues: boolean,
  ) {
    super();
    this.values = hasValues ? NONE : undefined;
  }

  /** To be called before anything is read. */
  use(): void {
    if (this.keys === NONE) this.owner[USE]();
  }

  /** To be called before anything is changed. */
  change(): void {
    this.owner[CHANGE]();
  }

  /** Takes over these arrays: their giver changes them no more. */
  set(keys: K[], values: V[] | undefined, next: LeafNode<K, V> | undefined): void {
    this.replaceKeys(keys);
    this.values = values;
    this.next = next;
  }

  /** Takes all that another leaf has, which becomes empty. */
  takeFrom(leaf: LeafNode<K, V>): void {
    this.set(leaf.releaseKeys(), leaf.values, leaf.next);
    leaf.clear();
  }

  clear(): void {
    this.set(NONE, this.hasValues ? NONE : undefined, undefined);
    this.#hidden = undefined;
  }

  hide(): void {
    this.#hidden = this.releaseKeys();
  }

  show(): void {
    if (this.#hidden) this.replaceKeys(this.#hidden);
    this.#hidden = undefined;
  }

  insertAt(index: number, key: K, value: V): void {
    this.insertKey(index, key);
    if (this.values === NONE) this.values = [value];
    else if (this.values) insert(this.values, index, value);
  }

  removeAt(index: number): void {
    this.removeKey(index);
    this.values?.splice(index, 1);
  }

  /** Moves the entries from an index on to an empty leaf, which follows this one. */
  splitTo(right: LeafNode<K, V>, index: number): void {
    right.set(this.cutKeys(index), this.values?.splice(index), this.next);
    this.next = right;
  }
}

/**
 * Children, and the keys that separate them: child `i` holds the keys from `separators[i - 1]` on, up to and without `separators[i]`.
 * The children of one branch are all leaves or all branches.
 */
export class BranchNode<K = unknown, V = unknown> extends SortedKeys<K> {
  readonly isLeaf = false;
  children: Node<K, V>[] = NONE;
  /** The children, while the owner rests. */
  #hidden: Node<K, V>[] | undefined = undefined;

  constructor(readonly owner: NodeOwner) {
    super();
  }

  /** The keys by the name that they have in a branch and its record. */
  get separators(): readonly K[] {
    return this.keys;
  }

  use(): void {
    if (this.children === NONE) this.owner[USE]();
  }

  change(): void {
    this.owner[CHANGE]();
  }

  /** Takes over these arrays: their giver changes them no more. */
  set(separators: K[], children: Node<K, V>[]): void {
    this.replaceKeys(separators);
    this.children = children;
  }

  /** Takes all that another branch has, which becomes empty. */
  takeFrom(branch: BranchNode<K, V>): void {
    this.set(branch.releaseKeys(), branch.children);
    branch.clear();
  }

  clear(): void {
    this.set(NONE, NONE);
    this.#hidden = undefined;
  }

  hide(): void {
    this.#hidden = this.children;
    this.children = NONE;
  }

  show(): void {
    this.children = this.#hidden ?? this.children;
    this.#hidden = undefined;
  }

  /** Index of the child that holds a key, or would. The key was checked before. */
  childIndex(key: unknown): number {
    const at = this.find(key);
    return at < 0 ? ~at : at + 1;
  }

  /** As `childIndex`, but where there are heads, and the key lies before or behind all separators, it may be any. */
  guessChildIndex(key: unknown): number {
    const at = this.guess(key);
    return at < 0 ? ~at : at + 1;
  }

  /** Puts a child behind the one at `index`. */
  insertAfter(index: number, separator: K, child: Node<K, V>): void {
    this.insertKey(index, separator);
    insert(this.children, index + 1, child);
  }

  removeAt(index: number): void {
    this.children.splice(index, 1);
    if (this.keys.length > 0) this.removeKey(index === 0 ? 0 : index - 1);
  }

  /** Moves the children from an index on to an empty branch; returns the key that separates it from this one. */
  splitTo(right: BranchNode<K, V>, index: number): K {
    const [separator, ...separators] = this.cutKeys(index - 1);
    right.set(separators, this.children.splice(index));
    return separator as K;
  }
}

export type Node<K = unknown, V = unknown> = LeafNode<K, V> | BranchNode<K, V>;

/** What a record of a leaf holds. */
export interface LeafState<K = unknown, V = unknown> {
  readonly keys: readonly K[];
  /** Missing where there are only keys. */
  readonly values?: readonly V[];
  /** The bucket that follows. */
  readonly next?: unknown;
}

/** What a record of a branch holds. */
export interface BranchState<K = unknown> {
  readonly separators: readonly K[];
  readonly children: readonly unknown[];
}

export function nodeState(node: Node): LeafState | BranchState {
  if (!node.isLeaf) {
    return { separators: node.separators.slice(), children: node.children.map((child) => child.owner) };
  }
  const { keys, values, next } = node;
  const state: { keys: unknown[]; values?: unknown[]; next?: unknown } = { keys: keys.slice() };
  if (values) state.values = values.slice();
  if (next) state.next = next.owner;
  return state;
}

export function isLeafState(state: unknown): state is LeafState {
  return typeof state === 'object' && state !== null && Array.isArray((state as Partial<LeafState>).keys);
}

export function isBranchState(state: unknown): state is BranchState {
  return typeof state === 'object' && state !== null && Array.isArray((state as Partial<BranchState>).children);
}

/** @throws CorruptionError for a state that is no leaf's. */
export function fillLeaf(node: LeafNode, state: LeafState): void {
  const { keys, values, next } = state;
  const count = Array.isArray(values) ? values.length : undefined;
  if (count !== (node.hasValues ? keys.length : undefined))
    throw damaged(node.owner, 'its keys and values do not match');
  node.set(
    keys as unknown[],
    values as unknown[] | undefined,
    next === undefined ? undefined : leafOf(next, node.owner),
  );
}

/** @throws CorruptionError for a state that is no branch's. */
export function fillBranch(node: BranchNode, state: BranchState): void {
  const { separators, children } = state;
  if (!Array.isArray(separators) || separators.length !== Math.max(0, children.length - 1)) {
    throw damaged(node.owner, 'its children and separators do not match');
  }
  node.set(
    separators,
    children.map((child) => nodeOf(child, node.owner)),
  );
}

function nodeOf(value: unknown, from: NodeOwner): Node {
  if (!(value instanceof NodeOwner)) throw damaged(from, 'it refers to something that is no node');
  return value[NODE];
}

function leafOf(value: unknown, from: NodeOwner): LeafNode {
  const node = nodeOf(value, from);
  if (!node.isLeaf) throw damaged(from, 'what follows it is no bucket');
  return node;
}

export function damaged(owner: NodeOwner, why: string): CorruptionError {
  const { name } = Object.getPrototypeOf(owner).constructor as { name: string };
  const oid = owner._p_oid;
  return new CorruptionError(
    `${name}${oid === undefined ? '' : ` oid ${oid}`} is damaged: ${why}`,
    oid === undefined ? {} : { oid },
  );
}
