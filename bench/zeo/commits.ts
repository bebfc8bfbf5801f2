import { DB, PersistentList, TransactionManager } from 'holdfast/odb';
import { type Bench, elapsedMs, perSecond, quantile } from '../harness.js';
import { Item } from '../support/objects.js';
import { WorkerProcess } from '../support/processes.js';
import type { ClientRequest } from './client-process.js';

const OBJECTS = 1000;

/** How many durable commits a second does the server take, from how many clients? */
export async function commits(bench: Bench, uri: string): Promise<void> {
  const count = bench.size(2000, 20);
  for (const [clientCount, processCount, atLeast] of [
    [1, 1, 2200],
    [4, 4, 5000],
    [16, 4, 8000],
  ] as const) {
    const processes = Array.from(
      { length: processCount },
      () => new WorkerProcess(new URL('./client-process.js', import.meta.url), [uri]),
    );
    const names = Array.from({ length: clientCount }, (_, index) => `item ${index}`);
    const run = (each: number): Promise<number[][]> =>
      Promise.all(
        processes.map((client, index) =>
          client.request<number[]>({
            kind: 'commit',
            names: names.filter((_, i) => i % processCount === index),
            count: each,
          } satisfies ClientRequest),
        ),
      );
    // Connects, and has the code compiled.
    await run(Math.ceil((count * 2 * processCount) / clientCount));
    const p99: number[] = [];
    const rates = await bench.samples(async () => {
      const each = Math.ceil(count / processCount);
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
      clientCount === 1
        ? 'durable commits, 1 client, one object'
        : `durable commits, ${clientCount} clients in ${processCount} processes, an object each`,
      '/s',
      rates,
      {
        atLeast,
      },
    );
    if (clientCount === 4) bench.row('p99 of a commit with 4 clients', 'ms', p99, { atMost: 3 });
    await Promise.all(processes.map((client) => client.end()));
  }
  await large(bench, uri);
}

async function large(bench: Bench, uri: string): Promise<void> {
  const db = await DB.open(uri);
  const transactionManager = new TransactionManager();
  const connection = db.open({ transactionManager });
  const rounds = bench.size(5, 1);
  const add = async () => {
    for (let round = 0; round < rounds; round++) {
      const items = new PersistentList<Item>();
      for (let i = 0; i < OBJECTS; i++) items.push(new Item());
      connection.root.set('items', items);
      await transactionManager.commit();
    }
  };
  await add();
  const added = await bench.samples(() => perSecond(OBJECTS * rounds, add));
  bench.row('add 1,000 objects in one commit', 'objects/s', added, { atLeast: 60_000 });
  const items = [...(connection.root.get('items') as PersistentList<Item>)];
  const update = async () => {
    for (let round = 0; round < rounds; round++) {
      for (const item of items) item.count++;
      await transactionManager.commit();
    }
  };
  await update();
  const updated = await bench.samples(() => perSecond(OBJECTS * rounds, update));
  bench.row('update 1,000 objects in one commit', 'objects/s', updated, { atLeast: 60_000 });
  connection.close();
  await db.close();
}
