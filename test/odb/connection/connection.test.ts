import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CommitUnderWayError,
  ConflictError,
  ConnectionStateError,
  DB,
  InvalidObjectReference,
  Length,
  Persistent,
  PersistentList,
  PersistentMapping,
  POSKeyError,
  ReadConflictError,
  type SerializationError,
  TransactionFailedError,
  TransactionManager,
  transaction,
  UnregisteredError,
} from 'holdfast/odb';
import { Account, bankTest } from './bank.js';

bankTest('what the root reaches is stored, with its identity, and loads when it is touched', async (db) => {
  const connection = db.open();
  connection.cacheMinimize();
  const { ada, bob } = connection.root;
  assert.equal(ada._p_state, 'ghost');
  assert.equal(ada.owner, 'Ada');
  assert.equal(ada.friend, bob);
  assert.equal(connection.get(Number(ada._p_oid)), ada);
  assert.equal(ada._p_state, 'up-to-date');
  assert.ok(ada._p_serial > 0);
  connection.close();
});

bankTest('a constructor does not run when an object is loaded', async (db) => {
  const connection = db.open();
  // The constructor would have made the balance 0.
  await db.transaction(({ root }) => root.ada.deposit(5));
  transaction.begin();
  assert.equal(connection.root.ada.balance, 5);
  assert.ok(connection.root.ada instanceof Account);
  connection.close();
});

bankTest('abort takes changes back, and identity from objects that were added', async (db) => {
  const connection = db.open();
  const { root } = connection;
  root.ada.deposit(7);
  const carol = new Account('Carol');
  connection.add(carol);
  const oid = Number(carol._p_oid);
  assert.equal(carol._p_jar, connection);
  transaction.abort();
  assert.equal(root.ada.balance, 0);
  assert.equal(carol._p_oid, undefined);
  assert.equal(carol._p_jar, undefined);
  assert.equal(carol.owner, 'Carol');
  assert.throws(() => connection.get(oid), POSKeyError);
  root.bob.friend = carol;
  await transaction.commit();
  assert.ok(carol._p_serial > 0);
  connection.close();
});

bankTest('a connection keeps its snapshot until the next boundary, whatever others commit', async (db) => {
  const connection = db.open();
  const { root } = connection;
  assert.equal(root.ada.balance, 0);
  await db.transaction((other) => {
    other.root.ada.deposit(10);
    other.root.bob.deposit(20);
  });
  assert.equal(root.ada.balance, 0);
  assert.equal(root.bob.balance, 0, 'an object that was not loaded before is read in its older revision');
  transaction.begin();
  assert.equal(root.ada.balance, 10);
  assert.equal(root.bob.balance, 20);
  connection.close();
});

bankTest('an object without a revision old enough cannot be read', async (db) => {
  const connection = db.open();
  let oid = 0;
  await db.transaction((other) => {
    other.root.ada.friend = new Account('Carol');
    other.add(other.root.ada.friend);
    oid = Number(other.root.ada.friend._p_oid);
  });
  assert.throws(() => connection.get(oid), ReadConflictError);
  transaction.begin();
  assert.equal((connection.get(oid) as Account).owner, 'Carol');
  connection.close();
});

bankTest(
  'the first committer wins; the other one gets a ConflictError with the facts, and can run again',
  async (db) => {
    const connection = db.open();
    const { ada } = connection.root;
    ada.deposit(1);
    await db.transaction(({ root }) => root.ada.deposit(100));
    await assert.rejects(transaction.commit(), (error: ConflictError) => {
      assert.ok(error instanceof ConflictError);
      assert.equal(error.code, 'ODB_CONFLICT');
      assert.equal(error.retry, 'now');
      assert.equal(error.oid, ada._p_oid);
      assert.equal(error.className, 'test.bank.Account');
      assert.ok(error.committedSerial > error.baseSerial);
      return true;
    });
    assert.throws(() => transaction.savepoint(), TransactionFailedError);
    transaction.abort();
    assert.equal(ada.balance, 100);
    ada.deposit(1);
    await transaction.commit();
    assert.equal(ada.balance, 101);
    connection.close();
  },
);

bankTest('db.transaction runs again after a conflict', async (db) => {
  let runs = 0;
  await db.transaction(async ({ root }) => {
    runs++;
    root.ada.deposit(1);
    if (runs === 1) await db.transaction((other) => other.root.ada.deposit(10));
  });
  assert.equal(runs, 2);
  assert.equal(await db.transaction(({ root }) => root.ada.balance), 11);
});

bankTest('hundreds of concurrent transactions on one Length merge, and none conflicts', async (db) => {
  await db.transaction((connection) => connection.root.ada.friend === undefined || connection.add(new Length()));
  const oid = await db.transaction((connection) => {
    const length = new Length();
    connection.add(length);
    return Number(length._p_oid);
  });
  db.poolSize = 200;
  await Promise.all(
    Array.from({ length: 200 }, () =>
      db.transaction((connection) => (connection.get(oid) as Length).change(1), { retries: 0 }),
    ),
  );
  assert.equal(await db.transaction((connection) => (connection.get(oid) as Length).value), 200);
});

bankTest('different keys of one mapping merge, the same key conflicts', async (db) => {
  const oid = await db.transaction((connection) => {
    const mapping = new PersistentMapping<number>({ a: 1, b: 2 });
    connection.add(mapping);
    return Number(mapping._p_oid);
  });
  const change = (key: string, value: number) =>
    db.transaction((connection) => void (connection.get(oid) as PersistentMapping<number>).set(key, value));
  const connection = db.open();
  const mapping = connection.get(oid) as PersistentMapping<number>;
  mapping.set('mine', 1);
  mapping.delete('a');
  await change('theirs', 2);
  await transaction.commit();
  assert.deepEqual(
    [...mapping].sort(),
    [
      ['b', 2],
      ['mine', 1],
      ['theirs', 2],
    ],
    'the merged state is seen at once',
  );
  mapping.set('b', 3);
  await change('b', 4);
  await assert.rejects(transaction.commit(), ConflictError);
  transaction.abort();
  connection.close();
});

bankTest('readCurrent makes a commit fail when another changed what was only read', async (db) => {
  const connection = db.open();
  const { root } = connection;
  connection.readCurrent(root.ada);
  root.bob.deposit(1);
  await db.transaction((other) => other.root.ada.deposit(5));
  await assert.rejects(transaction.commit(), (error: ReadConflictError) => {
    assert.ok(error instanceof ReadConflictError);
    assert.equal(error.oid, root.ada._p_oid);
    return true;
  });
  transaction.abort();
  assert.equal(root.ada.balance, 5);
  // Nothing is checked where nothing is written.
  connection.readCurrent(root.ada);
  await db.transaction((other) => other.root.ada.deposit(5));
  assert.equal(await transaction.commit(), undefined);
  connection.close();
});

bankTest(
  'what was to be current has to be so after a rollback to a savepoint that is older than all changes',
  async (db) => {
    const connection = db.open();
    const { root } = connection;
    connection.readCurrent(root.ada);
    const savepoint = transaction.savepoint();
    root.bob.deposit(1);
    savepoint.rollback();
    root.bob.deposit(2);
    await db.transaction((other) => other.root.ada.deposit(5));
    await assert.rejects(transaction.commit(), ReadConflictError);
    transaction.abort();
    // It is forgotten with the transaction.
    root.bob.deposit(2);
    await db.transaction((other) => other.root.ada.deposit(5));
    await transaction.commit();
    connection.close();
  },
);

bankTest('write skew passes without readCurrent', async (db) => {
  const connection = db.open();
  if (connection.root.ada.balance === 0) connection.root.bob.deposit(1);
  await db.transaction(({ root }) => {
    if (root.bob.balance === 0) root.ada.deposit(1);
  });
  await transaction.commit();
  connection.close();
});

bankTest('while a commit is under way, nothing else is allowed, and reads see own changes', async (db) => {
  const connection = db.open();
  const { root } = connection;
  root.ada.deposit(3);
  const commit = transaction.commit();
  assert.equal(root.ada.balance, 3);
  assert.throws(() => root.ada.deposit(1), CommitUnderWayError);
  assert.throws(() => root.bob.deposit(1), CommitUnderWayError);
  assert.throws(() => transaction.begin(), CommitUnderWayError);
  assert.throws(() => transaction.abort(), CommitUnderWayError);
  await assert.rejects(transaction.commit(), CommitUnderWayError);
  assert.ok(Number(await commit) > 0);
  assert.equal(root.ada.balance, 3);
  assert.equal(root.bob.balance, 0);
  connection.close();
});

bankTest('an object cannot be changed under another manager than its connection’s', async (db) => {
  const connection = db.open();
  const { ada } = connection.root;
  await transaction.isolate(() => {
    assert.equal(ada.balance, 0);
    assert.throws(() => ada.deposit(1), ConnectionStateError);
    assert.equal(ada.balance, 0);
    assert.equal(ada._p_changed, false);
  });
  connection.close();
});

bankTest('a connection can be opened for a named manager', async (db) => {
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  await manager.enter(async () => {
    connection.root.ada.deposit(4);
    await manager.commit();
  });
  connection.close();
  assert.equal(await db.transaction(({ root }) => root.ada.balance), 4);
});

bankTest('close refuses uncommitted changes, may be repeated, and ends all use', async (db) => {
  const connection = db.open();
  connection.cacheMinimize();
  const { ada, bob } = connection.root;
  ada.deposit(1);
  assert.throws(() => connection.close(), ConnectionStateError);
  await transaction.commit();
  connection.close();
  connection.close();
  assert.throws(() => connection.get(0), ConnectionStateError);
  assert.throws(() => connection.add(new Account('x')), ConnectionStateError);
  assert.throws(() => connection.isReadOnly, ConnectionStateError);
  assert.throws(() => bob.balance, ConnectionStateError);
  assert.throws(() => ada.deposit(1), ConnectionStateError);
  assert.equal(connection.databaseName, 'unnamed');
});

bankTest(
  'closed connections are reused with their caches, the last closed first, and are told what changed',
  async (db) => {
    const first = db.open();
    const { ada } = first.root;
    assert.equal(ada.balance, 0);
    first.close();
    await db.transaction(({ root }) => root.ada.deposit(9));
    const again = db.open();
    const reopened = [again, db.open()].find((connection) => connection === first);
    assert.ok(reopened);
    assert.equal(reopened.root.ada, ada);
    assert.equal(ada.balance, 9);
  },
);

bankTest('an object of another connection cannot be stored', async (db) => {
  const connection = db.open();
  const other = db.open();
  connection.root.bob.friend = other.root.ada;
  await assert.rejects(transaction.commit(), InvalidObjectReference);
  transaction.abort();
  assert.throws(() => connection.add(other.root.ada), InvalidObjectReference);
  assert.throws(() => connection.add({} as Persistent), TypeError);
  connection.close();
  other.close();
});

bankTest('what cannot be stored fails the commit with its path', async (db) => {
  const connection = db.open();
  const { root } = connection as unknown as { root: Record<string, unknown> };
  root['demo'] = { handler: () => 1 };
  await assert.rejects(transaction.commit(), (error: UnregisteredError) => {
    assert.ok(error instanceof UnregisteredError);
    assert.equal(error.path, 'root.demo.handler');
    assert.match(error.message, /persistable\(/);
    return true;
  });
  transaction.abort();
  root['demo'] = [1, { later: Promise.resolve(1) }];
  await assert.rejects(transaction.commit(), (error: SerializationError) => {
    assert.equal(error.path, 'root.demo[1].later');
    return true;
  });
  transaction.abort();
  class Nameless extends Persistent {}
  root['demo'] = new Nameless();
  await assert.rejects(transaction.commit(), UnregisteredError);
  transaction.abort();
  assert.equal(root['demo'], undefined);
  connection.close();
});

bankTest(
  'the cache is held to its size at boundaries, least recently loaded first, but for changed objects',
  async () => {
    const db = await DB.open<{ list: PersistentList<Account> }>('memory:', { cacheSize: 10 });
    const connection = db.open();
    const { root } = connection;
    root.list = new PersistentList(Array.from({ length: 50 }, (_, i) => new Account(`a${i}`)));
    await transaction.commit();
    assert.ok(connection.cacheCounts.loaded <= 10, String(connection.cacheCounts.loaded));
    let sum = 0;
    for (const account of root.list) sum += account.owner.length;
    assert.equal(sum, 140);
    const changed = root.list.at(0) as Account;
    changed.deposit(1);
    connection.cacheGc();
    assert.equal(changed._p_changed, true);
    assert.ok(connection.cacheCounts.loaded <= 10);
    connection.cacheMinimize();
    assert.equal(connection.cacheCounts.loaded, 1);
    transaction.abort();
    connection.close();
    await db.close();
  },
);

test('refuseDefaultManager forbids connections outside a context of their own', async () => {
  const db = await DB.open('memory:', { refuseDefaultManager: true });
  assert.throws(() => db.open(), ConnectionStateError);
  await db.transaction((connection) => assert.equal(connection.root.size, 0));
  await transaction.isolate(() => db.open().close());
  await db.close();
  assert.throws(() => db.open(), ConnectionStateError);
});

test('an unknown scheme names the import to add', async () => {
  await assert.rejects(DB.open('nosuch://x'), /nosuch/);
});
