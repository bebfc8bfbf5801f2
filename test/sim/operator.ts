import { type Oid, type StorageTransaction, type Tid, TransactionManager, ZERO_TID } from 'holdfast/odb';
import { nextTid } from '#src/odb/storage/next-ids.js';
import { CheckFailed } from './check-failed.js';
import type { KeptDatabase, OpenDatabase } from './database.js';
import { CLOCK_STEP_MAX_MS } from './ledger.js';
import type { Life } from './life.js';
import type { Scheduler } from './scheduler.js';

/** Commits of a burst: more than there are between two checkpoints, so that old transactions can be dropped. */
const BURST_COUNT = 1050;

/** Codes of what an operator may be told: no fault of the database's. */
const TOLD = new Set([
  'ODB_STORAGE',
  'ODB_READ_ONLY',
  'ODB_POS_KEY',
  'ODB_CONFLICT',
  'ABORT_ERR',
  'LEVEL_READ',
  'LEVEL_DATABASE_NOT_OPEN',
  'EIO',
  'ENOSPC',
]);

/** Packs, lets time pass, breaks the disk, reads old revisions, closes: whatever else happens to a database. */
export class Operator {
  readonly #life: Life;
  readonly #scheduler: Scheduler;
  readonly #database: OpenDatabase;
  readonly #kept: KeptDatabase;
  #packing: Promise<void> = Promise.resolve();
  #packsUnderWay = 0;
  /** In some lives nothing fails, so that what takes long comes to its end. */
  readonly #isHarmful: boolean;

  constructor(life: Life, database: OpenDatabase) {
    this.#life = life;
    this.#scheduler = life.scheduler;
    this.#database = database;
    this.#kept = database.kept;
    this.#isHarmful = life.scheduler.chance(0.6);
  }

  async run(count: number): Promise<void> {
    const scheduler = this.#scheduler;
    for (let i = 0; i < count && !this.#life.isEnding && !this.#life.isClosing; i++) {
      await scheduler.pause('operator');
      if (this.#life.isClosing) break;
      await this.#act();
    }
    this.heal();
    await this.#packing;
  }

  /** Nothing goes wrong any more. */
  heal(): void {
    this.#kept.disk.heal();
  }

  async #act(): Promise<void> {
    const scheduler = this.#scheduler;
    const { ledger } = this.#kept;
    const { storage } = this.#database;
    const choice = scheduler.below(100);
    if (choice < 40) ledger.checkSomeRevision(storage);
    else if (choice < 55) {
      const ms = scheduler.pick([5, 61_000, 61_000, 600_000, 4_000_000, 90_000_000]);
      scheduler.note(`${ms} ms pass`);
      scheduler.pass(ms);
    } else if (choice < 60) {
      const ms = Math.round((scheduler.random.next() - 0.5) * CLOCK_STEP_MAX_MS);
      scheduler.note(`the clock is set by ${ms} ms`);
      scheduler.adjust(ms);
    } else if (choice < 74) {
      // Two at a time are refused.
      if (this.#packsUnderWay === 0 || scheduler.chance(0.1)) this.#pack();
      else await this.#restore();
    } else if (choice < 83) {
      if (this.#isHarmful) this.#kept.disk.harm();
    } else if (choice < 92) this.heal();
    else if (choice < 94) this.#takeOids();
    else if (choice < 95 && scheduler.chance(0.1))
      await this.#burst().catch((error: unknown) => this.#told('a burst', error));
  }

  /** Begins to pack, unless that is under way; now and then it is interrupted. */
  #pack(): void {
    const scheduler = this.#scheduler;
    const { ledger } = this.#kept;
    const { db } = this.#database;
    const controller = new AbortController();
    const past = ledger.somePublished();
    const isPresent = past === undefined || scheduler.chance(0.6);
    scheduler.note(`the operator packs ${isPresent ? 'all' : `before ${past}`}`);
    const options = isPresent ? {} : { before: new Date(past / 1000) };
    this.#packsUnderWay++;
    const packing = db
      .pack({ ...options, signal: controller.signal })
      .then(
        () => scheduler.note('it is packed'),
        (error: unknown) => this.#told('pack', error),
      )
      .finally(() => this.#packsUnderWay--);
    this.#packing = Promise.all([this.#packing, packing]).then(() => undefined);
    if (!scheduler.chance(0.15)) return;
    scheduler.defer('the pack is interrupted', () => controller.abort());
  }

  #told(what: string, error: unknown): void {
    if (error instanceof CheckFailed) {
      this.#broken(error);
      return;
    }
    const code = (error as { code?: unknown }).code;
    const isAbort = (error as Error).name === 'AbortError';
    this.#scheduler.note(`${what} fails: ${String(code)}`);
    if (isAbort || (typeof code === 'string' && TOLD.has(code)) || this.#life.isClosing) return;
    this.#broken(new CheckFailed('errors', `${what} met ${String(error)}`, { cause: error }));
  }

  /** Nobody may be waiting who could be told by an exception. */
  #broken(failure: CheckFailed): void {
    this.#kept.ledger.failure ??= failure;
  }

  /** Stores an object anew that is garbage, or was packed away, or is being so: as one does who copies a part of another database. */
  async #restore(): Promise<void> {
    const scheduler = this.#scheduler;
    const { storage } = this.#database;
    const { ledger } = this.#kept;
    for (let count = 1 + scheduler.below(8); count > 0 && !this.#life.isClosing; count--) {
      const garbage = ledger.someGarbage();
      if (!garbage) return;
      const tid = nextTid(storage.lastTransaction(), scheduler.now());
      scheduler.note(`oid ${garbage.oid} is restored`);
      await this.#store(garbage.oid, ZERO_TID, garbage.data, { tid });
    }
  }

  /** Oids that are used for nothing: so that new ones have to be reserved. */
  #takeOids(): void {
    const { storage } = this.#database;
    try {
      for (let i = 0; i < 9000; i++) storage.newOid();
    } catch (error) {
      this.#told('newOid', error);
    }
  }

  /** Many small transactions at once, each of which is superseded by another. */
  async #burst(): Promise<void> {
    const scheduler = this.#scheduler;
    const { storage, db } = this.#database;
    scheduler.note('a burst');
    const connection = db.open({ transactionManager: new TransactionManager({ clock: scheduler }) });
    const { data } = storage.load(connection.root.cells[0]?._p_oid as Oid);
    connection.close();
    const made = await Promise.all(
      Array.from({ length: BURST_COUNT / 2 }, () => this.#store(storage.newOid(), ZERO_TID, data)),
    );
    await Promise.all(made.map(async (each) => each && (await this.#store(each.oid, each.tid, data))));
  }

  /** Commits a transaction that stores one record; resolves to nothing where that fails. */
  async #store(
    oid: Oid,
    serial: Tid,
    data: Uint8Array,
    restored: { readonly tid?: Tid } = {},
  ): Promise<{ readonly oid: Oid; readonly tid: Tid } | undefined> {
    const scheduler = this.#scheduler;
    const { storage } = this.#database;
    const transaction: StorageTransaction = {
      commitId: scheduler.random.bytes(16),
      user: '',
      description: `oid ${oid} on ${serial} by the operator at step ${scheduler.steps}`,
      extension: new Uint8Array(0),
      ...restored,
    };
    storage.tpcBegin(transaction);
    storage.store(transaction, oid, serial, data);
    try {
      const { tid } = await storage.commit(transaction);
      return { oid, tid };
    } catch (error) {
      await storage.tpcAbort(transaction);
      this.#told('a store', error);
      return undefined;
    }
  }
}
