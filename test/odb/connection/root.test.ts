import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { DB, PersistentMapping, transaction } from 'holdfast/odb';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { bankTest } from './bank.js';

type Loose = Record<string, unknown>;

test('a new database has an empty root mapping at oid 0, made in a transaction of its own', async () => {
  const db = await DB.open('memory:');
  const connection = db.open();
  assert.equal(connection.root._p_oid, 0);
  assert.equal(connection.root.size, 0);
  assert.ok(connection.get(0) instanceof PersistentMapping);
  const transactions = [];
  for await (const record of db.storage.iterate()) transactions.push(record.records.map(({ oid }) => Number(oid)));
  assert.deepEqual(transactions, [[0]]);
  connection.close();
  await db.close();
});

bankTest('the root shows its keys as attributes, and its own members only through itself', async (db) => {
  const connection = db.open();
  const { root } = connection;
  assert.deepEqual(Object.keys(root), ['ada', 'bob']);
  assert.ok('ada' in root);
  assert.equal((root as unknown as Record<string, unknown>)['nobody'], undefined);
  assert.throws(() => {
    (root as unknown as Record<string, unknown>)['size'] = 3;
  }, TypeError);
  assert.equal(root.size, 2);
  assert.ok(root instanceof PersistentMapping);
  connection.close();
});

test('of those who open a new database at once, one makes its root, and all have that', async () => {
  const storage = new MemoryStorage();
  const dbs = await Promise.all(Array.from({ length: 5 }, () => DB.open(storage)));
  let count = 0;
  for await (const { records } of storage.iterate()) count += records.length;
  assert.equal(count, 1);
  await dbs[0]?.transaction(({ root }) => {
    root['x'] = 1;
  });
  for (const db of dbs) assert.equal(await db.transaction(({ root }) => root['x']), 1);
  await storage.close();
});

bankTest('a key of the root is read, set, listed and deleted as an attribute', async (db) => {
  const connection = db.open();
  const root = connection.root as unknown as Loose & PersistentMapping<unknown>;
  root['fresh'] = 1;
  assert.deepEqual([root['fresh'], root.get('fresh'), 'fresh' in root], [1, 1, true]);
  Object.defineProperty(root, 'defined', { value: 2, writable: true, enumerable: true, configurable: true });
  Object.assign(root, { assigned: 3 });
  assert.deepEqual(Object.entries(root).slice(2), Object.entries({ fresh: 1, defined: 2, assigned: 3 }));
  await transaction.commit();
  assert.deepEqual(await db.transaction(({ root: other }) => Object.keys(other)), [
    'ada',
    'bob',
    'fresh',
    'defined',
    'assigned',
  ]);
  delete root['fresh'];
  assert.deepEqual([root['fresh'], 'fresh' in root, root._p_changed], [undefined, false, true]);
  delete root['nobody'];
  await transaction.commit();
  assert.equal(await db.transaction(({ root: other }) => 'fresh' in other), false);
  connection.close();
});

bankTest('what the root has, or cannot hold, is refused as an attribute, and none is lost in silence', async (db) => {
  const connection = db.open();
  const root = connection.root as unknown as Loose & PersistentMapping<unknown>;
  for (const name of ['size', 'get', 'constructor', 'toString', '_p_oid', 'then']) {
    assert.throws(
      () => {
        root[name] = 1;
      },
      { name: 'TypeError', code: 'ARG_ROOT_NAME' },
      name,
    );
  }
  assert.throws(() => Object.defineProperty(root, 'computed', { get: () => 1, configurable: true }), TypeError);
  assert.throws(() => Object.defineProperty(root, 'fixed', { value: 1, configurable: false }), TypeError);
  assert.throws(() => Object.freeze(root), TypeError);
  assert.throws(() => delete (root as Loose)['size'], TypeError);
  assert.equal(await transaction.commit(), undefined);
  // As keys of the mapping they are as good as any.
  root.set('then', 1).set('size', 2);
  await transaction.commit();
  assert.deepEqual([root.get('then'), root.get('size'), root.size], [1, 2, 4]);
  assert.equal(await root, root, 'it is awaited like any object');
  connection.close();
});

bankTest('the root is shown as the mapping that it is', (db) =>
  db.transaction(({ root }) => {
    (root as unknown as Loose)['answer'] = 42;
    assert.match(inspect(root), /^PersistentMapping \{\s+_p_oid: 0,[\s\S]*'answer' => 42/);
  }),
);
