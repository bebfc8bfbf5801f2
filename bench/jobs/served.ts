import { DB } from 'holdfast/odb';
import 'holdfast/zeo';
import { type Bench, perSecond } from '../harness.js';
import { drained, putJobs } from '../support/job-site.js';
import { withDirectory } from '../support/places.js';
import { ServerProcess, WorkerProcess } from '../support/processes.js';
import type { WorkerRequest } from './worker-process.js';

const WORKERS = 2;
const SLOTS = 10;

/** How many jobs a second run through the server, with two worker processes? */
export async function served(bench: Bench): Promise<void> {
  const count = bench.size(10_000, 50);
  const rates = await withDirectory(async (directory) => {
    const server = await ServerProcess.start(directory, ['--history', 'none']);
    const module = new URL('./worker-process.js', import.meta.url);
    const workers = Array.from({ length: WORKERS }, () => new WorkerProcess(module, [server.uri, String(SLOTS)]));
    const db = await DB.open(server.uri);
    const tell = (request: WorkerRequest) => Promise.all(workers.map((worker) => worker.request(request)));
    const run = async () => {
      await putJobs(db, count);
      const rate = await perSecond(count, async () => {
        await tell('start');
        await drained(db);
      });
      await tell('stop');
      return rate;
    };
    try {
      // Has the code compiled, in all processes.
      await run();
      return await bench.samples(run);
    } finally {
      await db.close();
      await Promise.all(workers.map((worker) => worker.end()));
      await server.end();
    }
  });
  bench.row(`jobs from end to end, through the server, ${WORKERS} workers × ${SLOTS} slots`, 'jobs/s', rates, {
    atLeast: 7000,
  });
}
