import { inspect } from 'node:util';
import { argumentTypeError } from '../../../base/index.js';

/**
 * What can be a key of an ordered collection.
 *
 * All keys have one order: booleans (`false` first), then numbers, bigints, dates, strings (by UTF-16 code units), bytes, arrays; within
 * a kind by value, and bytes and arrays element by element, the shorter one first. A number never equals a bigint. `-0` is 0.
 */
export type Key = boolean | number | bigint | Date | string | Uint8Array | readonly Key[];

/**
 * What of `K` can be a key. `from` takes any `K` and looks at it by this: were it a `K extends Key`, the type of `from(['a'])` would be that of
 * a set of nothing but `'a'`.
 */
export type KeyOf<K> = K extends Key ? K : never;

/** `unknown` where all of `K` can be keys; so that an intersection with it takes nothing else. */
export type KeysAlone<K> = [K] extends [Key] ? unknown : never;

/** A bound of a range: a key, or the beginning of one that is a tuple, as `['Paris']` of `[city: string, day: Date]`. */
export type Bound<K> = K extends readonly unknown[] ? (number extends K['length'] ? K : Partial<K>) : K;

const BOOLEAN = 0;
const NUMBER = 1;
const BIGINT = 2;
const DATE = 3;
const STRING = 4;
const BYTES = 5;
const ARRAY = 6;

const KEY_DEPTH_MAX = 100;

/** The place of a key's kind in the order. @throws TypeError (`ARG_KEY`) for what is no key. */
function rankOf(key: unknown): number {
  switch (typeof key) {
    case 'string':
      return STRING;
    case 'number':
      if (Number.isNaN(key)) throw noKey(key);
      return NUMBER;
    case 'boolean':
      return BOOLEAN;
    case 'bigint':
      return BIGINT;
    case 'object':
      if (Array.isArray(key)) return ARRAY;
      if (key instanceof Uint8Array) return BYTES;
      if (key instanceof Date && !Number.isNaN(key.getTime())) return DATE;
      throw noKey(key);
    default:
      throw noKey(key);
  }
}

function noKey(key: unknown): TypeError {
  let shown = 'it';
  try {
    shown = inspect(key, { depth: 0, maxStringLength: 40 });
  } catch {
    // A proxy, or an object whose printing fails: the message does without it.
  }
  return argumentTypeError(
    'ARG_KEY',
    `${shown} cannot be a key: keys are numbers (not NaN), bigints, strings, booleans, valid dates, byte arrays, and arrays of these`,
  );
}

/**
 * Negative where `a` comes before `b`, positive where it comes after it, 0 where they are equal.
 *
 * @throws TypeError (`ARG_KEY`) for what is no key.
 */
export function compareKeys(a: unknown, b: unknown): number {
  if (typeof a === 'string' && typeof b === 'string') return a < b ? -1 : a > b ? 1 : 0;
  const rank = rankOf(a);
  const otherRank = rankOf(b);
  if (rank !== otherRank) return rank - otherRank;
  switch (rank) {
    case BYTES:
      return Buffer.compare(a as Uint8Array, b as Uint8Array);
    case ARRAY: {
      const [left, right] = [a as readonly unknown[], b as readonly unknown[]];
      const count = Math.min(left.length, right.length);
      for (let i = 0; i < count; i++) {
        const order = compareKeys(left[i], right[i]);
        if (order !== 0) return order;
      }
      return left.length - right.length;
    }
    default:
      // Booleans, numbers, bigints and dates, of which two have the same type here.
      return (a as number) < (b as number) ? -1 : (a as number) > (b as number) ? 1 : 0;
  }
}

/**
 * The key as it is kept: nothing that its giver changes later changes it, and equal keys are stored as the same bytes.
 *
 * @throws TypeError (`ARG_KEY`) for what is no key.
 */
export function ownKey<K>(key: K): K {
  if (typeof key === 'string') return key;
  return copyOf(key, 0) as K;
}

function copyOf(key: unknown, depth: number): unknown {
  switch (rankOf(key)) {
    case NUMBER:
      return (key as number) + 0;
    case DATE:
      return new Date((key as Date).getTime());
    case BYTES:
      return new Uint8Array(key as Uint8Array);
    case ARRAY: {
      requireDepth(depth);
      const parts: unknown[] = [];
      for (const part of key as readonly unknown[]) parts.push(copyOf(part, depth + 1));
      return parts;
    }
    default:
      return key;
  }
}

/** Checks a key that is only looked for. @throws TypeError (`ARG_KEY`) for what is no key. */
export function requireKey(key: unknown): void {
  if (typeof key !== 'string') requireDeep(key, 0);
}

function requireDeep(key: unknown, depth: number): void {
  if (rankOf(key) !== ARRAY) return;
  requireDepth(depth);
  for (const part of key as readonly unknown[]) requireDeep(part, depth + 1);
}

function requireDepth(depth: number): void {
  if (depth < KEY_DEPTH_MAX) return;
  throw argumentTypeError('ARG_KEY', `an array that is nested more than ${KEY_DEPTH_MAX} deep cannot be a key`);
}

/** Finds a key among ascending keys: its index, or `~index` of the first one after it. The key was checked before. */
export function search(keys: readonly unknown[], key: unknown): number {
  if (typeof key === 'string') return searchString(keys, key);
  if (typeof key === 'number') return searchNumber(keys, key);
  return searchAny(keys, key);
}

// The kind of each key met is asked for on the way: that costs next to nothing, and one key of another kind slows nothing down.

function searchString(keys: readonly unknown[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const met = keys[middle];
    if (typeof met === 'string' ? met < key : rankOf(met) < STRING) low = middle + 1;
    else high = middle;
  }
  return low < keys.length && keys[low] === key ? low : ~low;
}

function searchNumber(keys: readonly unknown[], key: number): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const met = keys[middle];
    if (typeof met === 'number' ? met < key : rankOf(met) < NUMBER) low = middle + 1;
    else high = middle;
  }
  return low < keys.length && keys[low] === key ? low : ~low;
}

function searchAny(keys: readonly unknown[], key: unknown): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = compareKeys(keys[middle], key);
    if (order === 0) return middle;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return ~low;
}
