import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  type Connection,
  DB,
  type DBOptions,
  Persistent,
  PersistentList,
  persistable,
  transaction,
} from 'holdfast/odb';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

class Item extends Persistent {
  n = 0;
  text = 'x'.repeat(100);

  constructor(n: number) {
    super();
    this.n = n;
  }
}

/** Keeps its state, whatever the cache wants. */
class Stubborn extends Item {
  override _p_deactivate(): void {}
}

/** Is loaded again by its own dropping. */
class Restless extends Item {
  override _p_deactivate(): void {
    super._p_deactivate();
    void this.n;
  }
}

persistable('test.cache', import.meta, { Item, Stubborn, Restless });

interface Root {
  items: PersistentList<Item>;
}

const COUNT = 40;

/** Runs a test with a database of 40 items in one list; the cache is empty but for the list and its ghosts. */
function cacheTest(
  name: string,
  options: DBOptions,
  fn: (connection: Connection<Root>, items: Item[], db: DB<Root>) => Promise<void> | void,
  make: (n: number) => Item = (n) => new Item(n),
): void {
  test(name, () =>
    transaction.isolate(async () => {
      const db = await DB.open<Root>('memory:', options);
      await db.transaction(({ root }) => {
        root.items = new PersistentList(Array.from({ length: COUNT }, (_, n) => make(n)));
      });
      const connection = db.open();
      connection.cacheMinimize();
      const items = [...connection.root.items];
      await fn(connection, items, db);
      transaction.abort();
      connection.close();
      await db.close();
    }),
  );
}

function touch(items: readonly Item[]): void {
  for (const item of items) assert.equal(typeof item.n, 'number');
}

function loadedOf(items: readonly Item[]): number[] {
  return items.flatMap((item, index) => (item._p_changed === undefined ? [] : [index]));
}

cacheTest(
  'a trim drops what was not used for longest: reading an object is a use',
  { cacheSize: 20 },
  (connection, items) => {
    touch(items.slice(0, 30));
    transaction.begin();
    assert.equal(connection.cacheCounts.loaded, 20);
    assert.deepEqual(loadedOf(items), range(10, 30), 'the first loaded went first');
    // The older half of the rest is watched now; two of it are used.
    const { loaded } = connection.cacheCounts;
    touch([items[11] as Item, items[13] as Item]);
    assert.equal(connection.cacheCounts.loaded, loaded);
    touch(items.slice(30, 35));
    transaction.begin();
    const left = loadedOf(items);
    assert.ok(left.includes(11) && left.includes(13), String(left));
    assert.ok(!left.includes(10) && !left.includes(12), String(left));
  },
);

cacheTest('an object that is used in every transaction is never dropped', { cacheSize: 10 }, (connection, items) => {
  const favourite = items[0] as Item;
  let loads = 0;
  connection.getTransferCounts(true);
  for (let round = 0; round < 200; round++) {
    if (favourite._p_changed === undefined) loads++;
    touch([favourite]);
    touch([items[1 + (round % (COUNT - 1))] as Item]);
    transaction.begin();
  }
  assert.equal(loads, 1);
});

cacheTest(
  'what rests in the cache is loaded for everybody: status, serial, changes, new fields',
  { cacheSize: 20 },
  async (connection, items, db) => {
    touch(items.slice(0, 30));
    transaction.begin();
    const before = connection.getTransferCounts(true);
    assert.ok(before.loads > 0);
    const serials = new Set(items.slice(10, 30).map((item) => item._p_serial));
    assert.equal(serials.size, 1);
    assert.ok(!serials.has(0 as never));
    for (const item of items.slice(10, 30)) {
      assert.equal(item._p_changed, false);
      assert.equal(item._p_state, 'up-to-date');
    }
    const [a, b, c, d, e] = items.slice(10, 15) as [Item, Item, Item, Item, Item];
    a.n = -1;
    Object.assign(b, { fresh: 1 });
    c._p_delete('text');
    assert.deepEqual(JSON.parse(JSON.stringify(d)).n, 13);
    e._p_changed = true;
    assert.deepEqual(
      [a._p_changed, b._p_changed, c._p_changed, d._p_changed, e._p_changed],
      [true, true, true, false, true],
    );
    await transaction.commit();
    assert.equal(connection.getTransferCounts().loads, 0, 'nothing was loaded for that');
    const stored = await db.transaction(({ root }) => [10, 11, 12, 14].map((n) => ({ ...root.items.at(n) })));
    assert.deepEqual(
      stored.map((item) => [item['n'], (item as { fresh?: number }).fresh, item['text'] === undefined]),
      [
        [-1, undefined, false],
        [11, 1, false],
        [12, undefined, true],
        [14, undefined, false],
      ],
    );
  },
);

cacheTest(
  'what rests is invalidated, deactivated and taken back as what does not',
  { cacheSize: 20 },
  async (_, items, db) => {
    touch(items.slice(0, 30));
    transaction.begin();
    const [a, b, c] = items.slice(10, 13) as [Item, Item, Item];
    await db.transaction(({ root }) => {
      (root.items.at(10) as Item).n = 100;
    });
    b._p_deactivate();
    c._p_invalidate();
    assert.deepEqual([b._p_state, c._p_state], ['ghost', 'ghost']);
    transaction.begin();
    assert.equal(a._p_state, 'ghost');
    assert.deepEqual([a.n, b.n, c.n], [100, 11, 12]);
  },
);

cacheTest('the cache is held to its bytes', { cacheBytes: 2000 }, (connection, items) => {
  touch(items);
  assert.ok(connection.cacheCounts.loadedBytes > 4000);
  transaction.begin();
  const { loadedBytes, loaded } = connection.cacheCounts;
  assert.ok(loadedBytes <= 2000 && loaded > 5, `${loadedBytes} bytes of ${loaded} objects`);
});

cacheTest(
  'its limits can be changed, and count from the next trim, in every connection',
  {},
  (connection, items, db) => {
    touch(items);
    assert.ok(connection.cacheCounts.loaded >= COUNT);
    db.cacheSize = 5;
    assert.equal(db.cacheSize, 5);
    connection.cacheGc();
    assert.equal(connection.cacheCounts.loaded, 5);
    db.cacheSize = 1000;
    db.cacheBytes = '1KB';
    assert.equal(db.cacheBytes, 1024);
    touch(items);
    connection.cacheGc();
    assert.ok(connection.cacheCounts.loadedBytes <= 1024);
  },
);

cacheTest(
  'changed objects stay, however many they are; a savepoint lets them go',
  { cacheSize: 10 },
  (connection, items) => {
    for (const item of items) item.n += 100;
    connection.cacheGc();
    assert.equal(items.filter((item) => item._p_changed === true).length, COUNT);
    transaction.savepoint();
    assert.ok(connection.cacheCounts.loaded <= 10, String(connection.cacheCounts.loaded));
    assert.deepEqual(
      items.map(({ n }) => n),
      range(100, 100 + COUNT),
      'they are loaded from what was saved',
    );
  },
);

for (const [what, Refusing] of [
  ['refuses to become a ghost', Stubborn],
  ['touches itself while it is dropped', Restless],
] as const) {
  cacheTest(
    `a trim ends though an object ${what}, and drops the others`,
    { cacheSize: 10 },
    (connection, items) => {
      touch(items);
      for (let i = 0; i < 5; i++) connection.cacheGc();
      connection.cacheMinimize();
      for (const [n, item] of items.entries()) {
        assert.equal(item._p_changed, n % 2 === 0 ? false : undefined, String(n));
      }
    },
    (n) => (n % 2 === 0 ? new Refusing(n) : new Item(n)),
  );
}

cacheTest(
  'a connection that is opened leaves the caches of others alone',
  { cacheSize: 100 },
  (connection, items, db) => {
    touch(items);
    db.cacheSize = 5;
    db.open().close();
    assert.ok(connection.cacheCounts.loaded >= COUNT);
  },
);

test('ghosts that the garbage collector took are forgotten; what somebody has kept is the same object when it is met again', () =>
  transaction.isolate(async () => {
    const count = 25_000;
    const db = await DB.open<Root>('memory:');
    await db.transaction(({ root }) => {
      root.items = new PersistentList(Array.from({ length: count }, (_, n) => new Item(n)));
    });
    db.cacheMinimize();
    const connection = db.open();
    const kept = everyHundredth(connection);
    assert.ok(connection.cacheCounts.objects > count);
    connection.cacheMinimize();
    for (let i = 0; i < 10; i++) {
      await new Promise(setImmediate);
      collectGarbage();
    }
    assert.ok(connection.cacheCounts.objects <= kept.length + 10, String(connection.cacheCounts.objects));
    for (const item of kept) assert.equal(connection.get(Number(item._p_oid)), item);
    kept.forEach((item, index) => {
      assert.equal(connection.root.items.at(index * 100), item);
    });
    connection.close();
    await db.close();
  }));

/** In a function of its own, so that nothing keeps the others. */
function everyHundredth({ root }: Connection<Root>): Item[] {
  return [...root.items].filter((_, n) => n % 100 === 0);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
