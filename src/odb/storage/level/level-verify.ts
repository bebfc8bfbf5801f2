import { asBuffer, type Clock, nextTurn } from '../../../base/index.js';
import type { Oid, Tid } from '../../ids.js';
import {
  type CurrentReferences,
  danglingReferences,
  type Problem,
  problemOf,
  recordProblems,
  Tally,
  type Verification,
} from '../verify.js';
import type { Level } from './disk.js';
import {
  bookkeepingKey,
  COMMIT_ID_RANGE,
  CURRENT_RANGE,
  DECISION_RANGE,
  decodeNumbers,
  decodeRevision,
  decodeTransaction,
  indexOfKey,
  OLDER_RANGE,
  oidOfKey,
  preparedKey,
  TRANSACTION_RANGE,
  type TransactionEntry,
  tidOfKey,
  transactionKey,
} from './keyspace.js';
import { type LevelReader, levelError } from './level-reader.js';

const KNOWN_TRANSACTIONS_MAX = 100_000;

/** Of the records of one transaction, two numbers each, so many are looked at before others get their turn. */
const NUMBERS_PER_TURN = 1000;

/** What the verification of a database on the disk needs to know besides. */
export interface LevelVerification extends Verification {
  readonly clock: Clock;
}

/** Checks every value of a database on the disk, and that they agree. */
export async function* verifyLevel(
  level: Level,
  reader: LevelReader,
  options: LevelVerification,
): AsyncGenerator<Problem> {
  yield* transactionProblems(level, reader, options);
  yield* olderProblems(level, reader, options);
  yield* commitIdProblems(level);
  yield* danglingReferences(() => currentReferences(level, options), options);
}

/** Transactions decode, none is missing, and what they wrote is there unless it was trimmed. */
async function* transactionProblems(
  level: Level,
  reader: LevelReader,
  options: LevelVerification,
): AsyncGenerator<Problem> {
  const mark = level.getSync(bookkeepingKey('trimmed'));
  let dropped = 0;
  try {
    if (mark) dropped = decodeNumbers('the mark of trimmed history', mark)[1] ?? 0;
  } catch (error) {
    yield problemOf(error);
  }
  const tally = new Tally('transactions', options);
  let count = 0;
  let isDamaged = false;
  let last: TransactionEntry | undefined;
  for await (const [key, value] of entriesOf(level, TRANSACTION_RANGE)) {
    tally.count();
    count++;
    const tid = tidOfKey(key);
    let entry: TransactionEntry;
    try {
      entry = decodeTransaction(tid, value);
    } catch (error) {
      isDamaged = true;
      yield problemOf(error, { tid });
      continue;
    }
    if (last && entry.sequence <= last.sequence) {
      yield {
        tid,
        message: `transaction ${tid} is numbered ${entry.sequence}, and the one before it ${last.sequence}`,
      };
    }
    last = entry;
    for (let i = 0; i < entry.records.length; i += 2) {
      if (i % NUMBERS_PER_TURN === NUMBERS_PER_TURN - 2) {
        await nextTurn(options.clock);
        options.signal?.throwIfAborted();
      }
      const oid = entry.records[i] as Oid;
      try {
        reader.revision(oid, entry.records[i + 1] as number, tid);
      } catch (error) {
        yield problemOf(error, { oid, tid });
      }
    }
  }
  const missing = (last?.sequence ?? dropped) - dropped - count;
  if (!isDamaged && missing > 0) {
    yield { message: `${missing} transactions are missing that were not dropped; restore the database from a copy` };
  }
}

/** Older revisions decode, and are older than the one that supersedes them. */
async function* olderProblems(level: Level, reader: LevelReader, options: Verification): AsyncGenerator<Problem> {
  const tally = new Tally('objects', options);
  for await (const [key, value] of entriesOf(level, OLDER_RANGE)) {
    tally.count();
    const oid = oidOfKey(key);
    const index = indexOfKey(key);
    let tid: Tid;
    try {
      const { n, tid: own, data } = decodeRevision(oid, asBuffer(value));
      tid = own;
      if (n !== index) yield { oid, tid, message: `revision ${index} of oid ${oid} is numbered ${n}` };
      if (data.length > 0) yield* recordProblems(oid, tid, data, options);
    } catch (error) {
      yield problemOf(error, { oid });
      continue;
    }
    try {
      const value = reader.currentValue(oid);
      const current = value && decodeRevision(oid, value);
      if (!current || current.n <= index || current.tid <= tid) {
        yield { oid, tid, message: `revision ${index} of oid ${oid} is superseded by nothing` };
      }
    } catch {
      // The current revision is damaged, which is told of with the current ones.
    }
  }
}

async function* commitIdProblems(level: Level): AsyncGenerator<Problem> {
  for (const range of [COMMIT_ID_RANGE, DECISION_RANGE]) {
    for await (const [, value] of entriesOf(level, range)) {
      try {
        decodeNumbers('the outcome of a commit', value);
      } catch (error) {
        yield problemOf(error);
      }
    }
  }
}

async function* currentReferences(level: Level, options: Verification): AsyncGenerator<CurrentReferences | Problem> {
  const transactions = new KnownTransactions(level);
  for await (const [key, value] of entriesOf(level, CURRENT_RANGE)) {
    const oid = oidOfKey(key);
    try {
      const { tid, data } = decodeRevision(oid, asBuffer(value));
      // One that was removed is there no more; one that is written ahead of its transaction is not there yet.
      if (data.length === 0 || transactions.isToCome(tid)) continue;
      if (!transactions.has(tid)) {
        yield { oid, tid, message: `transaction ${tid}, which wrote oid ${oid}, is missing` };
      }
      yield [oid, yield* recordProblems(oid, tid, data, options)];
    } catch (error) {
      yield problemOf(error, { oid });
      yield [oid, []];
    }
  }
}

/** Tells which transactions are there. To find one costs as much as it wrote, and all of its objects ask for it. */
class KnownTransactions {
  readonly #level: Level;
  readonly #known = new Set<Tid>();
  readonly #toCome = new Set<Tid>();

  constructor(level: Level) {
    this.#level = level;
  }

  has(tid: Tid): boolean {
    if (this.#known.has(tid)) return true;
    if (this.#level.getSync(transactionKey(tid)) === undefined) return false;
    if (this.#known.size === KNOWN_TRANSACTIONS_MAX) this.#known.clear();
    this.#known.add(tid);
    return true;
  }

  /** Whether it is being written, or was when its process ended. */
  isToCome(tid: Tid): boolean {
    if (this.has(tid)) return false;
    if (this.#toCome.has(tid)) return true;
    if (this.#level.getSync(preparedKey(tid)) === undefined) return false;
    this.#toCome.add(tid);
    return true;
  }
}

async function* entriesOf(
  level: Level,
  range: { readonly gte: Buffer; readonly lt: Buffer },
): AsyncGenerator<[Buffer, Buffer]> {
  try {
    yield* level.iterator(range);
  } catch (error) {
    throw levelError(error, 'the database');
  }
}
