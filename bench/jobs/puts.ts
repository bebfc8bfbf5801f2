import { getDefaultQueue, installQueues, Job } from 'holdfast/async';
import { TransactionManager } from 'holdfast/odb';
import { type Bench, perSecond } from '../harness.js';
import { TEXT, work } from '../support/job-functions.js';
import { putJobs } from '../support/job-site.js';
import { withDatabase } from '../support/places.js';

const COMMITTERS = 100;

/** How many jobs a second can be put, each durably? */
export async function puts(bench: Bench): Promise<void> {
  const one = bench.size(2000, 50);
  const many = bench.size(20_000, 1000);
  await withDatabase(
    async (db) => {
      await installQueues(db);
      db.poolSize = COMMITTERS + 1;
      const user = () => {
        const transactionManager = new TransactionManager();
        return { transactionManager, connection: db.open({ transactionManager }) };
      };
      const putEach = async ({ transactionManager, connection }: ReturnType<typeof user>, count: number) => {
        const queue = getDefaultQueue(connection);
        for (let i = 0; i < count; i++) {
          queue.put(new Job(work, i, TEXT));
          await transactionManager.commit();
        }
      };
      const alone = user();
      const single = await bench.samples(() => perSecond(one, () => putEach(alone, one)));
      bench.row('put, one at a time, each committed', 'jobs/s', single, { atLeast: 2500 });
      alone.connection.close();
      const users = Array.from({ length: COMMITTERS }, user);
      const concurrent = await bench.samples(() =>
        perSecond(many, () => Promise.all(users.map((each) => putEach(each, many / COMMITTERS)))),
      );
      bench.row(`put, ${COMMITTERS} concurrent committers`, 'jobs/s', concurrent, { atLeast: 10_000 });
      for (const { connection } of users) connection.close();
      const batched = await bench.samples(() => perSecond(many, () => putJobs(db, many)));
      bench.row('put, 1,000 in one commit', 'jobs/s', batched, { atLeast: 60_000 });
    },
    { history: 'none' },
  );
}
