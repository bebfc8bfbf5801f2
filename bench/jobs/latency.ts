import { getDefaultQueue } from 'holdfast/async';
import { TransactionManager } from 'holdfast/odb';
import { type Bench, quantile } from '../harness.js';
import { now } from '../support/job-functions.js';
import { startDispatcher } from '../support/job-site.js';
import { withDatabase } from '../support/places.js';

/** How long after its commit was acknowledged does a job begin, where a worker is idle? */
export async function latency(bench: Bench): Promise<void> {
  const count = bench.size(200, 10);
  await withDatabase(
    async (db) => {
      const dispatcher = await startDispatcher(db, { size: 10, pool: 'inline' });
      const transactionManager = new TransactionManager();
      const connection = db.open({ transactionManager });
      const queue = getDefaultQueue(connection);
      const p99: number[] = [];
      const p50 = await bench.samples(async () => {
        const delays: number[] = [];
        for (let i = 0; i < count; i++) {
          const job = queue.put(now);
          await transactionManager.commit();
          const committed = process.hrtime.bigint();
          const started = BigInt((await job.done()) as string);
          delays.push(Math.max(Number(started - committed) / 1e6, 0));
        }
        delays.sort((a, b) => a - b);
        p99.push(quantile(delays, 0.99));
        return quantile(delays, 0.5);
      });
      bench.row('commit acknowledged to job started, idle worker, p50', 'ms', p50, { atMost: 0.8 });
      bench.row('commit acknowledged to job started, idle worker, p99', 'ms', p99, { atMost: 2.5 });
      transactionManager.abort();
      connection.close();
      await dispatcher.deactivate();
    },
    { history: 'none' },
  );
}
