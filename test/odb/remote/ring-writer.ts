// A thread that publishes as fast as it can: each transaction `tid` changes the objects `tid * 10`, `tid * 10 + 1`, …
import { workerData } from 'node:worker_threads';
import type { Oid, Tid } from '#src/odb/ids.js';
import { RingWriter } from '#src/odb/remote/invalidation-ring.js';

const { memory, count } = workerData as { memory: SharedArrayBuffer; count: number };
const writer = new RingWriter(memory);
for (let tid = 1; tid <= count; tid++) {
  writer.publish(
    tid as Tid,
    Array.from({ length: tid % 7 }, (_, i) => (tid * 10 + i) as Oid),
  );
}
