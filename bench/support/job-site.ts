import {
  configure,
  type Dispatcher,
  getDefaultQueue,
  installQueues,
  Job,
  type PoolKind,
  type Queue,
} from 'holdfast/async';
import { type DB, TransactionManager } from 'holdfast/odb';
import { v4 as uuid } from 'uuid';
import { TEXT, work } from './job-functions.js';

const BATCH = 1000;

/** Puts so many jobs, 1,000 in a commit. */
export async function putJobs(db: DB, count: number): Promise<void> {
  await installQueues(db);
  const transactionManager = new TransactionManager();
  await transactionManager.enter(async () => {
    const connection = db.open();
    const queue = getDefaultQueue(connection);
    for (let done = 0; done < count; done += BATCH) {
      for (let i = done; i < Math.min(done + BATCH, count); i++) queue.put(new Job(work, i, TEXT));
      await transactionManager.commit();
    }
    connection.close();
  });
}

/** Starts a dispatcher with one agent. */
export function startDispatcher(
  db: DB,
  options: { readonly size: number; readonly pool: PoolKind },
): Promise<Dispatcher> {
  return configure.start(db, {
    agentSize: options.size,
    pool: options.pool,
    uuid: uuid(),
    handleSignals: false,
  });
}

/** Resolves once nothing is pending and nobody works on anything. */
export async function drained(db: DB): Promise<void> {
  const transactionManager = new TransactionManager();
  await transactionManager.enter(async () => {
    const connection = db.open();
    let wake = () => {};
    const end = db.storage.subscribe({ invalidate: () => wake(), invalidateAll: () => wake() });
    for (;;) {
      const changed = new Promise<void>((resolve) => {
        // Looking at every commit would be work of its own.
        wake = () => {
          wake = () => {};
          setTimeout(resolve, 10);
        };
      });
      transactionManager.begin();
      if (isDrained(getDefaultQueue(connection))) break;
      await changed;
    }
    end();
    connection.close();
  });
}

function isDrained(queue: Queue): boolean {
  if (!queue.isEmpty) return false;
  for (const [, agents] of queue.dispatchers) for (const [, agent] of agents) if (agent.length > 0) return false;
  return true;
}
