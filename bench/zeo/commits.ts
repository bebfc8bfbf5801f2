import { DB, PersistentList, TransactionManager } from 'holdfast/odb';
import { type Bench, elapsedMs, perSecond, quantile } from '../harness.js';
import { Item } from '../support/objects.js';
import { WorkerProcess } from '../support/processes.js';
import type { ClientRequest } from './client-process.js';

const OBJECTS = 1000;

/** How many durable commits a second does the server take, from how many clients? */
export async function commits(bench: Bench, uri: string): Promise<void> {
  const count = bench.size(1000, 20);
  for (const [clientCount, atLeast] of [
    [1, 2200],
    [4, 5000],
    [bench.size(16, 5), 8000],
  ] as const) {
    const clients = Array.from(
      { length: clientCount },
      () => new WorkerProcess(new URL('./client-process.js', import.meta.url), [uri]),
    );
    const run = (each: number): Promise<number[][]> =>
      Promise.all(
        clients.map((client, index) =>
          client.request<number[]>({ kind: 'commit', name: `item ${index}`, count: each } satisfies ClientRequest),
        ),
      );
    await run(1);
    const p99: number[] = [];
    const rates = await bench.samples(async () => {
      const each = Math.ceil(count / Math.min(clientCount, 4));
      let durations: number[] = [];
      const ms = await elapsedMs(async () => {
        durations = (await run(each)).flat();
      });
      p99.push(
        quantile(
          durations.sort((a, b) => a - b),
          0.99,
        ),
      );
      return ((each * clientCount) / ms) * 1000;
    });
    bench.row(
      `durable commits, ${clientCount} client${clientCount > 1 ? 's, an object each' : ', one object'}`,
      '/s',
      rates,
      {
        atLeast,
      },
    );
    if (clientCount === 4) bench.row('p99 of a commit with 4 clients', 'ms', p99, { atMost: 3 });
    await Promise.all(clients.map((client) => client.end()));
  }
  await large(bench, uri);
}

async function large(bench: Bench, uri: string): Promise<void> {
  const db = await DB.open(uri);
  const transactionManager = new TransactionManager();
  const connection = db.open({ transactionManager });
  const added = await bench.samples(() =>
    perSecond(OBJECTS, async () => {
      const items = new PersistentList<Item>();
      for (let i = 0; i < OBJECTS; i++) items.push(new Item());
      connection.root.set('items', items);
      await transactionManager.commit();
    }),
  );
  bench.row('add 1,000 objects in one commit', 'objects/s', added, { atLeast: 60_000 });
  const items = [...(connection.root.get('items') as PersistentList<Item>)];
  const updated = await bench.samples(() =>
    perSecond(OBJECTS, async () => {
      for (const item of items) item.count++;
      await transactionManager.commit();
    }),
  );
  bench.row('update 1,000 objects in one commit', 'objects/s', updated, { atLeast: 60_000 });
  connection.close();
  await db.close();
}
