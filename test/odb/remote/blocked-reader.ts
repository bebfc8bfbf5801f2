// A thread with a view that takes a lock, and then blocks in a read for as long as its owner does not answer.
import { parentPort, workerData } from 'node:worker_threads';
import type { Oid } from '#src/odb/ids.js';
import { openAttached } from '#src/odb/remote/attached.js';

const view = await openAttached(workerData);
await view.locks?.lock('held by the thread');
parentPort?.once('message', () => {
  parentPort?.postMessage('blocking');
  view.load(123_456 as Oid);
});
parentPort?.postMessage('holding');
