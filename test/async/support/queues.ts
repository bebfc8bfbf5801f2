import { Queue, Queues } from 'holdfast/async';
import { type Connection, DB, TransactionManager } from 'holdfast/odb';
import { ManualClock } from '../../support/manual-clock.js';

/** A database in memory with an empty main queue, and a clock that the test moves. */
export class QueueSite {
  readonly clock: ManualClock;
  readonly db: DB;
  readonly #connections: Connection[] = [];

  private constructor(db: DB, clock: ManualClock) {
    this.db = db;
    this.clock = clock;
  }

  static async open(): Promise<QueueSite> {
    const clock = new ManualClock();
    const db = await DB.open('memory:', { clock, poolSize: 100 });
    await db.transaction((connection) => {
      const queues = new Queues();
      connection.root.set('zc.async', queues);
      queues.set('', new Queue());
    });
    return new QueueSite(db, clock);
  }

  /** A connection with a transaction manager of its own. */
  view(): View {
    const manager = new TransactionManager({ clock: this.clock });
    const connection = manager.enter(() => this.db.open());
    this.#connections.push(connection);
    return new View(connection, manager);
  }

  /** Runs `fn` with the main queue, in a transaction of its own. */
  run<T>(fn: (queue: Queue, connection: Connection) => T | Promise<T>): Promise<T> {
    return this.db.transaction((connection) => fn(mainQueue(connection), connection));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) {
      connection.transactionManager.abort();
      connection.close();
    }
    await this.db.close();
  }
}

/** One user of the database: its snapshot, its transaction. */
export class View {
  constructor(
    readonly connection: Connection,
    readonly manager: TransactionManager,
  ) {}

  get queue(): Queue {
    return mainQueue(this.connection);
  }

  /** Runs `fn` as this user. */
  do<T>(fn: (queue: Queue) => T): T {
    return this.manager.enter(() => fn(this.queue));
  }

  commit(): Promise<unknown> {
    return this.manager.commit();
  }

  abort(): void {
    this.manager.abort();
  }

  begin(): void {
    this.manager.begin();
  }
}

function mainQueue(connection: Connection): Queue {
  return (connection.root.get('zc.async') as Queues).get('') as Queue;
}
