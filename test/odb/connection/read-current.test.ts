import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Connection,
  DB,
  InvalidObjectReference,
  type Oid,
  ReadConflictError,
  type StorageTransaction,
  type Tid,
  TransactionManager,
  transaction,
} from 'holdfast/odb';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { Account, type Root } from './bank.js';

/** Tells which serials it was asked to check, and how often it was asked what is new. */
class Watched extends MemoryStorage {
  readonly checked: number[] = [];
  readonly prefetched: number[] = [];
  syncs = 0;

  override prefetch(oids: readonly Oid[] = []): Promise<void> {
    this.prefetched.push(...oids.map(Number));
    return super.prefetch();
  }

  override checkCurrentSerial(transaction: StorageTransaction, oid: Oid, serial: Tid): void {
    this.checked.push(Number(oid));
    super.checkCurrentSerial(transaction, oid, serial);
  }

  override sync(): Promise<Tid> {
    this.syncs++;
    return super.sync();
  }
}

/** Runs a test with a watched database that has two accounts. */
function watchedTest(
  name: string,
  fn: (connection: Connection<Root>, db: DB<Root>, storage: Watched) => Promise<void>,
): void {
  test(name, () =>
    transaction.isolate(async () => {
      const storage = new Watched();
      const db = await DB.open<Root>(storage);
      await db.transaction(({ root }) => {
        root.ada = new Account('Ada');
        root.bob = new Account('Bob');
      });
      await fn(db.open(), db, storage);
      await db.close();
    }),
  );
}

watchedTest(
  'an object is checked once for a transaction, however often it is named',
  async (connection, _, storage) => {
    const { ada, bob } = connection.root;
    for (let i = 0; i < 3; i++) connection.readCurrent(ada);
    bob.deposit(1);
    await transaction.commit();
    assert.deepEqual(storage.checked, [ada._p_oid]);
    // It held for that transaction.
    bob.deposit(1);
    await transaction.commit();
    assert.equal(storage.checked.length, 1);
  },
);

watchedTest('nothing is checked where nothing is written', async (connection, _, storage) => {
  connection.readCurrent(connection.root.ada);
  assert.equal(await transaction.commit(), undefined);
  connection.root.bob.deposit(1);
  await transaction.commit();
  assert.deepEqual(storage.checked, []);
});

watchedTest('an object that is changed itself is not checked besides', async (connection, _, storage) => {
  const { ada, bob } = connection.root;
  connection.readCurrent(ada);
  ada.deposit(1);
  connection.readCurrent(bob);
  await transaction.commit();
  assert.deepEqual(storage.checked, [bob._p_oid]);
});

watchedTest('a check survives savepoints, and what an abort or a begin ends', async (connection, db, storage) => {
  const { ada, bob } = connection.root;
  connection.readCurrent(ada);
  bob.deposit(1);
  const savepoint = transaction.savepoint();
  bob.deposit(1);
  savepoint.rollback();
  await db.transaction(({ root }) => root.ada.deposit(5));
  await assert.rejects(transaction.commit(), (error: ReadConflictError) => {
    assert.ok(error instanceof ReadConflictError);
    assert.deepEqual([error.oid, error.retry], [ada._p_oid, 'now']);
    assert.ok(error.committedSerial > error.baseSerial);
    return true;
  });
  transaction.abort();
  assert.equal(ada.balance, 5, 'it was invalidated, and is read anew');
  storage.checked.length = 0;
  for (const end of [() => transaction.abort(), () => void transaction.begin()]) {
    connection.readCurrent(ada);
    end();
    bob.deposit(1);
    await transaction.commit();
  }
  assert.deepEqual(storage.checked, []);
});

watchedTest('an object that a rollback took away again breaks no commit', async (connection, _, storage) => {
  const { ada, bob } = connection.root;
  bob.deposit(1);
  const savepoint = transaction.savepoint();
  const eve = new Account('Eve');
  ada.friend = eve;
  transaction.savepoint();
  connection.readCurrent(eve);
  savepoint.rollback();
  assert.equal(eve._p_jar, undefined);
  assert.ok(Number(await transaction.commit()) > 0);
  assert.deepEqual(storage.checked, []);
});

watchedTest('a ghost that is named is loaded, so that it is known what was read', async (connection, db) => {
  connection.cacheMinimize();
  const { ada, bob } = connection.root;
  connection.readCurrent(ada);
  assert.equal(ada._p_state, 'up-to-date');
  bob.deposit(1);
  await db.transaction(({ root }) => root.ada.deposit(5));
  await assert.rejects(transaction.commit(), ReadConflictError);
  transaction.abort();
});

watchedTest('what is no object of the connection is refused', async (connection, db) => {
  assert.throws(() => connection.readCurrent({} as Account), { code: 'ARG_PERSISTENT' });
  const other = db.open({ transactionManager: new TransactionManager() });
  assert.throws(() => connection.readCurrent(other.root.ada), InvalidObjectReference);
  assert.throws(() => connection.readCurrent(new Account('Eve')), InvalidObjectReference);
  other.close();
});

watchedTest(
  'the storage is asked what is new by sync alone, and the view is the newest then',
  async (connection, db, storage) => {
    const { ada } = connection.root;
    await db.transaction(({ root }) => root.ada.deposit(5));
    assert.equal(ada.balance, 0);
    await connection.sync();
    assert.equal(ada.balance, 5);
    assert.equal(storage.syncs, 1);
    transaction.begin();
    transaction.abort();
    await transaction.commit();
    connection.close();
    db.open().close();
    assert.equal(storage.syncs, 1);
  },
);

watchedTest(
  'prefetch takes oids, objects and collections of both, and passes over what is there',
  async (connection, _, storage) => {
    connection.cacheMinimize();
    const { ada, bob } = connection.root;
    bob._p_activate();
    await connection.prefetch(ada, [bob, 0], new Set([Number(ada._p_oid)]), 4711, new Account('Eve'));
    assert.deepEqual(storage.prefetched, [ada._p_oid, ada._p_oid, 4711]);
    assert.equal(ada._p_state, 'ghost', 'it is at hand, and is loaded when it is touched');
    for (const wrong of ['ada', undefined, {}, ['ada']]) {
      await assert.rejects(connection.prefetch(wrong as never), { code: 'ARG_PREFETCH' });
    }
    await assert.rejects(connection.prefetch(-1), { code: 'ARG_OID' });
  },
);
