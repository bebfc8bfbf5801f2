import { inspect, isDeepStrictEqual } from 'node:util';
import { argumentRangeError, argumentTypeError, requireOptions } from '../base/index.js';
import { type TransactionInfo, transactionInfo } from './connection/transaction-info.js';
import { MAX_TID } from './ids.js';
import type { Storage } from './storage/storage.js';

/** Which transactions `undoLog` tells of. */
export type TransactionFilter = (info: TransactionInfo) => boolean;

/** Transactions that are asked for at a time. */
const PAGE = 100;

const FIELDS: readonly (keyof TransactionInfo)[] = ['tid', 'time', 'user', 'description', 'extension'];

/**
 * The last transactions of a storage, newest first.
 *
 * @param first how many of those that pass are left out
 * @param last where to end; a negative number says how many to tell of
 * @throws RangeError (`ARG_RANGE`). TypeError (`ARG_FUNCTION`).
 */
export async function readUndoLog(
  storage: Storage,
  first: number,
  last: number,
  filter: TransactionFilter,
): Promise<TransactionInfo[]> {
  if (!Number.isInteger(first) || first < 0) {
    throw argumentRangeError('ARG_RANGE', `${inspect(first)} is no place to begin: give a whole number, 0 or more`);
  }
  if (!Number.isInteger(last) && Math.abs(last) !== Number.POSITIVE_INFINITY) {
    throw argumentRangeError('ARG_RANGE', `${inspect(last)} is no place to end: give a whole number`);
  }
  if (typeof filter !== 'function') {
    throw argumentTypeError(
      'ARG_FUNCTION',
      `undoLog: ${inspect(filter)} is no function of what is told of a transaction`,
    );
  }
  const end = last < 0 ? first - last : last;
  const found: TransactionInfo[] = [];
  let before = MAX_TID;
  while (found.length < end) {
    const some = await storage.undoLog({ before, size: PAGE });
    found.push(...some.map(transactionInfo).filter(filter));
    before = some.at(-1)?.tid ?? before;
    if (some.length < PAGE) break;
  }
  return found.slice(first, end);
}

/** Transactions whose fields have the given values. @throws TypeError (`ARG_OPTIONS`) for a field that there is not. */
export function havingFields(specification: Partial<TransactionInfo>): TransactionFilter {
  requireOptions('undoInfo', specification, FIELDS);
  const wanted = Object.entries(specification);
  return (info) => wanted.every(([name, value]) => isDeepStrictEqual(info[name as keyof TransactionInfo], value));
}
