import type { Batch, EntryRange, Level, Walk } from '#src/odb/storage/level/disk.js';
import { DECISION_RANGE, TRANSACTION_RANGE } from '#src/odb/storage/level/keyspace.js';
import type { Scheduler } from './scheduler.js';

/** What goes wrong, and how often: probabilities. */
export interface Faults {
  /** A write fails before anything of it is in the log. */
  appendFails: number;
  /** A write fails and leaves a part of its record in the log: what is appended later is lost at the next open. */
  appendTears: number;
  /** The log cannot be synced: the record may be in it or not, and LevelDB takes no more writes until it is opened again. */
  syncFails: number;
  /** LevelDB cannot write a table. */
  compactionFails: number;
  /** A read in the background fails. */
  readFails: number;
  /** A small file cannot be synced. */
  fileSyncFails: number;
  /** Files of blobs cannot be made, or made durable. */
  filesFail: number;
  /** There is no room. */
  isFull: boolean;
}

/** Nothing goes wrong. */
export function noFaults(): Faults {
  return {
    appendFails: 0,
    appendTears: 0,
    syncFails: 0,
    compactionFails: 0,
    readFails: 0,
    fileSyncFails: 0,
    filesFail: 0,
    isFull: false,
  };
}

/** What ends all at once. */
export type End = 'process' | 'machine';

/** How the disk breaks its promises, to show that the checkers notice. */
export type Lie =
  /** A sync does nothing. */
  | 'sync'
  /** A write is answered before it is durable. */
  | 'early'
  /** A batch that holds no transaction is answered before it is durable: votes, what is written ahead, marks. */
  | 'beside'
  /** A decision of a transaction in several databases is answered before it is durable. */
  | 'decision'
  /** A new log is begun sooner than is said. */
  | 'logs'
  /** A crash leaves a half of a batch. */
  | 'half'
  /** The file of reserved oids is as it was after a crash. */
  | 'oids';

interface Operation {
  readonly key: string;
  readonly value: Buffer | undefined;
}

interface LogRecord {
  readonly operations: readonly Operation[];
  /** The number of the log that it is in. */
  readonly log: number;
  /** It stands behind a torn one: nobody will find it. */
  readonly isHidden: boolean;
  isSynced: boolean;
  /** Its sync failed. */
  isInDoubt: boolean;
}

/** How often the tables of the former log are found to be written by then. */
const TABLES_WRITTEN_PROBABILITY = 1 / 8;

/**
 * The files of a LevelDB: what a crash leaves.
 *
 * A sync is one of the newest log. What was written to the log before it is safe once it stands in tables, which takes a while; so after a
 * crash of the machine an earlier write may be lost where a later one is not.
 */
export class LevelFiles {
  /** What is there for good. */
  #durable = new Map<string, Buffer>();
  /** What is in no table yet, in the order in which it was written: of the newest log, and of the one before. */
  #records: LogRecord[] = [];
  #isTorn = false;
  /** Counts the logs. */
  logNumber = 0;
  /** LevelDB gave up: it has to be opened anew. */
  hasFailed = false;
  /** Bytes in memory past which a new log is begun. */
  readonly memoryBytesMax: number;
  #memoryBytes = 0;
  readonly #scheduler: Scheduler;
  readonly #lie: () => Lie | undefined;

  constructor(scheduler: Scheduler, lie: () => Lie | undefined) {
    this.#scheduler = scheduler;
    this.memoryBytesMax = scheduler.pick([1_000, 4_000, 20_000]);
    this.#lie = lie;
  }

  append(operations: readonly Operation[]): void {
    if (this.#memoryBytes > this.memoryBytesMax) this.beginLog();
    else if (this.#scheduler.chance(TABLES_WRITTEN_PROBABILITY)) this.writeTables();
    this.#records.push({ operations, log: this.logNumber, isHidden: this.#isTorn, isSynced: false, isInDoubt: false });
    for (const { key, value } of operations) this.#memoryBytes += key.length + (value?.length ?? 0);
  }

  tear(): void {
    this.#isTorn = true;
  }

  /** LevelDB has the memory of two logs at most: it waits for the tables of the one before the last. */
  beginLog(): void {
    this.writeTables();
    this.logNumber++;
    this.#isTorn = false;
    this.#memoryBytes = 0;
  }

  /** All that stands in former logs is in tables from now on. */
  writeTables(): void {
    const count = this.#records.findIndex(({ log }) => log === this.logNumber);
    for (const { operations } of this.#records.splice(0, count < 0 ? this.#records.length : count)) {
      apply(this.#durable, operations);
    }
  }

  /** Everything in the newest log is durable from now on. What is hidden stays hidden. */
  sync(): void {
    if (this.#lie() === 'sync' && this.#scheduler.chance(0.3)) return;
    for (const record of this.#records) if (record.log === this.logNumber) record.isSynced = true;
    while (this.#records[0]?.isSynced && !this.#records[0].isHidden) {
      apply(this.#durable, (this.#records.shift() as LogRecord).operations);
    }
  }

  /**
   * The process ended: all is there that was written. The machine went down: of what was not synced, a beginning of each log is, up to
   * some record.
   */
  crash(end: End): void {
    if (end === 'process') return;
    const counts = new Map<number, number>();
    for (const { log, isSynced } of this.#records) if (!isSynced) counts.set(log, (counts.get(log) ?? 0) + 1);
    const left = new Map([...counts].map(([log, count]) => [log, this.#scheduler.below(count + 1)]));
    const kept: LogRecord[] = [];
    for (const record of this.#records) {
      const more = left.get(record.log) ?? 0;
      if (!record.isSynced) left.set(record.log, more - 1);
      if (record.isSynced || more > 0) kept.push(record);
      else if (more === 0 && this.#lie() === 'half') kept.push(halfOf(record));
    }
    this.#records = kept;
  }

  /** What was appended last could not be synced: LevelDB gives up. */
  failSync(): void {
    this.hasFailed = true;
    const last = this.#records.at(-1);
    if (last) last.isInDoubt = true;
  }

  /** LevelDB was closed: its log is there, but what is in doubt may not be. */
  close(): void {
    if (this.#records.at(-1)?.isInDoubt && this.#scheduler.chance(0.5)) this.#records.pop();
  }

  /** What is found at open. It is written to tables then. */
  recover(): Map<string, Buffer> {
    for (const { operations, isHidden } of this.#records) if (!isHidden) apply(this.#durable, operations);
    this.#records = [];
    this.beginLog();
    this.hasFailed = false;
    return new Map(this.#durable);
  }

  get bytes(): number {
    let bytes = 0;
    for (const [key, value] of this.#durable) bytes += key.length + value.length;
    return bytes;
  }
}

function halfOf(record: LogRecord): LogRecord {
  const { operations } = record;
  return { ...record, operations: operations.slice(0, Math.ceil(operations.length / 2)) };
}

function apply(into: Map<string, Buffer>, operations: readonly Operation[]): void {
  for (const { key, value } of operations) {
    if (value) into.set(key, value);
    else into.delete(key);
  }
}

/** An error as classic-level throws it. */
export function levelFailure(code: string, message: string): Error {
  return Object.assign(new Error(message), {
    code,
    cause: Object.assign(new Error(message), { code: 'LEVEL_IO_ERROR' }),
  });
}

/** LevelDB as far as it is used, in memory; whatever takes time there takes steps of the scheduler. */
export class SimLevel implements Level {
  readonly #scheduler: Scheduler;
  readonly #files: LevelFiles;
  readonly #faults: Faults;
  readonly #lie: () => Lie | undefined;
  readonly #live: Map<string, Buffer>;
  /** All keys in order; `undefined` when it has to be made anew. */
  #sorted: string[] | undefined;
  /** Writes and compactions under way: they come one after the other. */
  #busy: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(
    scheduler: Scheduler,
    files: LevelFiles,
    options: { readonly faults: Faults; readonly lie: () => Lie | undefined },
  ) {
    this.#scheduler = scheduler;
    this.#files = files;
    this.#faults = options.faults;
    this.#lie = options.lie;
    this.#live = files.recover();
  }

  getSync(key: Buffer): Buffer | undefined {
    this.#requireOpen();
    return this.#live.get(key.toString('latin1'));
  }

  async get(key: Buffer): Promise<Buffer | undefined> {
    this.#requireOpen();
    const value = this.#live.get(key.toString('latin1'));
    await this.#read('get');
    return value;
  }

  batch(): Batch {
    this.#requireOpen();
    const operations: Operation[] = [];
    return {
      get length() {
        return operations.length;
      },
      put: (key, value) => operations.push({ key: key.toString('latin1'), value: Buffer.from(value) }),
      del: (key) => operations.push({ key: key.toString('latin1'), value: undefined }),
      write: ({ sync }) => this.#alone(() => this.#write(operations, sync)),
      close: async () => undefined,
    };
  }

  async #write(operations: readonly Operation[], isSync: boolean): Promise<void> {
    await this.#scheduler.pause(`disk: append ${operations.length}`);
    if (this.#files.hasFailed) throw levelFailure('LEVEL_WRITE', 'IO error: the log could not be synced before');
    if (this.#faults.isFull || this.#scheduler.chance(this.#faults.appendFails)) {
      this.#scheduler.note('disk: the append fails');
      throw levelFailure('LEVEL_WRITE', 'IO error: No space left on device');
    }
    if (this.#scheduler.chance(this.#faults.appendTears)) {
      this.#scheduler.note('disk: the append is torn');
      this.#files.tear();
      throw levelFailure('LEVEL_WRITE', 'IO error: Input/output error');
    }
    this.#files.append(operations);
    if (isSync && !this.#isUntold(operations)) {
      await this.#scheduler.pause('disk: sync');
      if (this.#scheduler.chance(this.#faults.syncFails)) {
        this.#scheduler.note('disk: the sync fails');
        this.#files.failSync();
        throw levelFailure('LEVEL_WRITE', 'IO error: Input/output error');
      }
      this.#files.sync();
    }
    for (const { key, value } of operations) {
      if (this.#sorted && this.#live.has(key) !== (value !== undefined)) this.#sorted = undefined;
      if (value) this.#live.set(key, value);
      else this.#live.delete(key);
    }
    await this.#scheduler.pause('disk: written');
  }

  /** Whether a lying disk does not sync these. */
  #isUntold(operations: readonly Operation[]): boolean {
    const lie = this.#lie();
    const hasAny = (range: KeyRange) => operations.some(({ key, value }) => value && isWithin(key, range));
    switch (lie) {
      case 'early':
        return true;
      case 'beside':
        return !hasAny(TRANSACTION_RANGE);
      case 'decision':
        return hasAny(DECISION_RANGE);
      default:
        return false;
    }
  }

  iterator(range: EntryRange): Walk<[Buffer, Buffer]> {
    return this.#walk(range, (key) => [Buffer.from(key, 'latin1'), this.#live.get(key) as Buffer]);
  }

  keys(range: EntryRange): Walk<Buffer> {
    return this.#walk(range, (key) => Buffer.from(key, 'latin1'));
  }

  #walk<T>(range: EntryRange, take: (key: string) => T): Walk<T> {
    this.#requireOpen();
    // What is written from now on is not seen.
    const found = this.#range(range).map(take);
    const stride = this.#scheduler.pick([5, 50, 500]);
    let next = 0;
    const nextv = async (count: number) => {
      this.#requireOpen();
      await this.#read('walk');
      // LevelDB hands over as much as has been read ahead, which may be less than is asked for.
      const some = found.slice(next, next + 1 + this.#scheduler.below(Math.min(count, stride)));
      next += some.length;
      return some;
    };
    return {
      nextv,
      all: async () => {
        await this.#read('walk all');
        return found.slice(next);
      },
      close: async () => undefined,
      async *[Symbol.asyncIterator]() {
        for (let some = await nextv(1000); some.length > 0; some = await nextv(1000)) yield* some;
      },
    };
  }

  #range({ gt, gte, lt, lte, reverse, limit }: EntryRange): string[] {
    this.#sorted ??= [...this.#live.keys()].sort();
    const keys = this.#sorted;
    const from = gt ? firstAfter(keys, gt, true) : gte ? firstAfter(keys, gte, false) : 0;
    const until = lt ? firstAfter(keys, lt, false) : lte ? firstAfter(keys, lte, true) : keys.length;
    const found = keys.slice(from, Math.max(from, until));
    if (reverse) found.reverse();
    return limit === undefined || limit < 0 ? found : found.slice(0, limit);
  }

  async compactRange(): Promise<void> {
    await this.#alone(async () => {
      await this.#scheduler.pause('disk: compact');
      if (!this.#files.hasFailed) this.#files.beginLog();
    });
    // Others write meanwhile, to the new log.
    await this.#scheduler.pause('disk: write tables');
    if (this.#files.hasFailed) return;
    if (this.#faults.isFull || this.#scheduler.chance(this.#faults.compactionFails)) {
      this.#scheduler.note('disk: the compaction fails');
      this.#files.hasFailed = true;
      return;
    }
    this.#files.writeTables();
    await this.#scheduler.pause('disk: compacted');
  }

  async close(): Promise<void> {
    await this.#alone(() => this.#scheduler.pause('disk: close'));
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#files.close();
  }

  async #read(what: string): Promise<void> {
    await this.#scheduler.pause(`disk: ${what}`);
    if (!this.#scheduler.chance(this.#faults.readFails)) return;
    this.#scheduler.note('disk: the read fails');
    throw levelFailure('LEVEL_READ', 'IO error: Input/output error');
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#busy.then(work);
    this.#busy = done.catch(() => undefined);
    return done;
  }

  #requireOpen(): void {
    if (this.#isClosed) throw levelFailure('LEVEL_DATABASE_NOT_OPEN', 'Database is not open');
  }
}

type KeyRange = typeof TRANSACTION_RANGE;

function isWithin(key: string, { gte, lt }: KeyRange): boolean {
  return key >= gte.toString('latin1') && key < lt.toString('latin1');
}

/** The index of the first key that is not before `bound`, or that is after it. */
function firstAfter(keys: readonly string[], bound: Buffer, isAfter: boolean): number {
  const wanted = bound.toString('latin1');
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const key = keys[middle] as string;
    if (key < wanted || (isAfter && key === wanted)) low = middle + 1;
    else high = middle;
  }
  return low;
}
