import { getDefaultQueue, Job } from 'holdfast/async';
import { type DB, TransactionManager } from 'holdfast/odb';
import { type Bench, elapsedMs } from '../harness.js';
import { TEXT, work } from '../support/job-functions.js';
import { putJobs } from '../support/job-site.js';
import { withDatabase } from '../support/places.js';

/** Do puts and claims cost more where many jobs are pending? Each in a transaction of its own, without sync, so that the disk hides nothing. */
export async function pending(bench: Bench): Promise<void> {
  const large = bench.size(1_000_000, 2000);
  const few = await costs(bench, 100);
  const many = await costs(bench, large);
  const title = `${large.toLocaleString('en')} against 100 pending`;
  bench.ratio(`put, cost with ${title}`, many.put, few.put, { atMost: 1.5 });
  bench.ratio(`claim, cost with ${title}`, many.claim, few.claim, { atMost: 1.5 });
}

async function costs(bench: Bench, count: number): Promise<{ put: number[]; claim: number[] }> {
  return withDatabase(
    async (db) => {
      await putJobs(db, count);
      const put = await bench.samples(() => costOf(db, (queue) => queue.put(new Job(work, 0, TEXT))));
      const claim = await bench.samples(() => costOf(db, (queue) => queue.claim()));
      return { put, claim };
    },
    { history: 'none', durable: false },
  );
}

async function costOf(db: DB, change: (queue: ReturnType<typeof getDefaultQueue>) => unknown): Promise<number> {
  const transactionManager = new TransactionManager();
  const connection = db.open({ transactionManager });
  const times = 40;
  const step = async () => {
    change(getDefaultQueue(connection));
    await transactionManager.commit();
  };
  for (let i = 0; i < 10; i++) await step();
  const ms = await elapsedMs(async () => {
    for (let i = 0; i < times; i++) await step();
  });
  connection.close();
  return ms / times;
}
