// A client of the server, or several in one process, told by the benchmark what to do.
import { performance } from 'node:perf_hooks';
import { type Connection, DB, Length, TransactionManager } from 'holdfast/odb';
import 'holdfast/zeo';
import { Item } from '../support/objects.js';
import { serveRequests } from '../support/processes.js';

/** What a client can be asked to do. */
export type ClientRequest =
  | { readonly kind: 'commit'; readonly names: readonly string[]; readonly count: number }
  | { readonly kind: 'count'; readonly name: string; readonly durationMs: number }
  | { readonly kind: 'watch'; readonly name: string };

/** Answer to `count`. */
export interface Counted {
  readonly count: number;
  readonly worstTries: number;
}

const uri = process.argv[2] as string;
const db = await DB.open(uri);
const transactionManager = new TransactionManager();
const connection: Connection = db.open({ transactionManager });
const clients = new Map<string, { readonly manager: TransactionManager; readonly root: Connection['root'] }>();

serveRequests(async (request: ClientRequest): Promise<unknown> => {
  switch (request.kind) {
    case 'commit':
      return (await Promise.all(request.names.map((name) => commits(name, request.count)))).flat();
    case 'count':
      return count(request.name, request.durationMs);
    case 'watch':
      return watch(request.name);
  }
});

/** Durations of commits of an object of one's own, over a connection of its own, in ms. */
async function commits(name: string, times: number): Promise<number[]> {
  const { manager, root } = clients.get(name) ?? (await newClient(name));
  const item = root.get(name) as Item;
  const durations: number[] = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    item.count++;
    await manager.commit();
    durations.push(performance.now() - start);
  }
  return durations;
}

async function newClient(name: string) {
  const manager = new TransactionManager();
  const { root } = (await DB.open(uri)).open({ transactionManager: manager });
  const client = { manager, root };
  clients.set(name, client);
  await manager.run(
    () => {
      if (!root.has(name)) root.set(name, new Item());
    },
    { retries: 1000 },
  );
  return client;
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
