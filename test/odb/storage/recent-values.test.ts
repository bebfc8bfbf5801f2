import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Oid, Tid } from 'holdfast/odb';
import { encodeRevision } from '#src/odb/storage/level/keyspace.js';
import { RecentValues } from '#src/odb/storage/level/recent-values.js';

const revision = (oid: number, tid: number, bytes = 10) =>
  encodeRevision({ oid: oid as Oid, n: 0, tid: tid as Tid, data: Buffer.alloc(bytes) });

test('gives back the revision that was kept last of an object, and no other', () => {
  const recent = new RecentValues();
  const value = revision(1, 20);
  recent.keep(1 as Oid, revision(1, 10));
  recent.keep(1 as Oid, value);
  assert.equal(recent.get(1 as Oid, 20 as Tid), value);
  assert.equal(recent.get(1 as Oid, 10 as Tid), undefined);
  assert.equal(recent.get(2 as Oid, 20 as Tid), undefined);
});

test('a revision that is too large to be kept hides the older one', () => {
  const recent = new RecentValues();
  recent.keep(1 as Oid, revision(1, 10));
  recent.keep(1 as Oid, revision(1, 20, 100_000));
  assert.equal(recent.get(1 as Oid, 20 as Tid), undefined);
  assert.equal(recent.get(1 as Oid, 10 as Tid), undefined);
});

test('what was written long ago is forgotten: the memory it takes is bounded', () => {
  const recent = new RecentValues();
  for (let oid = 1; oid <= 10_000; oid++) recent.keep(oid as Oid, revision(oid, 10, 1000));
  assert.equal(recent.get(1 as Oid, 10 as Tid), undefined);
  assert.ok(recent.get(10_000 as Oid, 10 as Tid));
  const kept = Array.from({ length: 10_000 }, (_, i) => recent.get((i + 1) as Oid, 10 as Tid)).filter(Boolean);
  assert.ok(kept.length * 1000 < 5_000_000, `${kept.length} are kept`);
});

test('forgets all when a write failed', () => {
  const recent = new RecentValues();
  recent.keep(1 as Oid, revision(1, 10));
  recent.clear();
  assert.equal(recent.get(1 as Oid, 10 as Tid), undefined);
});
