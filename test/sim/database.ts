import { DB, recordConflictResolver } from 'holdfast/odb';
import type { Size } from '#src/base/index.js';
import { type History, LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { checkHistory, type Observed } from './history.js';
import { Ledger } from './ledger.js';
import { isMerged, type Root, type SimDB } from './objects.js';
import type { Scheduler } from './scheduler.js';
import { SimDisk } from './sim-disk.js';
import type { End, Lie } from './sim-level.js';

/** How long history is kept, by chance. */
const HISTORIES: readonly (readonly [History, number | undefined])[] = [
  ['all', undefined],
  ['none', 3_600_000],
  [{ days: 1 }, 86_400_000],
];

/** With the small one, many transactions are written in several batches. */
const BATCH_SIZES: readonly Size[] = ['8MB', '8MB', 300];
/** How often the disk fails while a database is opened. */
const HARM_PROBABILITY = 0.2;

/** How the databases of a simulation are opened. */
export interface OpeningOptions {
  /** What the disk does that it must not do. */
  readonly lie?: Lie;
  /** Bytes above which a transaction is a large one, which is written in several batches. */
  readonly batchSize?: number;
  /** Breaks a storage each time that one is opened, to show that the checkers notice. */
  readonly sabotage?: (storage: LevelStorage) => void;
}

/** A database in use: from one opening to its closing, or to a crash. */
export interface OpenDatabase {
  readonly kept: KeptDatabase;
  readonly storage: LevelStorage;
  readonly db: SimDB;
}

/** A database over all crashes: the disk that it is on, and all that is known of it. */
export class KeptDatabase {
  readonly name: string;
  readonly disk: SimDisk;
  readonly ledger: Ledger;
  /** What was seen and done here, by all transactions. */
  history: Observed[] = [];
  readonly #scheduler: Scheduler;
  readonly #options: OpeningOptions;
  readonly #keep: History;
  readonly #batchSize: Size;
  /** How often it could not be opened, since the disk failed. */
  refusals = 0;
  /** How many transactions were lost, as they may be where commits do not wait for the disk. */
  losses = 0;
  /** Whether commits wait for the disk; in some databases they do not always. */
  readonly #isDurable: boolean;
  /** Whether all is there that was acknowledged, if the machine goes down now. */
  #isAllDurable = true;
  #areOidsDurable = true;

  constructor(name: string, scheduler: Scheduler, options: OpeningOptions & { readonly durable: boolean }) {
    this.#isDurable = options.durable;
    this.name = name;
    this.#scheduler = scheduler;
    this.#options = options;
    this.disk = new SimDisk(scheduler, `/sim/${name}.fs`);
    this.disk.lie = options.lie;
    const [keep, keepMs] = scheduler.pick(HISTORIES);
    this.#keep = keep;
    this.#batchSize = options.batchSize ?? scheduler.pick(BATCH_SIZES);
    this.ledger = new Ledger(scheduler, this.disk.blobs, keepMs);
    this.ledger.onCommitted = (description, tid, isLate) => {
      scheduler.note(`${description} is there as ${tid} in ${name}`);
      const observed = this.history.findLast((each) => each.name === description);
      if (observed) Object.assign(observed, { tid, isLate });
    };
    this.ledger.onLost = (last, count) => {
      this.losses += count;
      scheduler.note(`all after ${last} is lost in ${name}`);
      // From now on it is as if that had never been.
      checkHistory(this.history, isMerged);
      this.history = this.history.filter(({ tid }) => tid !== undefined && tid <= last);
    };
  }

  /** Everything ends at once. */
  crash(end: End): void {
    this.disk.crash(end);
    this.ledger.crashed(end, { isDurable: this.#isAllDurable, areOidsDurable: this.#areOidsDurable });
    if (end === 'machine') this.#areOidsDurable = true;
  }

  /**
   * Opens it, and checks what is found there, together with the `databases` that are open already.
   *
   * @param options.isHarmed whether the disk may fail meanwhile; then it is opened again
   */
  async open(databases: Map<string, DB>, { isHarmed }: { readonly isHarmed: () => boolean }): Promise<OpenDatabase> {
    const scheduler = this.#scheduler;
    for (;;) {
      let storage: LevelStorage | undefined;
      try {
        if (isHarmed() && scheduler.chance(HARM_PROBABILITY)) this.disk.harm();
        storage = await this.#openStorage();
        const { faults } = this.disk;
        const after = { ...faults };
        this.disk.heal();
        await this.#checkFound(storage);
        Object.assign(faults, after);
        const db = await DB.open<Root>(storage, {
          cacheSize: scheduler.pick([20, 10_000]),
          poolSize: 3,
          databaseName: this.name,
          databases,
        });
        return { kept: this, storage, db };
      } catch (error) {
        if (!isOfDisk(error)) throw error;
        this.refusals++;
        scheduler.note(`${this.name} cannot be opened: ${(error as Error).message}`);
        await storage?.close();
      } finally {
        this.disk.heal();
      }
    }
  }

  async #openStorage(): Promise<LevelStorage> {
    const scheduler = this.#scheduler;
    const durable = this.#isDurable || scheduler.chance(0.3);
    this.#isAllDurable &&= durable;
    this.#areOidsDurable &&= durable;
    const storage = await LevelStorage.open(
      'simulated',
      {
        clock: scheduler,
        random: scheduler.random,
        history: this.#keep,
        durable,
        batchSize: this.#batchSize,
        conflictResolver: recordConflictResolver,
      },
      this.disk,
    );
    this.#isAllDurable = durable;
    scheduler.note(`${this.name} is opened at ${storage.lastTransaction()}`);
    return storage;
  }

  async #checkFound(storage: LevelStorage): Promise<void> {
    this.#options.sabotage?.(storage);
    // Contents that are to be stored are files of the machine.
    Object.defineProperty(storage, 'temporaryDirectory', { value: undefined });
    this.ledger.listen(storage, this.disk.blobStore());
    await this.ledger.checkRecovered(storage);
    this.ledger.checkAll(storage);
  }
}

/** Whether an error is what is told of a disk that fails. Ordering: nobody is to restore a database from a copy for that. */
function isOfDisk(error: unknown): boolean {
  const { code, cause } = error as { readonly code?: unknown; readonly cause?: unknown };
  return code === 'EIO' || code === 'ENOSPC' || (code === 'ODB_STORAGE' && cause !== undefined);
}
