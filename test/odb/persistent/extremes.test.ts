import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DB, Maximum, Minimum, TransactionManager } from 'holdfast/odb';
import { RecordJar } from './record-jar.js';

test('an extreme is what it was set to, in either direction', () => {
  const jar = new RecordJar();
  const highest = jar.ghost(Maximum, 4) as Maximum;
  assert.equal(highest.value, 4);
  assert.deepEqual(jar.registered, []);
  highest.set(2);
  assert.deepEqual([highest.value, jar.stored(highest), jar.registered], [2, 2, [highest]]);
  highest._p_invalidate();
  assert.equal(highest.value, 4);
  assert.equal(new Maximum().value, undefined);
  assert.equal(new Minimum<string>('b').value, 'b');
  const when = new Date(5);
  const latest = new Maximum<Date>(when);
  when.setTime(6);
  assert.deepEqual(latest.value, new Date(5));
});

test('what has no order is refused, before anything is registered', () => {
  const jar = new RecordJar();
  const lowest = jar.loaded(Minimum, 4) as Minimum<never>;
  for (const value of [Number.NaN, {}, () => {}, undefined, null]) {
    assert.throws(() => lowest.set(value as never), { code: 'ARG_KEY' });
    if (value !== undefined) assert.throws(() => new Minimum(value as never), { code: 'ARG_KEY' });
  }
  assert.deepEqual([lowest.value, jar.registered], [4, []]);
});

test('in any order of merges, the most extreme of what was set at once stays', () => {
  const key = fc.oneof(fc.integer(), fc.string(), fc.boolean(), fc.constant(null));
  fc.assert(
    fc.property(fc.integer(), fc.array(key, { minLength: 1, maxLength: 8 }), (base, values) => {
      const merge = (cls: typeof Maximum) =>
        values.reduce<string | number | boolean | null>((committed, mine) => {
          return cls.resolveConflict<string | number | boolean>(base, committed, mine);
        }, values[0] as null);
      const set = values.filter((value) => value !== null);
      const rank = (value: unknown) => ['boolean', 'number', 'string'].indexOf(typeof value);
      set.sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0));
      assert.equal(merge(Maximum), set.at(-1) ?? null);
      assert.equal(merge(Minimum), set[0] ?? null);
    }),
  );
});

test('two connections set it at once, and none conflicts', async () => {
  const db = await DB.open<{ high: Maximum; low: Minimum }>('memory:');
  await db.transaction(({ root }) => {
    root.high = new Maximum();
    root.low = new Minimum(0);
  });
  const managers = [new TransactionManager(), new TransactionManager(), new TransactionManager()];
  const roots = managers.map((transactionManager) => db.open({ transactionManager }).root);
  for (const [i, value] of [7, 9, 8].entries()) {
    managers[i]?.enter(() => {
      roots[i]?.high.set(value);
      roots[i]?.low.set(-value);
    });
  }
  for (const manager of managers) await manager.commit();
  for (const [i, manager] of managers.entries()) {
    manager.begin();
    assert.deepEqual([roots[i]?.high.value, roots[i]?.low.value], [9, -9]);
  }
  await db.close();
});
