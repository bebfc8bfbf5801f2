import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ConnectionStateError,
  type Databases,
  DB,
  Length,
  POSKeyError,
  ReadOnlyHistoryError,
  StorageTransactionError,
  type Tid,
  TransactionManager,
  tidToDate,
  transaction,
  UndoError,
} from 'holdfast/odb';
import { systemClock } from '#src/base/index.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { ManualClock } from '../support/manual-clock.js';
import { Account, type Root as BankRoot } from './connection/bank.js';

interface Root extends BankRoot {
  eve: Account;
}

/** A database in memory with two accounts, whose clock moves by a second with each look. */
async function open(): Promise<DB<Root>> {
  let nowMs = Date.UTC(2030, 0, 1);
  const clock = {
    now: () => {
      nowMs += 1000;
      return nowMs;
    },
    schedule: () => ({ cancel: () => undefined }),
  };
  const db = await DB.open<Root>(new MemoryStorage({ clock }));
  await db.transaction(
    ({ root }) => {
      root.ada = new Account('Ada');
      root.bob = new Account('Bob');
    },
    { note: 'two accounts' },
  );
  return db;
}

function historyTest(name: string, fn: (db: DB<Root>) => Promise<void>): void {
  test(name, () =>
    transaction.isolate(async () => {
      const db = await open();
      await fn(db);
      await db.close();
    }),
  );
}

/** Commits a change in a transaction of its own; resolves to its tid. */
async function change(db: DB<Root>, fn: (root: Root) => void, note = ''): Promise<Tid> {
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  await manager.enter(async () => {
    fn(connection.root as unknown as Root);
    manager.note(note);
    manager.setUser('tester');
    manager.setExtendedInfo('ticket', 42);
    await manager.commit();
  });
  connection.close();
  return db.lastTransaction();
}

function setBalance(account: Account, balance: number): void {
  account.balance = balance;
}

historyTest('an undo gives back what was before, and is seen by connections that are open', async (db) => {
  const { root } = db.open();
  const tid = await change(db, ({ ada }) => {
    ada.balance = 100;
  });
  transaction.begin();
  assert.equal(root.ada.balance, 100);
  db.undo(tid);
  assert.equal(root.ada.balance, 100, 'nothing happens before the commit');
  const undone = await transaction.commit();
  assert.equal(root.ada.balance, 0);
  assert.equal(root.ada._p_serial, undone);
  db.undo(undone as Tid);
  await transaction.commit();
  assert.equal(root.ada.balance, 100);
});

historyTest('an undo that is aborted did not happen', async (db) => {
  const tid = await change(db, ({ ada }) => {
    ada.balance = 100;
  });
  db.undo(tid);
  transaction.abort();
  assert.equal(await transaction.commit(), undefined);
  assert.equal(db.open().root.ada.balance, 100);
});

historyTest(
  'savepoints may be made beside an undo: a later one leaves it, an earlier one takes it back',
  async (db) => {
    const { root } = db.open();
    const first = await change(db, ({ ada }) => setBalance(ada, 1));
    transaction.begin();
    root.bob.balance = 5;
    const earlier = transaction.savepoint();
    db.undo(first);
    root.bob.balance = 6;
    const later = transaction.savepoint();
    root.bob.balance = 7;
    later.rollback();
    await transaction.commit();
    assert.deepEqual([root.ada.balance, root.bob.balance], [0, 6]);
    assert.ok(!earlier.valid);
    const second = await change(db, ({ ada }) => setBalance(ada, 2));
    transaction.begin();
    root.bob.balance = 8;
    const savepoint = transaction.savepoint();
    db.undo(second);
    savepoint.rollback();
    await transaction.commit();
    assert.deepEqual([root.ada.balance, root.bob.balance], [2, 8]);
  },
);

historyTest('what undoes nothing is no transaction', async (db) => {
  const last = db.lastTransaction();
  db.undoMultiple([]);
  assert.equal(await transaction.commit(), undefined);
  assert.equal(db.lastTransaction(), last);
});

historyTest('of a closed database nothing can be undone, and that is said at once', async (db) => {
  const tid = db.lastTransaction();
  await db.close();
  assert.throws(() => db.undo(tid), ConnectionStateError);
  assert.equal(await transaction.commit(), undefined);
});

historyTest('what was changed later is in the way, unless it merges or is undone too', async (db) => {
  const { root } = db.open();
  const first = await change(db, ({ ada }) => {
    ada.balance = 1;
  });
  const second = await change(db, ({ ada }) => {
    ada.balance = 2;
  });
  db.undo(first);
  await assert.rejects(transaction.commit(), (error: unknown) => {
    assert.ok(error instanceof UndoError);
    assert.deepEqual([error.tid, error.oid, error.retry], [first, root.ada._p_oid, 'never']);
    return true;
  });
  transaction.abort();
  db.undoMultiple([second, first]);
  await transaction.commit();
  assert.equal(root.ada.balance, 0);
});

test('where a class merges, later changes stay', () =>
  transaction.isolate(async () => {
    const db = await DB.open<{ total: Length }>('memory:');
    const { root } = db.open();
    root.total = new Length(10);
    await transaction.commit();
    root.total.change(5);
    const tid = (await transaction.commit()) as Tid;
    root.total.change(100);
    await transaction.commit();
    db.undo(tid);
    await transaction.commit();
    assert.equal(root.total.value, 110);
    await db.close();
  }));

historyTest('an object whose making is undone is there no more; a redo brings it back', async (db) => {
  const connection = db.open();
  const { root } = connection;
  const eve = new Account('Eve');
  root.eve = eve;
  const tid = (await transaction.commit()) as Tid;
  const oid = eve._p_oid as number;
  db.undo(tid);
  const undone = (await transaction.commit()) as Tid;
  assert.ok(!Object.keys(root).includes('eve'));
  assert.throws(() => eve.owner, POSKeyError);
  db.undo(undone);
  await transaction.commit();
  assert.equal(root.eve.owner, 'Eve');
  assert.equal(root.eve._p_oid, oid);
});

historyTest('one transaction undoes and changes; two connections share it', async (db) => {
  const one = db.open().root;
  const two = db.open().root;
  const tid = await change(db, ({ ada }) => {
    ada.balance = 100;
  });
  transaction.begin();
  db.undo(tid);
  one.bob.balance = 7;
  two.eve = new Account('Eve');
  const committed = await transaction.commit();
  assert.deepEqual([one.ada.balance, one.bob.balance, one.eve.owner], [0, 7, 'Eve']);
  assert.deepEqual([two.ada.balance, two.bob.balance], [0, 7]);
  assert.deepEqual([two.ada._p_serial, two.bob._p_serial, two.eve._p_serial], [committed, committed, committed]);
  one.ada.balance = 1;
  two.ada.balance = 2;
  await assert.rejects(transaction.commit(), StorageTransactionError);
  transaction.abort();
  assert.deepEqual([one.ada.balance, two.ada.balance], [0, 0]);
});

historyTest('the log tells who did what, newest first, filtered and in pages', async (db) => {
  const tids: Tid[] = [];
  for (let i = 0; i < 5; i++) {
    const account = i % 2 === 0 ? 'ada' : 'bob';
    tids.unshift(await change(db, (root) => void root[account].balance++, `for ${account}`));
  }
  const log = await db.undoLog();
  assert.deepEqual(
    log.map(({ description }) => description),
    ['for ada', 'for bob', 'for ada', 'for bob', 'for ada', 'two accounts', 'initial database creation'],
  );
  const [newest] = log;
  assert.deepEqual(newest, {
    tid: tids[0],
    time: tidToDate(tids[0] as Tid),
    user: '/ tester',
    description: 'for ada',
    extension: { ticket: 42 },
  });
  const ada = await db.undoLog(1, 3, ({ description }) => description === 'for ada');
  assert.deepEqual(
    ada.map(({ tid }) => tid),
    [tids[2], tids[4]],
  );
  assert.equal((await db.undoLog(0, -2)).length, 2);
  assert.equal((await db.undoInfo(0, -20, { description: 'for bob', extension: { ticket: 42 } })).length, 2);
});

historyTest('the log is cut into pages as one likes, however long it is', async (db) => {
  const tids: Tid[] = [];
  for (let i = 0; i < 230; i++) tids.unshift(await change(db, ({ ada }) => setBalance(ada, i), `${i % 2}`));
  const told = async (...range: Parameters<DB['undoLog']>) => (await db.undoLog(...range)).map(({ tid }) => tid);
  assert.deepEqual(await told(), tids.slice(0, 20));
  assert.deepEqual(await told(5), tids.slice(5, 25));
  assert.deepEqual(await told(0, 7), tids.slice(0, 7));
  assert.deepEqual(await told(95, 205), tids.slice(95, 205));
  assert.deepEqual(await told(98, -4), tids.slice(98, 102));
  assert.deepEqual(await told(7, 3), []);
  assert.deepEqual(await told(0, 0), []);
  for (const last of [1000, -1000, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    assert.deepEqual((await told(0, last)).slice(0, 230), tids);
  }
  const even = tids.filter((_, i) => i % 2 === 1);
  assert.deepEqual(await told(60, -50, ({ description }) => description === '0'), even.slice(60, 110));
  const info = await db.undoInfo(60, -50, { description: '0' });
  assert.deepEqual(
    info.map(({ tid }) => tid),
    even.slice(60, 110),
  );
});

historyTest('the history of an object', async (db) => {
  const oid = db.open().root.ada._p_oid as number;
  for (let i = 1; i <= 3; i++) await change(db, ({ ada }) => setBalance(ada, i), `${i}`);
  const history = await db.history(oid, 10);
  assert.deepEqual(
    history.map(({ description }) => description),
    ['3', '2', '1', 'two accounts'],
  );
  assert.ok(history.every(({ sizeBytes, time }) => sizeBytes > 10 && time instanceof Date));
  assert.equal((await db.history(oid)).length, 1);
  await assert.rejects(db.history(9999), POSKeyError);
});

historyTest('a connection shows the database as it was', async (db) => {
  const times: Date[] = [];
  for (let i = 1; i <= 3; i++) {
    const tid = await change(db, (root) => {
      root.ada.balance = i;
      if (i === 3) root.eve = new Account('Eve');
    });
    times.push(tidToDate(tid));
  }
  const now = db.open().root;
  const past = db.open({ at: times[1] as Date });
  assert.equal(past.root.ada.balance, 2);
  assert.equal(past.root.eve, undefined);
  assert.ok(past.isReadOnly);
  assert.throws(() => past.get(now.eve._p_oid as number), POSKeyError);
  const before = db.open({ before: past.root.ada._p_serial });
  assert.equal(before.root.ada.balance, 1);
  // It stays where it is, whatever happens.
  await change(db, ({ ada }) => setBalance(ada, 99));
  transaction.begin();
  past.cacheMinimize();
  assert.deepEqual([past.root.ada.balance, now.ada.balance], [2, 99]);
  past.close();
  before.close();
  assert.throws(() => past.root.ada, ConnectionStateError);
});

historyTest('the past cannot be changed', async (db) => {
  const connection = db.open({ before: (db.lastTransaction() + 1) as Tid });
  const { ada } = connection.root;
  assert.throws(() => {
    ada.balance = 5;
  }, ReadOnlyHistoryError);
  assert.equal(ada.balance, 0);
  assert.throws(() => {
    connection.root.eve = new Account('Eve');
  }, ReadOnlyHistoryError);
  assert.throws(() => connection.add(new Account('Eve')), ReadOnlyHistoryError);
  assert.equal(await transaction.commit(), undefined);
  connection.close();
});

historyTest('what is no time of the past is refused', async (db) => {
  const future = new Date(Date.UTC(2040, 0, 1));
  assert.throws(() => db.open({ at: future }), { name: 'RangeError', code: 'ARG_AT' });
  assert.throws(() => db.open({ at: new Date(Number.NaN) }), { name: 'TypeError', code: 'ARG_AT' });
  assert.throws(() => db.open({ at: '2020' as unknown as Date }), { name: 'TypeError', code: 'ARG_AT' });
  assert.throws(() => db.open({ at: new Date(0), before: 1 as Tid }), { name: 'TypeError', code: 'ARG_AT' });
  assert.throws(() => db.open({ before: -1 as Tid }), { name: 'RangeError', code: 'ARG_TID' });
  const later = (db.lastTransaction() + 2) as Tid;
  assert.throws(() => db.open({ before: later }), { name: 'RangeError', code: 'ARG_TID', message: /sync/ });
  for (const ms of [0, -1, -8.64e15]) {
    const early = db.open({ at: new Date(ms) });
    assert.throws(() => early.root.ada, POSKeyError);
    early.close();
  }
});

test('a connection to the past of this very moment shows nothing of what is committed later in it', () =>
  transaction.isolate(async () => {
    const clock = new ManualClock();
    const databases: Databases = new Map();
    const open = (databaseName: string, aheadMs: number) => {
      const ahead = { now: () => clock.now() + aheadMs, schedule: clock.schedule.bind(clock) };
      return DB.open<Root>(new MemoryStorage({ clock: ahead }), { databases, databaseName });
    };
    // The clocks of two servers differ.
    const [db, other] = [await open('ahead', 60_000), await open('behind', 0)];
    for (const each of [db, other]) await change(each, (root) => void Object.assign(root, { ada: new Account('Ada') }));
    const past = db.open({ at: new Date(clock.now() + 60_000) });
    assert.equal(past.before, db.lastTransaction() + 1, 'several transactions of one moment');
    const others = past.getConnection<Root>('behind');
    const balances = () => {
      past.cacheMinimize();
      others.cacheMinimize();
      return [past.root.ada.balance, others.root.ada.balance];
    };
    assert.deepEqual(balances(), [0, 0]);
    for (const each of [db, other]) await change(each, ({ ada }) => setBalance(ada, 1));
    transaction.begin();
    assert.deepEqual(balances(), [0, 0]);
    past.close();
    // Whoever opens the same past of the one sees the other as it is by now: also what was loaded before.
    const again = db.open({ before: past.before });
    assert.equal(again, past);
    assert.deepEqual([again.root.ada.balance, again.getConnection<Root>('behind').root.ada.balance], [0, 1]);
    again.close();
    await other.close();
    await db.close();
  }));

test('the present of this machine is no future, though the clock of the storage is behind', () =>
  transaction.isolate(async () => {
    const storage = new MemoryStorage({ clock: { ...systemClock, now: () => Date.now() - 60_000 } });
    const db = await DB.open<Root>(storage);
    await change(db, (root) => void Object.assign(root, { ada: new Account('Ada') }));
    const present = db.open({ at: new Date() });
    assert.equal(present.root.ada.balance, 0);
    await change(db, ({ ada }) => setBalance(ada, 1));
    present.cacheMinimize();
    assert.equal(present.root.ada.balance, 0);
    present.close();
    assert.throws(() => db.open({ at: new Date(Date.now() + 60_000) }), { code: 'ARG_AT' });
    await db.close();
  }));
