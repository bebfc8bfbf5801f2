import type { Dispatcher, PoolKind } from 'holdfast/async';
import { type Bench, perSecond } from '../harness.js';
import { drained, putJobs, startDispatcher } from '../support/job-site.js';
import { withDatabase } from '../support/places.js';

const CASES = [
  { size: 1, pool: 'inline', title: 'embedded, inline pool, 1 slot', atLeast: 2000, count: 3000 },
  { size: 10, pool: 'inline', title: 'embedded, inline pool, 10 slots', atLeast: 7000, count: 10_000 },
  { size: 100, pool: 'inline', title: 'embedded, inline pool, 100 slots', atLeast: 14_000, count: 10_000 },
  { size: 2, pool: 'threads', title: 'embedded, thread pool, 2 threads', atLeast: 3000, count: 5000 },
] as const satisfies readonly { size: number; pool: PoolKind; title: string; atLeast: number; count: number }[];

/** How many jobs a second run from end to end, once they are queued? */
export async function throughput(bench: Bench): Promise<void> {
  for (const { size, pool, title, atLeast, count: full } of CASES) {
    const count = bench.size(full, 50);
    const rates = await withDatabase(
      async (db) => {
        const run = async () => {
          await putJobs(db, count);
          let dispatcher: Dispatcher | undefined;
          const rate = await perSecond(count, async () => {
            dispatcher = await startDispatcher(db, { size, pool });
            await drained(db);
          });
          await dispatcher?.deactivate();
          return rate;
        };
        // Has the code compiled.
        await run();
        return bench.samples(run);
      },
      { history: 'none' },
    );
    bench.row(`jobs from end to end, ${title}`, 'jobs/s', rates, { atLeast });
  }
}
