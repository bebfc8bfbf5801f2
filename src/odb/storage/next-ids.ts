import { StorageError } from '../errors.js';
import { MAX_TID, type Oid, type Tid } from '../ids.js';

/**
 * The oid after `last`.
 *
 * @throws StorageError when that was the highest that there is.
 */
export function nextOid(last: number): Oid {
  if (last < Number.MAX_SAFE_INTEGER) return (last + 1) as Oid;
  throw new StorageError(`no oid is left: ${last} was given out or stored, and there is none above it`);
}

/**
 * The tid for a commit at `nowMs`: later than `last` even when the clock has stepped back.
 *
 * @throws StorageError when none is left before {@link MAX_TID}.
 */
export function nextTid(last: Tid, nowMs: number): Tid {
  const now = Math.floor(nowMs * 1000);
  const next = now > last ? now : last + 1;
  if (next < MAX_TID) return next as Tid;
  throw new StorageError(
    `no tid is left after ${last}, which was restored here; restore the database from a copy without it`,
  );
}
