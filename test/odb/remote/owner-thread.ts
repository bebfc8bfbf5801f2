// A thread that owns a storage and serves it to others, told by messages what to do.
import { parentPort } from 'node:worker_threads';
import { appendResolver } from 'holdfast/conformance';
import { recordConflictResolver } from 'holdfast/odb';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import type { Storage } from '#src/odb/storage/storage.js';
import { TransformStorage } from '#src/odb/storage/transform-storage.js';
import { hex } from '../../conformance/hex.js';

type Message =
  | {
      readonly kind: 'open';
      readonly path: string | undefined;
      readonly resolves: boolean | 'records';
      readonly isHex: boolean;
    }
  | { readonly kind: 'attach' }
  | { readonly kind: 'close' }
  | { readonly kind: 'block'; readonly ms: number };

let storage: Storage;

async function open({ path, resolves, isHex }: Message & { readonly kind: 'open' }): Promise<void> {
  const plain = path === undefined ? new MemoryStorage() : await LevelStorage.open(path);
  storage = isHex ? new TransformStorage(plain, hex) : plain;
  if (resolves) storage.useConflictResolver(resolves === 'records' ? recordConflictResolver : appendResolver);
}

/** Does what it is told, and answers. */
async function answer(message: Message): Promise<void> {
  if (message.kind === 'open') {
    await open(message);
    parentPort?.postMessage({ kind: 'ready' });
  } else if (message.kind === 'attach') {
    const { data, transferList } = storage.attach();
    parentPort?.postMessage({ kind: 'attached', data }, [...transferList]);
  } else if (message.kind === 'block') {
    parentPort?.postMessage({ kind: 'blocking' });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, message.ms);
  } else {
    await storage.close();
    parentPort?.postMessage({ kind: 'closed' });
  }
}

parentPort?.on('message', (message: Message) => {
  answer(message).catch((error: Error) => parentPort?.postMessage({ kind: 'failed', message: error.message }));
});
