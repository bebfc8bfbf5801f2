import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Connection, DB, Persistent, persistable, TransactionManager, TransactionStateError } from 'holdfast/odb';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

class Counter extends Persistent {
  value = 0;
}
persistable('test.explicit', import.meta, { Counter });

interface Root {
  counter: Counter;
}

/** Tells how often it was asked what is new. */
class Watched extends MemoryStorage {
  polls = 0;

  override poll() {
    this.polls++;
    return super.poll();
  }
}

interface Subject {
  readonly manager: TransactionManager;
  readonly connection: Connection<Root>;
  readonly storage: Watched;
  /** Changes the counter in a transaction of its own. */
  add(amount: number): Promise<unknown>;
}

function explicitTest(name: string, fn: (subject: Subject) => Promise<void>): void {
  test(name, async () => {
    const storage = new Watched();
    await using db = await DB.open<Root>(storage);
    const add = (amount: number) =>
      db.transaction(({ root }) => {
        root.counter ??= new Counter();
        root.counter.value += amount;
      });
    await add(1);
    const manager = new TransactionManager({ explicit: true });
    const connection = db.open({ transactionManager: manager });
    await fn({ manager, connection, storage, add });
    if (manager.current) manager.abort();
    connection.close();
  });
}

explicitTest(
  'before begin a connection shows what was newest when it was opened, and takes no change',
  async (subject) => {
    const { connection, add } = subject;
    await add(10);
    assert.equal(connection.root.counter.value, 1);
    assert.throws(() => {
      connection.root.counter.value = 5;
    }, TransactionStateError);
    assert.throws(() => connection.add(new Counter()), TransactionStateError);
    assert.deepEqual([connection.root.counter._p_changed, connection.root.counter.value], [false, 1]);
  },
);

explicitTest('a view is taken at each begin, once, and at no other boundary', async (subject) => {
  const { manager, connection, storage, add } = subject;
  for (const end of [() => manager.commit(), () => manager.abort()]) {
    const before = storage.polls;
    manager.begin();
    assert.equal(storage.polls, before + 1);
    const { value } = connection.root.counter;
    await add(10);
    const others = storage.polls;
    await end();
    assert.equal(storage.polls, others);
    assert.equal(connection.root.counter.value, value, 'it is the same view until the next begin');
    manager.begin();
    assert.equal(connection.root.counter.value, value + 10);
    manager.abort();
  }
});

explicitTest(
  'what is committed, saved and rolled back is as with any manager',
  async ({ manager, connection, add }) => {
    manager.begin();
    const { counter } = connection.root;
    counter.value = 5;
    const savepoint = manager.savepoint();
    counter.value = 6;
    savepoint.rollback();
    assert.ok(Number(await manager.commit()) > 0);
    await add(10);
    manager.begin();
    assert.equal(counter.value, 15);
    await connection.sync();
    assert.equal(counter.value, 15);
  },
);

explicitTest('a connection that is opened while a transaction is under way has its view at once', async (subject) => {
  const { manager, connection, storage, add } = subject;
  manager.begin();
  await add(10);
  const before = storage.polls;
  const second = connection.db.open({ transactionManager: manager });
  assert.equal(storage.polls, before + 1);
  assert.equal(second.root.counter.value, 11);
  second.close();
});
