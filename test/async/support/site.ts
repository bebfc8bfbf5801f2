import { type Dispatcher, getDefaultQueue, type Job, type Queue, type StartOptions } from 'holdfast/async';
import { type Connection, DB, type DBOptions, TransactionManager } from 'holdfast/odb';
import { Reactor, setUp, tearDown } from 'holdfast/testing';
import { forget, Tally } from './work.js';

/** A database in memory whose time the test moves, a dispatcher with an inline agent, and somebody who puts jobs. */
export class DispatcherSite {
  readonly reactor: Reactor;
  readonly db: DB;
  readonly dispatcher: Dispatcher;
  readonly manager = new TransactionManager();
  readonly connection: Connection;

  private constructor(reactor: Reactor, db: DB, dispatcher: Dispatcher) {
    this.reactor = reactor;
    this.db = db;
    this.dispatcher = dispatcher;
    this.connection = db.open({ transactionManager: this.manager });
  }

  static async open(options: StartOptions = {}, dbOptions: DBOptions = {}): Promise<DispatcherSite> {
    forget();
    const reactor = new Reactor(1_700_000_000_000);
    const db = await DB.open('memory:', { clock: reactor, poolSize: 50, ...dbOptions });
    await db.transaction(({ root }) => root.set('tally', new Tally()));
    const dispatcher = await setUp(db, { pool: 'inline', reactor, ...options });
    return new DispatcherSite(reactor, db, dispatcher);
  }

  get queue(): Queue {
    return getDefaultQueue(this.connection);
  }

  get tally(): Tally {
    return this.connection.root.get('tally') as Tally;
  }

  /** Does something as the user, and commits it. */
  async do<T>(fn: (site: this) => T): Promise<T> {
    const value = this.manager.enter(() => {
      this.manager.begin();
      return fn(this);
    });
    await this.manager.commit();
    return value;
  }

  /** Puts jobs, in one transaction. */
  put<J extends Job>(...jobs: readonly J[]): Promise<readonly J[]> {
    return this.do(({ queue }) => {
      for (const job of jobs) queue.put(job as Job);
      return jobs;
    });
  }

  /** Puts a job, and waits until it is completed; the view is the newest then. */
  async run<J extends Job>(job: J): Promise<J> {
    await this.put(job);
    await this.reactor.waitFor(job);
    this.manager.begin();
    return job;
  }

  begin(): void {
    this.manager.begin();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.manager.abort();
    this.connection.close();
    await tearDown();
    await this.db.close();
  }
}
