/** Keys with different heads that a node must have, so that the heads are worth while. */
export const DIFFERENT_HEADS_MIN = 8;

/** Units of a narrow head, of 8 bits each, and of a wide one, of 16: both fit into the 53 bits that a number holds exactly. */
const NARROW_UNITS = 6;
const WIDE_UNITS = 3;
/** In a narrow head the digit of this unit and of all greater ones. */
const OVER = 0xff;

/**
 * Numbers that stand for ascending strings, so that a search among them looks at one array of numbers, rather than at one string after
 * the other, each of which lies elsewhere in memory.
 *
 * A node's keys have a prefix in common; the head of a key is a number made of its next units, missing ones counting as 0. Of two keys
 * with the prefix the one with the lesser head is the lesser one; where heads are equal, the strings are compared. That is prefix truncation
 * with "poor man's normalized keys" (G. Graefe, Modern B-Tree Techniques, 2011, on normalized keys, prefix B-trees and CPU caches).
 *
 * A narrow head has 8 bits for each unit, and tells nothing of what follows one that needs more. Keys with such units get wide heads.
 */
export class StringHeads {
  readonly #keys: readonly string[];
  readonly #prefixLength: number;
  readonly #isWide: boolean;
  readonly #heads: number[];

  private constructor(keys: readonly string[], prefixLength: number, isWide: boolean, heads: number[]) {
    this.#keys = keys;
    this.#prefixLength = prefixLength;
    this.#isWide = isWide;
    this.#heads = heads;
  }

  /** The heads of ascending keys; `undefined` where not all are strings, and where too many have the same head. */
  static of(keys: readonly unknown[]): StringHeads | undefined {
    if (keys.length < DIFFERENT_HEADS_MIN || !areStrings(keys)) return undefined;
    const first = keys[0] as string;
    const last = keys.at(-1) as string;
    // What lies between the first and the last begins like both.
    const prefixLength = commonLength(first, last);
    const isWide = [first, keys[keys.length >> 1] as string, last].some((key) => needsWide(key, prefixLength));
    const heads: number[] = [];
    let differentCount = 0;
    for (const key of keys) {
      const head = headOf(key, prefixLength, isWide);
      if (head !== heads.at(-1)) differentCount++;
      heads.push(head);
    }
    return differentCount < DIFFERENT_HEADS_MIN ? undefined : new StringHeads(keys, prefixLength, isWide, heads);
  }

  /** Whether these are the heads of the keys in an array. */
  isOf(keys: readonly unknown[]): boolean {
    return this.#keys === keys && this.#heads.length === keys.length;
  }

  /** Finds a key: its index, or `~index` of the first one after it. */
  find(key: string): number {
    const found = this.guess(key);
    if (found >= 0 || this.#prefixLength === 0) return found;
    const keys = this.#keys;
    if (key > (keys.at(-1) as string)) return ~keys.length;
    if (key < (keys[0] as string)) return ~0;
    return found;
  }

  /**
   * As `find`, but without a look at the prefix. Where an index is returned, it is the right one; where the key is missing, and lies before
   * or behind all keys, any `~index` may be.
   */
  guess(key: string): number {
    const heads = this.#heads;
    const head = headOf(key, this.#prefixLength, this.#isWide);
    let low = 0;
    let high = heads.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((heads[middle] as number) < head) low = middle + 1;
      else high = middle;
    }
    if (low === heads.length || heads[low] !== head) return ~low;
    return this.#keys[low] === key ? low : this.#findAmongEqual(head, low, key);
  }

  /** Finds a key among those whose head is the same, which begin at `start`. */
  #findAmongEqual(head: number, start: number, key: string): number {
    const heads = this.#heads;
    const keys = this.#keys;
    let low = start;
    let high = heads.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (heads[middle] === head && (keys[middle] as string) < key) low = middle + 1;
      else high = middle;
    }
    return low < keys.length && keys[low] === key ? low : ~low;
  }

  /** To be called when a key was inserted at an index. Returns whether these are the heads of the keys still. */
  inserted(index: number): boolean {
    const heads = this.#heads;
    const keys = this.#keys;
    const key = keys[index];
    if (typeof key !== 'string') return false;
    // One that was inserted between others has their prefix.
    if (index === 0 || index === heads.length) {
      const neighbour = keys[index === 0 ? 1 : index - 1];
      if (typeof neighbour !== 'string' || commonLength(key, neighbour) < this.#prefixLength) return false;
    }
    const head = headOf(key, this.#prefixLength, this.#isWide);
    let i = heads.length;
    heads.push(head);
    for (; i > index; i--) heads[i] = heads[i - 1] as number;
    heads[index] = head;
    return true;
  }

  /** To be called when the key at an index was removed. */
  removed(index: number): void {
    const heads = this.#heads;
    for (let i = index + 1; i < heads.length; i++) heads[i - 1] = heads[i] as number;
    heads.pop();
  }
}

function areStrings(keys: readonly unknown[]): keys is readonly string[] {
  return keys.every((key) => typeof key === 'string');
}

/** Number of units at the beginning that two strings have in common. */
function commonLength(a: string, b: string): number {
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i;
}

function needsWide(key: string, start: number): boolean {
  const end = Math.min(key.length, start + NARROW_UNITS);
  for (let i = start; i < end; i++) if (key.charCodeAt(i) >= OVER) return true;
  return false;
}

function headOf(key: string, start: number, isWide: boolean): number {
  if (isWide) return wideHeadOf(key, start);
  if (key.length - start >= NARROW_UNITS) {
    const a = key.charCodeAt(start);
    const b = key.charCodeAt(start + 1);
    const c = key.charCodeAt(start + 2);
    const d = key.charCodeAt(start + 3);
    const e = key.charCodeAt(start + 4);
    const f = key.charCodeAt(start + 5);
    if ((a | b | c | d | e | f) < OVER) return ((a << 16) | (b << 8) | c) * 0x100_0000 + ((d << 16) | (e << 8) | f);
  }
  return narrowHeadOf(key, start);
}

/** For keys that are short, or have great units. */
function narrowHeadOf(key: string, start: number): number {
  let head = 0;
  let isOver = false;
  for (let i = start; i < start + NARROW_UNITS; i++) {
    const digit: number = isOver || i >= key.length ? 0 : Math.min(key.charCodeAt(i), OVER);
    isOver ||= digit === OVER;
    head = head * 0x100 + digit;
  }
  return head;
}

function wideHeadOf(key: string, start: number): number {
  let head = 0;
  for (let i = start; i < start + WIDE_UNITS; i++) head = head * 0x1_0000 + (i < key.length ? key.charCodeAt(i) : 0);
  return head;
}
