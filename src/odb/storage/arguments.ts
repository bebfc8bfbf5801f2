import { inspect } from 'node:util';
import { argumentRangeError, argumentTypeError } from '../../base/index.js';
import { MAX_TID, type Oid, type Tid, toOid, toTid } from '../ids.js';
import { RECORD_BYTES_MAX } from '../limits.js';
import type { Decider, StorageTransaction } from './storage.js';

/*
 * What storages are given is checked where it comes in: a number that is no oid would be read and written under the key of another object,
 * and what cannot be sent would end the connection, or the thread that serves.
 */

const COMMIT_ID_BYTES = 16;

/** @throws TypeError (`ARG_TRANSACTION`). RangeError (`ARG_TID`). */
export function requireTransaction(transaction: StorageTransaction): void {
  const { commitId, user, description, extension, tid } = (transaction ?? {}) as Partial<StorageTransaction>;
  if (
    typeof user !== 'string' ||
    typeof description !== 'string' ||
    !(extension instanceof Uint8Array) ||
    !isCommitId(commitId)
  ) {
    throw argumentTypeError(
      'ARG_TRANSACTION',
      `tpcBegin: ${shown(transaction)} is no transaction: it needs a commitId of ${COMMIT_ID_BYTES} bytes, user, description, extension`,
    );
  }
  // Invariant: what a transaction wrote is before `MAX_TID`, so that a read before that sees it.
  if (tid !== undefined && (toTid(tid) === 0 || tid === MAX_TID)) {
    throw argumentRangeError('ARG_TID', `tpcBegin: ${tid} is the tid of no transaction`);
  }
}

/** @throws RangeError (`ARG_OID`, `ARG_TID`, `ARG_RECORD`). TypeError (`ARG_RECORD`). */
export function requireStore(oid: Oid, serial: Tid, data: Uint8Array): void {
  toOid(oid);
  toTid(serial);
  if (!(data instanceof Uint8Array)) {
    throw argumentTypeError('ARG_RECORD', `store: the record of oid ${oid} is ${shown(data)}: give bytes`);
  }
  if (data.length > RECORD_BYTES_MAX) {
    throw argumentRangeError(
      'ARG_RECORD',
      `store: the record of oid ${oid} has ${data.length} bytes; more than ${RECORD_BYTES_MAX} are not stored`,
    );
  }
}

/** @throws TypeError (`ARG_DECIDER`). */
export function requireDecider(decider: Decider | undefined): void {
  if (decider === undefined) return;
  const { identity, name } = (decider ?? {}) as Partial<Decider>;
  // The identity is stored up to the first space.
  if (typeof identity === 'string' && /^[^ ]+$/.test(identity) && typeof name === 'string' && name !== '') return;
  throw argumentTypeError('ARG_DECIDER', `tpcVote: ${shown(decider)} does not say who decides: give identity and name`);
}

/** @throws TypeError (`ARG_COMMIT_ID`). */
export function requireCommitId(commitId: Uint8Array): void {
  if (isCommitId(commitId)) return;
  throw argumentTypeError('ARG_COMMIT_ID', `${shown(commitId)} is no commit id: give ${COMMIT_ID_BYTES} bytes`);
}

/** @throws TypeError (`ARG_LOCK`). */
export function requireLockName(name: string): void {
  if (typeof name !== 'string') throw argumentTypeError('ARG_LOCK', `${shown(name)} is no name of a lock: give a text`);
}

/** How many of something are wanted. @throws RangeError (`ARG_COUNT`) unless it is a whole number from 0, or infinity. */
export function toCount(value: number): number {
  if (value === Number.POSITIVE_INFINITY || (Number.isSafeInteger(value) && value >= 0)) return value;
  throw argumentRangeError('ARG_COUNT', `${shown(value)} does not say how many: give a whole number from 0`);
}

function isCommitId(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.length === COMMIT_ID_BYTES;
}

function shown(value: unknown): string {
  return inspect(value, { depth: 0, maxArrayLength: 4, maxStringLength: 40, breakLength: Number.POSITIVE_INFINITY });
}
