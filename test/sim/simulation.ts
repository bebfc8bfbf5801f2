import { checkedReferences, DB, recordConflictResolver, type Tid, TransactionManager } from 'holdfast/odb';
import { setLogSink } from '#src/base/index.js';
import { type History, LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { CheckFailed } from './check-failed.js';
import { Client, type Life } from './client.js';
import { checkHistory, type Observed } from './history.js';
import { Ledger } from './ledger.js';
import { isMerged, populate, type Root } from './objects.js';
import { Operator } from './operator.js';
import { Scheduler } from './scheduler.js';
import { SimDisk } from './sim-disk.js';
import type { Lie } from './sim-level.js';

/** How a simulation is run. */
export interface SimulationOptions {
  /** Steps until it comes to an end. Default: 1000. */
  readonly steps?: number;
  /** Prints each step as it is taken. */
  readonly isPrinted?: boolean;
  /** What the disk does that it must not do. */
  readonly lie?: Lie;
  /** Bytes above which a transaction is a large one, which is written in several batches. */
  readonly batchSize?: number;
  /** Breaks a storage each time that one is opened, to show that the checkers notice. */
  readonly sabotage?: (storage: LevelStorage) => void;
}

/** What a simulation did. */
export interface SimulationReport {
  readonly steps: number;
  readonly commits: number;
  readonly transactions: number;
  readonly crashes: number;
  readonly closes: number;
  /** That were begun. */
  readonly packs: number;
  /** That came to their end. */
  readonly packsEnded: number;
  /** That came to their end while others committed. */
  readonly packsBeside: number;
  /** Of all that happened: equal seeds give equal hashes. */
  readonly hash: string;
}

/** A promise was broken in the run of a seed. */
export class SimulationFailed extends Error {
  constructor(
    readonly seed: number,
    readonly failure: CheckFailed,
    trace: string,
  ) {
    super(`seed ${seed}: ${failure.message}\n\nThe last steps:\n${trace}\n`, { cause: failure });
  }
}

const STEPS = 1000;
/** Steps that a simulation has to come to its end; if it takes more, somebody waits for ever. */
const END_STEPS_MAX = 200_000;
const CRASH_PROBABILITY = 1 / 350;
const CLIENTS_MAX = 5;
/** How long history is kept, by chance. */
const HISTORIES: readonly (readonly [History, number | undefined])[] = [
  ['all', undefined],
  ['none', 3_600_000],
  [{ days: 1 }, 86_400_000],
];

/**
 * Runs databases, their clients and their disk from one seed: what is run when, how much time passes, what fails, and where everything
 * ends at once.
 *
 * @throws SimulationFailed
 */
export async function simulate(seed: number, options: SimulationOptions = {}): Promise<SimulationReport> {
  // What the database says of the faults of its disk is expected.
  const formerSink = setLogSink(() => {});
  try {
    return await new Simulation(seed, options).run();
  } finally {
    setLogSink(formerSink);
  }
}

class Simulation {
  readonly #seed: number;
  readonly #options: SimulationOptions;
  readonly #scheduler: Scheduler;
  readonly #disk: SimDisk;
  readonly #ledger: Ledger;
  readonly #history: Observed[] = [];
  readonly #keep: History;
  #isLast = false;
  #crashes = 0;
  #closes = 0;

  constructor(seed: number, options: SimulationOptions) {
    this.#seed = seed;
    this.#options = options;
    this.#scheduler = new Scheduler(seed, { isPrinted: options.isPrinted ?? false });
    this.#disk = new SimDisk(this.#scheduler);
    this.#disk.lie = options.lie;
    const [keep, keepMs] = this.#scheduler.pick(HISTORIES);
    this.#keep = keep;
    this.#ledger = new Ledger(this.#scheduler, this.#disk.blobs, keepMs);
    this.#ledger.onCommitted = (description, tid) => this.#committed(description, tid);
  }

  async run(): Promise<SimulationReport> {
    try {
      while (!(await this.#untilEndOrCrash()));
      checkHistory(this.#history, isMerged);
    } catch (error) {
      const failure = failureOf(error);
      throw new SimulationFailed(this.#seed, failure, this.#scheduler.trace.tail);
    }
    return {
      steps: this.#scheduler.steps,
      commits: this.#ledger.commitCount,
      transactions: this.#history.length,
      crashes: this.#crashes,
      closes: this.#closes,
      packs: this.#ledger.packCount,
      packsEnded: this.#ledger.packsEnded,
      packsBeside: this.#ledger.packsBeside,
      hash: this.#scheduler.trace.hash,
    };
  }

  /** Takes steps until the database was closed for the last time; `false` when it crashed before. */
  async #untilEndOrCrash(): Promise<boolean> {
    let isOver = false;
    let failure: unknown;
    this.#lives().then(
      () => {
        isOver = true;
      },
      (error: unknown) => {
        failure = error ?? new Error('nothing was thrown');
      },
    );
    const stepsMax = this.#options.steps ?? STEPS;
    while (!isOver) {
      const isStep = await this.#scheduler.step();
      if (this.#ledger.failure) throw this.#ledger.failure;
      if (failure !== undefined) throw failure;
      if (isOver) break;
      if (!isStep) throw new CheckFailed('progress', 'everybody waits, and nothing can happen any more');
      if (this.#scheduler.steps >= stepsMax) this.#end();
      else if (this.#scheduler.chance(CRASH_PROBABILITY)) {
        this.#crash();
        return false;
      }
      if (this.#scheduler.steps > stepsMax + END_STEPS_MAX) throw new CheckFailed('progress', 'it comes to no end');
    }
    return true;
  }

  #crash(): void {
    this.#crashes++;
    const end = this.#scheduler.chance(0.4) ? 'process' : 'machine';
    this.#scheduler.note(`the ${end} ends`);
    this.#scheduler.forget();
    this.#disk.crash(end);
    this.#ledger.crashed(end);
  }

  #life: Life | undefined;
  #operator: Operator | undefined;

  /** Faults end, and the clients come to their ends. */
  #end(): void {
    if (this.#isLast) return;
    this.#isLast = true;
    this.#scheduler.note('no more faults');
    this.#operator?.heal();
    if (this.#life) this.#life.isEnding = true;
  }

  async #lives(): Promise<void> {
    while (!this.#isLast) await this.#live();
    await this.#checkEnd();
  }

  async #open(): Promise<Life> {
    const scheduler = this.#scheduler;
    const storage = await LevelStorage.open(
      'simulated',
      {
        clock: scheduler,
        history: this.#keep,
        batchSize: this.#options.batchSize ?? '8MB',
        conflictResolver: recordConflictResolver,
      },
      this.#disk,
    );
    scheduler.note(`opened at ${storage.lastTransaction()}`);
    this.#options.sabotage?.(storage);
    // Contents that are to be stored are files of the machine.
    Object.defineProperty(storage, 'temporaryDirectory', { value: undefined });
    this.#ledger.listen(storage, this.#disk.blobStore());
    await this.#ledger.checkRecovered(storage);
    this.#ledger.checkAll(storage);
    const db = await DB.open<Root>(storage, { cacheSize: scheduler.pick([20, 10_000]), poolSize: 3 });
    return {
      scheduler,
      ledger: this.#ledger,
      storage,
      db,
      files: this.#disk.blobs,
      history: this.#history,
      isEnding: this.#isLast,
      isClosing: false,
    };
  }

  /** From one opening of the database to its closing. */
  async #live(): Promise<void> {
    const life = await this.#open();
    const scheduler = this.#scheduler;
    await this.#populate(life);
    this.#life = life;
    this.#operator = new Operator(life, this.#disk);
    const clients = Array.from({ length: 1 + scheduler.below(CLIENTS_MAX) }, (_, i) => new Client(life, `client${i}`));
    const count = 5 + scheduler.below(60);
    const works = [...clients.map((client) => client.run(count)), this.#operator.run(count * 2)];
    // Whoever waits for them may not have come to that yet.
    for (const work of works) work.catch((error: unknown) => this.#failed(error));
    let isDone = false;
    const worked = Promise.all(works);
    void worked.then(
      () => {
        isDone = true;
      },
      () => undefined,
    );
    // Some close a database while it is used.
    if (scheduler.chance(0.3)) {
      for (let i = scheduler.below(400); i > 0 && !isDone; i--) await scheduler.pause('time passes');
      life.isClosing = true;
    } else await worked;
    this.#closes++;
    scheduler.note('closes');
    await Promise.all([life.db.close(), worked]);
    scheduler.note('closed');
    this.#operator.heal();
    this.#life = undefined;
    this.#operator = undefined;
  }

  async #populate({ db, scheduler, ledger }: Life): Promise<void> {
    const manager = new TransactionManager({ clock: scheduler });
    const connection = db.open({ transactionManager: manager });
    if (connection.root.accounts === undefined) {
      const observed: Observed = {
        name: 'populate',
        floor: ledger.acknowledgedTid,
        ceiling: ledger.lastTid,
        reads: [],
        effects: [],
        current: new Set(),
      };
      this.#history.push(observed);
      manager.note(observed.name);
      for (const [key, value] of populate(connection.root)) observed.effects.push({ kind: 'set', key, value });
      await manager.commit();
    }
    connection.close();
  }

  #failed(error: unknown): void {
    this.#ledger.failure ??= failureOf(error);
  }

  #committed(description: string, tid: Tid): void {
    this.#scheduler.note(`${description} is there as ${tid}`);
    const observed = this.#history.findLast(({ name }) => name === description);
    if (observed) observed.tid = tid;
  }

  /** What is there at the end, read by one who has seen nothing of it before. */
  async #checkEnd(): Promise<void> {
    const life = await this.#open();
    const { storage, db, scheduler } = life;
    const client = new Client(life, 'last');
    await client.lookAtAll();
    await verify(storage, /^the content \S+ of blob oid \d+ is named by no revision/);
    await db.pack();
    scheduler.note('packed at the end');
    await verify(storage);
    await client.lookAtAll();
    client.close();
    await db.close();
  }
}

/** @param allowed what a pack is still to remove */
async function verify(storage: LevelStorage, allowed?: RegExp): Promise<void> {
  for await (const { message } of storage.verify({ references: checkedReferences })) {
    if (!allowed?.test(message)) throw new CheckFailed('verify', message);
  }
}

function failureOf(error: unknown): CheckFailed {
  if (error instanceof CheckFailed) return error;
  return new CheckFailed('errors', String((error as Error)?.stack ?? error), { cause: error });
}
