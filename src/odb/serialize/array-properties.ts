import { inspect } from 'node:util';

/** Up to this length, the keys of an array are listed. */
const LISTED_COUNT_MAX = 64;

/** A property of an array that is no entry, such as those of what `RegExp.exec` gives. */
export function namedPropertyOf(array: readonly unknown[]): string | undefined {
  const count = array.length;
  // To list the keys of a long array takes longer than to write it. The runtime can show it without its entries, in a time of its own.
  if (count > LISTED_COUNT_MAX && inspect(array, WITHOUT_ENTRIES) === `[ ... ${count} more items ]`) return undefined;
  const keys = Object.keys(array);
  // Entries come first, and are as many as the array has, but for holes.
  const last = keys.at(-1);
  return last === undefined || isIndex(last, count) ? undefined : last;
}

const WITHOUT_ENTRIES = { maxArrayLength: 0, depth: 0, customInspect: false, breakLength: Number.POSITIVE_INFINITY };

function isIndex(key: string, count: number): boolean {
  const index = Number(key);
  return index < count && String(index) === key;
}
