// Ends a database in one order after the other, while it is read by the thread that owns it and by others:
//
//     node closing-process.js FOLDER STEPS…
//
// STEPS are some of those below, in the order in which they are begun, with dots: owner.close.terminate. With a + before it, it does not
// wait for the one before it.
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { DB, openStorage, PersistentBlob, PersistentList, PersistentMapping } from 'holdfast/odb';
import { busy, isExpected, type Root } from './closing-work.js';

const THREADS = { close: 0, terminate: 1, exit: 2 } as const;

let failures = 0;

function fail(what: string, error: unknown): void {
  failures++;
  console.error(`${what}: ${String((error as Error).stack ?? error)}`);
}

async function fill(path: string): Promise<void> {
  const db = await DB.open<Root>(path);
  await db.transaction(({ root }) => {
    root.objects = new PersistentList(Array.from({ length: 300 }, (_, i) => new PersistentMapping([['n', i]])));
    root.written = new PersistentMapping();
    root.blob = new PersistentBlob('x'.repeat(2_000_000));
  });
  for (let i = 0; i < 30; i++) {
    await db.transaction(({ root }) => root.objects.get(i)?.set('n', -i));
  }
  await db.close();
}

async function startThread(db: DB<Root>, order: string): Promise<Worker> {
  const { module, data, transferList } = db.storage.attach();
  const worker = new Worker(new URL('./closing-thread.js', import.meta.url), {
    workerData: { module, data },
    transferList: [...transferList],
  });
  worker.on('message', (message: string | { failed: string }) => {
    if (typeof message === 'object') fail(`${order}: in a thread`, message.failed);
  });
  worker.on('error', (error) => fail(`${order}: a thread`, error));
  for (;;) if ((await once(worker, 'message'))[0] === 'reading') return worker;
}

async function run(folder: string, order: string): Promise<void> {
  const db = await DB.open<Root>(await openStorage(join(folder, 'test.fs'), { blockCacheSize: '100KB' }));
  const workers: Worker[] = [];
  for (const _ of Object.keys(THREADS)) workers.push(await startThread(db, order));
  const exits = workers.map((worker) => once(worker, 'exit'));
  const ends = {
    owner: () => db.close(),
    close: async () => {
      const worker = workers[THREADS.close] as Worker;
      worker.postMessage('close');
      for (;;) {
        const [message] = await Promise.race([once(worker, 'message'), exits[THREADS.close] as Promise<[number]>]);
        if (typeof message === 'number' || message === 'closed') return;
      }
    },
    terminate: async () => void (await workers[THREADS.terminate]?.terminate()),
    exit: async () => {
      workers[THREADS.exit]?.postMessage('exit');
      await exits[THREADS.exit];
    },
    // The process ends with all that is under way.
    end: async () => process.exit(failures > 0 ? 1 : 0),
  };
  for (const work of busy(db)) work.catch((error) => isExpected(error) || fail(`${order}: in the owner`, error));
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 30));
  const ending: Promise<void>[] = [];
  for (const step of order.split('.')) {
    const [, isBeside, name] = /^(\+?)(\w+)$/.exec(step) as unknown as [string, string, keyof typeof ends];
    if (!isBeside) await Promise.all(ending);
    ending.push(ends[name]());
  }
  await Promise.all(ending);
  await db.close();
  await Promise.all(workers.map((worker) => worker.terminate()));
}

const [folder = '', ...orders] = process.argv.slice(2);
await fill(join(folder, 'test.fs'));
for (const order of orders) {
  console.log(order);
  await run(folder, order);
}
process.exitCode = failures > 0 ? 1 : 0;
