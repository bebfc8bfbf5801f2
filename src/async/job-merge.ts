import { MergeRefusedError } from '../odb/index.js';
import { FIELDS, INDEX, type StoredJob } from './job-fields.js';
import { CALLBACKS, COMPLETED, STORED_STATUSES } from './status.js';

/**
 * Merges two transactions that changed one job: see `Job.resolveConflict`.
 *
 * @throws MergeRefusedError where the two cannot both count.
 */
export function mergeJobs(base: StoredJob, committed: StoredJob, mine: StoredJob): StoredJob {
  const merged = [...committed[0]];
  const pick = (index: number, value: unknown) => {
    while (merged.length <= index) merged.push(null);
    merged[index] = value;
  };
  for (let i = 0; i < FIELDS.length; i++) {
    const [old, theirs, ours] = [base, committed, mine].map(([fields]) => fields[i] ?? null);
    if (i === INDEX._callbacks) {
      pick(i, mergeCallbacks(old as unknown[] | null, theirs as unknown[] | null, ours as unknown[] | null));
    } else if (!same(ours, old)) {
      // A job that was taken from its worker cannot be finished by it.
      if (i === INDEX._parent && !same(committed[0][INDEX._status], base[0][INDEX._status])) {
        throw new MergeRefusedError('it was finished meanwhile');
      }
      if (i === INDEX._status && !same(committed[0][INDEX._parent], base[0][INDEX._parent])) {
        throw new MergeRefusedError('it belongs to somebody else by now');
      }
      // Who moves a job, or takes it on, does so alone: two that put it in a queue would have it run twice.
      const isExclusive = i === INDEX._parent || i === INDEX._status;
      if (!same(theirs, old) && (isExclusive || !same(theirs, ours)))
        throw new MergeRefusedError(`both changed ${FIELDS[i]}`);
      pick(i, ours);
    }
  }
  const more = mergeFields(base[1], committed[1], mine[1]);
  const completed = STORED_STATUSES.indexOf(COMPLETED);
  const ours = mine[0];
  if (ours[INDEX._status] === completed && base[0][INDEX._status] !== completed) {
    const known = (ours[INDEX._callbacks] as unknown[] | null)?.length ?? 0;
    const all = (merged[INDEX._callbacks] as unknown[] | null)?.length ?? 0;
    if (all > known) pick(INDEX._status, STORED_STATUSES.indexOf(CALLBACKS));
  }
  return more === undefined ? [merged] : [merged, more];
}

/** Whether two stored values are the same. References are the same object in all states; what cannot be told counts as different. */
function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if ((a ?? null) === null || (b ?? null) === null) return (a ?? null) === (b ?? null);
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => same(item, b[i]));
  if (a instanceof Date && b instanceof Date) return a.getTime() === b.getTime();
  if (!isPlain(a) || !isPlain(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => same(a[key], b[key]));
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

type Fields = Readonly<Record<string, unknown>> | undefined;

function mergeFields(base: Fields, theirs: Fields, ours: Fields): Fields {
  if (!ours) return theirs;
  const merged = { ...theirs };
  for (const [name, value] of Object.entries(ours)) {
    if (same(value, base?.[name])) continue;
    if (!same(theirs?.[name], base?.[name])) throw new MergeRefusedError(`both changed ${name}`);
    merged[name] = value;
  }
  return merged;
}

function mergeCallbacks(base: unknown[] | null, theirs: unknown[] | null, ours: unknown[] | null): unknown[] | null {
  const known = new Set([...(base ?? []), ...(theirs ?? [])]);
  const added = (ours ?? []).filter((callback) => !known.has(callback));
  const all = [...(theirs ?? []), ...added];
  return all.length === 0 ? null : all;
}
