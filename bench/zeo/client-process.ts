// A client of the server, told by the benchmark what to do.
import { performance } from 'node:perf_hooks';
import { type Connection, DB, Length, TransactionManager } from 'holdfast/odb';
import 'holdfast/zeo';
import { Item } from '../support/objects.js';
import { serveRequests } from '../support/processes.js';

/** What a client can be asked to do. */
export type ClientRequest =
  | { readonly kind: 'commit'; readonly name: string; readonly count: number }
  | { readonly kind: 'count'; readonly name: string; readonly durationMs: number }
  | { readonly kind: 'watch'; readonly name: string };

/** Answer to `count`. */
export interface Counted {
  readonly count: number;
  readonly worstTries: number;
}

const db = await DB.open(process.argv[2] as string);
const transactionManager = new TransactionManager();
const connection: Connection = db.open({ transactionManager });

serveRequests(async (request: ClientRequest): Promise<unknown> => {
  switch (request.kind) {
    case 'commit':
      return commits(request.name, request.count);
    case 'count':
      return count(request.name, request.durationMs);
    case 'watch':
      return watch(request.name);
  }
});

/** Durations of commits of an object of one's own, in ms. */
async function commits(name: string, times: number): Promise<number[]> {
  await transactionManager.run(
    () => {
      if (!connection.root.has(name)) connection.root.set(name, new Item());
    },
    { retries: 1000 },
  );
  const item = connection.root.get(name) as Item;
  const durations: number[] = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    item.count++;
    await transactionManager.commit();
    durations.push(performance.now() - start);
  }
  return durations;
}

async function count(name: string, durationMs: number): Promise<Counted> {
  const end = performance.now() + durationMs;
  let done = 0;
  let worstTries = 0;
  while (performance.now() < end) {
    let tries = 0;
    await transactionManager.run(
      () => {
        tries++;
        const counter = connection.root.get(name);
        if (counter instanceof Length) counter.change(1);
        else (counter as Item).increment();
      },
      { retries: 10_000 },
    );
    worstTries = Math.max(worstTries, tries - 1);
    done++;
  }
  return { count: done, worstTries };
}

/** When the next change of the object could be read, by the monotonic clock of the machine, in ns. */
function watch(name: string): Promise<string> {
  transactionManager.begin();
  const item = connection.root.get(name) as Item;
  const before = item.count;
  return new Promise((resolve) => {
    const end = db.storage.subscribe({
      invalidate: () => queueMicrotask(look),
      invalidateAll: () => queueMicrotask(look),
    });
    const look = () => {
      transactionManager.begin();
      if (item.count === before) return;
      end();
      resolve(String(process.hrtime.bigint()));
    };
    process.send?.({ value: 'watching' });
  });
}
