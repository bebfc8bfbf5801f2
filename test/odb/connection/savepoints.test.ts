import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DB,
  InvalidSavepointRollbackError,
  type LogRecord,
  type Oid,
  Persistent,
  PersistentMapping,
  POSKeyError,
  persistable,
  type SerializationError,
  type StorageTransaction,
  setLogSink,
  type Tid,
  TransactionFailedError,
  transaction,
  ZERO_TID,
} from 'holdfast/odb';
import { TemporaryStore } from '#src/odb/connection/temporary-store.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { Account, bankTest, type Root } from './bank.js';

bankTest('savepoints roll back in nested order, and can be used again', async (db) => {
  const connection = db.open();
  const { ada } = connection.root;
  ada.deposit(1);
  const one = transaction.savepoint();
  ada.deposit(10);
  const added = new Account('Carol');
  ada.friend = added;
  const two = transaction.savepoint();
  assert.ok(added._p_oid !== undefined);
  ada.deposit(100);
  two.rollback();
  assert.equal(ada.balance, 11);
  assert.equal(ada.friend, added);
  ada.deposit(100);
  one.rollback();
  assert.equal(ada.balance, 1);
  assert.equal(added._p_oid, undefined);
  assert.equal(added.owner, 'Carol');
  assert.throws(() => two.rollback());
  ada.deposit(1000);
  one.rollback();
  assert.equal(ada.balance, 1);
  assert.equal(await db.transaction(({ root }) => root.ada.balance), 0, 'nobody else sees a savepoint');
  ada.deposit(1);
  await transaction.commit();
  assert.equal(await db.transaction(({ root }) => root.ada.balance), 2);
  connection.close();
});

bankTest('objects that were changed before and after a savepoint are stored once, as they are in the end', async () => {
  const stores: number[] = [];
  class Watched extends MemoryStorage {
    override store(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array): void {
      stores.push(Number(oid));
      super.store(transaction, oid, serial, data);
    }
  }
  const db = await DB.open<Root>(new Watched());
  await db.transaction(({ root }) => {
    root.ada = new Account('Ada');
  });
  const connection = db.open();
  const { ada } = connection.root;
  stores.length = 0;
  for (let i = 0; i < 5; i++) {
    ada.deposit(1);
    ada.friend ??= new Account('Eve');
    ada.friend.deposit(10);
    transaction.savepoint();
  }
  ada.deposit(1);
  await transaction.commit();
  assert.deepEqual(stores.sort(), [ada._p_oid, ada.friend?._p_oid]);
  assert.deepEqual(await db.transaction(({ root }) => [root.ada.balance, root.ada.friend?.balance]), [6, 50]);
  connection.close();
  await db.close();
});

bankTest(
  'an object that was added before a savepoint and changed after it survives an abort, without its place',
  async (db) => {
    const connection = db.open();
    const { root } = connection;
    const eve = new Account('Eve');
    root.ada.friend = eve;
    transaction.savepoint();
    // It may have been taken out of memory.
    connection.cacheMinimize();
    eve.deposit(5);
    transaction.abort();
    assert.deepEqual(
      [eve._p_oid, eve._p_jar, eve._p_changed, eve.owner, eve.balance],
      [undefined, undefined, false, 'Eve', 5],
    );
    assert.equal(root.ada.friend, root.bob);
    root.bob.friend = eve;
    await transaction.commit();
    assert.equal(await db.transaction((other) => other.root.bob.friend?.balance), 5);
    connection.close();
  },
);

bankTest('what a rollback took away can be used, with its values, and be stored later', async (db) => {
  const connection = db.open();
  const { root } = connection;
  const savepoint = transaction.savepoint();
  const [eve, joe] = [new Account('Eve'), new Account('Joe')];
  eve.friend = joe;
  root.ada.friend = eve;
  eve.deposit(7);
  transaction.savepoint();
  connection.cacheMinimize();
  savepoint.rollback();
  for (const each of [eve, joe]) assert.deepEqual([each._p_oid, each._p_jar], [undefined, undefined]);
  assert.deepEqual([eve.owner, eve.balance, eve.friend, joe.owner], ['Eve', 7, joe, 'Joe']);
  root.bob.friend = eve;
  await transaction.commit();
  assert.deepEqual(await db.transaction(({ root: { bob } }) => [bob.friend?.balance, bob.friend?.friend?.owner]), [
    7,
    'Joe',
  ]);
  connection.close();
});

bankTest('a savepoint moves no view: what others have committed since is not seen after it', async (db) => {
  const connection = db.open();
  const { ada, bob } = connection.root;
  ada.deposit(1);
  await db.transaction(({ root }) => {
    root.ada.deposit(100);
    root.bob.deposit(100);
  });
  const savepoint = transaction.savepoint();
  connection.cacheMinimize();
  assert.deepEqual([ada._p_state, bob._p_state], ['ghost', 'ghost']);
  assert.deepEqual([ada.balance, bob.balance], [1, 0]);
  bob._p_deactivate();
  savepoint.rollback();
  assert.deepEqual([ada.balance, bob.balance], [1, 0]);
  transaction.abort();
  assert.deepEqual([ada.balance, bob.balance], [100, 100]);
  connection.close();
});

bankTest('a savepoint of what cannot be stored fails the transaction, and all its changes are lost', async (db) => {
  const connection = db.open();
  const root = connection.root as unknown as Record<string, unknown> & Root;
  root.ada.deposit(1);
  const earlier = transaction.savepoint();
  root.bob.deposit(1);
  root['handler'] = [() => 1];
  assert.throws(
    () => transaction.savepoint(),
    (error: SerializationError) => error.path === 'root.handler[0]',
  );
  assert.throws(() => earlier.rollback(), InvalidSavepointRollbackError);
  await assert.rejects(transaction.commit(), TransactionFailedError);
  assert.throws(() => root.ada.deposit(1), TransactionFailedError);
  assert.throws(() => transaction.savepoint(), TransactionFailedError);
  transaction.abort();
  assert.deepEqual([root.ada.balance, root.bob.balance, root['handler']], [0, 0, undefined]);
  root.ada.deposit(2);
  await transaction.commit();
  assert.equal(await db.transaction((other) => other.root.ada.balance), 2);
  connection.close();
});

bankTest('a savepoint is void once its transaction has ended, however that was, and whoever made it', async (db) => {
  const connection = db.open();
  const { ada } = connection.root;
  const ends: (() => unknown)[] = [
    () => transaction.commit(),
    () => transaction.abort(),
    () => transaction.begin(),
    () => transaction.commit().catch(() => {}),
  ];
  for (const [index, end] of ends.entries()) {
    ada.deposit(1);
    const savepoints = [transaction.savepoint()];
    // Made by a hook, while the commit has begun.
    transaction.addBeforeCommitHook(() => {
      ada.deposit(1);
      savepoints.push(transaction.savepoint());
      ada.deposit(1);
      if (index === 3) throw new Error('of a hook');
    });
    await end();
    for (const savepoint of savepoints) {
      assert.equal(savepoint.valid, false);
      assert.throws(() => savepoint.rollback(), InvalidSavepointRollbackError);
    }
    transaction.abort();
    assert.equal(ada.balance, 3);
  }
  connection.close();
});

bankTest(
  'after an abort, or a rollback, nothing is found under the oids of what was new, also if it was not in memory',
  async (db) => {
    const connection = db.open();
    const { ada } = connection.root;
    for (const end of ['abort', 'rollback']) {
      const savepoint = transaction.savepoint();
      const eve = new Account('Eve');
      ada.friend = eve;
      transaction.savepoint();
      const oid = Number(eve._p_oid);
      connection.cacheMinimize();
      assert.equal(eve._p_state, 'ghost');
      if (end === 'abort') transaction.abort();
      else savepoint.rollback();
      assert.deepEqual([eve._p_oid, eve.owner], [undefined, 'Eve']);
      assert.throws(() => connection.get(oid), POSKeyError);
      transaction.abort();
    }
    connection.close();
  },
);

/** Can be told to refuse its state. */
class Fickle extends Persistent {
  static refuses = false;
  value = 1;

  override setState(state: unknown): void {
    if (Fickle.refuses) throw new Error('not this one');
    super.setState(state);
  }
}

bankTest(
  'an abort takes everything back, though the class of something new refuses the state that was saved',
  async (db) => {
    const connection = db.open();
    const { ada, bob } = connection.root;
    const [fickle, eve] = [new Fickle(), new Account('Eve')];
    connection.add(fickle);
    connection.add(eve);
    ada.deposit(1);
    const savepoint = transaction.savepoint();
    const later = new Fickle();
    connection.add(later);
    bob.deposit(1);
    transaction.savepoint();
    connection.cacheMinimize();
    const told: LogRecord[] = [];
    const sink = setLogSink((record) => told.push(record));
    Fickle.refuses = true;
    try {
      savepoint.rollback();
      assert.deepEqual([ada.balance, bob.balance], [1, 0]);
      transaction.abort();
    } finally {
      Fickle.refuses = false;
      setLogSink(sink);
    }
    assert.deepEqual([ada.balance, bob.balance, eve._p_jar, eve.owner], [0, 0, undefined, 'Eve']);
    assert.ok(
      told.length === 2 && told.every(({ message }) => /^a?.*Fickle.* cannot be given its values back$/.test(message)),
    );
    ada.deposit(5);
    await transaction.commit();
    assert.equal(await db.transaction(({ root }) => root.ada.balance), 5);
    connection.close();
  },
);

/** Changes itself while it is written. */
class Stamped extends Persistent {
  writes = 0;
  other: Stamped | undefined = undefined;

  override getState(): unknown {
    this.writes++;
    return super.getState();
  }
}
persistable('test.savepoints', import.meta, { Fickle, Stamped });

bankTest('a class that changes its object while it is written does not have it written twice', async (db) => {
  const connection = db.open() as unknown as { root: { it: Stamped } } & ReturnType<typeof db.open>;
  const it = new Stamped();
  connection.root.it = it;
  for (let savepoints = 0; savepoints < 3; savepoints++) {
    it.other = new Stamped();
    connection.getTransferCounts(true);
    const before = it.writes;
    for (let i = 0; i < savepoints; i++) transaction.savepoint();
    await transaction.commit();
    assert.equal(it.writes, before + 1);
    assert.equal(it.other.writes, 1);
    assert.equal(connection.getTransferCounts().stores, savepoints === 0 && before === 0 ? 3 : 2);
    assert.equal(it._p_changed, false);
  }
  assert.equal(await transaction.commit(), undefined);
  connection.close();
});

test('past a bound, what savepoints save goes to a file, and comes back from it', () => {
  const store = new TemporaryStore(1000);
  const record = (text: string) => ({ data: Buffer.from(text.repeat(100)), serial: ZERO_TID });
  for (let oid = 1; oid <= 100; oid++) store.set(oid as Oid, record(`${String(oid).padStart(4, '0')} `));
  assert.ok(store.memoryBytes <= 1000);
  assert.equal(store.fileBytes, 100 * 500 - store.memoryBytes);
  const snapshot = store.snapshot();
  store.set(50 as Oid, record('other'));
  assert.equal(Buffer.from(store.get(50 as Oid)?.data as Uint8Array).toString(), 'other'.repeat(100));
  const [[oid] = []] = store.restore(snapshot);
  assert.equal(oid, 50);
  for (const [each, { data }] of store.entries()) {
    assert.equal(Buffer.from(data).toString(), `${String(each).padStart(4, '0')} `.repeat(100));
  }
  store.close();
  assert.equal(store.get(1 as Oid), undefined);
});

test('a transaction of more than is kept in memory is saved, rolled back, and committed', async () => {
  const db = await DB.open<{ list: PersistentMapping<PersistentMapping<string>> }>('memory:', { cacheBytes: '2MB' });
  await transaction.isolate(async (manager) => {
    const connection = db.open();
    connection.root.list = new PersistentMapping();
    const text = 'x'.repeat(1024 * 1024);
    for (let i = 0; i < 24; i++) {
      connection.root.list.set(String(i), new PersistentMapping({ text: `${i}${text}` }));
      if (i % 4 === 3) manager.savepoint();
    }
    const savepoint = manager.savepoint();
    assert.ok(connection.cacheCounts.loadedBytes < 8 * 1024 * 1024, 'saved objects need not stay loaded');
    for (const each of connection.root.list.values()) each.set('text', 'gone');
    manager.savepoint();
    savepoint.rollback();
    for (const [key, each] of connection.root.list) assert.equal(each.get('text'), `${key}${text}`);
    connection.root.list.get('7')?.set('text', 'seven');
    await manager.commit();
    connection.close();
  });
  await db.transaction(({ root }) => {
    assert.equal(root.list.size, 24);
    assert.equal(root.list.get('7')?.get('text'), 'seven');
    assert.equal(root.list.get('23')?.get('text')?.length, 1024 * 1024 + 2);
  });
  await db.close();
});
