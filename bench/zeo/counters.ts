import { DB, Length } from 'holdfast/odb';
import type { Bench } from '../harness.js';
import { Item } from '../support/objects.js';
import { WorkerProcess } from '../support/processes.js';
import type { ClientRequest, Counted } from './client-process.js';

const PROCESSES = 4;

/** How many increments a second does one counter take, when four processes count at once? */
export async function counters(bench: Bench, uri: string): Promise<void> {
  const durationMs = bench.size(1500, 100);
  const db = await DB.open(uri);
  await db.transaction(({ root }) => {
    root.set('counter', new Item());
    root.set('length', new Length());
  });
  const clients = Array.from(
    { length: PROCESSES },
    () => new WorkerProcess(new URL('./client-process.js', import.meta.url), [uri]),
  );
  for (const [name, title, atLeast] of [
    ['counter', 'one counter, 4 processes, retried with back-off', 1500],
    ['length', 'the same with Length, which merges', 3000],
  ] as const) {
    const worst: number[] = [];
    const rates = await bench.samples(async () => {
      const counted = await Promise.all(
        clients.map((client) => client.request<Counted>({ kind: 'count', name, durationMs } satisfies ClientRequest)),
      );
      worst.push(Math.max(...counted.map(({ worstTries }) => worstTries)));
      return (counted.reduce((sum, { count }) => sum + count, 0) / durationMs) * 1000;
    });
    bench.row(title, '/s', rates, { atLeast });
    bench.row('… worst number of retries', '', worst, { atMost: name === 'counter' ? 30 : 0 });
  }
  await Promise.all(clients.map((client) => client.end()));
  await db.close();
}
