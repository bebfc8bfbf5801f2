import { checkedReferences, type DB, TransactionManager } from 'holdfast/odb';
import { setLogSink } from '#src/base/index.js';
import type { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { checkTogether } from './atomicity.js';
import { CheckFailed } from './check-failed.js';
import { Client } from './client.js';
import { KeptDatabase, type OpenDatabase, type OpeningOptions } from './database.js';
import { checkHistory } from './history.js';
import type { Life } from './life.js';
import { isMerged, populate } from './objects.js';
import { Operator } from './operator.js';
import { Scheduler } from './scheduler.js';
import { View } from './view.js';

/** How a simulation is run. */
export interface SimulationOptions extends OpeningOptions {
  /** Steps until it comes to an end. Default: 1000. */
  readonly steps?: number;
  /** Prints each step as it is taken. */
  readonly isPrinted?: boolean;
  /** How many databases there are. Default: one or two, by chance. */
  readonly databases?: 1 | 2;
  /** Whether commits wait for the disk. Default: by chance. */
  readonly durable?: boolean;
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
  /** Transactions that were committed in several databases. */
  readonly together: number;
  /** Those of them that were in doubt. */
  readonly doubts: number;
  /** Transactions that were lost where commits do not wait for the disk. */
  readonly losses: number;
  /** Openings that failed, since the disk did. */
  readonly refusals: number;
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
const CRASH_PROBABILITY_OPENING = 1 / 100;
const CLIENTS_MAX = 5;
/** How many simulations are of a database whose commits do not wait for the disk. */
const LOOSE_PROBABILITY = 0.15;
/** How many simulations are of two databases, and how many of their lives leave one closed. */
const TWO_PROBABILITY = 0.3;
const ALONE_PROBABILITY = 0.2;

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
  readonly #databases: readonly KeptDatabase[];
  #isLast = false;
  #isOpening = false;
  #crashes = 0;
  #closes = 0;

  constructor(seed: number, options: SimulationOptions) {
    this.#seed = seed;
    this.#options = options;
    this.#scheduler = new Scheduler(seed, { isPrinted: options.isPrinted ?? false });
    const count = options.databases ?? (this.#scheduler.chance(TWO_PROBABILITY) ? 2 : 1);
    // What several databases decide together is lost with one of them.
    const durable = count > 1 || (options.durable ?? !this.#scheduler.chance(LOOSE_PROBABILITY));
    const names = ['one', 'two'].slice(0, count);
    this.#databases = names.map((name) => new KeptDatabase(name, this.#scheduler, { ...options, durable }));
  }

  async run(): Promise<SimulationReport> {
    try {
      while (!(await this.#untilEndOrCrash()));
      for (const { history } of this.#databases) checkHistory(history, isMerged);
    } catch (error) {
      const failure = failureOf(error);
      throw new SimulationFailed(this.#seed, failure, this.#scheduler.trace.tail);
    }
    const sum = (count: (database: KeptDatabase) => number) =>
      this.#databases.reduce((total, each) => total + count(each), 0);
    return {
      steps: this.#scheduler.steps,
      commits: sum(({ ledger }) => ledger.commitCount),
      transactions: sum(({ history }) => history.length),
      crashes: this.#crashes,
      closes: this.#closes,
      packs: sum(({ ledger }) => ledger.packCount),
      packsEnded: sum(({ ledger }) => ledger.packsEnded),
      packsBeside: sum(({ ledger }) => ledger.packsBeside),
      together: checkTogether(this.#databases.map(({ ledger }) => ledger)),
      doubts: sum(({ history }) => history.filter(({ isLate }) => isLate).length),
      losses: sum(({ losses }) => losses),
      refusals: sum(({ refusals }) => refusals),
      hash: this.#scheduler.trace.hash,
    };
  }

  /** Takes steps until the databases were closed for the last time; `false` when it crashed before. */
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
      for (const { ledger } of this.#databases) if (ledger.failure) throw ledger.failure;
      if (failure !== undefined) throw failure;
      if (isOver) break;
      if (!isStep) throw new CheckFailed('progress', 'everybody waits, and nothing can happen any more');
      if (this.#scheduler.steps >= stepsMax) this.#end();
      else if (this.#scheduler.chance(this.#isOpening ? CRASH_PROBABILITY_OPENING : CRASH_PROBABILITY)) {
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
    for (const database of this.#databases) database.crash(end);
  }

  #life: Life | undefined;
  #operators: readonly Operator[] = [];

  /** Faults end, and the clients come to their ends. */
  #end(): void {
    if (this.#isLast) return;
    this.#isLast = true;
    this.#scheduler.note('no more faults');
    this.#heal();
    if (this.#life) this.#life.isEnding = true;
  }

  async #lives(): Promise<void> {
    while (!this.#isLast) await this.#live();
    await this.#checkEnd();
  }

  #heal(): void {
    for (const operator of this.#operators) operator.heal();
  }

  /** Opens all databases, in some order, or in some lives one alone. */
  async #open(): Promise<Life> {
    this.#isOpening = true;
    const scheduler = this.#scheduler;
    const [one, two] = this.#databases as [KeptDatabase, KeptDatabase?];
    let order = [one];
    if (two) {
      order = scheduler.chance(0.5) ? [one, two] : [two, one];
      if (!this.#isLast && scheduler.chance(ALONE_PROBABILITY)) order.pop();
    }
    const together = new Map<string, DB>();
    const databases: OpenDatabase[] = [];
    const isHarmed = () => !this.#isLast;
    for (const kept of order) databases.push(await kept.open(together, { isHarmed }));
    if (databases.length > 1) await this.#checkTogether(databases);
    this.#isOpening = false;
    return { scheduler, databases, isEnding: this.#isLast, isClosing: false };
  }

  /** What was committed in several databases was in all of them, unless it is in doubt still. */
  async #checkTogether(databases: readonly OpenDatabase[]): Promise<void> {
    const doubts = (await Promise.all(databases.map(({ db }) => db.doubts()))).flat();
    checkTogether(
      databases.map(({ kept }) => kept.ledger),
      new Set(doubts.map(({ description }) => description)),
    );
    if (this.#isLast && doubts.length > 0) {
      throw new CheckFailed('atomicity', `in doubt still, with all databases open: ${doubts[0]?.description}`);
    }
  }

  /** From one opening of the databases to their closing. */
  async #live(): Promise<void> {
    const life = await this.#open();
    const { scheduler, databases } = life;
    for (const database of databases) await this.#populate(database);
    this.#life = life;
    this.#operators = databases.map((database) => new Operator(life, database));
    const clients = Array.from({ length: 1 + scheduler.below(CLIENTS_MAX) }, (_, i) => new Client(life, `client${i}`));
    const count = 5 + scheduler.below(60);
    const works = [
      ...clients.map((client) => client.run(count)),
      ...this.#operators.map((operator) => operator.run(count * 2)),
    ];
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
    await Promise.all([...databases.map(({ db }) => db.close()), worked]);
    scheduler.note('closed');
    this.#heal();
    this.#life = undefined;
    this.#operators = [];
  }

  async #populate({ kept, db }: OpenDatabase): Promise<void> {
    const manager = new TransactionManager({ clock: this.#scheduler });
    const connection = db.open({ transactionManager: manager });
    if (connection.root.accounts === undefined) {
      const view = new View(this.#scheduler, kept, connection);
      view.begin(`populate.${this.#scheduler.count()}`);
      manager.note(view.observed.name);
      for (const [key, value] of populate(connection.root)) view.observed.effects.push({ kind: 'set', key, value });
      await manager.commit();
    }
    connection.close();
  }

  #failed(error: unknown): void {
    const [{ ledger }] = this.#databases as [KeptDatabase];
    ledger.failure ??= failureOf(error);
  }

  /** What is there at the end, read by one who has seen nothing of it before. */
  async #checkEnd(): Promise<void> {
    const life = await this.#open();
    const { databases, scheduler } = life;
    // One that was always left closed may be empty.
    for (const database of databases) await this.#populate(database);
    const client = new Client(life, 'last');
    await client.lookAtAll();
    for (const { storage, db } of databases) {
      await verify(storage, /^the content \S+ of blob oid \d+ is named by no revision/);
      await db.pack();
      scheduler.note('packed at the end');
      await verify(storage);
    }
    await client.lookAtAll();
    client.close();
    for (const { db } of databases) await db.close();
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
