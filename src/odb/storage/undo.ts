import { ConflictError, POSKeyError, ReadConflictError, UndoError } from '../errors.js';
import { type Oid, type Tid, ZERO_TID } from '../ids.js';
import type { ConflictRequest } from './storage.js';

/** A record of no bytes says that the transaction removed the object. */
export const REMOVED = new Uint8Array(0);

/** The revision, unless the transaction that wrote it removed the object. @throws POSKeyError. */
export function present<T extends { readonly tid: Tid; readonly data: Uint8Array }>(oid: Oid, revision: T): T {
  if (revision.data.length > 0) return revision;
  throw new POSKeyError(oid, `transaction ${revision.tid} removed it`, revision.tid);
}

/** What is thrown for a revision that was trimmed; `oldest` is the first that is kept. */
export function trimmedAway(oid: Oid, before: Tid, oldest: Tid): ReadConflictError {
  const reason = `its revision before ${before} was trimmed from history`;
  return new ReadConflictError({ oid, baseSerial: ZERO_TID, committedSerial: oldest, reason });
}

/** The data of a record, as a stored transaction tells them. */
export function dataOrNone(data: Uint8Array): Uint8Array | undefined {
  return data.length > 0 ? data : undefined;
}

/** What a transaction did to an object; `undefined` for what was trimmed from history. */
export interface UndoableRecord {
  readonly oid: Oid;
  /** What it wrote; {@link REMOVED} where it removed the object. */
  readonly data: Uint8Array | undefined;
  /** What it superseded; {@link REMOVED} where it made the object. */
  readonly superseded: Uint8Array | undefined;
}

/** What an undo has to know. */
export interface UndoContext {
  /** What a transaction wrote; `undefined` when it is not there. */
  written(tid: Tid): readonly UndoableRecord[] | undefined;
  /** What is current. */
  current(oid: Oid): { readonly tid: Tid; readonly data: Uint8Array };
  /** Merges, or returns `undefined`. @throws ConflictError. */
  merge(request: ConflictRequest): Uint8Array | undefined;
}

/** What is to be written to undo something. */
export interface UndoneRecord {
  readonly oid: Oid;
  readonly data: Uint8Array;
  /** Whether a merge made it. */
  readonly isMerged: boolean;
}

/**
 * What undoes transactions, one after the other: each object gets the state that the transaction superseded. Where something later
 * changed the object, a merge takes the transaction's part out of it, as ZODB's `undo` does: what was superseded is merged as if it
 * were a change of what the transaction wrote.
 *
 * @param pending what the same transaction writes besides, by oid; it counts as current.
 * @throws UndoError.
 */
export function undoRecords(
  tids: readonly Tid[],
  pending: ReadonlyMap<Oid, Uint8Array>,
  context: UndoContext,
): UndoneRecord[] {
  const undone = new Map<Oid, UndoneRecord>();
  for (const tid of tids) {
    const records = context.written(tid);
    if (!records) throw new UndoError({ tid, reason: 'there is no such transaction, or it was trimmed from history' });
    for (const { oid, data, superseded } of records) {
      if (!data || !superseded) {
        throw new UndoError({ tid, oid, reason: 'what it superseded was trimmed from history' });
      }
      const current = context.current(oid);
      const latest = undone.get(oid)?.data ?? pending.get(oid) ?? current.data;
      if (same(latest, data)) {
        undone.set(oid, { oid, data: superseded, isMerged: false });
        continue;
      }
      const request = {
        oid,
        baseSerial: tid,
        committedSerial: current.tid,
        base: data,
        committed: latest,
        mine: superseded,
      };
      undone.set(oid, { oid, data: mergeUndo(request, context), isMerged: true });
    }
  }
  return [...undone.values()];
}

function mergeUndo(request: ConflictRequest, context: UndoContext): Uint8Array {
  const { oid, baseSerial: tid, base, committed, mine } = request;
  let reason = 'it was changed by a later transaction; undo that one first';
  if (base.length > 0 && committed.length > 0 && mine.length > 0) {
    try {
      const merged = context.merge(request);
      if (merged) return merged;
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      if (error.reason) reason = `it was changed by a later transaction, and does not merge: ${error.reason}`;
    }
  }
  throw new UndoError({ tid, oid, reason });
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
