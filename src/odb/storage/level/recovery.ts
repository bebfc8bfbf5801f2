import { CorruptionError } from '../../errors.js';
import { type Tid, ZERO_TID } from '../../ids.js';
import { blobOf } from '../blob/blob-info.js';
import type { Level } from './disk.js';
import {
  bookkeepingKey,
  CURRENT_RANGE,
  dataOfRevision,
  decodeNumbers,
  decodePrepared,
  decodeTransaction,
  isPreparedHead,
  oidOfKey,
  PREPARED_RANGE,
  TRANSACTIONS_END,
  tidOfKey,
  transactionKey,
} from './keyspace.js';
import type { ChainPlace } from './last-commit-file.js';

/** What a database was found to be at open. */
export interface Recovered {
  readonly last: ChainPlace;
  readonly checkpoint: ChainPlace;
  /** The highest oid that is stored. */
  readonly highestOid: number;
  /** Ids of contents of blobs that are named by transactions of which is not known yet whether they happened. */
  readonly inDoubt: ReadonlySet<string>;
}

/**
 * Reads the bookkeeping, walks the transactions since the last checkpoint, and drops what was voted but never finished.
 *
 * @throws CorruptionError when a transaction is damaged or missing: in the middle, which the chain tells, or at the end, which the file
 * beside it tells.
 */
export async function recover(options: {
  readonly level: Level;
  readonly name: string;
  readonly isReadOnly: boolean;
  readonly lastCommit: ChainPlace | undefined;
}): Promise<Recovered> {
  const { level, name, lastCommit } = options;
  const value = level.getSync(bookkeepingKey('checkpoint'));
  const [sequence = 0, tid = ZERO_TID] = value ? decodeNumbers(`${name}: the checkpoint`, value) : [];
  const checkpoint: ChainPlace = { sequence, tid: tid as Tid };
  const last = await walk(level, name, checkpoint);
  if (lastCommit && lastCommit.sequence > last.sequence) throw missing(name, last.tid, lastCommit.tid);
  if (!options.isReadOnly) await dropPrepared(level);
  return { last, checkpoint, highestOid: await highestOid(level), inDoubt: await contentsInDoubt(level) };
}

async function highestOid(level: Level): Promise<number> {
  for await (const key of level.keys({ ...CURRENT_RANGE, reverse: true, limit: 1 })) return oidOfKey(key);
  return 0;
}

async function contentsInDoubt(level: Level): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const [key, value] of level.iterator(PREPARED_RANGE)) {
    const info = isPreparedHead(key) ? undefined : blobOf(dataOfRevision(value));
    if (info) ids.add(info.id);
  }
  return ids;
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

/** What was voted under this database as the one that decides, and was not finished, did not happen. */
async function dropPrepared(level: Level): Promise<void> {
  const batch = level.batch();
  for await (const [key, value] of level.iterator(PREPARED_RANGE)) {
    if (isPreparedHead(key)) decodePrepared(tidOfKey(key), value);
    batch.del(key);
  }
  if (batch.length > 0) await batch.write({ sync: true });
  else await batch.close();
}
