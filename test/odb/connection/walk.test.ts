import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  BTree,
  ConnectionStateError,
  DB,
  type Persistent,
  PersistentList,
  type Tid,
  transaction,
  WeakReference,
} from 'holdfast/odb';
import { Account } from './bank.js';

const WALKER = fileURLToPath(new URL('./walking-process.js', import.meta.url));
const ORDINARY = fileURLToPath(new URL('./resident-process.js', import.meta.url));

interface Root {
  tree: BTree<string, Account>;
  list: PersistentList<Account>;
  weak: WeakReference<Account>;
}

const COUNT = 1200;

/** Runs a test with a database of 1,200 accounts in a tree, the first of them in a list too, and a small cache. */
function walkTest(name: string, fn: (db: DB<Root>) => Promise<void>): void {
  test(name, () =>
    transaction.isolate(async () => {
      const db = await DB.open<Root>('memory:', { cacheSize: 50 });
      await db.transaction((connection) => {
        const { root } = connection;
        root.tree = new BTree();
        for (let i = 0; i < COUNT; i++) root.tree.set(String(i).padStart(5, '0'), new Account(`a${i}`));
        root.list = new PersistentList([root.tree.get('00000') as Account]);
        const weak = new Account('weakly reached');
        connection.add(weak);
        root.weak = new WeakReference(weak);
      });
      await fn(db);
      await db.close();
    }),
  );
}

walkTest('db.each walks over what a function makes of the root, in its order, in one view', async (db) => {
  const keys: string[] = [];
  for await (const [key, account] of db.each(({ root }) => root.tree)) {
    assert.equal(account.owner, `a${Number(key)}`);
    assert.equal(account.balance, 0);
    if (keys.length === 0) await db.transaction(({ root }) => root.tree.get('01000')?.deposit(5));
    keys.push(key);
  }
  assert.equal(keys.length, COUNT);
  assert.deepEqual(keys, [...keys].sort());
});

walkTest('db.each walks over everything that the root reaches, once each, loaded', async (db) => {
  const seen = new Map<number, Persistent>();
  for await (const object of db.each()) {
    assert.ok(!seen.has(Number(object._p_oid)));
    assert.notEqual(object._p_state, 'ghost');
    seen.set(Number(object._p_oid), object);
  }
  const owners = [...seen.values()].flatMap((object) => (object instanceof Account ? [object.constructor.name] : []));
  assert.equal(owners.length, COUNT, 'what is only weakly reached is not walked over');
  assert.ok(seen.has(0));
});

walkTest('db.each shows the past as well', async (db) => {
  const before = (db.lastTransaction() + 1) as Tid;
  await db.transaction(({ root }) => {
    root.tree.clear();
    root.list.pop();
  });
  const count = async (options: { before?: Tid }) => {
    let accounts = 0;
    for await (const object of db.each(undefined, options)) if (object instanceof Account) accounts++;
    return accounts;
  };
  assert.deepEqual([await count({ before }), await count({})], [COUNT, 0]);
});

walkTest('the cache is held to its size while a walk goes on, and the connection closed when it ends', async (db) => {
  let loadedMax = 0;
  for await (const account of db.each(({ root }) => root.tree.values())) {
    assert.equal(typeof account.owner, 'string');
    loadedMax = Math.max(loadedMax, ...db.connectionDebugInfo().map(({ loaded }) => loaded));
    if (account.owner === 'a1000') break;
  }
  assert.ok(loadedMax < 300, String(loadedMax));
  assert.deepEqual(
    db.connectionDebugInfo().filter(({ opened }) => opened),
    [],
  );
});

walkTest('a walk leaves in the cache what was there, and what is used again and again on the way', async (db) => {
  db.cacheSize = 800;
  await db.transaction(async (connection) => {
    const { tree } = connection.root;
    const before = ['00000', '00400', '00800'].map((key) => tree.get(key) as Account);
    for (const account of before) account._p_activate();
    let favourite: Account | undefined;
    let [loads, passed] = [0, 0];
    for await (const account of connection.each(tree.values())) {
      assert.equal(account.balance, 0);
      favourite ??= tree.get('00100') as Account;
      if (favourite._p_state === 'ghost') loads++;
      assert.equal(favourite.balance, 0);
      if (account._p_state === 'up-to-date') passed++;
    }
    assert.equal(passed, COUNT);
    assert.equal(loads, 1);
    assert.deepEqual(
      before.map(({ _p_state }) => _p_state),
      ['up-to-date', 'up-to-date', 'up-to-date'],
    );
    const { loaded } = connection.cacheCounts;
    assert.ok(loaded < 500, `${loaded} are loaded after the walk`);
  });
});

walkTest('what a walk has changed is stored, and what it loaded can be used after it', async (db) => {
  await db.transaction(async (connection) => {
    const accounts: Account[] = [];
    for await (const account of connection.each(connection.root.tree.values())) {
      if (accounts.push(account) % 7 === 0) account.deposit(1);
    }
    for (const account of accounts) assert.equal(account.balance, account._p_changed ? 1 : 0);
    assert.equal(accounts.filter(({ _p_changed }) => _p_changed).length, Math.floor(COUNT / 7));
    const again = [...connection.root.tree.values()];
    assert.ok(again.every((account, index) => account === accounts[index]));
  });
  let sum = 0;
  for await (const account of db.each(({ root }) => root.tree.values())) sum += account.balance;
  assert.equal(sum, Math.floor(COUNT / 7));
});

walkTest('a walk that is never ended ends with its connection', async (db) => {
  db.cacheSize = 200;
  const connection = db.open();
  const walk = connection.each(connection.root.tree.values());
  for (let i = 0; i < 300; i++) await walk.next();
  connection.close();
  const again = db.open();
  assert.equal(again as unknown, connection);
  // No walk is on: what is loaded is kept, as much as the cache may hold.
  const accounts = [...again.root.tree.values()].slice(-100);
  for (const account of accounts) assert.equal(account.balance, 0);
  for (let i = 0; i < 5; i++) transaction.begin();
  assert.equal(accounts.filter(({ _p_state }) => _p_state === 'ghost').length, 0);
  await walk.return();
  again.close();
});

walkTest('objects of a walk belong to its connection: they cannot be changed, nor loaded after it', async (db) => {
  let last: Account | undefined;
  for await (const account of db.each(({ root }) => root.tree.values())) {
    last = account;
    assert.throws(() => account.deposit(1), ConnectionStateError);
    break;
  }
  last?._p_deactivate();
  assert.throws(() => last?.owner, ConnectionStateError);
});

walkTest('connection.each walks within a transaction, which may change what it meets', async (db) => {
  await db.transaction(async (connection) => {
    let count = 0;
    for await (const account of connection.each(connection.root.tree.values())) {
      account.deposit(1);
      // Saved, the changes need not stay in memory.
      if (++count % 100 === 0) transaction.savepoint();
      assert.ok(connection.cacheCounts.loaded < 400, String(connection.cacheCounts.loaded));
    }
  });
  let sum = 0;
  for await (const account of db.each(({ root }) => root.tree.values())) sum += account.balance;
  assert.equal(sum, COUNT);
});

walkTest('what is asynchronous can be walked over too; what is nothing of the kind is refused', async (db) => {
  const connection = db.open();
  async function* numbers(): AsyncGenerator<number> {
    for (let i = 0; i < 1100; i++) yield i;
  }
  let sum = 0;
  for await (const n of connection.each(numbers())) sum += n;
  assert.equal(sum, (1100 * 1099) / 2);
  assert.throws(() => connection.each(5 as never), { code: 'ARG_ITERABLE' });
  await assert.rejects(async () => db.each('tree' as never).next(), { code: 'ARG_FUNCTION' });
  const walk = connection.each(connection.root.tree.values());
  await walk.next();
  connection.close();
  await assert.rejects(async () => {
    for (let i = 0; i < COUNT; i++) await walk.next();
  }, ConnectionStateError);
  assert.throws(() => connection.each([]), ConnectionStateError);
});

test('memory stays flat while ten times what the cache holds is walked over', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-walk-'));
  try {
    const [count, cacheSize] = [20_000, 2000];
    const args = ['--max-old-space-size=256', WALKER, String(count), String(cacheSize), join(directory, 'walk.fs')];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const { heapBefore, ...walks } = JSON.parse(stdout) as { heapBefore: number } & Record<
      string,
      { count: number; sum: number; heapMax: number; cachedMax: number }
    >;
    for (const [name, walk] of Object.entries(walks)) {
      assert.equal(walk.count, count, name);
      assert.equal(walk.sum, (count * (count - 1)) / 2, name);
      // All of the leaves loaded are 15 MB, and their ghosts alone 6 MB.
      const grown = (walk.heapMax - heapBefore) / 1e6;
      assert.ok(grown < 5, `${name}: ${grown.toFixed(1)} MB more`);
      // How soon the runtime tells of what it has collected is its own affair.
      assert.ok(walk.cachedMax < count, `${name}: ${walk.cachedMax} objects`);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('an ordinary program that meets 150,000 objects has no large heap, garbage included', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-walk-'));
  try {
    const count = 150_000;
    const run = async (...args: string[]) => {
      const { stdout } = await promisify(execFile)(process.execPath, [ORDINARY, join(directory, 'walk.fs'), ...args]);
      return JSON.parse(stdout) as { count: number; sum: number; heapMax: number };
    };
    await run('fill', String(count));
    // What the program takes before it reads anything is 12 MB. Left to itself, the garbage collector lets ghosts pile up to 80 MB.
    for (const [walk, heapMax] of [
      ['each', 60e6],
      ['tree', 60e6],
      ['boundaries', 70e6],
    ] as const) {
      const result = await run(walk);
      assert.deepEqual([result.count, result.sum], [count, (count * (count - 1)) / 2], walk);
      assert.ok(result.heapMax < heapMax, `${walk}: ${(result.heapMax / 1e6).toFixed(1)} MB`);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
