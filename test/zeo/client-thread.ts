// A thread with a view of a client's storage, told by messages what to do with it.
import { parentPort, workerData } from 'node:worker_threads';
import { ConflictError } from '#src/odb/errors.js';
import type { Oid, Tid } from '#src/odb/ids.js';
import { openAttached } from '#src/odb/remote/index.js';
import type { Revision } from '#src/odb/storage/storage.js';
import { newTransaction } from '../odb/remote/owner.js';

interface Request {
  readonly kind: 'increment' | 'lock' | 'load' | 'close';
  readonly oid: Oid;
  readonly name: string;
  readonly count: number;
  readonly shared?: Int32Array;
  readonly index: number;
  readonly closes?: boolean;
}

const view = await openAttached(workerData);

/** Adds one to the number that an object holds, as often as it takes. */
async function increment(oid: Oid): Promise<void> {
  for (;;) {
    const { tid, data } = view.loadBefore(oid, (view.poll() + 1) as Tid) as Revision;
    const transaction = newTransaction();
    view.tpcBegin(transaction);
    view.store(transaction, oid, tid, Buffer.from(String(Number(Buffer.from(data).toString()) + 1)));
    try {
      await view.commit(transaction);
      return;
    } catch (error) {
      await view.tpcAbort(transaction);
      if (!(error instanceof ConflictError)) throw error;
    }
  }
}

async function answer(request: Request): Promise<unknown> {
  switch (request.kind) {
    case 'increment':
      for (let i = 0; i < request.count; i++) {
        await increment(request.oid);
        if (request.shared) Atomics.add(request.shared, request.index, 1);
      }
      if (request.closes) await view.close();
      return request.count;
    case 'lock':
      return view.locks?.tryLock(request.name);
    case 'load':
      try {
        return view.load(request.oid);
      } catch (error) {
        return (error as { code: string }).code;
      }
    default:
      return view.close();
  }
}

parentPort?.on('message', (request: Request) => {
  void answer(request).then((result) => parentPort?.postMessage(result));
});
parentPort?.postMessage('ready');
