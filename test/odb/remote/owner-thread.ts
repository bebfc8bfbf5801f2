// A thread that owns a storage and serves it to others, told by messages what to do.
import { parentPort, workerData } from 'node:worker_threads';
import { appendResolver } from 'holdfast/conformance';
import { recordConflictResolver } from 'holdfast/odb';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import type { ConflictResolver } from '#src/odb/storage/storage.js';
import { TransformStorage } from '#src/odb/storage/transform-storage.js';
import { hex } from '../../conformance/hex.js';

const { path, resolves, isHex } = workerData as {
  path: string | undefined;
  resolves: boolean | 'records';
  isHex: boolean;
};
const conflictResolver: ConflictResolver = resolves === 'records' ? recordConflictResolver : appendResolver;
const plain = path === undefined ? new MemoryStorage() : await LevelStorage.open(path);
const storage = isHex ? new TransformStorage(plain, hex) : plain;
if (resolves) storage.useConflictResolver(conflictResolver);

parentPort?.on('message', (message: { kind: 'attach' } | { kind: 'close' } | { kind: 'block'; ms: number }) => {
  if (message.kind === 'attach') {
    const { data, transferList } = storage.attach();
    parentPort?.postMessage({ kind: 'attached', data }, [...transferList]);
  } else if (message.kind === 'block') {
    parentPort?.postMessage({ kind: 'blocking' });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, message.ms);
  } else {
    storage.close().then(
      () => parentPort?.postMessage({ kind: 'closed' }),
      (error: Error) => parentPort?.postMessage({ kind: 'failed', message: error.message }),
    );
  }
});
parentPort?.postMessage({ kind: 'ready' });
