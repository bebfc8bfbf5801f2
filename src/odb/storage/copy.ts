import { rm } from 'node:fs/promises';
import { requireProgressOptions, systemRandom } from '../../base/index.js';
import { StorageError } from '../errors.js';
import { type Tid, toTid, ZERO_TID } from '../ids.js';
import { type ContentCopy, copyContents } from './blob/copy-contents.js';
import type { Storage, StorageTransaction, TransactionRecord } from './storage.js';
import { requireStorage } from './storage-argument.js';
import { REMOVED } from './undo.js';

/** Bytes, and transactions, that may be under way: a storage flushes together what comes together. */
const BYTES_UNDER_WAY_MAX = 8 * 1024 * 1024;
const COUNT_UNDER_WAY_MAX = 500;

/** How far a copy is. */
export interface CopyProgress {
  readonly transactions: number;
  readonly records: number;
  /** Bytes of the records, and of the contents of blobs. */
  readonly bytes: number;
  /** The newest transaction that was taken over. */
  readonly tid: Tid;
}

/** Options of {@link copyTransactions}. */
export interface CopyOptions {
  /** Transactions from this one on. Default: all that are newer than the last one of the target. */
  readonly from?: Tid;
  /** Stops it. What was taken over by then is whole transactions. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
}

/**
 * Copies the transactions of one storage into another, with their tids, oids, users, notes, records and contents of blobs: as much history
 * as is there. Checksums of contents are checked on the way. What is committed to the source meanwhile is not part of it; calling it again takes it over.
 *
 * @throws StorageError when the target has something else than a copy of the source, or a transaction is not newer than what it has. ReadOnlyError. What reading and committing throw; what
 * was taken over by then stays. The reason of `signal`.
 */
export async function copyTransactions(
  source: Storage,
  target: Storage,
  options: CopyOptions = {},
): Promise<CopyProgress> {
  requireStorage('copyTransactions', source);
  requireStorage('copyTransactions', target);
  requireProgressOptions('copyTransactions', options, ['from']);
  const { signal, onProgress } = options;
  if (options.from !== undefined) toTid(options.from);
  const last = target.lastTransaction();
  const from = options.from ?? (last === ZERO_TID ? ZERO_TID : ((last + 1) as Tid));
  if (options.from === undefined) await requireCopy(source, target, last);
  let progress: CopyProgress = { transactions: 0, records: 0, bytes: 0, tid: last };
  let underWay: Promise<unknown>[] = [];
  let bytesUnderWay = 0;
  let hasFailed = false;
  const settle = async () => {
    const ending = underWay;
    underWay = [];
    bytesUnderWay = 0;
    await Promise.all(ending);
    onProgress?.(progress);
  };
  try {
    for await (const record of source.iterate(from)) {
      signal?.throwIfAborted();
      // Ordering: a transaction with contents is decided later than it was begun, and another one must not pass it.
      const contents = await copyContents({ source, target, signal }, record.records);
      if (contents.length > 0) await settle();
      let bytes = record.records.reduce((sum, { data }) => sum + (data?.length ?? 0), 0);
      for (const { info } of contents) bytes += info.size;
      const restored = restore(target, record, contents);
      restored.catch(() => {
        hasFailed = true;
      });
      underWay.push(restored);
      bytesUnderWay += bytes;
      progress = {
        transactions: progress.transactions + 1,
        records: progress.records + record.records.length,
        bytes: progress.bytes + bytes,
        tid: record.tid,
      };
      const isMuch = bytesUnderWay >= BYTES_UNDER_WAY_MAX || underWay.length >= COUNT_UNDER_WAY_MAX;
      if (hasFailed || isMuch || contents.length > 0) await settle();
    }
    await settle();
  } finally {
    const ended = await Promise.allSettled(underWay);
    // Where it was stopped, what was under way has been taken over all the same.
    if (!hasFailed && ended.length > 0) onProgress?.(progress);
  }
  return progress;
}

/**
 * That what the target has is, as far as its last transaction tells, a copy of the source, or what the source goes on with. Two databases of
 * which one was copied over the other would be neither of them.
 *
 * @throws StorageError.
 */
async function requireCopy(source: Storage, target: Storage, last: Tid): Promise<void> {
  const newest = source.lastTransaction();
  if (last === ZERO_TID || newest === ZERO_TID) return;
  const [latest] = source.supports.undo ? await source.undoLog({ before: (last + 1) as Tid, size: 1 }) : [];
  // What has left the source's history cannot be asked for.
  if (latest ? latest.tid === last : newest >= last) return;
  throw new StorageError(
    `${target.name} is no copy of ${source.name}, which has no transaction ${last}, the last one of ${target.name}: copy into an ` +
      'empty storage (DB.open makes a root in a new one), or say from which transaction',
  );
}

/** Writes a transaction of another storage as it is. */
async function restore(target: Storage, record: TransactionRecord, contents: readonly ContentCopy[]): Promise<void> {
  const { tid, user, description, extension, records } = record;
  const transaction: StorageTransaction = { commitId: systemRandom.bytes(16), user, description, extension, tid };
  try {
    target.tpcBegin(transaction);
    for (const { oid, data } of records) {
      const content = contents.find((each) => each.oid === oid);
      if (content?.file !== undefined) target.storeBlob(transaction, oid, ZERO_TID, data as Uint8Array, content.file);
      else if (!content) target.store(transaction, oid, ZERO_TID, data ?? REMOVED);
    }
    await target.commit(transaction);
  } catch (error) {
    await target.tpcAbort(transaction);
    throw error;
  } finally {
    for (const { file } of contents) if (file !== undefined) await rm(file, { force: true });
  }
}
