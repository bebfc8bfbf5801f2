import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import {
  ConnectionStateError,
  type Databases,
  DB,
  type DBOptions,
  InvalidObjectReference,
  LookupError,
  PersistentMapping,
  POSKeyError,
  ReadOnlyError,
  TransactionManager,
  UndoError,
  WeakReference,
} from 'holdfast/odb';
import { Account } from './bank.js';

interface Root {
  ada: Account;
  bob: Account;
  carol: Account;
  weak: WeakReference<Account>;
}

let databases: Databases;
let opened: DB[];
let manager: TransactionManager;

beforeEach(() => {
  databases = new Map();
  opened = [];
  manager = new TransactionManager();
});

afterEach(async () => {
  if (manager.current) manager.abort();
  for (const db of opened) await db.close();
});

async function open(
  databaseName: string,
  { at = 'memory:', ...options }: DBOptions & { readonly at?: string } = {},
): Promise<DB<Root>> {
  const db = await DB.open<Root>(at, { databases, databaseName, ...options });
  opened.push(db as unknown as DB);
  return db;
}

/** Runs a test with the databases 'a' and 'b', under a manager of its own. */
function pairTest(name: string, fn: (a: DB<Root>, b: DB<Root>) => Promise<void>): void {
  test(name, async () => {
    const [a, b] = [await open('a'), await open('b')];
    await manager.enter(() => fn(a, b));
  });
}

pairTest('databases that are opened together share one collection, which a closed one leaves', async (a, b) => {
  assert.deepEqual([...databases.keys()], ['a', 'b']);
  assert.equal(a.databases, b.databases);
  assert.equal(a.databases.get('b'), b as unknown as DB);
  await b.close();
  assert.deepEqual([...databases.keys()], ['a']);
  assert.equal((await open('b')).databases.size, 2);
  const alone = await DB.open('memory:');
  assert.deepEqual([...alone.databases], [['unnamed', alone]]);
  await alone.close();
});

pairTest('two of one name are refused, by that name, whichever comes first', async () => {
  const refused = (error: Error & { code?: string }) => {
    assert.ok(error instanceof RangeError);
    assert.equal(error.code, 'ARG_DATABASE_NAME');
    assert.match(error.message, /'b'/);
    return true;
  };
  await assert.rejects(open('b'), refused);
  const race = await Promise.allSettled([open('c'), open('c')]);
  assert.deepEqual(race.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  for (const databases of [{}, null, new Map([['a', 5]]), new Map([['a', undefined]]), [['a', 5]]]) {
    await assert.rejects(DB.open('memory:', { databases: databases as Databases }), { code: 'ARG_DATABASES' });
  }
  await assert.rejects(DB.open('memory:', { databaseName: '' }), { code: 'ARG_DATABASE_NAME' });
});

pairTest('from one connection one gets the others, always the same, under the same manager', async (a) => {
  const connection = a.open();
  const other = connection.getConnection<Root>('b');
  assert.equal(other.databaseName, 'b');
  assert.equal(connection.getConnection('b'), other);
  assert.equal(other.getConnection('a'), connection);
  assert.equal(connection.getConnection('a'), connection);
  assert.equal(other.transactionManager, manager);
  assert.deepEqual([...connection.connections.keys()], ['a', 'b']);
  assert.equal(connection.connections, other.connections);
  assert.throws(
    () => connection.getConnection('c'),
    (error: LookupError) => error instanceof LookupError && /'c'.*'a', 'b'/.test(error.message),
  );
  connection.close();
  assert.throws(() => connection.getConnection('b'), ConnectionStateError);
});

pairTest('they are closed together, kept together, and opened together', async (a) => {
  const connection = a.open();
  const other = connection.getConnection<Root>('b');
  let closed = 0;
  other.onCloseCallback(() => closed++);
  other.root.bob = new Account('Bob');
  assert.throws(() => connection.close(), ConnectionStateError);
  assert.ok(!connection.isClosed && !other.isClosed, 'a refused close leaves all of them open');
  await manager.commit();
  const { bob } = other.root;
  connection.close();
  assert.ok(connection.isClosed && other.isClosed);
  assert.equal(closed, 1);
  const again = a.open();
  assert.equal(again, connection);
  assert.ok(!other.isClosed);
  assert.equal(again.getConnection<Root>('b').root.bob, bob);
  other.close();
  assert.ok(connection.isClosed, 'whichever is closed');
});

pairTest('a reference into another database is stored and followed, with one identity', async (a) => {
  const connection = a.open();
  const other = connection.getConnection<Root>('b');
  other.root.bob = new Account('Bob');
  await manager.commit();
  connection.root.ada = new Account('Ada');
  connection.root.ada.friend = other.root.bob;
  await manager.commit();
  connection.cacheMinimize();
  other.cacheMinimize();
  assert.equal(connection.root.ada.friend, other.root.bob);
  assert.equal(connection.root.ada.friend.owner, 'Bob');
  assert.equal(connection.root.ada.friend._p_jar, other);
  const { ada } = connection.root;
  connection.close();
  // A connection that never asked for the other one finds it by following the reference.
  const first = a.open();
  const second = a.open();
  for (const each of [first, second]) {
    assert.equal(each.root.ada.friend?.owner, 'Bob');
    assert.equal(each.root.ada.friend, each.getConnection<Root>('b').root.bob);
  }
  assert.notEqual(second.root.ada.friend, first.root.ada.friend);
  assert.equal(first.root.ada, ada, 'identity holds after the connection was closed and opened again');
  first.close();
  second.close();
});

pairTest('a change through a reference is committed to the database of the object', async (a, b) => {
  await a.transaction((connection) => {
    const bob = new Account('Bob');
    connection.getConnection<Root>('b').add(bob);
    connection.getConnection<Root>('b').root.bob = bob;
    connection.root.ada = new Account('Ada');
    connection.root.ada.friend = bob;
  });
  await a.transaction(({ root }) => {
    root.ada.deposit(-5);
    root.ada.friend?.deposit(5);
  });
  assert.equal(await b.transaction(({ root }) => root.bob.balance), 5);
  assert.equal(await a.transaction(({ root }) => root.ada.balance), -5);
  await assert.rejects(
    a.transaction(({ root }) => {
      root.ada.deposit(1);
      root.ada.friend?.deposit(1);
      throw new Error('no');
    }),
  );
  assert.equal(await a.transaction(({ root }) => root.ada.balance + Number(root.ada.friend?.balance)), 0);
});

pairTest('a new object belongs where it is added, or to what first reaches it', async (a) => {
  const connection = a.open();
  const other = connection.getConnection<Root>('b');
  const ada = new Account('Ada');
  connection.root.ada = ada;
  ada.friend = new Account('Friend');
  other.add(ada.friend);
  await manager.commit();
  assert.equal(ada._p_jar, connection);
  assert.equal(ada.friend._p_jar, other);
  connection.close();
});

pairTest(
  'a new object that two databases reach is refused, unless it was added to one, or committed first',
  async (a) => {
    const connection = a.open();
    const other = connection.getConnection<Root>('b');
    const refused = (error: InvalidObjectReference) => {
      assert.ok(error instanceof InvalidObjectReference);
      assert.match(error.message, /two databases/);
      return true;
    };
    const both = () => {
      const carol = new Account('Carol');
      connection.root.carol = carol;
      other.root.carol = carol;
      return carol;
    };
    both();
    await assert.rejects(manager.commit(), refused);
    manager.abort();
    // A savepoint alone decides nothing.
    const carol = new Account('Carol');
    connection.root.carol = carol;
    manager.savepoint();
    assert.equal(carol._p_jar, connection);
    other.root.carol = carol;
    assert.throws(() => manager.savepoint(), refused);
    manager.abort();
    // An object that was placed by reach may be added to where it is.
    const dave = new Account('Dave');
    connection.root.carol = dave;
    manager.savepoint();
    connection.add(dave);
    other.root.carol = dave;
    await manager.commit();
    assert.equal(dave._p_jar, connection);
    const erin = both();
    other.add(erin);
    manager.savepoint();
    await manager.commit();
    assert.equal(erin._p_jar, other);
    const frank = new Account('Frank');
    connection.root.carol = frank;
    await manager.commit();
    other.root.carol = frank;
    await manager.commit();
    assert.equal(other.root.carol, frank);
    assert.equal(frank._p_jar, connection);
    connection.close();
  },
);

pairTest('an object of a connection outside the set is refused at commit', async (a, b) => {
  const connection = a.open();
  connection.root.ada = new Account('Ada');
  await manager.commit();
  const stranger = b.open();
  stranger.root.bob = new Account('Bob');
  await manager.commit();
  const second = a.open();
  for (const [foreign, hint] of [
    [stranger.root.bob, /getConnection\('b'\)/],
    [second.root.ada, /with get\(/],
  ] as const) {
    connection.root.ada.friend = foreign;
    await assert.rejects(manager.commit(), (error: InvalidObjectReference) => {
      assert.ok(error instanceof InvalidObjectReference);
      assert.match(error.message, hint);
      return true;
    });
    manager.abort();
  }
  for (const each of [connection, second, stranger]) each.close();
});

test('a database that was opened without cross references refuses to store one, weak ones too', async () => {
  await open('a', { crossReferences: false });
  await open('b');
  await manager.enter(async () => {
    const connection = databases.get('a')?.open() as unknown as ReturnType<DB<Root>['open']>;
    const other = connection.getConnection<Root>('b');
    other.root.bob = new Account('Bob');
    await manager.commit();
    for (const value of [{ bob: other.root.bob }, { weak: new WeakReference(other.root.bob) }]) {
      Object.assign(connection.root, value);
      await assert.rejects(manager.commit(), (error: InvalidObjectReference) => {
        assert.ok(error instanceof InvalidObjectReference);
        assert.match(error.message, /crossReferences: false/);
        return true;
      });
      manager.abort();
    }
    other.root.ada = new Account('Ada');
    connection.add(other.root.ada);
    await manager.commit();
    assert.equal(other.root.ada._p_jar, connection, 'the other way is free');
    connection.close();
  });
});

pairTest('a weak reference leads into another database, and keeps nothing there', async (a, b) => {
  const connection = a.open();
  const other = connection.getConnection<Root>('b');
  other.root.bob = new Account('Bob');
  await manager.commit();
  connection.root.weak = new WeakReference(other.root.bob);
  other.root.weak = new WeakReference(other.root.bob);
  await manager.commit();
  connection.cacheMinimize();
  assert.equal(connection.root.weak.get(), other.root.bob);
  assert.equal(connection.root.weak.get()?.owner, 'Bob');
  assert.ok(connection.root.weak.equals(other.root.weak));
  // A weak reference that was loaded in one database may be stored in the other.
  connection.cacheMinimize();
  other.cacheMinimize();
  const { weak } = connection.root;
  other.root.weak = weak;
  connection.root.weak = other.root.weak;
  await manager.commit();
  connection.close();
  const again = a.open({ transactionManager: new TransactionManager() });
  again.cacheMinimize();
  assert.equal(again.root.weak.get(), again.getConnection<Root>('b').root.bob);
  assert.equal(again.getConnection<Root>('b').root.weak.get(), again.root.weak.get());
  again.close();
  await b.transaction(({ root }) => {
    root.delete('bob');
  });
  await b.pack();
  const last = a.open({ transactionManager: new TransactionManager() });
  last.cacheMinimize();
  last.getConnection('b').cacheMinimize();
  assert.equal(last.root.weak.get(), undefined);
  last.close();
});

pairTest(
  'references into another database keep nothing there, and confuse no pack and no verification',
  async (a, b) => {
    await b.transaction(({ root }) => {
      root.bob = new Account('Bob');
    });
    await a.transaction((connection) => {
      connection.root.ada = new Account('Ada');
      connection.root.ada.friend = connection.getConnection<Root>('b').root.bob;
      // In 'a' the oid of what is referred to in 'b' may be anything, or nothing.
      connection.root.carol = new Account('Carol');
      connection.add(new Account('garbage'));
    });
    for (const db of [a, b]) await db.pack();
    for (const db of [a, b]) {
      for await (const problem of db.storage.verify({ references: () => [] })) assert.fail(problem.message);
    }
    const lengths = [a, b].map((db) => db.storage.length);
    assert.deepEqual(lengths, [3, 2], 'root, Ada and Carol; root and Bob');
    assert.equal(await a.transaction(({ root }) => root.ada.friend?.owner), 'Bob');
    await b.transaction(({ root }) => {
      root.delete('bob');
    });
    await b.pack();
    const connection = a.open();
    connection.cacheMinimize();
    connection.getConnection('b').cacheMinimize();
    assert.throws(() => connection.root.ada.friend?.owner, POSKeyError);
    connection.close();
  },
);

test('what refers to a database that is not there loads, can be stored again, and says so when it is followed', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-'));
  try {
    const paths = { a: join(directory, 'a.fs'), b: join(directory, 'b.fs') };
    const first = await open('a', { at: paths.a });
    await open('b', { at: paths.b });
    await first.transaction((connection) => {
      const bob = new Account('Bob');
      const other = connection.getConnection<Root>('b');
      other.root.bob = bob;
      other.add(bob);
      connection.root.ada = new Account('Ada');
      connection.root.ada.friend = bob;
      connection.root.weak = new WeakReference(bob);
    });
    for (const db of opened.splice(0)) await db.close();
    const alone = await open('a', { at: paths.a });
    await manager.enter(async () => {
      const connection = alone.open();
      const { ada, weak } = connection.root;
      const absent = (error: LookupError) => {
        assert.ok(error instanceof LookupError);
        assert.match(error.message, /'b'.*known here: 'a'/);
        return true;
      };
      assert.equal(ada.owner, 'Ada');
      const bob = ada.friend as Account;
      assert.ok(bob instanceof Account);
      assert.throws(() => bob.owner, absent);
      assert.throws(() => bob.deposit(1), absent);
      assert.throws(() => weak.get(), absent);
      ada.deposit(1);
      connection.root.bob = bob;
      await manager.commit();
      connection.cacheMinimize();
      assert.equal(connection.root.bob, bob);
      assert.equal(connection.root.ada.friend, bob);
      connection.close();
      // Once the database is there, the same connection reaches it.
      const later = await open('b', { at: paths.b });
      const again = alone.open();
      assert.equal(again, connection);
      assert.equal(again.root.bob.owner, 'Bob');
      assert.equal(again.root.bob, again.getConnection<Root>('b').root.bob);
      assert.equal(again.root.weak.get(), again.root.bob);
      assert.equal(again.root.ada.balance, 1);
      again.close();
      // It may be closed, and another be opened under its name.
      await later.close();
      await open('b');
      const last = alone.open();
      assert.equal(last, connection);
      assert.throws(() => last.root.ada.friend?.owner, POSKeyError);
      last.close();
    });
  } finally {
    for (const db of opened.splice(0)) await db.close();
    rmSync(directory, { recursive: true });
  }
});

pairTest(
  'a connection that shows the past shows that of the other databases too, and has what it shows kept',
  async (a, b) => {
    const change = (balance: number) =>
      a.transaction((connection) => {
        const other = connection.getConnection<Root>('b');
        connection.root.ada ??= new Account('Ada');
        other.root.bob ??= new Account('Bob');
        connection.root.ada.balance = balance;
        other.root.bob.balance = balance;
      });
    await change(1);
    const before = (Math.max(a.lastTransaction(), b.lastTransaction()) + 1) as ReturnType<DB['lastTransaction']>;
    // Each database numbers its own transactions: what comes next is later in both once the clock is past this one.
    while (a.storage.clock.now() * 1000 <= before) await new Promise(setImmediate);
    await change(2);
    const past = a.open({ before });
    const other = past.getConnection<Root>('b');
    assert.equal(other.before, before);
    assert.deepEqual([past.root.ada.balance, other.root.bob.balance], [1, 1]);
    assert.ok(other.isReadOnly);
    await change(3);
    await b.pack();
    other.cacheMinimize();
    manager.begin();
    assert.deepEqual([past.root.ada.balance, other.root.bob.balance], [1, 1]);
    past.close();
    assert.ok(other.isClosed);
  },
);

pairTest('what one transaction did in two databases is undone by one', async (a, b) => {
  const balances = () =>
    a.transaction((connection) => [connection.root.ada.balance, connection.getConnection<Root>('b').root.bob.balance]);
  await a.transaction((connection) => {
    connection.root.ada = new Account('Ada');
    connection.getConnection<Root>('b').root.bob = new Account('Bob');
  });
  await a.transaction((connection) => {
    connection.root.ada.deposit(-5);
    connection.getConnection<Root>('b').root.bob.deposit(5);
  });
  const tids = [a.lastTransaction(), b.lastTransaction()] as const;
  const undo = () =>
    a.transaction(() => {
      a.undo(tids[0]);
      b.undo(tids[1]);
    });
  await undo();
  assert.deepEqual(await balances(), [0, 0]);
  // Where one of them cannot be undone, neither is.
  await a.transaction((connection) => {
    connection.root.ada.deposit(-5);
    connection.getConnection<Root>('b').root.bob.deposit(1);
  });
  await assert.rejects(undo(), UndoError);
  assert.deepEqual(await balances(), [-5, 1]);
});

test('a database that is only read takes no part in a commit, and lets none happen that would write it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-'));
  try {
    const at = join(directory, 'b.fs');
    const made = await open('b', { at });
    await made.transaction(({ root }) => {
      root.bob = new Account('Bob');
    });
    await made.close();
    const a = await open('a');
    const b = await open('b', { at, readOnly: true });
    await a.transaction((connection) => {
      const { bob } = connection.getConnection<Root>('b').root;
      connection.root.ada = new Account(bob.owner);
      connection.root.ada.friend = bob;
    });
    const tid = b.lastTransaction();
    const refused: ((connection: ReturnType<DB<Root>['open']>, other: ReturnType<DB<Root>['open']>) => unknown)[] = [
      (_, other) => other.root.bob.deposit(1),
      (_, other) => other.add(new Account('Carol')),
      () => b.undo(tid),
      async (_, other) => other.importFile(other.exportFile(0)),
    ];
    for (const use of refused) {
      await assert.rejects(
        a.transaction(async (connection) => {
          connection.root.ada.deposit(1);
          await use(connection, connection.getConnection<Root>('b'));
        }),
        ReadOnlyError,
        String(use),
      );
    }
    assert.equal(await a.transaction(({ root }) => root.ada.balance), 0);
    assert.equal(await a.transaction(({ root }) => root.ada.friend?.balance), 0);
  } finally {
    for (const db of opened.splice(0)) await db.close();
    rmSync(directory, { recursive: true });
  }
});

pairTest('a pack keeps what the connections of a set show, whichever database they were opened from', async (a, b) => {
  await b.transaction(({ root }) => {
    root.bob = new Account('Bob');
  });
  const connection = a.open();
  const { bob } = connection.getConnection<Root>('b').root;
  await b.transaction(({ root }) => root.bob.deposit(1));
  await b.pack();
  assert.equal(bob.balance, 0);
  connection.close();
  // One that is kept for reuse shows nothing.
  await b.transaction(({ root }) => root.bob.deposit(1));
  await b.pack();
  assert.equal((await b.history(Number(bob._p_oid), 10)).length, 1);
});

pairTest('sync asks the storages of all connections of the set', async (a) => {
  const connection = a.open();
  const other = connection.getConnection<Root>('b');
  await databases.get('b')?.transaction(({ root }) => {
    root['bob'] = new Account('Bob');
  });
  assert.ok(!other.root.has('bob'));
  await connection.sync();
  assert.equal(other.root.bob.owner, 'Bob');
  connection.close();
});

pairTest('a mapping of objects of two databases merges with another change of it', async (a) => {
  const connection = a.open();
  const other = connection.getConnection<Root>('b');
  other.root.bob = new Account('Bob');
  const mapping = new PersistentMapping<Account>({ bob: other.root.bob });
  connection.root.set('mapping', mapping as never);
  other.add(other.root.bob);
  await manager.commit();
  mapping.set('again', other.root.bob);
  await a.transaction((mine) => {
    (mine.get(Number(mapping._p_oid)) as PersistentMapping<Account>).set('ada', new Account('Ada'));
  });
  await manager.commit();
  assert.deepEqual([...mapping.keys()].sort(), ['ada', 'again', 'bob']);
  assert.equal(mapping.get('again'), other.root.bob);
  assert.equal(mapping.get('bob'), other.root.bob);
  connection.close();
});
