import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Oid, Tid } from '#src/odb/ids.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { InvalidationLog } from '#src/zeo/server/invalidation-log.js';
import { ManualClock } from '../support/manual-clock.js';

const tids = (log: InvalidationLog, since: number) => log.since(since as Tid)?.map(({ tid }) => tid);

test('what came after a tid, as long as it is remembered', () => {
  const log = new InvalidationLog({ lastTid: 10 as Tid, countMax: 3 });
  assert.deepEqual(tids(log, 10), []);
  assert.equal(tids(log, 9), undefined, 'what was before is not known');
  for (const tid of [20, 30, 40]) log.add(tid as Tid, [tid] as unknown as Oid[]);
  assert.deepEqual(tids(log, 10), [20, 30, 40]);
  assert.deepEqual(tids(log, 25), [30, 40]);
  assert.deepEqual(tids(log, 40), []);
  log.add(50 as Tid, []);
  assert.equal(tids(log, 10), undefined);
  assert.deepEqual(tids(log, 20), [30, 40, 50]);
  for (let tid = 60; tid <= 600; tid += 10) log.add(tid as Tid, []);
  assert.deepEqual(tids(log, 570), [580, 590, 600]);
  assert.equal(tids(log, 569), undefined);
  log.addAll(700 as Tid);
  assert.equal(tids(log, 600), undefined);
  assert.deepEqual(tids(log, 700), []);
});

async function commit(storage: MemoryStorage, oid: number): Promise<Tid> {
  const transaction = { commitId: new Uint8Array(16), user: '', description: '', extension: new Uint8Array(0) };
  storage.tpcBegin(transaction);
  storage.store(transaction, oid as Oid, 0 as Tid, Buffer.from('x'));
  return (await storage.commit(transaction)).tid;
}

test('a new log knows what the storage committed of late, looking back only as far as it has to', async () => {
  const clock = new ManualClock();
  const storage = new MemoryStorage({ clock });
  const old = await commit(storage, 1);
  await clock.advance(300_000);
  const recent: Tid[] = [];
  for (let oid = 2; oid < 12; oid++) {
    recent.push(await commit(storage, oid));
    await clock.advance(2000);
  }
  const small = await InvalidationLog.of(storage, 4);
  assert.deepEqual(tids(small, recent[6] as Tid), recent.slice(7));
  assert.equal(tids(small, recent[2] as Tid), undefined);
  assert.deepEqual(small.since(recent[8] as Tid), [{ tid: recent[9], oids: [11] }]);
  const large = await InvalidationLog.of(storage, 100);
  assert.deepEqual(tids(large, old), recent);
  assert.equal(large.lastTid, storage.lastTransaction());
  await storage.close();
  const empty = new MemoryStorage({ clock });
  assert.deepEqual(tids(await InvalidationLog.of(empty, 10), 0), []);
  await empty.close();
});
