import { DB, TransactionManager } from 'holdfast/odb';
import { type Bench, quantile } from '../harness.js';
import { Item } from '../support/objects.js';
import { WorkerProcess } from '../support/processes.js';
import type { ClientRequest } from './client-process.js';

/** How long after a commit has returned can another client read what was changed? */
export async function visibility(bench: Bench, uri: string): Promise<void> {
  const count = bench.size(200, 10);
  const name = 'seen';
  const db = await DB.open(uri);
  const transactionManager = new TransactionManager();
  const connection = db.open({ transactionManager });
  connection.root.set(name, new Item());
  await transactionManager.commit();
  const item = connection.root.get(name) as Item;
  const other = new WorkerProcess(new URL('./client-process.js', import.meta.url), [uri]);
  const p99: number[] = [];
  const p50 = await bench.samples(async () => {
    const delays: number[] = [];
    for (let i = 0; i < count; i++) {
      await other.request<string>({ kind: 'watch', name } satisfies ClientRequest);
      const seen = other.next<string>();
      item.count++;
      await transactionManager.commit();
      const committed = process.hrtime.bigint();
      delays.push(Math.max(Number(BigInt(await seen) - committed) / 1e6, 0));
    }
    delays.sort((a, b) => a - b);
    p99.push(quantile(delays, 0.99));
    return quantile(delays, 0.5);
  });
  bench.row('visible in a second client after the commit returned, p50', 'ms', p50, { atMost: 0.4 });
  bench.row('visible in a second client after the commit returned, p99', 'ms', p99, { atMost: 1.2 });
  await other.end();
  connection.close();
  await db.close();
}
