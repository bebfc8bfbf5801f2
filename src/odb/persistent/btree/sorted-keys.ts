import { search } from './keys.js';
import { DIFFERENT_HEADS_MIN, StringHeads } from './string-heads.js';

/**
 * What a node without entries has.
 *
 * Invariant: the node of a ghost, and of an object that rests, has it too, so that one that has another array is loaded, and its owner need
 * not be asked: on the way down a large tree that is one look at memory less for each node.
 */
export const NONE: never[] = [];
Object.freeze(NONE);

/** Searches that a node sees before it gets heads; they cost about as much as these could have saved. */
const SEARCHES_MIN = 24;
/** Searches before heads are tried again, where they are of no use. */
const SEARCHES_AGAIN = 1000;

/**
 * The keys of a node, in ascending order, and how they are searched.
 *
 * Where strings are searched often between two changes, they get {@link StringHeads}; a node that is only filled or walked does without.
 *
 * Invariant: what is handed out is not changed by others, and each method here that changes the array, or replaces it, keeps the heads in
 * step or drops them. Heads that are out of step would find keys where they are not.
 */
export abstract class SortedKeys<K> {
  #keys: K[] = NONE;
  #heads: StringHeads | undefined = undefined;
  /** Searches without heads since the last change. */
  #searchCount = 0;

  /** Changed in place, and replaced when the state is loaded or dropped. */
  get keys(): readonly K[] {
    return this.#keys;
  }

  /** Whether strings are searched by their heads. */
  get hasHeads(): boolean {
    return this.#heads !== undefined;
  }

  /** Finds a key: its index, or `~index` of the first one after it. The key was checked before. */
  find(key: unknown): number {
    if (typeof key !== 'string') return search(this.#keys, key);
    const heads = this.#heads;
    if (heads?.isOf(this.#keys)) return heads.find(key);
    return this.#findWithoutHeads(key);
  }

  /** As `find`, but where there are heads, and the key lies before or behind all keys, any `~index` may be returned. */
  protected guess(key: unknown): number {
    if (typeof key !== 'string') return search(this.#keys, key);
    const heads = this.#heads;
    if (heads?.isOf(this.#keys)) return heads.guess(key);
    return this.#findWithoutHeads(key);
  }

  #findWithoutHeads(key: string): number {
    const keys = this.#keys;
    const found = search(keys, key);
    if (keys.length < DIFFERENT_HEADS_MIN) return found;
    // Where keys are added at an end, one after the other, heads would be built for nothing.
    const isOutside = found === ~0 || found === ~keys.length;
    if (!isOutside && ++this.#searchCount >= SEARCHES_MIN) {
      this.#heads = StringHeads.of(keys);
      this.#searchCount = this.#heads ? 0 : SEARCHES_MIN - SEARCHES_AGAIN;
    }
    return found;
  }

  /** Takes over an array of keys. */
  protected replaceKeys(keys: K[]): void {
    this.#keys = keys;
    this.#heads = undefined;
    this.#searchCount = 0;
  }

  /** Gives its array away. */
  protected releaseKeys(): K[] {
    const keys = this.#keys;
    this.replaceKeys(NONE);
    return keys;
  }

  protected insertKey(index: number, key: K): void {
    if (this.#keys === NONE) this.#keys = [key];
    else insert(this.#keys, index, key);
    if (!this.#heads) this.#countAnew();
    else if (!this.#heads.inserted(index)) this.#heads = undefined;
  }

  protected removeKey(index: number): void {
    this.#keys.splice(index, 1);
    if (!this.#heads) this.#countAnew();
    else this.#heads.removed(index);
  }

  /** After a change; but what put off another try of heads puts it off still. */
  #countAnew(): void {
    if (this.#searchCount > 0) this.#searchCount = 0;
  }

  /** Removes the keys from an index on, and returns them. */
  protected cutKeys(index: number): K[] {
    const cut = this.#keys.splice(index);
    this.replaceKeys(this.#keys);
    return cut;
  }
}

/** Inserts one item; faster than `splice` for arrays of the size of a node. */
export function insert<T>(array: T[], index: number, item: T): void {
  let i = array.length;
  array.push(item);
  for (; i > index; i--) array[i] = array[i - 1] as T;
  array[index] = item;
}
