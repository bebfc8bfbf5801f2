import { registerInternal } from '../serialize/registry.js';
import { ManagedPersistent } from './persistent.js';

/** A list that is stored as one record, and notices its changes. Two transactions that change it conflict. */
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

  /** Shortens the list, or lengthens it with `undefined`. */
  set length(length: number) {
    this.writable();
    this.#items.length = length;
  }

  /** The item at a place; a negative one counts from the end. */
  at(index: number): T | undefined {
    this.readable();
    return this.#items.at(index);
  }

  get(index: number): T | undefined {
    return this.at(index);
  }

  /** Replaces the item at a place. @throws RangeError when there is no such place. */
  set(index: number, item: T): void {
    this.readable();
    const place = index < 0 ? this.#items.length + index : index;
    if (!Number.isInteger(place) || place < 0 || place >= this.#items.length) {
      throw new RangeError(`no item ${index} in a list of ${this.#items.length}`);
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

  splice(start: number, deleteCount: number = this.length, ...items: T[]): T[] {
    this.writable();
    return this.#items.splice(start, deleteCount, ...items);
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

  includes(item: T): boolean {
    this.readable();
    return this.#items.includes(item);
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
    return [...this.#items];
  }

  override setState(state: unknown): void {
    this.#items = state as T[];
  }

  protected override clearState(): void {
    this.#items = [];
  }

  protected override inspectState(): Record<string, unknown> {
    return { items: this.#items };
  }
}

registerInternal({ 'holdfast.PersistentList': PersistentList });
