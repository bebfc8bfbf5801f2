import { join } from 'node:path';
import type { Bench } from '../harness.js';
import { withDirectory } from '../support/places.js';
import { WorkerProcess } from '../support/processes.js';

const CACHE = 10_000;
const PROCESS = new URL('./walk-process.js', import.meta.url);

/** How much memory does a walk over everything take? */
export async function walk(bench: Bench): Promise<void> {
  const count = bench.size(1_000_000, 5000);
  const title = count.toLocaleString('en');
  await withDirectory(async (directory) => {
    const path = join(directory, 'walk.fs');
    await inProcess<void>(path, { fill: count });
    // Another process: what filling the database took is no part of it.
    const walks = await bench.samples(() =>
      inProcess<{ residentMax: number; perSecond: number }>(path, { walk: count }),
    );
    const residentMb = walks.map(({ residentMax }) => residentMax / 1e6);
    bench.row(`${title} objects walked with a cache of 10,000 (db.each): resident memory`, 'MB', residentMb, {
      atMost: 200,
    });
    const rates = walks.map(({ perSecond }) => perSecond);
    bench.row('… and how fast', 'objects/s', rates);
  });
}

async function inProcess<T>(path: string, request: object): Promise<T> {
  const worker = new WorkerProcess(PROCESS, [path, String(CACHE)]);
  try {
    return await worker.request<T>(request);
  } finally {
    await worker.end();
  }
}
