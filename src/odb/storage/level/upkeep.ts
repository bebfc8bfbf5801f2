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
/** What is passed over without a look at the disk, as the making of an object, which supersedes nothing, counts as so much of a look. */
const CHEAP_COUNTS = 0.01;
/** A longer entry of a transaction is not looked through while history is trimmed: a pack does that. */
const ENTRY_BYTES_MAX = 2048;
/** Records of a transaction that are looked at first: as a rule, one of them is there still. */
const SAMPLES = 32;
/** So many transactions with longer entries are remembered. */
const LONG_ENTRIES_MAX = 1000;
/** Revisions that are looked at, about, between two turns of the event loop. */
const LOOKS_PER_TURN = 32;
/** Transactions of which it is found out, between two turns, whether something is left of them. */
const TRANSACTIONS_PER_TURN = 8;

/** What an {@link Upkeep} works on. */
export interface UpkeepOptions {
  readonly level: Level;
  readonly reader: LevelReader;
  readonly clock: Clock;
  /** Lets others have their turn. */
  readonly turn: () => Promise<void>;
  /** How long superseded revisions are kept; `undefined`: for ever. */
  readonly keepMs: number | undefined;
  /** Transactions after this one are needed to open the database, and stay. */
  readonly checkpointTid: () => Tid;
  /** Writes with the next commit, or alone; may call the function more than once. */
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
  /** What the transaction wrote that one step was not enough for. */
  #begun: Written | undefined;
  /** Transactions whose entries are not looked through. */
  readonly #longEntries = new Set<Tid>();

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

  /** Drops the transactions before `horizon` of which nothing is left; of objects that are known to be gone, nothing is. */
  async dropEmptied(horizon: Tid, isGone: (oid: Oid) => boolean): Promise<void> {
    const { level, checkpointTid, write } = this.#options;
    let emptied: Tid[] = [];
    const drop = () =>
      this.#oneAtATime.run(async () => {
        const mark = await this.#trimmed();
        const tids = emptied;
        await write((batch) => {
          for (const tid of tids) batch.del(transactionKey(tid));
          putTrimmed(batch, { ...mark, dropped: mark.dropped + tids.length });
        });
        emptied = [];
      });
    const looks = new Looks(this.#options, isGone);
    for await (const [key, value] of level.iterator({ gt: transactionKey(ZERO_TID), lt: transactionKey(horizon) })) {
      const tid = tidOfKey(key);
      // Those after it are needed to open the database.
      if (tid > checkpointTid()) break;
      if (await looks.isEmptied(decodeTransaction(tid, value).records)) emptied.push(tid);
      if (emptied.length >= DROPS_PER_STEP) await drop();
    }
    if (emptied.length > 0) await drop();
  }

  async #trimmed(): Promise<Trimmed> {
    const mark = await this.#options.level.get(bookkeepingKey('trimmed'));
    const [last = ZERO_TID, dropped = 0, records = 0] = mark ? decodeNumbers('the mark of trimmed history', mark) : [];
    return { last: last as Tid, dropped, records };
  }

  #trim(): Promise<boolean> {
    const { clock, keepMs } = this.#options;
    if (keepMs === undefined || clock.now() <= keepMs) return Promise.resolve(true);
    const horizon = tidFromDate(new Date(clock.now() - keepMs));
    return this.#oneAtATime.run(() => this.#trimStep(horizon));
  }

  /** Resolves to whether there is nothing left to trim. */
  async #trimStep(horizon: Tid): Promise<boolean> {
    const { checkpointTid, write, secure, trimmed } = this.#options;
    const from = await this.#trimmed();
    const step = new Step(this.#options, checkpointTid(), this.#longEntries);
    let to: Trimmed | undefined;
    for await (const { tid: last, numbers } of this.#writtenFrom(from, horizon)) {
      const begin = last === from.last ? from.records : 0;
      const records = await step.superseded(numbers, begin);
      this.#begun = records > 0 ? { tid: last, numbers } : undefined;
      to = { ...from, last, records };
      if (step.isFull || this.#isStopped) break;
    }
    if (!to) return true;
    const emptied = await step.emptied();
    const mark = { ...to, dropped: from.dropped + emptied.length };
    await write((batch) => {
      for (const key of step.revisionKeys()) batch.del(key);
      for (const tid of emptied) batch.del(transactionKey(tid));
      putTrimmed(batch, mark);
    });
    if (step.blobs.size > 0) {
      // Crash: the contents go for good, so what superseded them has to stay.
      await secure();
      trimmed(step.blobs);
    }
    return !step.isFull;
  }

  /** What transactions before the horizon wrote, from where history is trimmed on. */
  async *#writtenFrom({ last, records }: Trimmed, horizon: Tid): AsyncGenerator<Written> {
    const isBegun = records > 0;
    // It may be long: it is not read again for each step.
    const begun = isBegun && this.#begun?.tid === last ? this.#begun : undefined;
    if (begun) yield begun;
    const first = transactionKey(last);
    const range = { ...(isBegun && !begun ? { gte: first } : { gt: first }), lt: transactionKey(horizon) };
    for await (const [key, value] of this.#options.level.iterator(range)) {
      const tid = tidOfKey(key);
      yield { tid, numbers: decodeTransaction(tid, value).records };
    }
  }
}

/** What a transaction wrote. */
interface Written {
  readonly tid: Tid;
  /** Oid and number of each revision, in turn. */
  readonly numbers: readonly number[];
}

/** How far history was trimmed. */
interface Trimmed {
  /** What transactions up to this one superseded is gone. */
  readonly last: Tid;
  /** How many transactions were dropped with it. */
  readonly dropped: number;
  /** Where the last one has superseded more than one step drops: up to which of its records that is gone; 0 when it all is. */
  readonly records: number;
}

function putTrimmed(batch: Batch, { last, dropped, records }: Trimmed): void {
  batch.put(bookkeepingKey('trimmed'), encodeNumbers(records > 0 ? [last, dropped, records] : [last, dropped]));
}

/** What one step drops. */
class Step {
  readonly #level: Level;
  readonly #reader: LevelReader;
  readonly #checkpointTid: Tid;
  readonly #longEntries: Set<Tid>;
  readonly #turn: () => Promise<void>;
  /** Numbers of the revisions, by oid. */
  readonly #revisions = new Map<Oid, Set<number>>();
  /** Transactions that lose a record. */
  readonly #losers = new Set<Tid>();
  /** Blobs that lose a revision. */
  readonly blobs = new Set<Oid>();
  #count = 0;
  /** The count at the last turn. */
  #turned = 0;

  /** @param longEntries transactions that are left alone; the step may add some */
  constructor({ level, reader, turn }: UpkeepOptions, checkpointTid: Tid, longEntries: Set<Tid>) {
    this.#level = level;
    this.#longEntries = longEntries;
    this.#turn = turn;
    this.#reader = reader;
    this.#checkpointTid = checkpointTid;
  }

  /** Whether there is enough to do: a step is bounded work. */
  get isFull(): boolean {
    return this.#count >= DROPS_PER_STEP;
  }

  /**
   * A transaction before the horizon wrote these records (oid and number, in turn): what they superseded goes, from the record `begin` on.
   * Resolves to the record before which the step was full; 0 when these were all.
   */
  async superseded(records: readonly number[], begin: number): Promise<number> {
    for (let i = begin * 2; i < records.length; i += 2) {
      if (this.isFull) return i / 2;
      if (this.#count - this.#turned >= LOOKS_PER_TURN) {
        this.#turned = this.#count;
        await this.#turn();
      }
      const oid = records[i] as Oid;
      const n = (records[i + 1] as number) - 1;
      // Also counts what has nothing to drop.
      if (n < 0) {
        this.#count += CHEAP_COUNTS;
        continue;
      }
      this.#count++;
      const value = this.#reader.olderValue(oid, n);
      if (value === undefined) continue;
      const numbers = this.#revisions.get(oid);
      if (numbers) numbers.add(n);
      else this.#revisions.set(oid, new Set([n]));
      this.#losers.add(tidOfRevision(asBuffer(value)));
      if (blobOf(dataOfRevision(asBuffer(value)))) this.blobs.add(oid);
    }
    return 0;
  }

  *revisionKeys(): Generator<Buffer> {
    for (const [oid, numbers] of this.#revisions) for (const n of numbers) yield olderKey(oid, n);
  }

  /** Transactions of which nothing will be left. */
  async emptied(): Promise<Tid[]> {
    const emptied: Tid[] = [];
    let looks = 0;
    for (const tid of this.#losers) {
      if (tid > this.#checkpointTid || this.#longEntries.has(tid)) continue;
      if (this.#isEmptied(tid)) emptied.push(tid);
      if (++looks % TRANSACTIONS_PER_TURN === 0) await this.#turn();
    }
    return emptied;
  }

  /** Whether nothing is left of what a transaction wrote. */
  #isEmptied(tid: Tid): boolean {
    const value = this.#level.getSync(transactionKey(tid));
    if (value === undefined) return false;
    if (value.length > ENTRY_BYTES_MAX) {
      if (this.#longEntries.size >= LONG_ENTRIES_MAX) this.#longEntries.clear();
      this.#longEntries.add(tid);
      return false;
    }
    const { records } = decodeTransaction(tid, value);
    for (let i = 0; i < records.length; i += 2) {
      const oid = records[i] as Oid;
      const n = records[i + 1] as number;
      if (!this.#revisions.get(oid)?.has(n) && isThere(this.#reader, oid, n)) return false;
    }
    return true;
  }
}

/** Looks whether anything is left of transactions, and gives others their turn. */
class Looks {
  readonly #reader: LevelReader;
  readonly #turn: () => Promise<void>;
  readonly #isGone: (oid: Oid) => boolean;
  #count = 0;

  constructor({ reader, turn }: UpkeepOptions, isGone: (oid: Oid) => boolean) {
    this.#reader = reader;
    this.#turn = turn;
    this.#isGone = isGone;
  }

  /** Whether nothing is left of these records (oid and number, in turn). */
  async isEmptied(numbers: readonly number[]): Promise<boolean> {
    const stride = 2 * Math.max(1, Math.floor(numbers.length / 2 / SAMPLES));
    return !(await this.#isAnyThere(numbers, stride)) && (stride === 2 || !(await this.#isAnyThere(numbers, 2)));
  }

  async #isAnyThere(numbers: readonly number[], stride: number): Promise<boolean> {
    for (let i = 0; i < numbers.length; i += stride) {
      const oid = numbers[i] as Oid;
      const isGone = this.#isGone(oid);
      this.#count += isGone ? CHEAP_COUNTS : 1;
      if (this.#count >= LOOKS_PER_TURN) {
        this.#count = 0;
        await this.#turn();
      }
      if (!isGone && isThere(this.#reader, oid, numbers[i + 1] as number)) return true;
    }
    return false;
  }
}

function isThere(reader: LevelReader, oid: Oid, n: number): boolean {
  return reader.current(oid)?.n === n || reader.olderValue(oid, n) !== undefined;
}
