// A thread that reads a database which the main thread owns, in all the ways there are, until it is told how to end.
import { text } from 'node:stream/consumers';
import { parentPort, workerData } from 'node:worker_threads';
import { DB, PersistentMapping, TransactionManager } from 'holdfast/odb';
import { retryOf } from '#src/base/index.js';
import { busy, isExpected, type Root } from './closing-work.js';

const db = await DB.openAttached<Root>(workerData as Parameters<typeof DB.openAttached>[0]);

/** Commits, while others read. */
async function write(): Promise<void> {
  for (;;) {
    await db.transaction(({ root }) => root.written.set(String(Math.random()), new PersistentMapping()));
  }
}

/** Reads with nothing in between: the thread sees no message meanwhile. */
async function block(): Promise<void> {
  for (;;) {
    const connection = db.open({ transactionManager: new TransactionManager() });
    for (const each of connection.root.objects) void each.size;
    connection.cacheMinimize();
    for (const each of connection.root.objects) void each.size;
    await text(connection.root.blob.open('r'));
    connection.close();
  }
}

parentPort?.on('message', (message: 'close' | 'exit') => {
  if (message === 'exit') process.exit();
  db.close().then(
    () => parentPort?.postMessage('closed'),
    (error: unknown) => fail(error),
  );
});

function fail(error: unknown): void {
  if (isExpected(error)) return;
  parentPort?.postMessage({ failed: String((error as Error).stack ?? error), retry: retryOf(error) });
}

for (const work of [...busy(db), write(), block()]) work.catch(fail);
parentPort?.postMessage('reading');
