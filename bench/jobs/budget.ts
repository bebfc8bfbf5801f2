import type { DB, tidFromDate } from 'holdfast/odb';
import type { Bench } from '../harness.js';
import { drained, putJobs, startDispatcher } from '../support/job-site.js';
import { withDatabase } from '../support/places.js';

/** How many records does a job write after its put: its own, and those that it shares with others? */
export async function budget(bench: Bench): Promise<void> {
  const count = bench.size(5000, 100);
  await withDatabase(
    async (db) => {
      await putJobs(db, count);
      const before = db.storage.lastTransaction();
      const dispatcher = await startDispatcher(db, { size: 100, pool: 'inline' });
      await drained(db);
      await dispatcher.deactivate();
      const { own, shared, transactions } = await writes(db, before);
      bench.row('records of its own per job, after the put', 'records', [own / count], { atMost: 2 });
      bench.row('records shared with others, per job', 'records', [shared / count], { atMost: 0.3 });
      bench.row('transactions per job, 100 slots', '', [transactions / count]);
    },
    { history: 'all' },
  );
}

async function writes(db: DB, after: number): Promise<{ own: number; shared: number; transactions: number }> {
  const counts = { own: 0, shared: 0, transactions: 0 };
  const marker = Buffer.from('holdfast.Job\0'.slice(0, -1));
  for await (const transaction of db.storage.iterate(after as ReturnType<typeof tidFromDate>)) {
    if (transaction.tid === after) continue;
    counts.transactions++;
    for await (const { data } of transaction.records) {
      const isJob = data && Buffer.from(data.subarray(0, 40)).includes(marker) && !isChunk(data);
      if (isJob) counts.own++;
      else counts.shared++;
    }
  }
  return counts;
}

function isChunk(data: Uint8Array): boolean {
  return Buffer.from(data.subarray(0, 40)).includes('holdfast.JobChunk');
}
