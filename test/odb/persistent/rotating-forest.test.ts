import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DB, RotatingForest, recordConflictResolver, TransactionManager, transaction } from 'holdfast/odb';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { ManualClock } from '../../support/manual-clock.js';

const HOUR_MS = 3_600_000;

interface Root {
  forest: RotatingForest<string, number>;
}

async function withForest(
  options: { period: number; count?: number },
  work: (forest: RotatingForest<string, number>, clock: ManualClock, db: DB<Root>) => Promise<void>,
): Promise<void> {
  const clock = new ManualClock();
  const db = await DB.open<Root>(new MemoryStorage({ clock, conflictResolver: recordConflictResolver }));
  const { root } = db.open();
  root.forest = new RotatingForest<string, number>(options);
  await transaction.commit();
  await work(root.forest, clock, db);
  transaction.abort();
  await db.close();
}

test('what was not set for a period goes, between one period and two', () =>
  withForest({ period: HOUR_MS }, async (forest, clock) => {
    forest.set('old', 1);
    await clock.advance(HOUR_MS - 1);
    forest.set('young', 2).set('renewed', 3);
    await clock.advance(1);
    forest.set('renewed', 4);
    assert.deepEqual([...forest], Object.entries({ old: 1, renewed: 4, young: 2 }));
    await clock.advance(HOUR_MS);
    assert.equal(forest.get('old'), 1, 'nothing goes by reading');
    forest.set('new', 5);
    assert.deepEqual([...forest], Object.entries({ new: 5, renewed: 4 }));
    await clock.advance(10 * HOUR_MS);
    forest.set('much later', 6);
    assert.deepEqual([...forest.keys()], ['much later']);
  }));

test('more trees keep entries for less longer than the period', () =>
  withForest({ period: HOUR_MS, count: 5 }, async (forest, clock) => {
    for (let i = 0; i < 100; i++) {
      forest.set(`${i}`, i);
      for (let age = 0; age <= 12 && age <= i; age++) assert.equal(forest.get(`${i - age}`), i - age, `${i} ${age}`);
      for (let age = 15; age <= i; age++) assert.equal(forest.has(`${i - age}`), false);
      await clock.advance(HOUR_MS / 12);
    }
  }));

test('it is an ordered map of what its trees hold, the newest first', () => {
  const step = fc.record({
    what: fc.constantFrom('set', 'insert', 'delete', 'rotate', 'clear'),
    key: fc.integer({ min: 0, max: 9 }),
    value: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 2, max: 4 }), (steps, count) => {
      const forest = new RotatingForest<number, number>({ period: { days: 1000 }, count });
      let model: Map<number, number>[] = Array.from({ length: count }, () => new Map());
      for (const { what, key, value } of steps) {
        const has = model.some((tree) => tree.has(key));
        if (what === 'set') {
          forest.set(key, value);
          model[0]?.set(key, value);
        } else if (what === 'insert') {
          assert.equal(forest.insert(key, value), !has);
          if (!has) model[0]?.set(key, value);
        } else if (what === 'delete') {
          assert.equal(forest.delete(key), has);
          for (const tree of model) tree.delete(key);
        } else if (what === 'rotate') {
          forest.rotate();
          model = [new Map(), ...model.slice(0, -1)];
        } else {
          forest.clear();
          model = model.map(() => new Map());
        }
        const all = new Map([...model].reverse().flatMap((tree) => [...tree]));
        const entries = [...all].sort(([a], [b]) => a - b);
        assert.deepEqual([...forest], entries);
        assert.deepEqual([...forest.values({ reverse: true })], entries.map(([, each]) => each).reverse());
        const range = { min: 3, max: 6, excludeMax: true };
        assert.deepEqual(
          [...forest.keys(range)],
          entries.map(([each]) => each).filter((each) => each >= 3 && each < 6),
        );
        assert.deepEqual([forest.minKey(), forest.maxKey()], [entries[0]?.[0], entries.at(-1)?.[0]]);
        assert.equal(forest.minKey(5), entries.find(([each]) => each >= 5)?.[0]);
        assert.equal(forest.maxKey(5), entries.findLast(([each]) => each <= 5)?.[0]);
        assert.deepEqual([forest.size, forest.isEmpty], [entries.length, entries.length === 0]);
        assert.deepEqual([forest.get(key), forest.has(key)], [all.get(key), all.has(key)]);
      }
    }),
  );
});

test('two connections set different keys at once, and a pack takes what was dropped', () =>
  withForest({ period: HOUR_MS }, async (forest, clock, db) => {
    for (let i = 0; i < 200; i++) forest.set(`old ${i}`, i);
    await transaction.commit();
    await clock.advance(HOUR_MS);
    forest.set('first', 1);
    await transaction.commit();
    const manager = new TransactionManager();
    const other = db.open({ transactionManager: manager }).root.forest;
    forest.set('a', 1);
    manager.enter(() => other.set('b', 2));
    await transaction.commit();
    await manager.commit();
    transaction.begin();
    assert.equal(forest.size, 203);
    await clock.advance(HOUR_MS);
    forest.set('second', 2);
    await transaction.commit();
    assert.deepEqual([...forest.keys()], ['a', 'b', 'first', 'second']);
    // What another connection still shows would be kept.
    manager.begin();
    await db.pack();
    assert.ok(db.storage.length <= 4, 'the root, the forest and two trees');
  }));

test('wrong options are refused', () => {
  for (const period of [0, -1]) assert.throws(() => new RotatingForest({ period }), { code: 'ARG_PERIOD' });
  assert.throws(() => new RotatingForest({ period: Number.NaN }), { code: 'ARG_DURATION' });
  for (const count of [1, 2.5, 0]) assert.throws(() => new RotatingForest({ period: 1, count }), { code: 'ARG_COUNT' });
});
