import { inspect } from 'node:util';
import { argumentRangeError, argumentTypeError, systemClock } from '../base/index.js';
import type { DBPackOptions, OpenOptions } from './db-options.js';
import { type Tid, tidFromDate, toTid } from './ids.js';
import type { Storage } from './storage/storage.js';

/**
 * Before which transaction a connection reads that is to show the past. Whatever is committed from now on is later: tids only rise.
 *
 * @throws TypeError (`ARG_AT`), RangeError (`ARG_AT`, `ARG_TID`).
 */
export function pastOf({ at, before }: OpenOptions, storage: Storage): Tid | undefined {
  if (at === undefined && before === undefined) return undefined;
  const present = (storage.poll() + 1) as Tid;
  if (at === undefined) {
    const past = toTid(before as Tid);
    if (past <= present) return past;
    throw argumentRangeError(
      'ARG_TID',
      `${past} is in the future: the last transaction that is known here is ${present - 1}; ask for later ones with connection.sync()`,
    );
  }
  if (before !== undefined)
    throw argumentTypeError('ARG_AT', 'a connection is opened `at` a time or `before` a tid, not both');
  if (!(at instanceof Date) || Number.isNaN(at.getTime())) {
    throw argumentTypeError('ARG_AT', `${inspect(at)} is no time: give a Date`);
  }
  // The clock of a server may be behind that of this machine: its present is no future.
  if (at.getTime() > Math.max(storage.clock.now(), systemClock.now())) {
    throw argumentRangeError(
      'ARG_AT',
      `${at.toISOString()} is in the future: a connection shows the present or the past`,
    );
  }
  // A transaction belongs to the millisecond that `tidToDate` tells of it.
  return Math.min(tidFromDate(new Date(Math.max(at.getTime() + 1, 0))), present) as Tid;
}

/**
 * Before which transaction history is dropped.
 *
 * @throws RangeError (`ARG_DAYS`, `ARG_DATE`).
 */
export function packedBefore({ days, before }: DBPackOptions, storage: Storage): Tid {
  const present = (storage.lastTransaction() + 1) as Tid;
  if (before !== undefined) {
    if (!(before instanceof Date) || Number.isNaN(before.getTime())) {
      throw argumentRangeError('ARG_DATE', `before is ${inspect(before)}: give a valid Date`);
    }
    if (days !== undefined) throw argumentRangeError('ARG_DAYS', 'pack: give days or before, not both');
    return sinceTime(before.getTime(), present);
  }
  if (days === undefined || days === 0) return present;
  if (typeof days !== 'number' || !(days >= 0)) {
    throw argumentRangeError('ARG_DAYS', `${inspect(days)} is no number of days: give 0 or more`);
  }
  return sinceTime(storage.clock.now() - days * 86_400_000, present);
}

function sinceTime(timeMs: number, present: Tid): Tid {
  return Math.min(tidFromDate(new Date(Math.max(0, timeMs))), present) as Tid;
}
