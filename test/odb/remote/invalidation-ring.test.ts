import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { type Oid, type Tid, ZERO_TID } from '#src/odb/ids.js';
import { createRing, RingReader, RingWriter } from '#src/odb/remote/invalidation-ring.js';

function drain(reader: RingReader): { tid: Tid; oids: readonly Oid[] | 'all' }[] {
  const entries = [];
  for (let entry = reader.next(); entry; entry = reader.next()) entries.push(entry);
  return entries;
}

test('readers are told of what was published after they began, each at its own pace', () => {
  const memory = createRing(7 as Tid);
  const writer = new RingWriter(memory);
  const early = new RingReader(memory);
  assert.equal(early.lastTid, 7);
  assert.equal(early.isCurrent, true);
  writer.publish(8 as Tid, [1, 2] as Oid[]);
  const late = new RingReader(memory);
  assert.equal(late.lastTid, 8);
  writer.publish(9 as Tid, []);
  writer.publishAll(10 as Tid);
  assert.equal(early.isCurrent, false);
  assert.deepEqual(drain(early), [
    { tid: 8, oids: [1, 2] },
    { tid: 9, oids: [] },
    { tid: 10, oids: 'all' },
  ]);
  assert.deepEqual(drain(late), [
    { tid: 9, oids: [] },
    { tid: 10, oids: 'all' },
  ]);
  assert.equal(early.isCurrent && late.isCurrent, true);
});

test('a transaction that would fill the ring is told as "all"', () => {
  const memory = createRing(ZERO_TID, 64);
  const reader = new RingReader(memory);
  new RingWriter(memory).publish(
    1 as Tid,
    Array.from({ length: 17 }, (_, i) => i as Oid),
  );
  assert.deepEqual(drain(reader), [{ tid: 1, oids: 'all' }]);
});

test('whatever is published and however late it is read: all of it in order, or "all" with the newest tid', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.array(fc.nat(1000), { maxLength: 20 }), fc.constant('read' as const)), { maxLength: 60 }),
      (steps) => {
        const memory = createRing(ZERO_TID, 64);
        const writer = new RingWriter(memory);
        const reader = new RingReader(memory);
        const published = new Map<Tid, readonly number[]>();
        let tid = 0;
        let seen = 0;
        const read = () => {
          for (const entry of drain(reader)) {
            assert.ok(entry.tid > seen);
            if (entry.oids !== 'all') {
              assert.equal(entry.tid, seen + 1, 'nothing was passed over');
              assert.deepEqual(entry.oids, published.get(entry.tid));
            }
            seen = entry.tid;
          }
          assert.equal(seen, tid);
        };
        for (const step of steps) {
          if (step === 'read') {
            read();
          } else {
            tid += 1;
            published.set(tid as Tid, step.length > 16 ? [] : step);
            writer.publish(tid as Tid, step as Oid[]);
          }
        }
        read();
      },
    ),
  );
});

test('positions go round past 2³¹ cells', () => {
  const memory = createRing(ZERO_TID, 64);
  new Int32Array(memory, 0, 2).fill(0x7fff_fff0);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  for (let tid = 1; tid <= 100; tid++) {
    writer.publish(tid as Tid, [tid, tid * 2] as Oid[]);
    assert.deepEqual(drain(reader), [{ tid, oids: [tid, tid * 2] }]);
  }
});

test('a reader in another thread never sees a torn entry, though the writer overtakes it all the time', async () => {
  const memory = createRing(ZERO_TID, 256);
  const writer = new Worker(new URL('./ring-writer.js', import.meta.url), { workerData: { memory, count: 200_000 } });
  const ended = new Promise<void>((resolve, reject) => {
    writer.once('exit', () => resolve());
    writer.once('error', reject);
  });
  const reader = new RingReader(memory);
  const endMs = performance.now() + 30_000;
  let last = 0;
  let whole = 0;
  let overtaken = 0;
  while (last < 200_000) {
    const entry = reader.next();
    if (!entry) {
      assert.ok(performance.now() < endMs, `the writer is at work, ${last} were read`);
      continue;
    }
    assert.ok(entry.tid > last, `${entry.tid} after ${last}`);
    if (entry.oids === 'all') {
      overtaken += 1;
    } else {
      assert.equal(entry.tid, last + 1);
      assert.equal(entry.oids.length, entry.tid % 7);
      for (const [i, oid] of entry.oids.entries()) assert.equal(oid, entry.tid * 10 + i);
      whole += 1;
    }
    last = entry.tid;
  }
  await ended;
  assert.ok(whole > 0 && overtaken > 0, `${whole} whole, ${overtaken} times overtaken`);
});
