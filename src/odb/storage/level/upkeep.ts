import { asBuffer, type Clock, Logger, Mutex, type Timer } from '../../../base/index.js';
import { StorageError } from '../../errors.js';
import { type Oid, type Tid, tidFromDate, ZERO_TID } from '../../ids.js';
import { OUTCOME_AGE_MAX_MS } from '../../limits.js';
import { blobOf } from '../blob/blob-info.js';
import type { Batch, Level } from './disk.js';
import {
  bookkeepingKey,
  commitIdsBefore,
  dataOfRevision,
  decodeNumbers,
  decodeTransaction,
  encodeNumbers,
  olderKey,
  periodOf,
  tidOfKey,
  tidOfRevision,
  transactionKey,
} from './keyspace.js';
import type { LevelReader } from './level-reader.js';

const logger = new Logger('holdfast.storage');

const INTERVAL_MS = 60_000;
/** A pause between two steps, for those who wait to commit. */
const PAUSE_MS = 5;
/** What one step drops, about: others wait for so long. */
const DROPS_PER_STEP = 250;
/** The making of an object supersedes nothing, and is passed over quickly: so much of a drop does it count. */
const NEW_OBJECT_COUNTS = 0.01;
/** Records of a transaction that are looked at before it is left alone. */
const LOOKS_MAX = 64;

/** What an {@link Upkeep} works on. */
export interface UpkeepOptions {
  readonly level: Level;
  readonly reader: LevelReader;
  readonly clock: Clock;
  /** How long superseded revisions are kept; `undefined`: for ever. */
  readonly keepMs: number | undefined;
  /** Transactions after this one are needed to open the database, and stay. */
  readonly checkpointTid: () => Tid;
  /** Writes between commits. */
  readonly write: (put: (batch: Batch) => void) => Promise<void>;
  /** Resolves once what was written will be there whatever happens. */
  readonly secure: () => Promise<void>;
  /** Old revisions of these blobs were dropped. */
  readonly trimmed: (blobs: Iterable<Oid>) => void;
}

/**
 * Drops what has become too old, in small steps beside the traffic: superseded revisions, transactions of which nothing is left, commit
 * ids that nobody asks for any more.
 *
 * The transactions are walked in their order: what one of them superseded, before the horizon, nobody can ask for any more. How far the
 * walk has come is written with each step, so that a crash repeats at most one, and a reader can tell what was trimmed from what was lost.
 */
export class Upkeep {
  readonly #options: UpkeepOptions;
  #timer: Timer | undefined;
  #round: Promise<void> | undefined;
  #isStopped = false;
  /** A round of its own and one that was asked for do not trim the same. */
  readonly #oneAtATime = new Mutex();

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  start(): void {
    this.#schedule(INTERVAL_MS);
  }

  /** Resolves when no step is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#round;
  }

  #schedule(delayMs: number): void {
    if (this.#isStopped) return;
    this.#timer = this.#options.clock.schedule(delayMs, () => {
      this.#round = this.#step().then(
        (isDone) => this.#schedule(isDone ? INTERVAL_MS : PAUSE_MS),
        (error: unknown) => {
          logger.error('what is too old could not be dropped; it is tried again', error);
          this.#schedule(INTERVAL_MS);
        },
      );
    });
  }

  /** Takes one step; resolves to whether there is nothing left to do for now. */
  async #step(): Promise<boolean> {
    const isTrimmed = await this.#trim();
    const isForgotten = await this.#forgetCommitIds();
    return isTrimmed && isForgotten;
  }

  async #forgetCommitIds(): Promise<boolean> {
    const { clock, level, write } = this.#options;
    const sinceMs = clock.now() - OUTCOME_AGE_MAX_MS;
    if (sinceMs <= 0) return true;
    const range = commitIdsBefore(periodOf(tidFromDate(new Date(sinceMs))));
    const keys = await level.keys({ ...range, limit: DROPS_PER_STEP }).all();
    if (keys.length === 0) return true;
    await write((batch) => {
      for (const key of keys) batch.del(key);
    });
    return keys.length < DROPS_PER_STEP;
  }

  /** Drops what transactions before `horizon` superseded, however long it was to be kept. */
  async trimBefore(horizon: Tid, signal: AbortSignal | undefined): Promise<void> {
    while (!(await this.#oneAtATime.run(() => this.#trimStep(horizon)))) {
      signal?.throwIfAborted();
      if (this.#isStopped) throw new StorageError('the storage is being closed');
    }
  }

  /** Drops the transactions before `horizon` of which nothing is left. */
  async dropEmptied(horizon: Tid): Promise<void> {
    const { level, reader, checkpointTid, write } = this.#options;
    let emptied: Tid[] = [];
    const drop = () =>
      this.#oneAtATime.run(async () => {
        const [last = ZERO_TID, dropped = 0] = await this.#trimmed();
        await write((batch) => {
          for (const tid of emptied) batch.del(transactionKey(tid));
          batch.put(bookkeepingKey('trimmed'), encodeNumbers([last, dropped + emptied.length]));
        });
        emptied = [];
      });
    for await (const [key, value] of level.iterator({ gt: transactionKey(ZERO_TID), lt: transactionKey(horizon) })) {
      const tid = tidOfKey(key);
      // Those after it are needed to open the database.
      if (tid > checkpointTid()) break;
      if (isEmptied(reader, decodeTransaction(tid, value).records)) emptied.push(tid);
      if (emptied.length >= DROPS_PER_STEP) await drop();
    }
    if (emptied.length > 0) await drop();
  }

  /** Up to where history was trimmed, and how many transactions were dropped. */
  async #trimmed(): Promise<readonly [Tid?, number?]> {
    const mark = await this.#options.level.get(bookkeepingKey('trimmed'));
    return mark === undefined ? [] : (decodeNumbers('the mark of trimmed history', mark) as [Tid, number]);
  }

  #trim(): Promise<boolean> {
    const { clock, keepMs } = this.#options;
    if (keepMs === undefined || clock.now() <= keepMs) return Promise.resolve(true);
    const horizon = tidFromDate(new Date(clock.now() - keepMs));
    return this.#oneAtATime.run(() => this.#trimStep(horizon));
  }

  /** Resolves to whether there is nothing left to trim. */
  async #trimStep(horizon: Tid): Promise<boolean> {
    const { level, checkpointTid, write, secure, trimmed } = this.#options;
    const [from = ZERO_TID, dropped = 0] = await this.#trimmed();
    const step = new Step(this.#options, checkpointTid());
    const range = { gt: transactionKey(from), lt: transactionKey(horizon) };
    let last = from;
    for await (const [key, value] of level.iterator(range)) {
      last = tidOfKey(key);
      step.superseded(decodeTransaction(last, value).records);
      if (step.count >= DROPS_PER_STEP || this.#isStopped) break;
    }
    if (last === from) return true;
    const emptied = await step.emptied();
    await write((batch) => {
      for (const key of step.revisionKeys()) batch.del(key);
      for (const tid of emptied) batch.del(transactionKey(tid));
      batch.put(bookkeepingKey('trimmed'), encodeNumbers([last, dropped + emptied.length]));
    });
    if (step.blobs.size > 0) {
      // Crash: the contents go for good, so what superseded them has to stay.
      await secure();
      trimmed(step.blobs);
    }
    return step.count < DROPS_PER_STEP;
  }
}

/** What one step drops. */
class Step {
  readonly #level: Level;
  readonly #reader: LevelReader;
  readonly #checkpointTid: Tid;
  /** Numbers of the revisions, by oid. */
  readonly #revisions = new Map<Oid, Set<number>>();
  /** Transactions that lose a record. */
  readonly #losers = new Set<Tid>();
  /** Blobs that lose a revision. */
  readonly blobs = new Set<Oid>();
  count = 0;

  constructor({ level, reader }: UpkeepOptions, checkpointTid: Tid) {
    this.#level = level;
    this.#reader = reader;
    this.#checkpointTid = checkpointTid;
  }

  /** A transaction before the horizon wrote these records (oid and number, in turn): what they superseded goes. */
  superseded(records: readonly number[]): void {
    for (let i = 0; i < records.length; i += 2) {
      const oid = records[i] as Oid;
      const n = (records[i + 1] as number) - 1;
      // Also counts what has nothing to drop: a step is bounded work.
      if (n < 0) {
        this.count += NEW_OBJECT_COUNTS;
        continue;
      }
      this.count++;
      const value = this.#reader.olderValue(oid, n);
      if (value === undefined) continue;
      const numbers = this.#revisions.get(oid);
      if (numbers) numbers.add(n);
      else this.#revisions.set(oid, new Set([n]));
      this.#losers.add(tidOfRevision(asBuffer(value)));
      if (blobOf(dataOfRevision(asBuffer(value)))) this.blobs.add(oid);
    }
  }

  *revisionKeys(): Generator<Buffer> {
    for (const [oid, numbers] of this.#revisions) for (const n of numbers) yield olderKey(oid, n);
  }

  /** Transactions of which nothing will be left. */
  async emptied(): Promise<Tid[]> {
    const emptied: Tid[] = [];
    for (const tid of this.#losers) {
      if (tid <= this.#checkpointTid && (await this.#isEmptied(tid))) emptied.push(tid);
    }
    return emptied;
  }

  /** Whether nothing is left of what a transaction wrote. */
  async #isEmptied(tid: Tid): Promise<boolean> {
    const value = await this.#level.get(transactionKey(tid));
    if (value === undefined) return false;
    const isGoing = (oid: Oid, n: number) => this.#revisions.get(oid)?.has(n) ?? false;
    return isEmptied(this.#reader, decodeTransaction(tid, value).records, isGoing);
  }
}

/** Whether nothing is left of these records (oid and number, in turn); a long list is not looked through. */
function isEmptied(
  reader: LevelReader,
  records: readonly number[],
  isGoing?: (oid: Oid, n: number) => boolean,
): boolean {
  for (let i = 0; i < records.length; i += 2) {
    if (i >= LOOKS_MAX * 2) return false;
    const oid = records[i] as Oid;
    const n = records[i + 1] as number;
    if (isGoing?.(oid, n)) continue;
    if (reader.current(oid)?.n === n || reader.olderValue(oid, n) !== undefined) return false;
  }
  return true;
}
