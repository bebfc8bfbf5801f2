import { isDeepStrictEqual } from 'node:util';
import { MergeRefusedError } from '../../errors.js';
import { bothChanged } from '../merge.js';
import { compareKeys } from './keys.js';
import { isLeafState, type LeafState } from './node.js';

/**
 * Merges two changes of a bucket, or of a collection that is one bucket: what either side added, removed or gave another value.
 *
 * References to persistent objects are opaque values here: as values they are compared for identity, and as keys they cannot be ordered,
 * so that a state with such keys never merges.
 *
 * @throws MergeRefusedError when both sides touched the same key; when either split its bucket, or changed what follows it; when either
 * emptied it, or both together would, since an empty bucket is dropped from its tree and what is added to it would be lost; and when a
 * state is not a single bucket. TypeError for what is no key.
 */
export function mergeBuckets(base: unknown, committed: unknown, mine: unknown): LeafState {
  if (!isLeafState(base) || !isLeafState(committed) || !isLeafState(mine)) {
    throw new MergeRefusedError('nodes were split, or joined, in the tree');
  }
  if (!isSame(base.next, committed.next) || !isSame(base.next, mine.next)) {
    throw new MergeRefusedError('the bucket was split, or the one that follows it was dropped');
  }
  if (base.keys.length > 0 && (committed.keys.length === 0 || mine.keys.length === 0)) {
    throw new MergeRefusedError('the bucket was emptied');
  }
  const keys: unknown[] = [];
  const values: unknown[] = [];
  const [walkBase, walkCommitted, walkMine] = [new StateWalk(base), new StateWalk(committed), new StateWalk(mine)];
  const keep = (walk: StateWalk) => {
    keys.push(walk.key);
    values.push(walk.value);
  };
  for (;;) {
    const key = least([walkBase, walkCommitted, walkMine]);
    if (key === undefined) break;
    const inBase = walkBase.isAt(key.key);
    const inCommitted = walkCommitted.isAt(key.key);
    const inMine = walkMine.isAt(key.key);
    const touched = (has: boolean, walk: StateWalk) => has !== inBase || (has && !isSame(walk.value, walkBase.value));
    const committedTouched = touched(inCommitted, walkCommitted);
    const mineTouched = touched(inMine, walkMine);
    if (committedTouched && mineTouched) throw bothChanged(key.key);
    if (mineTouched) {
      if (inMine) keep(walkMine);
    } else if (inCommitted) keep(walkCommitted);
    if (inBase) walkBase.step();
    if (inCommitted) walkCommitted.step();
    if (inMine) walkMine.step();
  }
  if (keys.length === 0 && base.keys.length > 0) throw new MergeRefusedError('both together emptied the bucket');
  return {
    keys,
    ...(base.values || committed.values || mine.values ? { values } : {}),
    ...(base.next === undefined ? {} : { next: base.next }),
  };
}

class StateWalk {
  #index = 0;
  constructor(private readonly state: LeafState) {}

  get isDone(): boolean {
    return this.#index >= this.state.keys.length;
  }

  get key(): unknown {
    return this.state.keys[this.#index];
  }

  get value(): unknown {
    return this.state.values?.[this.#index];
  }

  isAt(key: unknown): boolean {
    return !this.isDone && compareKeys(this.key, key) === 0;
  }

  step(): void {
    this.#index++;
  }
}

function least(walks: readonly StateWalk[]): { key: unknown } | undefined {
  let found: { key: unknown } | undefined;
  for (const walk of walks) {
    if (!walk.isDone && (!found || compareKeys(walk.key, found.key) < 0)) found = { key: walk.key };
  }
  return found;
}

function isSame(a: unknown, b: unknown): boolean {
  return Object.is(a, b) || (typeof a === 'object' && typeof b === 'object' && isDeepStrictEqual(a, b));
}
