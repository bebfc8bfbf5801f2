import { argumentRangeError } from '../../base/index.js';
import { SerializationError } from '../errors.js';
import { registerInternal } from '../serialize/registry.js';
import { ManagedPersistent, requireNoFields } from './persistent.js';
import { isQueueState, mergeQueues, type QueueState } from './queue-merge.js';

/**
 * What queues have in common: items are put at the end, and pulled from the front or from any place.
 *
 * Of two transactions, those that put different items merge, and so do those that pull different ones. The items that one transaction
 * put keep their order.
 */
abstract class ItemQueue<T> extends ManagedPersistent implements Iterable<T> {
  /** Number of items. */
  abstract get length(): number;

  /** Whether there are no items. */
  abstract get isEmpty(): boolean;

  /** Adds items at the end. */
  abstract put(...items: T[]): void;

  /**
   * Takes out the first item, or the one at a place; a negative one counts from the end.
   *
   * @throws RangeError (`ARG_INDEX`) when there is no such item.
   */
  abstract pull(index?: number): T;

  /** Takes out the first item that is `item`; returns whether there was one. */
  abstract remove(item: T): boolean;

  /** The item at a place, a negative one counting from the end; `undefined` when there is no such item. */
  abstract at(index: number): T | undefined;

  /** The items in order. What is put or pulled during the walk may be seen or not. */
  abstract [Symbol.iterator](): IterableIterator<T>;

  /**
   * The item at a place; a negative one counts from the end.
   *
   * @throws RangeError (`ARG_INDEX`) when there is no such item.
   */
  get(index: number): T {
    const item = this.at(index);
    if (item === undefined && !this.hasPlace(index)) throw noItem(index, this.length);
    return item as T;
  }

  /** A plain array of a part, as of an array. */
  slice(start?: number, end?: number): T[] {
    return [...this].slice(start, end);
  }

  /** A plain array of the items, the last one first. */
  toReversed(): T[] {
    return [...this].reverse();
  }

  protected hasPlace(index: number): boolean {
    const { length } = this;
    return Number.isInteger(index) && index < length && index >= -length;
  }
}

/**
 * A queue that is stored as one record, which every change writes anew: for up to some hundreds of items. A `CompositeQueue` is for more.
 */
export class PersistentQueue<T = unknown> extends ItemQueue<T> {
  #items: T[];

  /** @param items to begin with */
  constructor(items: Iterable<T> = []) {
    super();
    this.#items = [...items];
  }

  override get length(): number {
    this.readable();
    return this.#items.length;
  }

  override get isEmpty(): boolean {
    return this.length === 0;
  }

  override put(...items: T[]): void {
    if (items.length === 0) return;
    this.writable();
    for (const item of items) this.#items.push(item);
  }

  override pull(index = 0): T {
    if (!this.hasPlace(index)) throw noItem(index, this.length);
    this.writable();
    return (index === 0 ? this.#items.shift() : this.#items.splice(index, 1)[0]) as T;
  }

  override remove(item: T): boolean {
    this.readable();
    const index = this.#items.indexOf(item);
    if (index < 0) return false;
    this.pull(index);
    return true;
  }

  override at(index: number): T | undefined {
    this.readable();
    return this.#items.at(index);
  }

  override [Symbol.iterator](): IterableIterator<T> {
    this.readable();
    return this.#items.slice()[Symbol.iterator]();
  }

  override getState(): QueueState {
    this.readable();
    requireNoFields(this);
    return { items: this.#items.slice() };
  }

  override setState(state: unknown): void {
    this.#items = itemsOf(state) as T[];
  }

  protected override clearState(): void {
    this.#items = [];
  }

  protected override inspectState(): Record<string, unknown> {
    return { items: this.#items };
  }

  static resolveConflict(base: unknown, committed: unknown, mine: unknown): QueueState {
    return mergeQueues(base, committed, mine, false);
  }
}

/** A part of a {@link CompositeQueue}. */
export class QueueBucket<T = unknown> extends PersistentQueue<T> {
  #isClosed = false;

  /**
   * Marks a bucket that leaves its queue.
   *
   * Invariant: it is written by the transaction that drops it, and a closed bucket merges with no open one; so an item that somebody
   * else puts into it meanwhile is a conflict, rather than lost.
   */
  close(): void {
    this.writable();
    this.#isClosed = true;
  }

  override getState(): QueueState {
    const state = super.getState();
    return this.#isClosed ? { ...state, isClosed: true } : state;
  }

  override setState(state: unknown): void {
    super.setState(state);
    this.#isClosed = (state as { isClosed?: boolean }).isClosed === true;
  }

  protected override clearState(): void {
    super.clearState();
    this.#isClosed = false;
  }

  static override resolveConflict(base: unknown, committed: unknown, mine: unknown): QueueState {
    return mergeQueues(base, committed, mine, true);
  }
}

/** Items that a bucket takes by default. */
const BUCKET_SIZE = 32;

/**
 * A queue of any size: a row of buckets, each a record of its own, of which a change writes one.
 *
 * Of items that two transactions put at the same time, those of one may stand among those of the other. A transaction that empties a
 * bucket conflicts with all others that change this bucket. `length` visits every bucket.
 */
export class CompositeQueue<T = unknown> extends ItemQueue<T> {
  #bucketSize: number;
  #buckets: QueueBucket<T>[] = [];

  /** @param options `bucketSize`: items after which a new bucket is begun (default 32); merges may fill one with more */
  constructor({ bucketSize = BUCKET_SIZE }: { readonly bucketSize?: number } = {}) {
    super();
    if (!Number.isInteger(bucketSize) || bucketSize < 1) {
      throw argumentRangeError('ARG_BUCKET_SIZE', `bucketSize is ${String(bucketSize)}: it is a whole number from 1`);
    }
    this.#bucketSize = bucketSize;
  }

  override get length(): number {
    this.readable();
    return this.#buckets.reduce((sum, bucket) => sum + bucket.length, 0);
  }

  override get isEmpty(): boolean {
    this.readable();
    return this.#buckets.every((bucket) => bucket.isEmpty);
  }

  override put(...items: T[]): void {
    this.readable();
    for (const item of items) {
      let last = this.#buckets.at(-1);
      if (!last || last.length >= this.#bucketSize) {
        this.writable();
        last = new QueueBucket<T>();
        this.#buckets.push(last);
      }
      last.put(item);
    }
  }

  override pull(index = 0): T {
    const place = this.#find(index);
    if (!place) throw noItem(index, this.length);
    const item = place.bucket.pull(place.index);
    this.#drop(place.emptied);
    return item;
  }

  override remove(item: T): boolean {
    this.readable();
    return this.#buckets.some((bucket) => bucket.remove(item));
  }

  override at(index: number): T | undefined {
    const place = this.#find(index);
    return place?.bucket.at(place.index);
  }

  override *[Symbol.iterator](): Generator<T, undefined> {
    this.readable();
    for (const bucket of this.#buckets.slice()) yield* bucket;
  }

  /** Where an item is, and the empty buckets that were met on the way. */
  #find(index: number): { bucket: QueueBucket<T>; index: number; emptied: QueueBucket<T>[] } | undefined {
    this.readable();
    if (!Number.isInteger(index)) return undefined;
    const emptied: QueueBucket<T>[] = [];
    const isBackward = index < 0;
    // Places are counted from the end that the walk begins at.
    let rest = isBackward ? -index - 1 : index;
    for (const bucket of isBackward ? this.#buckets.toReversed() : this.#buckets) {
      const { length } = bucket;
      if (length === 0) emptied.push(bucket);
      if (rest < length) return { bucket, index: isBackward ? length - 1 - rest : rest, emptied };
      rest -= length;
    }
    return undefined;
  }

  /** Drops buckets that were emptied by an earlier pull. The last one stays: it is where the next item goes. */
  #drop(emptied: readonly QueueBucket<T>[]): void {
    const last = this.#buckets.at(-1);
    const dropped = new Set(emptied.filter((bucket) => bucket !== last));
    if (dropped.size === 0) return;
    this.writable();
    for (const bucket of dropped) bucket.close();
    this.#buckets = this.#buckets.filter((bucket) => !dropped.has(bucket));
  }

  override getState(): QueueState {
    this.readable();
    requireNoFields(this);
    return { bucketSize: this.#bucketSize, items: this.#buckets.slice() };
  }

  override setState(state: unknown): void {
    this.#buckets = itemsOf(state) as QueueBucket<T>[];
    this.#bucketSize = (state as { bucketSize: number }).bucketSize;
  }

  protected override clearState(): void {
    this.#buckets = [];
  }

  protected override inspectState(): Record<string, unknown> {
    return { bucketSize: this.#bucketSize, buckets: this.#buckets };
  }

  /** Buckets that both sides began are both kept, and with them the order of each side's items. */
  static resolveConflict(base: unknown, committed: unknown, mine: unknown): QueueState {
    return mergeQueues(base, committed, mine, false);
  }
}

/** @throws SerializationError for a state that is no queue's. */
function itemsOf(state: unknown): unknown[] {
  if (!isQueueState(state)) throw new SerializationError('the state of a queue has no items');
  return state.items as unknown[];
}

function noItem(index: number, length: number): RangeError {
  return argumentRangeError('ARG_INDEX', `no item ${String(index)} in a queue of ${length}`);
}

registerInternal({
  'holdfast.PersistentQueue': PersistentQueue,
  'holdfast.QueueBucket': QueueBucket,
  'holdfast.CompositeQueue': CompositeQueue,
});
