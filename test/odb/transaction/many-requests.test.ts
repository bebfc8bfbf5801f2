import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ConflictError,
  DB,
  PersistentMapping,
  type SerializationError,
  TransactionManager,
  transaction,
} from 'holdfast/odb';

type Accounts = PersistentMapping<PersistentMapping<number>>;

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('hundreds of requests at once in one process: each has its own snapshot and its own writes, and totals hold', async () => {
  const db = await DB.open<{ accounts: Accounts }>('memory:', { poolSize: 400, refuseDefaultManager: true });
  const count = 20;
  const total = count * 100;
  await db.transaction(({ root }) => {
    root.accounts = new PersistentMapping();
    for (let i = 0; i < count; i++) root.accounts.set(String(i), new PersistentMapping({ balance: 100 }));
  });
  const managers = new Set<unknown>();
  const sum = (accounts: Accounts) =>
    [...accounts.values()].reduce((all, each) => all + Number(each.get('balance')), 0);
  const request = async (number: number) => {
    await db.transaction(
      async (connection) => {
        const { accounts } = connection.root;
        const from = accounts.get(String(number % count)) as PersistentMapping<number>;
        const to = accounts.get(String((number * 7 + 3) % count)) as PersistentMapping<number>;
        const [before, beforeTo] = [Number(from.get('balance')), Number(to.get('balance'))];
        managers.add(connection.transactionManager);
        from.set('balance', before - 1);
        await turn();
        // What is written here stays here, and what others commit meanwhile stays out.
        assert.equal(from.get('balance'), before - 1);
        assert.equal(to.get('balance'), from === to ? before - 1 : beforeTo);
        await turn();
        to.set('balance', Number(to.get('balance')) + 1);
        await Promise.resolve();
        assert.equal(sum(accounts), total);
      },
      { retries: 1000 },
    );
  };
  const reader = () =>
    db.transaction(async (connection) => {
      const first = sum(connection.root.accounts);
      await turn();
      connection.cacheMinimize();
      await turn();
      assert.equal(sum(connection.root.accounts), first);
      assert.equal(first, total);
    });
  await Promise.all(Array.from({ length: 300 }, (_, i) => (i % 3 === 0 ? reader() : request(i))));
  assert.equal(managers.size >= 200, true, 'each request has a manager of its own');
  assert.equal(await db.transaction(({ root }) => sum(root.accounts)), total);
  await db.close();
});

test('a request that fails leaves nothing to the others, and a context ends with its work', async () => {
  const db = await DB.open<{ value: number }>('memory:', { poolSize: 60 });
  await db.transaction(({ root }) => {
    root.value = 0;
  });
  const results = await Promise.allSettled(
    Array.from({ length: 50 }, (_, i) =>
      transaction.isolate(async (manager) => {
        const connection = db.open();
        try {
          connection.root.value = i + 1;
          await turn();
          if (i % 2 === 0) throw new Error(`request ${i}`);
          await manager.commit();
        } finally {
          if (manager.current) manager.abort();
          connection.close();
        }
      }),
    ),
  );
  const [done, conflicts, failed] = [
    results.filter(({ status }) => status === 'fulfilled').length,
    results.filter((each) => each.status === 'rejected' && each.reason instanceof ConflictError).length,
    results.filter((each) => each.status === 'rejected' && /^request/.test((each.reason as Error).message)).length,
  ];
  assert.deepEqual([done, conflicts, failed], [1, 24, 25], 'the first committer wins');
  const value = await db.transaction(({ root }) => root.value);
  assert.equal(value % 2, 0, 'it is of one that did not fail');
  await db.close();
});

test('extended information that cannot be stored fails the commit by its path', async () => {
  const db = await DB.open<{ value: number }>('memory:');
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  await manager.enter(async () => {
    connection.root.value = 1;
    manager.setExtendedInfo('handler', () => 1);
    await assert.rejects(manager.commit(), (error: SerializationError) => {
      assert.match(String(error.path ?? error.message), /extension\.handler/);
      return true;
    });
    manager.abort();
    assert.equal(connection.root.value, undefined);
    connection.root.value = 1;
    manager.setExtendedInfo('root', connection.get(0));
    await assert.rejects(manager.commit(), /extension\.root: .*it is a persistent object/s);
    manager.abort();
  });
  connection.close();
  await db.close();
});
