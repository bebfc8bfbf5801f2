import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  ClientDisconnected,
  CommitUncertainError,
  ConflictError,
  POSKeyError,
  StorageError,
  StorageTransactionError,
} from '#src/odb/errors.js';
import { type Oid, type Tid, ZERO_TID } from '#src/odb/ids.js';
import { openAttached } from '#src/odb/remote/index.js';
import type { ViewStorage } from '#src/odb/remote/view-storage.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { newTransaction, Owner } from './owner.js';
import { concatResolver } from './resolver.js';

const owners: Owner[] = [];
const folders: string[] = [];

afterEach(async () => {
  for (const owner of owners.splice(0)) await owner.end();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

async function startOwner(options: { isOnDisk?: boolean; resolves?: boolean } = {}): Promise<Owner> {
  let path: string | undefined;
  if (options.isOnDisk) {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-view-'));
    folders.push(folder);
    path = join(folder, 'test.fs');
  }
  const owner = await Owner.start({ ...(path === undefined ? {} : { path }), resolves: options.resolves ?? false });
  owners.push(owner);
  return owner;
}

async function commit(view: ViewStorage, records: readonly [Oid, Tid, string | Uint8Array][]) {
  const transaction = newTransaction();
  view.tpcBegin(transaction);
  for (const [oid, serial, data] of records) view.store(transaction, oid, serial, Buffer.from(data));
  try {
    return await view.commit(transaction);
  } catch (error) {
    await view.tpcAbort(transaction);
    throw error;
  }
}

const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();

for (const isOnDisk of [false, true]) {
  const kind = isOnDisk ? 'on disk' : 'in memory';

  test(`${kind}: what one view commits, another reads after a poll, and older snapshots stay`, async () => {
    const owner = await startOwner({ isOnDisk });
    const [a, b] = [await owner.view(), await owner.view()];
    const oid = a.newOid();
    const first = await commit(a, [[oid, ZERO_TID, 'one']]);
    assert.equal(a.lastTransaction(), first.tid, 'the committer has been told');
    assert.equal(b.poll(), first.tid);
    assert.equal(text(b.load(oid).data), 'one');
    const second = await commit(a, [[oid, first.tid, 'two']]);
    const snapshot = (first.tid + 1) as Tid;
    assert.equal(text(b.loadBefore(oid, snapshot)?.data), 'one', 'the snapshot of a transaction under way');
    b.poll();
    assert.equal(text(b.loadBefore(oid, (second.tid + 1) as Tid)?.data), 'two');
    assert.equal(text(b.loadBefore(oid, snapshot)?.data), 'one');
    assert.equal(b.loadBefore(oid, snapshot)?.endTid, second.tid);
    assert.equal(b.loadBefore(oid, first.tid), undefined);
    assert.equal(text(b.loadSerial(oid, first.tid)), 'one');
    assert.throws(() => b.load(9999 as Oid), POSKeyError);
    assert.throws(() => b.loadBefore(9999 as Oid, snapshot), POSKeyError);
  });

  test(`${kind}: oids are never given twice, whichever view asks`, async () => {
    const owner = await startOwner({ isOnDisk });
    const views = [await owner.view(), await owner.view(), await owner.view()];
    const oids = new Set<Oid>();
    for (let i = 0; i < 4000; i++) oids.add((views[i % 3] as ViewStorage).newOid());
    assert.equal(oids.size, 4000);
  });

  test(`${kind}: an owner that closes has its views let go first`, async () => {
    const owner = await startOwner({ isOnDisk });
    const [a, b] = [await owner.view(), await owner.view()];
    const oid = a.newOid();
    const { tid } = await commit(a, [[oid, ZERO_TID, 'x']]);
    await owner.attach(); // Never opened by anybody: not waited for.
    await owner.closeStorage();
    assert.throws(() => b.newOid(), ClientDisconnected);
    assert.throws(() => b.loadSerial(oid, tid), ClientDisconnected);
    await assert.rejects(a.sync(), ClientDisconnected);
    assert.throws(() => a.tpcBegin(newTransaction()), ClientDisconnected);
    await b.close();
    await b.close();
  });
}

test('who reads the files for itself sees nothing that it was not told of, not even that something ends', async () => {
  const owner = await startOwner({ isOnDisk: true });
  const [a, b] = [await owner.view(), await owner.view()];
  const oid = a.newOid();
  const first = await commit(a, [[oid, ZERO_TID, 'one']]);
  b.poll();
  const second = await commit(a, [[oid, first.tid, 'two']]);
  for (const revision of [b.load(oid), b.loadBefore(oid, (second.tid + 1) as Tid)]) {
    assert.deepEqual([text(revision?.data), revision?.tid, revision?.endTid], ['one', first.tid, undefined]);
  }
  b.poll();
  assert.equal(text(b.load(oid).data), 'two');
  assert.equal(b.loadBefore(oid, second.tid)?.endTid, second.tid);
});

test('a conflict is refused with the facts of it', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view()];
  const oid = a.newOid();
  const first = await commit(a, [[oid, ZERO_TID, 'one']]);
  const second = await commit(a, [[oid, first.tid, 'two']]);
  await assert.rejects(commit(b, [[oid, first.tid, 'other']]), (error: unknown) => {
    assert.ok(error instanceof ConflictError);
    assert.deepEqual([error.oid, error.baseSerial, error.committedSerial], [oid, first.tid, second.tid]);
    return true;
  });
});

test('the owner merges where it can; the committer is told which objects', async () => {
  const owner = await startOwner({ resolves: true });
  const [a, b] = [await owner.view(), await owner.view()];
  const oid = a.newOid();
  const first = await commit(a, [[oid, ZERO_TID, 'x']]);
  await commit(a, [[oid, first.tid, 'xa']]);
  const merged = await commit(b, [[oid, first.tid, 'xb']]);
  assert.deepEqual(merged.resolved, [oid]);
  assert.equal(text(b.load(oid).data), 'xab');
});

test('the view merges what the owner cannot', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view({ resolver: concatResolver })];
  const oids = [a.newOid(), a.newOid(), a.newOid()] as [Oid, Oid, Oid];
  const first = await commit(
    a,
    oids.map((oid) => [oid, ZERO_TID, 'x']),
  );
  await commit(a, [
    [oids[0], first.tid, 'xa'],
    [oids[2], first.tid, 'xc'],
  ]);
  const merged = await commit(
    b,
    oids.map((oid) => [oid, first.tid, 'xb']),
  );
  assert.deepEqual(new Set(merged.resolved), new Set([oids[0], oids[2]]));
  assert.deepEqual(
    oids.map((oid) => text(b.load(oid).data)),
    ['xab', 'xb', 'xcb'],
  );
  a.poll();
  assert.deepEqual(
    oids.map((oid) => text(a.load(oid).data)),
    ['xab', 'xb', 'xcb'],
  );
});

test('a merge that the view refuses, or does not know how to make, is a conflict', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view({ resolver: concatResolver })];
  const oid = a.newOid();
  const first = await commit(a, [[oid, ZERO_TID, 'x']]);
  await commit(a, [[oid, first.tid, 'xa']]);
  await assert.rejects(commit(b, [[oid, first.tid, '!']]), { code: 'ODB_CONFLICT', reason: 'not only added to' });
  await assert.rejects(commit(b, [[oid, first.tid, '?']]), { code: 'ODB_CONFLICT', reason: undefined });
});

test('views that all add to one object at once lose nothing, merging in the views', async () => {
  const owner = await startOwner();
  const views: ViewStorage[] = [];
  for (let i = 0; i < 4; i++) views.push(await owner.view({ resolver: concatResolver }));
  const first = views[0] as ViewStorage;
  const oid = first.newOid();
  const { tid } = await commit(first, [[oid, ZERO_TID, '.']]);
  // Each loses to every other one at most: fewer times than a view merges before it gives up.
  const letters = 'abcdefghijklmnop';
  await Promise.all([...letters].map((letter, i) => commit(views[i % 4] as ViewStorage, [[oid, tid, `.${letter}`]])));
  await first.sync();
  assert.deepEqual([...(text(first.load(oid).data) as string)].sort().join(''), `.${letters}`);
});

test('two phases: nothing is seen before finish, nothing remains of an abort', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view()];
  const oid = a.newOid();
  const one = newTransaction();
  assert.throws(() => a.store(one, oid, ZERO_TID, Buffer.from('x')), StorageTransactionError);
  a.tpcBegin(one);
  assert.throws(() => a.tpcBegin(one), StorageTransactionError);
  await assert.rejects(a.tpcFinish(one), StorageTransactionError);
  a.store(one, oid, ZERO_TID, Buffer.from('x'));
  assert.deepEqual(await a.tpcVote(one), { resolved: [] });
  assert.throws(() => a.store(one, oid, ZERO_TID, Buffer.from('y')), StorageTransactionError);
  await assert.rejects(a.tpcVote(one), StorageTransactionError);
  b.poll();
  assert.throws(() => b.load(oid), POSKeyError);
  const tid = await a.tpcFinish(one);
  assert.equal(a.lastTransaction(), tid);
  assert.equal(b.poll(), tid);
  assert.equal(text(b.load(oid).data), 'x');
  const two = newTransaction();
  a.tpcBegin(two);
  a.store(two, oid, tid, Buffer.from('never'));
  await a.tpcVote(two);
  await a.tpcAbort(two);
  await a.tpcAbort(two);
  assert.equal(await b.outcome(two.commitId), undefined);
  assert.equal(await b.outcome(one.commitId), tid);
  await commit(b, [[oid, tid, 'y']]);
  await a.sync();
  assert.equal(text(a.load(oid).data), 'y');
});

test('an object checked to be current must be so', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view()];
  const [read, written] = [a.newOid(), a.newOid()];
  const { tid } = await commit(a, [[read, ZERO_TID, 'x']]);
  const transaction = newTransaction();
  b.tpcBegin(transaction);
  b.checkCurrentSerial(transaction, read, tid);
  b.store(transaction, written, ZERO_TID, Buffer.from('y'));
  await commit(a, [[read, tid, 'z']]);
  await assert.rejects(b.commit(transaction), { code: 'ODB_READ_CONFLICT', oid: read });
  await b.tpcAbort(transaction);
});

test('transactions of many megabytes go through, in pieces', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view({ resolver: concatResolver })];
  const oids = Array.from({ length: 9 }, () => a.newOid());
  const big = (fill: string) => Buffer.alloc(700_000, fill);
  const first = await commit(
    a,
    oids.map((oid) => [oid, ZERO_TID, big('a')]),
  );
  b.poll();
  for (const oid of oids) assert.ok(big('a').equals(b.load(oid).data));
  // And once more when it has to be merged.
  await commit(a, [[oids[4] as Oid, first.tid, Buffer.concat([big('a'), big('b')])]]);
  const merged = await commit(
    b,
    oids.map((oid) => [oid, first.tid, Buffer.concat([big('a'), big('c')])]),
  );
  assert.deepEqual(merged.resolved, [oids[4]]);
  a.poll();
  assert.ok(Buffer.concat([big('a'), big('b'), big('c')]).equals(a.load(oids[4] as Oid).data));
  assert.equal(a.load(oids[5] as Oid).data.length, 1_400_000);
});

test('a stored record keeps no hold of the packet that it came in', async () => {
  const owner = await startOwner();
  const view = await owner.view();
  const oid = view.newOid();
  await commit(view, [[oid, ZERO_TID, 'small']]);
  assert.ok(view.load(oid).data.buffer.byteLength <= 65_536);
});

test('prefetch: what was fetched is read without asking; what does not exist is passed over', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view({ readTimeoutMs: 300 })];
  const oids = Array.from({ length: 2500 }, () => a.newOid());
  const { tid } = await commit(
    a,
    oids.map((oid, i) => [oid, ZERO_TID, `object ${i}`]),
  );
  b.poll();
  await b.prefetch([...oids, 999_999 as Oid], (tid + 1) as Tid);
  await owner.block(700);
  assert.equal(text(b.loadBefore(oids[2499] as Oid, (tid + 1) as Tid)?.data), 'object 2499');
  assert.throws(() => b.load(999_999 as Oid), ClientDisconnected, 'the owner is asked, and is busy');
});

test('an answer that was overtaken by an invalidation is not taken for current', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view()];
  const oid = a.newOid();
  const first = await commit(a, [[oid, ZERO_TID, 'old']]);
  b.poll();
  // The answer is posted to b before the commit, and handled after b was told of the commit.
  const fetched = b.prefetch([oid], (first.tid + 1) as Tid);
  const blockEndMs = performance.now() + 100;
  const committed = commit(a, [[oid, first.tid, 'new']]);
  while (performance.now() < blockEndMs);
  const last = b.poll();
  await Promise.all([fetched, committed]);
  b.poll();
  assert.equal(text(b.load(oid).data), 'new', `told up to ${last}`);
  assert.equal(text(b.loadBefore(oid, (first.tid + 1) as Tid)?.data), 'old');
});

test('subscribers are woken without a poll, told in order, and before the tid can be seen', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view()];
  const told: Tid[] = [];
  let wake = () => {};
  const unsubscribe = b.subscribe({
    invalidate: (tid, oids) => {
      assert.ok(b.lastTransaction() < tid);
      assert.equal(b.poll(), b.lastTransaction(), 'a poll within is no second telling');
      assert.equal(oids.length, 1);
      told.push(tid);
      wake();
    },
    invalidateAll: () => assert.fail('nothing was missed'),
  });
  const oid = a.newOid();
  let serial = ZERO_TID;
  const expected: Tid[] = [];
  for (let i = 0; i < 20; i++) {
    const heard = new Promise<void>((resolve) => {
      wake = resolve;
    });
    serial = (await commit(a, [[oid, serial, `${i}`]])).tid;
    expected.push(serial);
    await heard;
  }
  assert.deepEqual(told, expected);
  unsubscribe();
  await commit(a, [[oid, serial, 'unheard']]);
  await b.sync();
  assert.equal(told.length, 20);
});

test('a view that slept through more than the ring holds is told that anything may have changed', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view()];
  const oid = a.newOid();
  const first = await commit(a, [[oid, ZERO_TID, 'first']]);
  b.poll();
  assert.equal(text(b.load(oid).data), 'first');
  const told: [string, Tid][] = [];
  b.subscribe({
    invalidate: (tid) => told.push(['some', tid]),
    invalidateAll: (tid) => told.push(['all', tid]),
  });
  const commits = Array.from({ length: 9 }, (_, i) => {
    const others = Array.from({ length: 9000 }, (): [Oid, Tid, string] => [a.newOid(), ZERO_TID, 'x']);
    return commit(a, i === 8 ? [[oid, first.tid, 'last'], ...others] : others);
  });
  // The thread is busy: one of its views follows, the other cannot even be woken.
  while (text(a.load(oid).data) !== 'last') a.poll();
  const last = a.poll();
  assert.equal(b.poll(), last);
  assert.deepEqual(told, [['all', last]]);
  assert.equal(text(b.load(oid).data), 'last');
  await Promise.all(commits);
});

test('who subscribes lazily is told at the next poll, and woken only lest too much is missed', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view()];
  const told: Tid[] = [];
  let wake = () => {};
  b.subscribe(
    {
      invalidate: (tid) => {
        told.push(tid);
        wake();
      },
      invalidateAll: () => assert.fail('nothing was missed'),
    },
    { isLazy: true },
  );
  const expected: Tid[] = [];
  for (let i = 0; i < 3; i++) {
    expected.push((await commit(a, [[a.newOid(), ZERO_TID, 'x']])).tid);
    // What would have woken it came before the answer to this.
    await b.history(0 as Oid).catch(() => undefined);
  }
  assert.deepEqual(told, expected, 'an answer brings what was published before it');
  const silent = (await commit(a, [[a.newOid(), ZERO_TID, 'x']])).tid;
  await a.sync();
  assert.deepEqual(told, expected, 'nobody asked');
  b.poll();
  assert.deepEqual(told, [...expected, silent]);
  const woken = new Promise<void>((resolve) => {
    wake = resolve;
  });
  for (let i = 0; i < 2; i++) {
    await commit(
      a,
      Array.from({ length: 9000 }, (): [Oid, Tid, string] => [a.newOid(), ZERO_TID, 'x']),
    );
  }
  await woken;
});

test('history, transactions, length and size come from the owner', async () => {
  const owner = await startOwner();
  const view = await owner.view();
  const oid = view.newOid();
  const first = await commit(view, [[oid, ZERO_TID, 'one']]);
  const second = await commit(view, [[oid, first.tid, Buffer.alloc(600_000)]]);
  const third = await commit(view, [[oid, second.tid, Buffer.alloc(600_000)]]);
  assert.deepEqual(
    (await view.history(oid, 10)).map(({ tid, user, sizeBytes }) => [tid, user, sizeBytes]),
    [
      [third.tid, 'tester', 600_000],
      [second.tid, 'tester', 600_000],
      [first.tid, 'tester', 3],
    ],
  );
  await assert.rejects(view.history(9999 as Oid), POSKeyError);
  const seen: Tid[] = [];
  for await (const { tid, records } of view.iterate()) {
    seen.push(tid);
    assert.equal(records[0]?.oid, oid);
  }
  assert.deepEqual(seen, [first.tid, second.tid, third.tid], 'in more than one batch');
  for await (const { tid } of view.iterate(second.tid, second.tid)) assert.equal(tid, second.tid);
  assert.equal(view.length, 1);
  assert.ok(view.size >= 1_200_003);
});

test('locks are between views, in order, and fall when a view closes', async () => {
  const owner = await startOwner();
  const [a, b, c] = [await owner.view(), await owner.view(), await owner.view()];
  assert.equal(await a.locks.tryLock('queue'), true);
  assert.equal(await b.locks.tryLock('queue'), false);
  const order: string[] = [];
  const fallen = new Promise<void>((resolve) => c.locks.watch('queue', resolve));
  const abort = new AbortController();
  const waits = [
    b.locks.lock('queue').then(() => order.push('b')),
    c.locks.lock('queue', { signal: abort.signal }).catch((error: Error) => order.push(error.message)),
  ];
  abort.abort(new Error('changed its mind'));
  await waits[1];
  // Each view has a way of its own to the owner: those of b and c must have arrived before a closes.
  for (const view of [b, c]) assert.equal(await view.locks.tryLock('queue'), false);
  await a.close();
  await Promise.all([waits[0], fallen]);
  assert.deepEqual(order, ['changed its mind', 'b']);
  assert.equal(await c.locks.tryLock('queue'), false, 'a wait that was withdrawn is not granted');
  await b.locks.unlock('queue');
  assert.equal(await c.locks.tryLock('queue'), true);
});

test('a lock that was granted while its wait was being withdrawn is given back', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view()];
  for (let i = 0; i < 30; i++) {
    await a.locks.lock('x');
    const abort = new AbortController();
    const wait = b.locks.lock('x', { signal: abort.signal }).then(
      () => 'granted',
      () => 'withdrawn',
    );
    const unlocked = a.locks.unlock('x');
    setTimeout(() => abort.abort(), i % 3);
    if ((await wait) === 'granted') await b.locks.unlock('x');
    await unlocked;
    await a.locks.lock('x');
    await a.locks.unlock('x');
  }
});

test('a thread that is ended in the middle of a blocking read takes its locks with it, and harms nobody', async () => {
  const owner = await startOwner();
  const view = await owner.view();
  const data = await owner.attach();
  const worker = new Worker(new URL('./blocked-reader.js', import.meta.url), {
    workerData: data,
    transferList: [data.port, data.largePort],
  });
  await new Promise((resolve) => worker.once('message', resolve));
  assert.equal(await view.locks.tryLock('held by the thread'), false);
  const fell = new Promise<void>((resolve) => view.locks.watch('held by the thread', resolve));
  await owner.block(400);
  worker.postMessage('read');
  await new Promise((resolve) => worker.once('message', resolve));
  await worker.terminate();
  await fell;
  assert.equal(await view.locks.tryLock('held by the thread'), true);
  const oid = view.newOid();
  await commit(view, [[oid, ZERO_TID, 'x']]);
  assert.equal(text(view.load(oid).data), 'x');
});

test('a read that gets no answer is given up, and its late answer is not taken for that of the next', async () => {
  const owner = await startOwner();
  const [a, b] = [await owner.view(), await owner.view({ readTimeoutMs: 150, cacheBytesMax: 0 })];
  const [small, large] = [a.newOid(), a.newOid()];
  const { tid } = await commit(a, [
    [small, ZERO_TID, 'small'],
    [large, ZERO_TID, Buffer.alloc(100_000, 'l')],
  ]);
  for (const late of [small, large]) {
    await owner.block(400);
    const startMs = performance.now();
    assert.throws(() => b.load(late), ClientDisconnected);
    assert.ok(performance.now() - startMs < 380, 'it did not wait for the owner');
    await a.sync();
    assert.equal(text(b.load(small).data), 'small');
    assert.equal(b.load(large).data.length, 100_000);
    assert.equal(b.loadBefore(small, tid), undefined);
  }
});

test('when the owner dies, reads fail, promises reject, and a commit under way is uncertain', async () => {
  const owner = await startOwner();
  const view = await owner.view({ readTimeoutMs: 2000 });
  const oid = view.newOid();
  await owner.block(2000);
  const committed = commit(view, [[oid, ZERO_TID, 'x']]);
  const synced = view.sync();
  const results = Promise.allSettled([committed, synced]);
  await owner.worker.terminate();
  const [commitResult, syncResult] = await results;
  assert.ok(commitResult.status === 'rejected' && commitResult.reason instanceof CommitUncertainError);
  assert.ok(syncResult.status === 'rejected' && syncResult.reason instanceof ClientDisconnected);
  assert.throws(() => view.load(oid), ClientDisconnected);
});

test('the thread that owns a storage is told that it needs no view', async () => {
  const storage = new MemoryStorage();
  const { data } = storage.attach();
  await assert.rejects(
    openAttached(data),
    (error: Error) => error instanceof StorageError && /this thread/.test(error.message),
  );
  await storage.close();
});

test('a view opened while the owner closes is refused', async () => {
  const owner = await startOwner();
  const data = await owner.attach();
  await owner.closeStorage();
  await assert.rejects(openAttached(data), ClientDisconnected);
});

test('views hand on: a view of a view is a view of its own', async () => {
  const owner = await startOwner();
  const a = await owner.view();
  const { data } = a.attach();
  const b = await openAttached(data);
  const oid = b.newOid();
  const transaction = newTransaction();
  b.tpcBegin(transaction);
  b.store(transaction, oid, ZERO_TID, Buffer.from('from b'));
  await b.commit(transaction);
  a.poll();
  assert.equal(text(a.load(oid).data), 'from b');
  await b.close();
  assert.equal(text(a.load(oid).data), 'from b');
});
