import { inspect } from 'node:util';
import { argumentRangeError } from '../../base/index.js';
import { SerializationError } from '../errors.js';
import { registerInternal } from '../serialize/registry.js';
import { ManagedPersistent, requireNoFields } from './persistent.js';

/**
 * A list that is stored as one record, and notices its changes. What would be an array again (`map`, `slice`, `splice`) is a plain one.
 * Two transactions that change it conflict.
 */
export class PersistentList<T = unknown> extends ManagedPersistent implements Iterable<T> {
  #items: T[] = [];

  constructor(items: Iterable<T> = []) {
    super();
    this.#items = [...items];
  }

  get length(): number {
    this.readable();
    return this.#items.length;
  }

  /** Shortens the list, or lengthens it with `undefined`. @throws RangeError (`ARG_LENGTH`). */
  set length(length: number) {
    if (!Number.isInteger(length) || length < 0 || length > 0xffff_ffff) {
      throw argumentRangeError(
        'ARG_LENGTH',
        `${inspect(length)} is no length of a list: give a whole number, 0 or more`,
      );
    }
    this.writable();
    const { length: before } = this.#items;
    this.#items.length = length;
    // Holes would be passed over by `map` and its like until the list is loaded anew.
    if (length > before) this.#items.fill(undefined as T, before);
  }

  /** The item at a place; a negative one counts from the end. */
  at(index: number): T | undefined {
    this.readable();
    return this.#items.at(index);
  }

  /** The same as `at`. */
  get(index: number): T | undefined {
    return this.at(index);
  }

  /** Replaces the item at a place; a negative one counts from the end. @throws RangeError (`ARG_INDEX`) when there is no such place. */
  set(index: number, item: T): void {
    this.readable();
    const place = index < 0 ? this.#items.length + index : index;
    if (!Number.isInteger(place) || place < 0 || place >= this.#items.length) {
      throw argumentRangeError('ARG_INDEX', `there is no item ${index} in a list of ${this.#items.length}`);
    }
    this.writable();
    this.#items[place] = item;
  }

  push(...items: T[]): number {
    this.writable();
    return this.#items.push(...items);
  }

  pop(): T | undefined {
    this.readable();
    if (this.#items.length === 0) return undefined;
    this.writable();
    return this.#items.pop();
  }

  shift(): T | undefined {
    this.readable();
    if (this.#items.length === 0) return undefined;
    this.writable();
    return this.#items.shift();
  }

  unshift(...items: T[]): number {
    this.writable();
    return this.#items.unshift(...items);
  }

  /** Puts an item before the one at `index`. */
  insert(index: number, item: T): void {
    this.writable();
    this.#items.splice(index, 0, item);
  }

  /** Adds many items at the end. */
  extend(items: Iterable<T>): void {
    this.writable();
    for (const item of items === this ? [...items] : items) this.#items.push(item);
  }

  /** As of an array: without `deleteCount`, all items from `start` on are removed. */
  splice(start: number, ...rest: [deleteCount?: number, ...items: T[]]): T[] {
    this.writable();
    return rest.length === 0
      ? this.#items.splice(start)
      : this.#items.splice(start, rest[0] as number, ...(rest.slice(1) as T[]));
  }

  /** Removes the first item that is `item`; returns whether there was one. */
  remove(item: T): boolean {
    const index = this.indexOf(item);
    if (index < 0) return false;
    this.splice(index, 1);
    return true;
  }

  clear(): void {
    if (this.length > 0) this.splice(0);
  }

  reverse(): this {
    this.writable();
    this.#items.reverse();
    return this;
  }

  sort(compare?: (a: T, b: T) => number): this {
    this.writable();
    this.#items.sort(compare);
    return this;
  }

  indexOf(item: T, from?: number): number {
    this.readable();
    return this.#items.indexOf(item, from);
  }

  lastIndexOf(item: T): number {
    this.readable();
    return this.#items.lastIndexOf(item);
  }

  includes(item: T, from?: number): boolean {
    this.readable();
    return this.#items.includes(item, from);
  }

  find(test: (item: T, index: number) => boolean): T | undefined {
    this.readable();
    return this.#items.find(test);
  }

  findIndex(test: (item: T, index: number) => boolean): number {
    this.readable();
    return this.#items.findIndex(test);
  }

  some(test: (item: T, index: number) => boolean): boolean {
    this.readable();
    return this.#items.some(test);
  }

  every(test: (item: T, index: number) => boolean): boolean {
    this.readable();
    return this.#items.every(test);
  }

  /** A plain array of what `fn` gives for each item. */
  map<U>(fn: (item: T, index: number) => U): U[] {
    this.readable();
    return this.#items.map(fn);
  }

  flatMap<U>(fn: (item: T, index: number) => U | readonly U[]): U[] {
    this.readable();
    return this.#items.flatMap(fn);
  }

  /** A plain array of the items that pass. */
  filter(test: (item: T, index: number) => boolean): T[] {
    this.readable();
    return this.#items.filter(test);
  }

  forEach(fn: (item: T, index: number) => void): void {
    this.readable();
    this.#items.forEach(fn);
  }

  reduce<U>(fn: (sum: U, item: T, index: number) => U, initial: U): U {
    this.readable();
    return this.#items.reduce(fn, initial);
  }

  /** A plain array of a part. */
  slice(start?: number, end?: number): T[] {
    this.readable();
    return this.#items.slice(start, end);
  }

  join(separator?: string): string {
    this.readable();
    return this.#items.join(separator);
  }

  keys(): ArrayIterator<number> {
    this.readable();
    return this.#items.keys();
  }

  entries(): ArrayIterator<[number, T]> {
    this.readable();
    return this.#items.entries();
  }

  values(): ArrayIterator<T> {
    this.readable();
    return this.#items.values();
  }

  [Symbol.iterator](): ArrayIterator<T> {
    return this.values();
  }

  override getState(): T[] {
    this.readable();
    requireNoFields(this);
    return [...this.#items];
  }

  override setState(state: unknown): void {
    if (!Array.isArray(state)) throw new SerializationError('the state of a PersistentList is not an array');
    this.#items = state;
  }

  protected override clearState(): void {
    this.#items = [];
  }

  protected override inspectState(): Record<string, unknown> {
    return { items: this.#items };
  }
}

registerInternal({ 'holdfast.PersistentList': PersistentList });
