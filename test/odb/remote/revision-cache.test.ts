import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Oid, Tid } from '#src/odb/ids.js';
import { RevisionCache } from '#src/odb/remote/revision-cache.js';
import type { Revision } from '#src/odb/storage/storage.js';

const oid = 1 as Oid;
const data = (tid: number) => Buffer.from(String(tid));
const revision = (tid: number, endTid?: number): Revision => ({
  data: data(tid),
  tid: tid as Tid,
  endTid: endTid as Tid | undefined,
});

test('a revision answers for the time for which it holds', () => {
  const cache = new RevisionCache(10_000);
  cache.put(oid, revision(5, 9));
  assert.equal(cache.get(oid, 5 as Tid), undefined);
  assert.equal(cache.get(oid, 6 as Tid)?.tid, 5);
  assert.equal(cache.get(oid, 9 as Tid)?.tid, 5);
  assert.equal(cache.get(oid, 10 as Tid), undefined);
  assert.equal(cache.getCurrent(oid), undefined);
  cache.put(oid, revision(9));
  assert.equal(cache.get(oid, 10 as Tid)?.tid, 9);
  assert.equal(cache.get(oid, 9 as Tid)?.tid, 5);
  assert.equal(cache.getCurrent(oid)?.tid, 9);
  assert.equal(cache.getSerial(oid, 5 as Tid)?.tid, 5);
});

test('what was invalidated stays readable for older snapshots, and is current no more', () => {
  const cache = new RevisionCache(10_000);
  cache.put(oid, revision(5));
  cache.invalidate(8 as Tid, [oid]);
  assert.equal(cache.getCurrent(oid), undefined);
  assert.equal(cache.get(oid, 8 as Tid)?.endTid, 8);
  assert.equal(cache.get(oid, 9 as Tid), undefined);
});

test('an invalidation that is older than what is held changes nothing', () => {
  const cache = new RevisionCache(10_000);
  cache.put(oid, revision(8));
  cache.invalidate(8 as Tid, [oid]);
  cache.invalidate(7 as Tid, [oid]);
  assert.equal(cache.getCurrent(oid)?.tid, 8);
});

test('bytes stay below the bound; what is read stays, what is not goes', () => {
  const cache = new RevisionCache(50_000);
  cache.put(oid, { data: Buffer.alloc(100), tid: 1 as Tid, endTid: undefined });
  for (let i = 2; i < 2000; i++) {
    cache.put(i as Oid, { data: Buffer.alloc(100), tid: 1 as Tid, endTid: undefined });
    assert.ok(cache.bytes <= 50_000);
    assert.ok(cache.getCurrent(oid), `read all the time, gone at ${i}`);
  }
  assert.equal(cache.getCurrent(2 as Oid), undefined);
  cache.put(5000 as Oid, { data: Buffer.alloc(20_000), tid: 1 as Tid, endTid: undefined });
  assert.equal(cache.getCurrent(5000 as Oid), undefined, 'one that is too large is not taken');
});

/** An object's history as the server knows it, and what the client was told of it. */
interface Model {
  readonly tids: number[];
  told: number;
}

test('never gives a wrong revision, in whatever order answers and invalidations come', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('commit' as const) }),
    fc.record({ kind: fc.constant('hear' as const) }),
    fc.record({ kind: fc.constant('load' as const), at: fc.nat(60) }),
    fc.record({ kind: fc.constant('drop' as const) }),
    fc.record({ kind: fc.constant('forget' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 400, max: 3000 }), (steps, bytesMax) => {
      const cache = new RevisionCache(bytesMax);
      const model: Model = { tids: [1], told: 1 };
      let now = 1;
      const truth = (before: number) => model.tids.filter((tid) => tid < before).at(-1);
      for (const { kind, ...rest } of steps) {
        if (kind === 'commit') {
          now += 2;
          model.tids.push(now);
        } else if (kind === 'hear') {
          const next = model.tids.find((tid) => tid > model.told);
          if (next !== undefined) cache.invalidate(next as Tid, [oid]);
          model.told = next ?? model.told;
        } else if (kind === 'load') {
          const before = (rest as { at: number }).at;
          const tid = truth(before);
          // The server's answer knows more than the client was told of.
          if (tid !== undefined)
            cache.put(
              oid,
              revision(
                tid,
                model.tids.find((each) => each > tid),
              ),
            );
        } else if (kind === 'drop') {
          cache.drop(oid);
        } else {
          // Everything up to now is told at once, as after a long absence.
          cache.dropCurrent();
          model.told = now;
        }
        assert.ok(cache.bytes <= bytesMax);
        // A client reads at snapshots up to what it was told of.
        for (let before = 1; before <= model.told + 1; before++) {
          const cached = cache.get(oid, before as Tid);
          if (cached) assert.equal(cached.tid, truth(before), `before ${before}, of ${model.tids}, told ${model.told}`);
        }
        const current = cache.getCurrent(oid);
        if (current && model.told === now) assert.equal(current.tid, model.tids.at(-1));
      }
    }),
    { numRuns: 500 },
  );
});
