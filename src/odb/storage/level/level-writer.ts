import { asBuffer, type Clock } from '../../../base/index.js';
import { CorruptionError, StorageError } from '../../errors.js';
import { type Oid, type Tid, tidFromDate, ZERO_TID } from '../../ids.js';
import type { AcceptedRecord, AcceptedTransaction } from '../commit-coordinator.js';
import type { Batch, HeldDirectory, Level } from './disk.js';
import {
  bookkeepingKey,
  commitIdKey,
  currentKey,
  decisionKey,
  decodeRevision,
  encodeNumbers,
  encodePrepared,
  encodeRevision,
  encodeTransaction,
  NOWHERE,
  numberOfRevision,
  olderKey,
  periodOf,
  preparedKey,
  preparedRecordKey,
  transactionKey,
} from './keyspace.js';
import type { ChainPlace, LastCommitFile } from './last-commit-file.js';
import type { LevelReader } from './level-reader.js';
import { MeasuredBatch } from './measured-batch.js';
import { RecentValues } from './recent-values.js';

/** Transactions after which a new checkpoint is written. */
const CHECKPOINT_COMMITS = 1000;
/** With less than this left on the disk, a new log is not even tried: LevelDB gives up for good if it runs out again. */
const FREE_BYTES_MIN = 64 * 1024 * 1024;
/** classic-level frees a batch when its object is garbage collected: so many small ones, of which few are kept waiting for that. */
const AHEAD_BATCH_BYTES = 1024 * 1024;
const SYNC = { sync: true } as const;
const NO_SYNC = { sync: false } as const;

/** Where a {@link LevelWriter} begins. */
export interface LevelWriterOptions {
  readonly level: Level;
  readonly reader: LevelReader;
  readonly clock: Clock;
  /** Where it writes to. */
  readonly directory: Pick<HeldDirectory, 'levelFolder' | 'freeBytes' | 'logNumber' | 'memoryBytesMax'>;
  readonly durable: boolean;
  /** A transaction of more bytes than this is written in several batches. */
  readonly batchBytes: number;
  readonly lastCommit: LastCommitFile;
  readonly written: ChainPlace;
  readonly checkpoint: ChainPlace;
  /** Lets others have their turn, those first who are about to commit. */
  readonly turn: () => Promise<void>;
}

/** Puts something into a batch. */
type Put = (batch: Batch) => void;

/** Records of a transaction that are put into a batch between two turns of the event loop. */
const RECORDS_PER_TURN = 100;

/**
 * Writes transactions: one batch and one sync for all that are given together.
 *
 * LevelDB has a batch in memory twice. So the new objects of a large transaction are written ahead of it, in batches of their own: until
 * the transaction is published they are of a tid that nobody reads. A prepared entry that comes first tells which they are; it goes with
 * the batch that holds the transaction. Crash: where it stands at open, they are removed.
 *
 * A write that failed leaves LevelDB's log in doubt: a part of the record may stand in it, and what follows would be lost at the next
 * open. So nothing is written to that log any more; the next write first has LevelDB begin a new one, and fails if it does not.
 *
 * Where commits do not wait for the disk, a crash of the machine takes the last ones, and never one of which a later one is left. LevelDB
 * does not promise that where it begins a new log beside writes: the end of the old log may be lost, and the new one be there. So it is
 * made to begin one before it does by itself, while nothing is written.
 */
export class LevelWriter {
  readonly #level: Level;
  readonly #reader: LevelReader;
  readonly #clock: Clock;
  readonly #directory: LevelWriterOptions['directory'];
  readonly #durable: boolean;
  readonly #batchBytes: number;
  readonly #lastCommit: LastCommitFile;
  #written: ChainPlace;
  #checkpoint: ChainPlace;
  readonly #recent = new RecentValues();
  #writing: Promise<void> | undefined;
  #isLogInDoubt = false;
  /** Bytes that LevelDB has in memory, at most. What was written at open is not known: so that is written to a table first. */
  #memoryBytes = Number.POSITIVE_INFINITY;
  /** LevelDB begins a new log at some time: each write waits for the disk. */
  #isCompacting = false;
  /** Transactions that were written ahead, and whose write failed then. */
  readonly #leftovers = new Set<AcceptedTransaction>();
  /** Outcomes that need not be kept any longer: they go with the next write. */
  #forgotten: Uint8Array[] = [];
  /** What is written with the next commit, if one comes. */
  readonly #riders = new Set<Put>();
  readonly #turn: () => Promise<void>;
  readonly #currentKey = Buffer.allocUnsafe(9);
  readonly #olderKey = Buffer.allocUnsafe(13);

  constructor(options: LevelWriterOptions) {
    this.#level = options.level;
    this.#reader = options.reader;
    this.#clock = options.clock;
    this.#directory = options.directory;
    this.#durable = options.durable;
    this.#batchBytes = options.batchBytes;
    this.#lastCommit = options.lastCommit;
    this.#written = options.written;
    this.#checkpoint = options.checkpoint;
    this.#turn = options.turn;
  }

  /** Up to here all transactions are known to be there: the walk at open begins after it. */
  get checkpointTid(): Tid {
    return this.#checkpoint.tid;
  }

  /** Writes transactions, in order: all, or none. */
  write(transactions: readonly AcceptedTransaction[]): Promise<void> {
    return this.#alone(async () => {
      if (this.#isLogInDoubt) await this.#renewLog();
      for (const leftover of this.#leftovers) await this.#takeBack(leftover);
      for (const accepted of transactions) if (this.#isLarge(accepted)) await this.#writeAhead(accepted);
      const begun = this.#written;
      let written = begun;
      // The checkpoint says where this batch begins: the walk at open looks at every transaction after it.
      const forgotten = this.#forgotten;
      const riders = [...this.#riders];
      const isCheckpoint = begun.sequence + transactions.length - this.#checkpoint.sequence >= CHECKPOINT_COMMITS;
      await this.#writeBatch(async (batch) => {
        written = await this.#putTransactions(batch, transactions);
        for (const commitId of forgotten) batch.del(decisionKey(commitId));
        if (isCheckpoint) batch.put(bookkeepingKey('checkpoint'), encodeNumbers([begun.sequence, begun.tid]));
        for (const put of riders) put(batch);
      });
      for (const put of riders) this.#riders.delete(put);
      this.#forgotten = this.#forgotten.slice(forgotten.length);
      for (const accepted of transactions) this.#leftovers.delete(accepted);
      if (isCheckpoint) this.#checkpoint = begun;
      this.#written = written;
      // Crash: before this line the mark is older than the truth, which it may be.
      if (this.#durable) this.#lastCommit.note(written);
    });
  }

  /** What was voted is on the disk already; what is copied may take the place of what a pack is about to remove. */
  #isLarge({ bytes, preparedTid, transaction, records }: AcceptedTransaction): boolean {
    const isFirst = preparedTid === undefined && transaction.tid === undefined;
    return bytes > this.#batchBytes && isFirst && records.some(isNew);
  }

  /** Writes the new objects of a transaction. */
  async #writeAhead(accepted: AcceptedTransaction): Promise<void> {
    const { tid, transaction, records } = accepted;
    this.#leftovers.add(accepted);
    await this.#writeBatch((batch) => {
      const numbers = new Array<number>(2 * records.filter(isNew).length);
      let at = 0;
      for (const { oid, previous } of records) {
        if (previous !== ZERO_TID) continue;
        numbers[at++] = oid;
        numbers[at++] = previous;
      }
      batch.put(preparedKey(tid), encodePrepared({ ...transaction, tid, decider: '', records: numbers }));
    });
    const batchBytes = Math.min(this.#batchBytes, AHEAD_BATCH_BYTES);
    // Ordering: each with a sync. LevelDB syncs its newest log alone, and a batch may be in the one before.
    for (let next = 0; next < records.length; ) {
      await this.#writeBatch((batch) => {
        for (let bytes = 0; next < records.length && bytes <= batchBytes; next++) {
          const record = records[next] as AcceptedRecord;
          if (!isNew(record)) continue;
          // Read once, where it is in a file. Not kept among the recent ones: so many would push each other out.
          const { oid, data } = record;
          batch.put(currentKey(oid, this.#currentKey), encodeRevision({ oid, n: 0, tid, data }));
          bytes += data.length;
        }
      });
    }
  }

  /** Removes what was written ahead of a transaction that failed. */
  async #takeBack(accepted: AcceptedTransaction): Promise<void> {
    const { tid, records } = accepted;
    await this.#writeBatch((batch) => {
      for (const record of records) if (isNew(record)) batch.del(currentKey(record.oid));
      batch.del(preparedKey(tid));
    });
    this.#leftovers.delete(accepted);
  }

  /** The outcome of a transaction that was decided here need not be kept any longer. */
  forget(commitId: Uint8Array): void {
    this.#forgotten.push(commitId);
  }

  /** Before the end: what was forgotten goes. Crash: what stays is a few bytes that nobody asks for. */
  async tidy(): Promise<void> {
    const forgotten = this.#forgotten.splice(0);
    if (forgotten.length === 0 || this.#isLogInDoubt) return;
    await this.writeBeside((batch) => {
      for (const commitId of forgotten) batch.del(decisionKey(commitId));
    });
  }

  /** Writes a transaction as prepared, with its data: nothing until a later `write` of it. */
  prepare({ tid, transaction, records, decider }: AcceptedTransaction): Promise<void> {
    return this.#alone(async () => {
      if (this.#isLogInDoubt) await this.#renewLog();
      await this.#writeBatch(async (batch) => {
        const numbers: number[] = [];
        for (const [i, { oid, previous, data }] of records.entries()) {
          numbers.push(oid, previous);
          batch.put(preparedRecordKey(tid, i), encodeRevision({ oid, n: 0, tid, data }));
          if (i % RECORDS_PER_TURN === RECORDS_PER_TURN - 1) await this.#turn();
        }
        const { commitId, user, description, extension } = transaction;
        const decidedBy = decider === undefined || decider === 'self' ? '' : `${decider.identity} ${decider.name}`;
        const entry = { tid, commitId, user, description, extension, decider: decidedBy, records: numbers };
        batch.put(preparedKey(tid), encodePrepared(entry));
      });
    });
  }

  /** Removes a prepared transaction. */
  unprepare(accepted: AcceptedTransaction): Promise<void> {
    return this.#alone(async () => {
      if (this.#isLogInDoubt) await this.#renewLog();
      await this.#writeBatch((batch) => putUnprepared(batch, accepted));
    });
  }

  /**
   * Writes what is no commit, between commits; it waits for the disk as those do, or as `isSynced` says.
   *
   * @throws StorageError when it fails, and while a failed write is in the way: to take writes up again is the business of the next commit.
   */
  async writeBeside(put: Put, { isSynced = this.#durable } = {}): Promise<void> {
    await this.#turn();
    await this.#alone(() => this.#writeNoCommit(put, isSynced));
  }

  /**
   * Writes what is no commit with the next one, or alone where none is about to be written: it keeps none of them waiting. `put` is called
   * as the batch is made, and again where that could not be written.
   *
   * @throws StorageError as `writeBeside`.
   */
  async writeWithNext(put: Put): Promise<void> {
    this.#riders.add(put);
    const isWaiting = () => this.#riders.has(put);
    try {
      while (this.#writing && isWaiting()) await this.#writing;
      // Who has waited for that write may be about to commit again.
      await this.#turn();
      await this.#alone(async () => {
        if (isWaiting()) await this.#writeNoCommit(put);
      });
    } finally {
      this.#riders.delete(put);
    }
  }

  async #writeNoCommit(put: Put, isSynced?: boolean): Promise<void> {
    if (this.#isLogInDoubt) throw new StorageError('a write has failed before');
    try {
      await this.#writeBatch(put, isSynced);
    } catch (error) {
      if (error instanceof StorageError) throw error;
      throw new StorageError(`${this.#directory.levelFolder} cannot be written (${String(error)})`, { cause: error });
    }
  }

  /**
   * Resolves once it is certain that a write that failed is not there, and never will be.
   *
   * @throws StorageError when that shows at the next open only.
   */
  settleDoubt(): Promise<void> {
    if (!this.#isLogInDoubt) return Promise.resolve();
    return this.#alone(async () => {
      if (this.#isLogInDoubt) await this.#renewLog();
    });
  }

  /** Where commits do not wait for the disk: resolves once it has all that was written. @throws as `writeBeside`. */
  async secure(): Promise<void> {
    // Invariant: what is not durable by now is in the newest log.
    if (!this.#durable) await this.writeBeside((batch) => batch.del(NOWHERE), { isSynced: true });
  }

  /** Has LevelDB give back the room of what was dropped, beside writes. @throws as `writeBeside`. */
  async compact(): Promise<void> {
    this.#isCompacting = !this.#durable;
    try {
      await this.secure();
      await this.#level.compactRange(Buffer.from([0]), Buffer.from([0xff]));
    } finally {
      this.#isCompacting = false;
    }
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  /**
   * One write at a time. Ordering: LevelDB would append a second one behind a first that fails, to a log that is in doubt by then, and
   * report success.
   */
  async #alone(write: () => Promise<void>): Promise<void> {
    while (this.#writing) await this.#writing;
    const writing = write();
    this.#writing = writing.catch(() => {});
    try {
      await writing;
    } finally {
      this.#writing = undefined;
    }
  }

  async #putTransactions(batch: Batch, transactions: readonly AcceptedTransaction[]): Promise<ChainPlace> {
    /** What this very batch has written: revisions of one object may follow each other in it. */
    const inBatch = transactions.length > 1 ? new Map<Oid, { n: number; value: Buffer }>() : undefined;
    let { sequence, tid: previousTid } = this.#written;
    for (const accepted of transactions) {
      const { tid, transaction } = accepted;
      const records = new Array<number>(2 * accepted.records.length);
      const isAhead = this.#leftovers.has(accepted);
      let at = 0;
      for (const record of accepted.records) {
        records[at++] = record.oid;
        records[at++] = isAhead && isNew(record) ? 0 : this.#putRevision(batch, tid, record, inBatch);
        if (at % (2 * RECORDS_PER_TURN) === 0) await this.#turn();
      }
      if (isAhead) batch.del(preparedKey(tid));
      sequence++;
      const { commitId, user, description, extension } = transaction;
      const entry = { sequence, tid, previousTid, commitId, user, description, extension, records };
      batch.put(transactionKey(tid, this.#currentKey), encodeTransaction(entry));
      batch.put(commitIdKey(this.#periodOf(accepted), commitId), encodeNumbers([tid]));
      if (accepted.decider === 'self') batch.put(decisionKey(commitId), encodeNumbers([tid]));
      if (accepted.preparedTid !== undefined) putUnprepared(batch, accepted);
      previousTid = tid;
    }
    return { sequence, tid: previousTid };
  }

  /** One that was restored is asked for as long as others, however old its tid is. */
  #periodOf({ tid, transaction }: AcceptedTransaction): number {
    if (transaction.tid === undefined) return periodOf(tid);
    return periodOf(Math.max(tid, tidFromDate(new Date(this.#clock.now()))) as Tid);
  }

  #putRevision(
    batch: Batch,
    tid: Tid,
    { oid, previous, data }: AcceptedRecord,
    inBatch: Map<Oid, { n: number; value: Buffer }> | undefined,
  ): number {
    let n = 0;
    if (previous !== ZERO_TID) {
      const current = inBatch?.get(oid) ?? this.#superseded(oid, previous);
      batch.put(olderKey(oid, current.n, this.#olderKey), current.value);
      n = current.n + 1;
    }
    const value = encodeRevision({ oid, n, tid, data });
    this.#recent.keep(oid, value);
    inBatch?.set(oid, { n, value });
    batch.put(currentKey(oid, this.#currentKey), value);
    return n;
  }

  /** The revision that is superseded, as it stands on the disk. */
  #superseded(oid: Oid, tid: Tid): { readonly n: number; readonly value: Buffer } {
    const recent = this.#recent.get(oid, tid);
    if (recent) return { n: numberOfRevision(recent), value: recent };
    const value = this.#reader.currentValue(oid);
    const current = value && decodeRevision(oid, value);
    if (current?.tid !== tid) {
      throw new CorruptionError(
        `oid ${oid} has lost its revision ${tid}, which was current; restore the database from a copy`,
        { oid, tid },
      );
    }
    return { n: current.n, value: asBuffer(value as Buffer) };
  }

  async #writeBatch(put: Put | ((batch: Batch) => Promise<void>), isSynced = this.#durable): Promise<void> {
    if (!this.#durable && this.#memoryBytes >= this.#directory.memoryBytesMax) await this.#writeTable();
    const batch = this.#durable ? this.#level.batch() : new MeasuredBatch(this.#level.batch());
    try {
      await put(batch);
    } catch (error) {
      this.#recent.clear();
      await batch.close();
      throw error;
    }
    if (batch instanceof MeasuredBatch) this.#memoryBytes += batch.memoryBytes;
    try {
      await batch.write(isSynced || this.#isCompacting ? SYNC : NO_SYNC);
    } catch (error) {
      this.#isLogInDoubt = true;
      this.#recent.clear();
      throw error;
    }
  }

  /** Has LevelDB write what it has in memory to a table, which is durable, and begin a new log. Where that fails, so does the next write. */
  async #writeTable(): Promise<void> {
    await this.#level.compactRange(NOWHERE, NOWHERE);
    this.#memoryBytes = 0;
  }

  /** After a failed write: has LevelDB write what it has in memory to a table, and begin a new log. */
  async #renewLog(): Promise<void> {
    const { levelFolder, freeBytes, logNumber: former } = this.#directory;
    if (freeBytes < FREE_BYTES_MIN) {
      throw new StorageError(`the disk of ${levelFolder} is full: make room; nothing is written until then`);
    }
    await this.#writeTable();
    if (this.#directory.logNumber <= former) {
      throw new StorageError(
        `LevelDB takes no more writes to ${levelFolder} since one failed: close the database and open it again`,
      );
    }
    this.#isLogInDoubt = false;
  }
}

function isNew({ previous }: AcceptedRecord): boolean {
  return previous === ZERO_TID;
}

function putUnprepared(batch: Batch, { tid, preparedTid = tid, records }: AcceptedTransaction): void {
  batch.del(preparedKey(preparedTid));
  for (let i = 0; i < records.length; i++) batch.del(preparedRecordKey(preparedTid, i));
}
