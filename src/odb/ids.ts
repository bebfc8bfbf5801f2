import { argumentRangeError } from '../base/index.js';

declare const oidBrand: unique symbol;
declare const tidBrand: unique symbol;

/** Identity of an object within its database: a safe integer, counted up from 0, never given twice. */
export type Oid = number & { readonly [oidBrand]: true };

/** A committed transaction: microseconds since the epoch, later is greater. Also the serial of what it wrote. */
export type Tid = number & { readonly [tidBrand]: true };

/** The oid of the root mapping. */
export const ROOT_OID = 0 as Oid;

/** Before every transaction: the last transaction of an empty storage, and the serial of an object never stored. */
export const ZERO_TID = 0 as Tid;

/** After every transaction. */
export const MAX_TID = Number.MAX_SAFE_INTEGER as Tid;

/**
 * Takes a number for an oid.
 *
 * @throws RangeError (`ARG_OID`) unless it is a safe integer, 0 or more.
 */
export function toOid(value: number): Oid {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw argumentRangeError('ARG_OID', `${String(value)} is no oid: oids are whole numbers from 0`);
  }
  return value as Oid;
}

/**
 * Takes a number for a tid.
 *
 * @throws RangeError (`ARG_TID`) unless it is a safe integer, 0 or more.
 */
export function toTid(value: number): Tid {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw argumentRangeError('ARG_TID', `${String(value)} is no tid: tids are microseconds since the epoch`);
  }
  return value as Tid;
}

/** The time of a transaction. */
export function tidToDate(tid: Tid): Date {
  return new Date(tid / 1000);
}

/** The tid that a transaction at this instant would have. */
export function tidFromDate(date: Date): Tid {
  return toTid(Math.floor(date.getTime() * 1000));
}
