import { asBuffer, Logger, type Random } from '../../../base/index.js';
import { CorruptionError } from '../../errors.js';
import { type Oid, type Tid, ZERO_TID } from '../../ids.js';
import type { AcceptedRecord, AcceptedTransaction } from '../commit-coordinator.js';
import type { Level } from './disk.js';
import {
  bookkeepingKey,
  CURRENT_RANGE,
  currentKey,
  decodeNumbers,
  decodePrepared,
  decodeRevision,
  decodeTransaction,
  encodeNumbers,
  isPreparedHead,
  oidOfKey,
  PREPARED_RANGE,
  type PreparedEntry,
  preparedKey,
  preparedRecordKey,
  TRANSACTIONS_END,
  tidOfKey,
  tidOfRevision,
  transactionKey,
} from './keyspace.js';
import type { ChainPlace } from './last-commit-file.js';

const logger = new Logger('holdfast.storage');

/** What a database was found to be at open. */
export interface Recovered {
  readonly last: ChainPlace;
  readonly checkpoint: ChainPlace;
  /** The highest oid that is stored. */
  readonly highestOid: number;
  /** Names the database for ever. */
  readonly identity: string;
  /** What was voted, and is decided by another database. */
  readonly doubts: readonly AcceptedTransaction[];
}

/**
 * Reads the bookkeeping, walks the transactions since the last checkpoint, and drops what was voted but never finished, unless another
 * database decides it.
 *
 * @throws CorruptionError when a transaction is damaged or missing: in the middle, which the chain tells, or at the end, which the file
 * beside it tells.
 */
export async function recover(options: {
  readonly level: Level;
  readonly name: string;
  readonly isReadOnly: boolean;
  readonly lastCommit: ChainPlace | undefined;
  readonly random: Random;
}): Promise<Recovered> {
  const { level, name, lastCommit } = options;
  const value = level.getSync(bookkeepingKey('checkpoint'));
  const [sequence = 0, tid = ZERO_TID] = value ? decodeNumbers(`${name}: the checkpoint`, value) : [];
  const checkpoint: ChainPlace = { sequence, tid: tid as Tid };
  const last = await walk(level, name, checkpoint);
  if (lastCommit && lastCommit.sequence > last.sequence) throw missing(name, last.tid, lastCommit.tid);
  const identity = await identityOf(level, options);
  const doubts = await settlePrepared(level, options);
  return { last, checkpoint, highestOid: await highestOid(level), identity, doubts };
}

/** Crash: one that is not written yet has been told to nobody who relies on it, since nothing was committed with it. */
async function identityOf(
  level: Level,
  options: { readonly name: string; readonly isReadOnly: boolean; readonly random: Random },
) {
  const key = bookkeepingKey('identity');
  const value = level.getSync(key);
  const random = Buffer.from(options.random.bytes(18));
  const numbers = value
    ? decodeNumbers(`${options.name}: the identity`, value)
    : [0, 6, 12].map((at) => random.readUIntBE(at, 6));
  if (!value && !options.isReadOnly) {
    const batch = level.batch();
    batch.put(key, encodeNumbers(numbers));
    await batch.write({ sync: true });
  }
  return numbers.map((number) => number.toString(16).padStart(12, '0')).join('');
}

async function highestOid(level: Level): Promise<number> {
  for await (const key of level.keys({ ...CURRENT_RANGE, reverse: true, limit: 1 })) return oidOfKey(key);
  return 0;
}

async function walk(level: Level, name: string, checkpoint: ChainPlace): Promise<ChainPlace> {
  let last = checkpoint;
  for await (const [key, value] of level.iterator({ gt: transactionKey(last.tid), lt: TRANSACTIONS_END })) {
    const { tid, sequence, previousTid } = decodeTransaction(tidOfKey(key), value);
    if (previousTid !== last.tid || sequence !== last.sequence + 1) throw missing(name, last.tid, tid);
    last = { sequence, tid };
  }
  return last;
}

function missing(name: string, after: Tid, until: Tid): CorruptionError {
  return new CorruptionError(
    `${name}: transactions after ${after}, up to ${until}, are missing: restore the database from a copy`,
    { tid: after },
  );
}

/**
 * What was voted with this database as the one that decides, and was not finished, did not happen. What another decides is in doubt, and
 * stays.
 */
async function settlePrepared(
  level: Level,
  { name, isReadOnly }: { readonly name: string; readonly isReadOnly: boolean },
): Promise<AcceptedTransaction[]> {
  const doubts: AcceptedTransaction[] = [];
  const dropped: PreparedEntry[] = [];
  for await (const [key, value] of level.iterator(PREPARED_RANGE)) {
    if (!isPreparedHead(key)) continue;
    const entry = decodePrepared(tidOfKey(key), value);
    if (entry.decider === '') dropped.push(entry);
    else doubts.push(doubtOf(level, name, entry));
  }
  if (!isReadOnly) for (const entry of dropped) await dropPrepared(level, entry);
  return doubts;
}

/** Also what was written ahead of a large transaction that did not come to its end: see `LevelWriter`. */
async function dropPrepared(level: Level, { tid, records }: PreparedEntry): Promise<void> {
  const batch = level.batch();
  for (let i = 0; i < records.length; i += 2) {
    batch.del(preparedRecordKey(tid, i / 2));
    if (records[i + 1] !== ZERO_TID) continue;
    const key = currentKey(records[i] as Oid);
    const value = level.getSync(key);
    if (value !== undefined && tidOfRevision(value) === tid) batch.del(key);
  }
  batch.del(preparedKey(tid));
  await batch.write({ sync: true });
}

function doubtOf(level: Level, database: string, entry: PreparedEntry): AcceptedTransaction {
  const { tid, commitId, user, description, extension, decider, records: numbers } = entry;
  const space = decider.indexOf(' ');
  const [identity, name] = [decider.slice(0, space), decider.slice(space + 1)];
  const records: AcceptedRecord[] = [];
  for (let i = 0; i < numbers.length; i += 2) {
    const oid = numbers[i] as Oid;
    const value = level.getSync(preparedRecordKey(tid, i / 2));
    if (value === undefined) {
      throw new CorruptionError(
        `${database}: a record of the prepared transaction ${tid} is lost; restore the database from a copy`,
        { oid, tid },
      );
    }
    records.push({ oid, previous: numbers[i + 1] as Tid, data: decodeRevision(oid, asBuffer(value)).data });
  }
  logger.warning(
    `${database}: a transaction of several databases that wrote ${records.length} objects is in doubt; they cannot be written ` +
      `until this database is opened together with ${name}, which knows whether it happened`,
  );
  const transaction = { commitId, user, description, extension };
  return { tid, transaction, records, resolved: [], preparedTid: tid, decider: { identity, name }, bytes: 0 };
}
