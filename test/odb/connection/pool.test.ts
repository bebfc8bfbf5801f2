import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  type Connection,
  ConnectionStateError,
  DB,
  type DBOptions,
  type InvalidationListener,
  type LogRecord,
  setLogSink,
  type Tid,
  TransactionManager,
  tidToDate,
  transaction,
} from 'holdfast/odb';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { ManualClock } from '../../support/manual-clock.js';
import { Account, type Root } from './bank.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Runs a test with a database in memory that has two accounts, whose time stands still until the test moves it. */
function poolTest(
  name: string,
  options: DBOptions,
  fn: (db: DB<Root>, clock: ManualClock, storage: MemoryStorage) => Promise<void> | void,
): void {
  test(name, () =>
    transaction.isolate(async () => {
      const clock = new ManualClock();
      const storage = new MemoryStorage({ clock });
      const db = await DB.open<Root>(storage, options);
      const connection = db.open();
      connection.root.ada = new Account('Ada');
      connection.root.bob = new Account('Bob');
      await transaction.commit();
      connection.close();
      await fn(db, clock, storage);
      await db.close();
      assert.equal(clock.pending, 0, 'no timer is left');
    }),
  );
}

function openMany(db: DB<Root>, count: number): Connection<Root>[] {
  return Array.from({ length: count }, () => db.open());
}

/** What is logged while `fn` runs. */
function logged(fn: () => void): LogRecord[] {
  const records: LogRecord[] = [];
  const sink = setLogSink((record) => records.push(record));
  try {
    fn();
  } finally {
    setLogSink(sink);
  }
  return records;
}

poolTest('the connection that was closed last is opened next, with what it has loaded', {}, (db) => {
  const [a, b, c] = openMany(db, 3) as [Connection<Root>, Connection<Root>, Connection<Root>];
  const { ada } = b.root;
  assert.equal(ada.owner, 'Ada');
  for (const connection of [a, c, b]) connection.close();
  assert.deepEqual(openMany(db, 4).slice(0, 3), [b, c, a]);
  assert.equal(b.root.ada, ada);
  assert.equal(ada._p_state, 'up-to-date');
});

poolTest(
  'more than the pool keeps are dropped, the longest idle first, and their caches with them',
  { poolSize: 2 },
  (db) => {
    const connections = openMany(db, 4);
    const accounts = connections.map(({ root }) => root.ada);
    for (const account of accounts) assert.equal(account.owner, 'Ada');
    for (const connection of connections) connection.close();
    assert.deepEqual(
      accounts.map(({ _p_state }) => _p_state),
      ['ghost', 'ghost', 'up-to-date', 'up-to-date'],
    );
    assert.throws(() => accounts[0]?.owner, ConnectionStateError);
    db.poolSize = 1;
    assert.deepEqual(
      accounts.map(({ _p_state }) => _p_state),
      ['ghost', 'ghost', 'ghost', 'up-to-date'],
    );
    assert.equal(db.open(), connections[3]);
    db.poolSize = 0;
    connections[3]?.close();
    assert.equal(accounts[3]?._p_state, 'ghost');
    assert.equal(db.connectionDebugInfo().length, 0);
  },
);

poolTest('one that is idle for too long is dropped', { poolTimeout: { minutes: 1 } }, async (db, clock) => {
  const [a, b] = openMany(db, 2) as [Connection<Root>, Connection<Root>];
  const accounts = [a.root.ada, b.root.ada];
  for (const account of accounts) assert.equal(account.owner, 'Ada');
  a.close();
  await clock.advance(40_000);
  b.close();
  await clock.advance(30_000);
  assert.deepEqual(
    accounts.map(({ _p_state }) => _p_state),
    ['ghost', 'up-to-date'],
  );
  // Used meanwhile, it has its whole time again.
  assert.equal(db.open(), b);
  await clock.advance(50_000);
  b.close();
  await clock.advance(59_000);
  assert.equal(accounts[1]?._p_state, 'up-to-date');
  await clock.advance(1000);
  assert.equal(accounts[1]?._p_state, 'ghost');
  assert.equal(clock.pending, 0);
});

poolTest('too many open ones are warned of, and never refused', { poolSize: 2 }, (db) => {
  let opened: Connection<Root>[] = [];
  const records = logged(() => {
    opened = openMany(db, 6);
  });
  assert.deepEqual(
    records.map(({ level, message }) => [level, /\d+ are open/.exec(message)?.[0]]),
    [
      ['warning', '3 are open'],
      ['critical', '5 are open'],
    ],
  );
  assert.equal(new Set(opened).size, 6);
});

poolTest('one that was forgotten, rather than closed, is garbage, though its manager lives on', {}, async (db) => {
  const manager = new TransactionManager();
  const forget = (): WeakRef<object> => {
    const connection = db.open({ transactionManager: manager });
    assert.equal(connection.root.ada.owner, 'Ada');
    return new WeakRef(connection);
  };
  const references = Array.from({ length: 10 }, forget);
  for (let i = 0; i < 10 && references.some((reference) => reference.deref()); i++) {
    await new Promise(setImmediate);
    collectGarbage();
  }
  // The runtime may keep the last one, which is in a register still.
  assert.ok(references.filter((reference) => reference.deref()).length <= 1);
  manager.begin();
  manager.abort();
  assert.ok(db.connectionDebugInfo().filter(({ opened }) => opened).length <= 1);
});

poolTest('one of which an object is used, or changed, lives as long as that', {}, async (db) => {
  const manager = new TransactionManager();
  const { ada } = db.open({ transactionManager: manager }).root;
  for (let i = 0; i < 3; i++) {
    await new Promise(setImmediate);
    collectGarbage();
  }
  await manager.enter(async () => {
    ada.deposit(5);
    await manager.commit();
  });
  assert.equal(await db.transaction(({ root }) => root.ada.balance), 5);
});

/** Told of everything, like a client whose server has forgotten what it missed. */
class Told extends MemoryStorage {
  readonly listeners: InvalidationListener[] = [];

  override subscribe(listener: InvalidationListener): () => void {
    this.listeners.push(listener);
    return super.subscribe(listener);
  }
}

test('open and kept connections are told of what changed, at their next boundary and not before', () =>
  transaction.isolate(async () => {
    const storage = new Told();
    const db = await DB.open<Root>(storage);
    await db.transaction(({ root }) => {
      root.ada = new Account('Ada');
      root.bob = new Account('Bob');
    });
    const [open, kept, spare] = openMany(db, 3) as [Connection<Root>, Connection<Root>, Connection<Root>];
    const objects = [open.root.ada, open.root.bob, kept.root.ada, kept.root.bob];
    const states = () => objects.map((account) => account._p_state.slice(0, 2)).join(' ');
    for (const account of objects) account._p_activate();
    kept.close();
    // What others change, they change through this one.
    spare.close();
    await db.transaction(({ root }) => root.ada.deposit(1));
    // Oids that a connection has never heard of are none of its business.
    for (const listener of storage.listeners) listener.invalidate(storage.lastTransaction(), [99_999 as never]);
    assert.equal(states(), 'up up up up');
    transaction.begin();
    assert.equal(states(), 'gh up up up');
    while (kept.isClosed) db.open();
    assert.equal(states(), 'gh up gh up');
    for (const account of objects) account._p_activate();
    kept.close();
    for (const listener of storage.listeners) listener.invalidateAll(storage.lastTransaction());
    assert.equal(states(), 'up up up up');
    transaction.begin();
    assert.equal(states(), 'gh gh up up');
    while (kept.isClosed) db.open();
    assert.equal(states(), 'gh gh gh gh');
    assert.deepEqual(
      objects.map(({ balance }) => balance),
      [1, 0, 1, 0],
    );
    await db.close();
  }));

poolTest('the statistics of caches agree with each other', {}, (db, clock) => {
  const [a, b] = openMany(db, 2) as [Connection<Root>, Connection<Root>];
  db.cacheMinimize();
  assert.equal(a.root.ada.owner, 'Ada');
  b.root.ada.deposit(1);
  b.setDebugInfo('request', { id: 7 });
  const classes = db.cacheDetail();
  const objects = db.cacheExtremeDetail();
  const info = db.connectionDebugInfo();
  assert.deepEqual(
    classes.map(({ className }) => className),
    ['holdfast.PersistentMapping', 'test.bank.Account'],
  );
  for (const { className, objects: count, loaded } of classes) {
    const those = objects.filter((object) => object.className === className);
    assert.equal(those.length, count);
    assert.equal(those.filter(({ state }) => state !== 'ghost').length, loaded);
  }
  for (const [index, { objects: count, loaded, loadedBytes }] of info.entries()) {
    const those = objects.filter(({ connection }) => connection === index);
    assert.deepEqual(
      [
        those.length,
        those.filter(({ state }) => state !== 'ghost').length,
        those.reduce((sum, { bytes }) => sum + bytes, 0),
      ],
      [count, loaded, loadedBytes],
    );
  }
  assert.deepEqual(
    info.map(({ opened, info: text, before }) => [opened?.getTime(), text, before]),
    [
      [clock.now(), '', undefined],
      [clock.now(), 'request { id: 7 }', undefined],
    ],
  );
  assert.equal(objects.filter(({ state }) => state === 'changed').length, 1);
  transaction.abort();
  b.close();
  assert.equal(db.connectionDebugInfo().filter(({ opened }) => opened === undefined).length, 1);
});

poolTest('transfer counts tell what was loaded and stored, and can be cleared', {}, async (db) => {
  const connection = db.open();
  db.cacheMinimize();
  connection.getTransferCounts(true);
  const { ada, bob } = connection.root;
  ada.deposit(1);
  assert.equal(bob.owner, 'Bob');
  assert.equal(bob.owner, 'Bob');
  assert.deepEqual(connection.getTransferCounts(), { loads: 3, stores: 0 });
  await transaction.commit();
  assert.deepEqual(connection.getTransferCounts(true), { loads: 3, stores: 1 });
  assert.deepEqual(connection.getTransferCounts(), { loads: 0, stores: 0 });
});

poolTest('cacheMinimize reaches open and kept connections, and leaves what is changed', {}, (db) => {
  const [a, b] = openMany(db, 2) as [Connection<Root>, Connection<Root>];
  const [ada, bob, other] = [a.root.ada, a.root.bob, b.root.ada];
  ada.deposit(1);
  bob._p_activate();
  other._p_activate();
  b.close();
  db.cacheMinimize();
  assert.deepEqual([ada._p_state, bob._p_state, other._p_state], ['changed', 'ghost', 'ghost']);
  transaction.abort();
});

poolTest('callbacks are called once, when the connection is closed, whatever one of them does', {}, (db) => {
  const connection = db.open();
  const calls: string[] = [];
  connection.onCloseCallback(() => {
    calls.push('first');
    throw new Error('of a callback');
  });
  connection.onCloseCallback(() => calls.push('second'));
  const records = logged(() => connection.close());
  assert.deepEqual(calls, ['first', 'second']);
  assert.equal(records.length, 1);
  assert.equal(db.open(), connection);
  connection.close();
  assert.equal(calls.length, 2);
  assert.throws(() => connection.onCloseCallback(3 as never), { code: 'ARG_FUNCTION' });
});

poolTest(
  'a connection with changes, or a savepoint of them, is not closed, and can be committed then',
  {},
  async (db) => {
    const connection = db.open();
    connection.root.ada.deposit(1);
    assert.throws(() => connection.close(), ConnectionStateError);
    transaction.savepoint();
    assert.throws(() => connection.close(), ConnectionStateError);
    assert.equal(connection.isClosed, false);
    await transaction.commit();
    connection.close();
    assert.equal(await db.transaction(({ root }) => root.ada.balance), 1);
  },
);

poolTest('a closed connection refuses everything but its name', {}, async (db) => {
  const connection = db.open();
  connection.cacheMinimize();
  const { ada, bob } = connection.root;
  ada._p_activate();
  connection.close();
  const uses: (() => unknown)[] = [
    () => connection.get(0),
    () => connection.add(new Account('Eve')),
    () => connection.isReadOnly,
    () => connection.transactionManager,
    () => connection.readCurrent(ada),
    () => connection.each([]),
    () => connection.root,
    () => bob.owner,
    () => ada.deposit(1),
  ];
  for (const use of uses) assert.throws(use, ConnectionStateError, String(use));
  for (const use of [() => connection.sync(), () => connection.prefetch(0)]) {
    await assert.rejects(use, ConnectionStateError);
  }
  assert.equal(connection.databaseName, 'unnamed');
  assert.equal(connection.isClosed, true);
});

poolTest('closing the database empties its pools', { historicalTimeout: 1000 }, async (db, clock) => {
  const connection = db.open();
  const past = db.open({ before: (db.lastTransaction() + 1) as Tid });
  const objects = [connection.root.ada, past.root.ada];
  for (const account of objects) account._p_activate();
  connection.close();
  past.close();
  await db.close();
  assert.deepEqual(
    objects.map(({ _p_state }) => _p_state),
    ['ghost', 'ghost'],
  );
  assert.equal(clock.pending, 0);
  assert.throws(() => db.open(), ConnectionStateError);
});

poolTest(
  'connections that are open when the database is closed are not kept once they are closed',
  { historicalTimeout: 1000, poolTimeout: 1000 },
  async (db, clock) => {
    const connection = db.open();
    const past = db.open({ before: (db.lastTransaction() + 1) as Tid });
    const objects = [connection.root.ada, past.root.ada];
    for (const account of objects) account._p_activate();
    await db.close();
    connection.close();
    past.close();
    assert.deepEqual(
      objects.map(({ _p_state }) => _p_state),
      ['ghost', 'ghost'],
    );
    assert.equal(clock.pending, 0);
    assert.equal(db.connectionDebugInfo().length, 0);
  },
);

// ---------------------------------------------------------------- the past

poolTest(
  'connections to the past have a pool of their own, by what they show',
  { poolSize: 1, historicalPoolSize: 2, historicalTimeout: { seconds: 10 }, historicalCacheSize: 1 },
  async (db, clock) => {
    const tids: Tid[] = [];
    for (let i = 1; i <= 3; i++) {
      await clock.advance(1000);
      await db.transaction(({ root }) => root.ada.deposit(1));
      tids.push(db.lastTransaction());
    }
    const opened = tids.map((tid) => db.open({ at: tidToDate(tid) }));
    assert.deepEqual(
      opened.map(({ root }) => root.ada.balance),
      [1, 2, 3],
    );
    const accounts = opened.map(({ root }) => root.ada);
    for (const connection of opened) connection.close();
    assert.deepEqual(
      accounts.map(({ _p_state }) => _p_state),
      ['ghost', 'up-to-date', 'up-to-date'],
    );
    // Whoever wants the same past gets the same objects; whoever wants another one gets others.
    const again = db.open({ at: tidToDate(tids[1] as Tid) });
    assert.equal(again, opened[1]);
    assert.equal(again.root.ada, accounts[1]);
    const other = db.open({ at: tidToDate(tids[0] as Tid) });
    assert.ok(!opened.includes(other));
    assert.equal(other.root.ada.balance, 1);
    // A cache of its own size.
    other.root.bob._p_activate();
    transaction.begin();
    assert.equal(other.cacheCounts.loaded, 1);
    again.close();
    other.close();
    await clock.advance(11_000);
    assert.equal(accounts[1]?._p_state, 'ghost');
    assert.equal(db.historicalPoolSize, 2);
    db.historicalPoolSize = 0;
    assert.throws(() => {
      db.historicalPoolSize = -1;
    }, RangeError);
  },
);

poolTest('a past is not told of what happens later, at no boundary', {}, async (db) => {
  const past = db.open({ before: (db.lastTransaction() + 1) as Tid });
  const { ada } = past.root;
  ada._p_activate();
  await db.transaction(({ root }) => root.ada.deposit(1));
  transaction.begin();
  assert.equal(ada._p_state, 'up-to-date');
  await past.sync();
  assert.equal(ada.balance, 0);
  past.close();
});
