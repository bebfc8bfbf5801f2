import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { type Storage, StorageError, type StorageLocks } from '../odb/index.js';
import { Group, type StorageSuite } from './subject.js';

/** Named locks between clients. */
export function testLocks(suite: StorageSuite): void {
  const group = new Group(suite, 'locks');
  const locksOf = (storage: Storage) => {
    assert.ok(storage.locks, 'a storage that supports locks has them');
    return storage.locks;
  };
  const three = async (subject: Parameters<typeof group.clients>[0]) =>
    (await group.clients(subject, 3)).map(locksOf) as [StorageLocks, StorageLocks, StorageLocks];

  group.test('are declared, and held by one', ['locks'], async ({ storage }) => {
    assert.equal(storage.supports.locks, true);
    const locks = locksOf(storage);
    assert.equal(await locks.tryLock('a'), true);
    assert.equal(await locks.tryLock('a'), true, 'by the holder itself it may be taken again');
    await locks.lock('a');
    assert.equal(await locks.tryLock('b'), true);
    await locks.unlock('a');
    await locks.unlock('a');
    await locks.unlock('never held');
    assert.equal(await locks.tryLock('a'), true);
  });

  group.test('are held against all other clients', ['locks', 'clients'], async (subject) => {
    const [a, b, c] = await three(subject);
    assert.equal(await a.tryLock('x'), true);
    assert.equal(await b.tryLock('x'), false);
    await b.unlock('x');
    assert.equal(await c.tryLock('x'), false, 'who does not hold it cannot give it up');
    assert.equal(await c.tryLock('y'), true);
    await a.unlock('x');
    assert.equal(await b.tryLock('x'), true);
  });

  group.test('are given to those who wait, in their order', ['locks', 'clients'], async (subject) => {
    const [a, b, c] = await three(subject);
    await a.lock('x');
    const order: string[] = [];
    const first = b.lock('x').then(() => order.push('b'));
    // The clients may have a way of their own each: one after the other.
    assert.equal(await b.tryLock('x'), false);
    const second = c.lock('x').then(() => order.push('c'));
    assert.equal(await c.tryLock('x'), false);
    assert.deepEqual(order, []);
    await a.unlock('x');
    await first;
    assert.equal(await a.tryLock('x'), false);
    assert.deepEqual(order, ['b']);
    await b.unlock('x');
    await second;
    assert.deepEqual(order, ['b', 'c']);
  });

  group.test(
    'are given to a client for all of its waits at once, as it may take them again',
    ['locks', 'clients'],
    async (subject) => {
      const [a, b, c] = await three(subject);
      await a.lock('x');
      const waits = [b.lock('x')];
      assert.equal(await b.tryLock('x'), false);
      const other = c.lock('x');
      assert.equal(await c.tryLock('x'), false);
      waits.push(b.lock('x'));
      assert.equal(await b.tryLock('x'), false);
      await a.unlock('x');
      // Each of them would wait for the end of the other.
      await Promise.all(waits);
      assert.equal(await a.tryLock('x'), false);
      await b.unlock('x');
      await other;
    },
  );

  group.test('are no longer waited for once the signal aborts', ['locks', 'clients'], async (subject) => {
    const [a, b, c] = await three(subject);
    await a.lock('x');
    const abort = new AbortController();
    const withdrawn = assert.rejects(b.lock('x', { signal: abort.signal }), /no patience/);
    const waiting = c.lock('x');
    abort.abort(new Error('no patience'));
    await withdrawn;
    await a.unlock('x');
    await waiting;
    await assert.rejects(b.lock('x', { signal: AbortSignal.abort(new Error('too late')) }), /too late/);
  });

  group.test(
    'are given back by a wait that was aborted too late, and not from under who got them otherwise',
    ['locks', 'clients'],
    async (subject) => {
      const [a, b] = await three(subject);
      for (const isAlone of [true, false]) {
        await a.lock('x');
        const abort = new AbortController();
        const withdrawn = b.lock('x', { signal: abort.signal }).catch((error: unknown) => error);
        const other = isAlone ? undefined : b.lock('x');
        // What was asked for before is asked for there by now.
        assert.equal(await b.tryLock('x'), false);
        const unlocked = a.unlock('x');
        abort.abort(new Error('no patience'));
        await unlocked;
        // Where the grant was there first, it stands.
        const wasGranted = (await withdrawn) === undefined;
        await other;
        // What was given back is given back by now.
        assert.equal(await b.tryLock('y'), true);
        if (!isAlone) assert.equal(await a.tryLock('x'), false);
        if (!isAlone || wasGranted) await b.unlock('x');
        await a.lock('x');
        await a.unlock('x');
      }
    },
  );

  group.test('fall with their client, and whoever watches is told', ['locks', 'clients'], async (subject) => {
    const other = await subject.another();
    const [a, b] = [locksOf(subject.storage), locksOf(other)];
    await a.lock('kept');
    await b.lock('x');
    await b.lock('y');
    const falls: string[] = [];
    a.watch('x', () => {
      throw new Error('who fails to take note is in nobody’s way');
    });
    a.watch('x', () => falls.push('x'));
    a.watch('kept', () => falls.push('kept'));
    const end = a.watch('y', () => falls.push('y'));
    end();
    // What was asked for before is answered before.
    assert.equal(await a.tryLock('x'), false);
    const waiting = a.lock('y');
    await other.close();
    await waiting;
    for (let i = 0; i < 1000 && falls.length === 0; i++) await turn();
    assert.deepEqual(falls, ['x']);
    assert.equal(await a.tryLock('x'), true);
  });

  group.test('end with their storage, and so do the waits for them', ['locks', 'clients'], async (subject) => {
    const other = await subject.another();
    const [a, b] = [locksOf(subject.storage), locksOf(other)];
    await a.lock('x');
    const waiting = b.lock('x');
    // Where the test fails before it waits for this, that is what it tells.
    waiting.catch(() => {});
    assert.equal(await b.tryLock('x'), false);
    await other.close();
    await assert.rejects(waiting, StorageError);
    await assert.rejects(b.tryLock('y'), StorageError);
    await assert.rejects(b.lock('y'), StorageError);
    // What has fallen with its session need not be given up any more.
    await b.unlock('x');
    assert.equal(await a.tryLock('y'), true);
  });
}
