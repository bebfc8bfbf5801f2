import { isDeepStrictEqual } from 'node:util';
import { MergeRefusedError } from '../errors.js';

/** What a queue's record holds: its items, and whatever a class of its own adds. */
export interface QueueState {
  readonly items: readonly unknown[];
  readonly [field: string]: unknown;
}

/**
 * Merges two changes of a queue: what either side pulled is gone, and what either side put stands at the end, the committed items first.
 * The items of one side keep their order.
 *
 * @param refuseEmptied for a queue that is dropped when it is empty: what is put into it then would be lost
 * @throws MergeRefusedError when both sides pulled the same item, or put the same one; when anything but the items differs; and, if
 * `refuseEmptied`, when a queue that had items was emptied by one side.
 */
export function mergeQueues(base: unknown, committed: unknown, mine: unknown, refuseEmptied: boolean): QueueState {
  if (!isQueueState(base) || !isQueueState(committed) || !isQueueState(mine)) {
    throw new MergeRefusedError('a state is no queue');
  }
  const { items: _committed, ...committedFields } = committed;
  const { items: _mine, ...mineFields } = mine;
  if (!isDeepStrictEqual(committedFields, mineFields)) {
    throw new MergeRefusedError('something else than the items was changed');
  }
  if (refuseEmptied && base.items.length > 0 && (committed.items.length === 0 || mine.items.length === 0)) {
    throw new MergeRefusedError('a bucket of the queue was emptied, and may be dropped');
  }
  const theirs = changeOf(base.items, committed.items);
  const ours = changeOf(base.items, mine.items);
  for (const index of ours.pulled) {
    if (theirs.pulled.has(index)) throw new MergeRefusedError('both pulled the same item');
  }
  if (haveCommonItem(theirs.put, ours.put)) throw new MergeRefusedError('both put the same item');
  const kept = base.items.filter((_, index) => !ours.pulled.has(index) && !theirs.pulled.has(index));
  return { ...committed, items: [...kept, ...theirs.put, ...ours.put] };
}

export function isQueueState(state: unknown): state is QueueState {
  return typeof state === 'object' && state !== null && Array.isArray((state as Partial<QueueState>).items);
}

interface Change {
  /** Indexes of the items that are gone. */
  readonly pulled: ReadonlySet<number>;
  readonly put: readonly unknown[];
}

/**
 * What was pulled and put between two states. Pulling keeps the order of the other items and putting adds behind them, so that the
 * longest beginning of `after` that occurs in `before`, in order, is what stayed. Where items are equal this may name another of them
 * than the one that was pulled, which comes to the same.
 */
function changeOf(before: readonly unknown[], after: readonly unknown[]): Change {
  const pulled = new Set<number>();
  let kept = 0;
  before.forEach((item, index) => {
    if (kept < after.length && isSameItem(item, after[kept])) kept++;
    else pulled.add(index);
  });
  return { pulled, put: after.slice(kept) };
}

/** References are the same value for the same object while a conflict is resolved. */
function isSameItem(a: unknown, b: unknown): boolean {
  return Object.is(a, b) || (typeof a === 'object' && typeof b === 'object' && isDeepStrictEqual(a, b));
}

function haveCommonItem(some: readonly unknown[], others: readonly unknown[]): boolean {
  if (some.length === 0 || others.length === 0) return false;
  const known = new Set(some);
  if (others.some((item) => known.has(item))) return true;
  const objects = some.filter((item) => typeof item === 'object' && item !== null);
  return objects.length > 0 && others.some((item) => objects.some((other) => isSameItem(item, other)));
}
