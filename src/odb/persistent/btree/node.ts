import { CorruptionError } from '../../errors.js';
import { ManagedPersistent } from '../persistent.js';

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
 * What a node without entries has.
 *
 * Invariant: the node of a ghost, and of an object that rests, has it too, so that one that has another array is loaded, and its owner need
 * not be asked: on the way down a large tree that is one look at memory less for each node.
 */
const NONE: never[] = [];
Object.freeze(NONE);

/**
 * Entries in ascending order of their keys.
 *
 * The arrays are changed in place, and replaced when the state is loaded or dropped: whoever walks them sees by their identity whether
 * that happened.
 */
export class LeafNode<K = unknown, V = unknown> {
  readonly isLeaf = true;
  keys: K[] = NONE;
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

  set(keys: K[], values: V[] | undefined, next: LeafNode<K, V> | undefined): void {
    this.keys = keys;
    this.values = values;
    this.next = next;
  }

  clear(): void {
    this.set(NONE, this.hasValues ? NONE : undefined, undefined);
    this.#hidden = undefined;
  }

  hide(): void {
    this.#hidden = this.keys;
    this.keys = NONE;
  }

  show(): void {
    this.keys = this.#hidden ?? this.keys;
    this.#hidden = undefined;
  }

  insertAt(index: number, key: K, value: V): void {
    if (this.keys === NONE) {
      this.keys = [key];
      if (this.hasValues) this.values = [value];
      return;
    }
    insert(this.keys, index, key);
    if (this.values) insert(this.values, index, value);
  }

  removeAt(index: number): void {
    this.keys.splice(index, 1);
    this.values?.splice(index, 1);
  }
}

/**
 * Children, and the keys that separate them: child `i` holds the keys from `separators[i - 1]` on, up to and without `separators[i]`.
 * The children of one branch are all leaves or all branches.
 */
export class BranchNode<K = unknown, V = unknown> {
  readonly isLeaf = false;
  separators: K[] = NONE;
  children: Node<K, V>[] = NONE;
  /** The children, while the owner rests. */
  #hidden: Node<K, V>[] | undefined = undefined;

  constructor(readonly owner: NodeOwner) {}

  use(): void {
    if (this.children === NONE) this.owner[USE]();
  }

  change(): void {
    this.owner[CHANGE]();
  }

  set(separators: K[], children: Node<K, V>[]): void {
    this.separators = separators;
    this.children = children;
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

  /** Puts a child behind the one at `index`. */
  insertAfter(index: number, separator: K, child: Node<K, V>): void {
    insert(this.separators, index, separator);
    insert(this.children, index + 1, child);
  }

  removeAt(index: number): void {
    this.children.splice(index, 1);
    this.separators.splice(index === 0 ? 0 : index - 1, 1);
  }
}

export type Node<K = unknown, V = unknown> = LeafNode<K, V> | BranchNode<K, V>;

/** Inserts one item; faster than `splice` for arrays of the size of a node. */
function insert<T>(array: T[], index: number, item: T): void {
  let i = array.length;
  array.push(item);
  for (; i > index; i--) array[i] = array[i - 1] as T;
  array[index] = item;
}

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
