// A thread that publishes in bursts of all lengths, some of which are more than the ring holds: each transaction `tid` changes the objects `tid * 10`, `tid * 10 + 1`, …
import { workerData } from 'node:worker_threads';
import type { Oid, Tid } from '#src/odb/ids.js';
import { RingWriter } from '#src/odb/remote/invalidation-ring.js';

const { memory, count } = workerData as { memory: SharedArrayBuffer; count: number };
const writer = new RingWriter(memory);
const pause = new Int32Array(new SharedArrayBuffer(4));
let burst = 1;
for (let tid = 1; tid <= count; tid++) {
  if (--burst === 0) {
    Atomics.wait(pause, 0, 0, 0.05);
    burst = 1 + ((tid * 7) % 97) + (tid % 501 === 0 ? 5000 : 0);
  }
  writer.publish(
    tid as Tid,
    Array.from({ length: tid % 7 }, (_, i) => (tid * 10 + i) as Oid),
  );
}
