import { argumentTypeError, BaseError } from '../../../base/index.js';
import { type Bound, ownKey } from './keys.js';
import type { LeafNode } from './node.js';
import type { NodeTree, Place } from './node-tree.js';

/** Which entries to walk, and in which order. Without bounds: all. */
export interface RangeOptions<K> {
  /** The least key; itself included, unless `excludeMin`. */
  readonly min?: Bound<K> | undefined;
  /** The greatest key; itself included, unless `excludeMax`. */
  readonly max?: Bound<K> | undefined;
  readonly excludeMin?: boolean | undefined;
  readonly excludeMax?: boolean | undefined;
  /** From the greatest key to the least. */
  readonly reverse?: boolean | undefined;
}

/** A range whose bounds are kept like keys. */
interface OwnRange<K> extends Omit<RangeOptions<K>, 'min' | 'max'> {
  readonly min: K | undefined;
  readonly max: K | undefined;
}

/** Keys were added to, or removed from, a collection while it was walked. Collect the keys first, or walk again. */
export class CollectionChangedError extends BaseError {
  readonly code = 'ODB_COLLECTION_CHANGED';

  constructor() {
    super(
      'keys were added or removed while the collection was walked: collect what you need first ([...tree.keys()]), then change it',
    );
  }
}

/** What a walk gives of each entry. */
export type EntryPart = 'key' | 'value' | 'entry';

// The prototype of all built-in iterators: its helpers, where the runtime has them, work for walks too.
const ITERATOR_PROTOTYPE = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as object;

/**
 * A walk over the entries of a collection, which loads each leaf when it comes to it.
 *
 * The walk begins with the first `next()`. When the state of the leaf it is in is dropped or loaded anew on the way (a trim of the cache,
 * a new transaction), it goes on behind the last key that it gave, in what the collection holds then.
 */
export class EntryWalk<K, V, T> implements IterableIterator<T> {
  readonly #tree: NodeTree<K, V>;
  readonly #part: EntryPart;
  readonly #options: OwnRange<K>;
  readonly #isReverse: boolean;
  #isBegun = false;
  #isDone = false;
  #changeCount = 0;
  #leaf: LeafNode<K, V> | undefined;
  #keys: readonly K[] = [];
  /** Index of the next entry in the leaf, and the one where the walk of the leaf ends. */
  #index = 0;
  #end = 0;
  /** Whether the bound lies in this leaf, so that no other one need be loaded. */
  #isLastLeaf = false;

  constructor(tree: NodeTree<K, V>, part: EntryPart, options: RangeOptions<K>) {
    const { min, max, reverse } = options;
    this.#tree = tree;
    this.#part = part;
    this.#isReverse = reverse === true;
    this.#options = {
      ...options,
      min: min === undefined ? undefined : ownKey(min as K),
      max: max === undefined ? undefined : ownKey(max as K),
    };
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<T, undefined> {
    const leaf = this.#leaf;
    if (leaf === undefined || this.#index === this.#end || leaf.keys !== this.#keys) {
      if (!this.#advance()) return { value: undefined, done: true };
    } else if (this.#changeCount !== this.#tree.changeCount) throw this.#changed();
    const index = this.#index;
    this.#index = this.#isReverse ? index - 1 : index + 1;
    return { value: this.#give(index) as T, done: false };
  }

  #give(index: number): unknown {
    switch (this.#part) {
      case 'key':
        return this.#keys[index];
      case 'value':
        return this.#leaf?.values?.[index];
      case 'entry':
        return [this.#keys[index], this.#leaf?.values?.[index]];
    }
  }

  return(value?: unknown): IteratorResult<T, undefined> {
    this.#finish();
    return { value: value as undefined, done: true };
  }

  #finish(): false {
    this.#isDone = true;
    this.#leaf = undefined;
    this.#keys = [];
    return false;
  }

  #changed(): CollectionChangedError {
    this.#finish();
    return new CollectionChangedError();
  }

  /** Comes to the next entry, at the start or in another leaf; returns whether there is one. */
  #advance(): boolean {
    if (this.#isDone) return false;
    const tree = this.#tree;
    let place: Place<K, V> | undefined;
    if (!this.#isBegun) {
      this.#isBegun = true;
      this.#changeCount = tree.changeCount;
      place = this.#start();
    } else {
      if (this.#changeCount !== tree.changeCount) throw this.#changed();
      place = this.#following();
    }
    return place ? this.#enter(place) : this.#finish();
  }

  #start(): Place<K, V> | undefined {
    const { min, max, excludeMin, excludeMax } = this.#options;
    if (this.#isReverse) {
      if (max !== undefined) return this.#tree.placeUpTo(max, excludeMax === true);
      const leaf = this.#tree.lastLeaf();
      return leaf.keys.length > 0 ? { leaf, index: leaf.keys.length - 1 } : undefined;
    }
    if (min !== undefined) return this.#tree.placeFrom(min, excludeMin === true);
    const leaf = this.#tree.firstLeaf();
    return leaf.keys.length > 0 ? { leaf, index: 0 } : undefined;
  }

  /** The entry behind the last one given. */
  #following(): Place<K, V> | undefined {
    const leaf = this.#leaf as LeafNode<K, V>;
    const keys = this.#keys;
    const lastKey = keys[this.#isReverse ? this.#index + 1 : this.#index - 1] as K;
    leaf.use();
    // The leaf was put to rest, and is as it was.
    if (leaf.keys === keys && this.#index !== this.#end) return { leaf, index: this.#index };
    if (this.#isReverse) {
      return this.#isLastLeaf && leaf.keys === keys ? undefined : this.#tree.placeUpTo(lastKey, true);
    }
    if (leaf.keys !== keys) return this.#tree.placeFrom(lastKey, true);
    if (this.#isLastLeaf) return undefined;
    const { next } = leaf;
    next?.use();
    return next && { leaf: next, index: 0 };
  }

  #enter({ leaf, index }: Place<K, V>): boolean {
    const { keys } = leaf;
    const { min, max, excludeMin, excludeMax } = this.#options;
    const bound = this.#isReverse ? min : max;
    let end = this.#isReverse ? -1 : keys.length;
    this.#isLastLeaf = false;
    if (bound !== undefined) {
      const at = leaf.find(bound);
      if (this.#isReverse) end = at < 0 ? ~at - 1 : excludeMin ? at : at - 1;
      else end = at < 0 ? ~at : excludeMax ? at : at + 1;
      this.#isLastLeaf = at >= 0 || (this.#isReverse ? ~at > 0 : ~at < keys.length);
    }
    if (this.#isReverse ? index <= end : index >= end) return this.#finish();
    this.#leaf = leaf;
    this.#keys = keys;
    this.#index = index;
    this.#end = end;
    return true;
  }
}

Object.setPrototypeOf(EntryWalk.prototype, ITERATOR_PROTOTYPE);

const RANGE_NAMES = new Set(['min', 'max', 'excludeMin', 'excludeMax', 'reverse']);

/** @throws TypeError (`ARG_RANGE`) for what are no options of a range. */
export function requireRange(options: unknown): void {
  if (typeof options !== 'object' || options === null) {
    throw argumentTypeError('ARG_RANGE', `a range is given as { min, max, reverse, … }, not as ${String(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!RANGE_NAMES.has(name)) {
      throw argumentTypeError('ARG_RANGE', `a range has no option '${name}': there are ${[...RANGE_NAMES].join(', ')}`);
    }
  }
}
