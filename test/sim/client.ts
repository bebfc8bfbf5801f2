import {
  ConflictError,
  type Connection,
  type DataManager,
  type Savepoint,
  type Tid,
  TransactionManager,
} from 'holdfast/odb';
import { CheckFailed } from './check-failed.js';
import type { OpenDatabase } from './database.js';
import { isUndoable, type Observed } from './history.js';
import type { Life } from './life.js';
import type { Root } from './objects.js';
import type { Scheduler } from './scheduler.js';
import { View } from './view.js';

/** Codes of errors that a transaction can meet through no fault of anybody's. */
const REFUSALS = new Set([
  'ODB_CONFLICT',
  'ODB_READ_CONFLICT',
  'ODB_UNDO',
  'ODB_POS_KEY',
  'ODB_READ_ONLY',
  'ODB_TRANSACTION_IN_DOUBT',
  // The content of a blob could not be put into its place.
  'EIO',
  'ENOSPC',
]);

class Refused extends Error {
  readonly code = 'SIM_REFUSED';
}

/** One who uses the databases: a line of transactions, through connections of its own. */
export class Client {
  readonly #life: Life;
  readonly #scheduler: Scheduler;
  readonly #name: string;
  readonly #manager: TransactionManager;
  /** What each database is seen as by the present transaction. */
  #views!: ReadonlyMap<OpenDatabase, View>;
  /** Closing this one closes all. */
  #connection!: Connection<Root>;
  #transactionName = '';

  constructor(life: Life, name: string) {
    this.#life = life;
    this.#scheduler = life.scheduler;
    this.#name = name;
    this.#manager = new TransactionManager({ clock: life.scheduler, random: life.scheduler.random });
    this.#open();
  }

  #open(): void {
    const { databases } = this.#life;
    const first = databases.length === 1 ? (databases[0] as OpenDatabase) : this.#scheduler.pick(databases);
    this.#connection = first.db.open({ transactionManager: this.#manager });
    this.#views = new Map(
      databases.map((database) => {
        const { kept } = database;
        const connection = this.#connection.getConnection(kept.name) as unknown as Connection<Root>;
        return [database, new View(this.#scheduler, kept, connection)] as const;
      }),
    );
  }

  /** Runs until the life ends, or so many transactions were run. */
  async run(count: number): Promise<void> {
    for (let i = 0; i < count && !this.#life.isEnding && !this.#life.isClosing; i++) {
      await this.#scheduler.pause(this.#name);
      if (this.#life.isClosing) break;
      if (this.#scheduler.chance(0.05)) this.#reopen();
      if (this.#scheduler.chance(0.08)) await this.#past();
      else if (this.#scheduler.chance(0.1)) await this.#undo();
      else await this.#transaction();
    }
    this.close();
  }

  /** Reads everything in one transaction, and commits one of its own: so that what came before can be checked. */
  async lookAtAll(): Promise<void> {
    this.#begin();
    for (const view of this.#views.values()) {
      await view.lookAtAll();
      view.hasRead();
      await view.count();
    }
    await this.#commit(0);
  }

  close(): void {
    this.#manager.abort();
    this.#connection.close();
  }

  #reopen(): void {
    this.close();
    this.#open();
  }

  // ---------------------------------------------------------------- transactions

  #begin(): void {
    this.#manager.begin();
    this.#transactionName = this.#newName();
    this.#manager.note(this.#transactionName);
    for (const view of this.#views.values()) view.begin(this.#transactionName);
  }

  /** No two transactions have the same. */
  #newName(): string {
    return `${this.#name}.${this.#scheduler.count()}`;
  }

  async #transaction(): Promise<void> {
    this.#begin();
    const views = [...this.#views.values()];
    // Some use all databases, most use one.
    const used = views.length > 1 && this.#scheduler.chance(0.5) ? views : [this.#scheduler.pick(views)];
    const act = () => this.#scheduler.pick(used).act();
    try {
      await act();
      let savepoint: { readonly savepoint: Savepoint; readonly effects: readonly number[] } | undefined;
      while (this.#scheduler.chance(used.length > 1 ? 0.6 : 0.4)) {
        if (this.#scheduler.chance(0.4)) {
          savepoint = {
            savepoint: this.#manager.savepoint(),
            effects: views.map(({ observed }) => observed.effects.length),
          };
        }
        await act();
        if (savepoint && this.#scheduler.chance(0.4)) {
          savepoint.savepoint.rollback();
          for (const [i, { observed }] of views.entries()) observed.effects.length = savepoint.effects[i] as number;
        }
      }
      for (const view of views) view.hasRead();
      if (this.#scheduler.chance(0.1)) {
        this.#scheduler.note(`${this.#transactionName} aborts`);
        this.#manager.abort();
        return;
      }
      await this.#commit();
    } catch (error) {
      for (const view of views) view.hasRead();
      await this.#failed(error);
    }
  }

  /** @param company how often others take part, by chance */
  async #commit(company = 0.15): Promise<void> {
    const { scheduler } = this.#life;
    if (scheduler.chance(company)) this.#manager.join(this.#participant());
    scheduler.note(`${this.#transactionName} commits`);
    const told = await this.#manager.commit();
    const tids = [...this.#views.values()].map(({ observed }) => observed.tid ?? 0);
    if ((told ?? 0) !== Math.max(...tids)) {
      throw new CheckFailed('tids', `${this.#transactionName} was told ${told}, and the storages said ${tids}`);
    }
  }

  /** Takes part in the commit, so that it is voted, and may refuse. */
  #participant(): DataManager {
    const isWilling = this.#scheduler.chance(0.7);
    const step = (what: string) => this.#scheduler.pause(`${this.#name} ${what}`);
    return {
      sortKey: () => this.#scheduler.pick(['!', '~~']),
      abort: () => undefined,
      tpcBegin: () => undefined,
      commit: () => undefined,
      tpcVote: async () => {
        await step('votes');
        if (!isWilling) throw new Refused('the other participant is not willing');
      },
      tpcFinish: () => step('finishes').then(() => undefined),
      tpcAbort: () => step('takes its vote back'),
    };
  }

  async #failed(error: unknown): Promise<void> {
    const { scheduler } = this.#life;
    if (error instanceof CheckFailed) throw error;
    const { code, cause } = error as { code?: string; cause?: unknown };
    scheduler.note(`${this.#transactionName} fails: ${code ?? String(error)}`);
    this.#manager.abort();
    if (this.#life.isClosing) return;
    if (code === 'SIM_REFUSED' || (code !== undefined && REFUSALS.has(code))) return;
    // A write of the disk failed.
    if (code === 'ODB_COMMIT_UNCERTAIN' || (code === 'ODB_STORAGE' && cause !== undefined)) {
      if (scheduler.chance(0.5)) await this.#askOutcome();
      return;
    }
    throw new CheckFailed('errors', `${this.#transactionName} met ${String(error)}`, { cause: error });
  }

  /** Asks what became of a commit whose write failed. */
  async #askOutcome(): Promise<void> {
    const { kept, storage } = this.#scheduler.pick([...this.#views.keys()]);
    try {
      await kept.ledger.askOutcome(storage, this.#transactionName);
    } catch (refusal) {
      const { code } = refusal as { code?: string };
      if (code !== 'ODB_STORAGE' && code !== 'ODB_TRANSACTION_IN_DOUBT') throw refusal;
    }
  }

  /** Undoes a transaction, in one database or in all in which it was. */
  async #undo(): Promise<void> {
    const database = this.#scheduler.pick(this.#life.databases);
    const undone = this.#scheduler.pick(undoablesOf(database));
    if (!undone) return;
    const shares = [{ database, undone }];
    for (const other of this.#life.databases) {
      const share = undoablesOf(other).find(({ name }) => name === undone.name);
      if (other !== database && share && this.#scheduler.chance(0.8)) shares.push({ database: other, undone: share });
    }
    this.#begin();
    this.#scheduler.note(`${this.#transactionName} undoes ${undone.name} in ${shares.length}`);
    try {
      for (const { database, undone } of shares) {
        database.db.undo(undone.tid as Tid, this.#manager.get());
        (this.#views.get(database) as View).observed.undoes = undone.tid as Tid;
      }
      await this.#commit();
    } catch (error) {
      await this.#failed(error);
    }
  }

  /** Looks at a former state of a database, through a connection of its own. */
  async #past(): Promise<void> {
    const { kept, db } = this.#scheduler.pick(this.#life.databases);
    const at = kept.ledger.somePublished();
    if (at === undefined) return;
    const manager = new TransactionManager({ clock: this.#scheduler });
    const connection = db.open({ transactionManager: manager, before: (at + 1) as Tid });
    const view = new View(this.#scheduler, kept, connection);
    view.begin(`${this.#newName()} at ${at}`, at);
    try {
      // Before it was filled there is nothing to be seen.
      if (connection.root.accounts !== undefined) {
        await view.audit();
        await view.lookAround();
        await view.readShelves();
      }
    } catch (error) {
      const { code } = error as { code?: string };
      const isGone = at < kept.ledger.horizon && (code === 'ODB_POS_KEY' || error instanceof ConflictError);
      const isUnread = code === 'EIO';
      if (!isGone && !isUnread && !this.#life.isClosing) throw error;
      this.#scheduler.note(`${view.observed.name} is gone`);
    }
    connection.close();
  }
}

/** The last transactions of a database that can be undone, as far as that can be followed. */
function undoablesOf({ kept }: OpenDatabase): readonly (Observed & { readonly tid: Tid })[] {
  const isDone = (each: Observed): each is Observed & { readonly tid: Tid } => each.tid !== undefined;
  return kept.history.filter(isDone).filter(isUndoable).slice(-12);
}
