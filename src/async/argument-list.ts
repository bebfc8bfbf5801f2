/** The arguments of a job: a list that is part of the job's own record, and marks the job changed. */
export class ArgumentList implements Iterable<unknown> {
  readonly #items: unknown[];
  readonly #changing: () => void;

  constructor(items: unknown[], changing: () => void) {
    this.#items = items;
    this.#changing = changing;
  }

  get length(): number {
    return this.#items.length;
  }

  at(index: number): unknown {
    return this.#items.at(index);
  }

  push(...items: unknown[]): number {
    this.#changing();
    return this.#items.push(...items);
  }

  pop(): unknown {
    this.#changing();
    return this.#items.pop();
  }

  insert(index: number, item: unknown): void {
    this.splice(index, 0, item);
  }

  splice(start: number, deleteCount: number, ...items: unknown[]): unknown[] {
    this.#changing();
    return this.#items.splice(start, deleteCount, ...items);
  }

  set(index: number, item: unknown): void {
    this.#changing();
    this.#items[index < 0 ? this.#items.length + index : index] = item;
  }

  includes(item: unknown): boolean {
    return this.#items.includes(item);
  }

  indexOf(item: unknown): number {
    return this.#items.indexOf(item);
  }

  map<T>(fn: (item: unknown, index: number) => T): T[] {
    return this.#items.map(fn);
  }

  [Symbol.iterator](): ArrayIterator<unknown> {
    return this.#items.values();
  }
}
