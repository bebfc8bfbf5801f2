import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import {
  BTree,
  Bucket,
  CollectionChangedError,
  type Connection,
  DB,
  RotatingForest,
  TransactionManager,
  TreeSet,
} from 'holdfast/odb';

const entries = (count: number): [number, string][] => Array.from({ length: count }, (_, i) => [i, `value ${i}`]);

interface Stored {
  readonly db: DB<{ tree: BTree<number, string> }>;
  readonly manager: TransactionManager;
  readonly connection: Connection<{ tree: BTree<number, string> }>;
  readonly tree: BTree<number, string>;
}

/** A tree of so many keys in a database in memory, nothing of it loaded. */
async function withTree(count: number, work: (stored: Stored) => Promise<void>): Promise<void> {
  await using db = await DB.open<{ tree: BTree<number, string> }>('memory:');
  await db.transaction(({ root }) => {
    root.tree = BTree.from(entries(count));
  });
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  await work({ db, manager, connection, tree: connection.root.tree as BTree<number, string> });
  manager.abort();
  connection.close();
}

const changes: [string, (tree: BTree<number, string>) => unknown][] = [
  ['a key is added', (tree) => tree.set(1.5, 'new')],
  ['a key is removed', (tree) => tree.delete(3)],
  ['the key that was just given is removed', (tree) => tree.delete(0)],
  ['a key is popped', (tree) => tree.pop(900)],
  ['the least entry is popped', (tree) => tree.popItem()],
  ['everything is removed', (tree) => tree.clear()],
];
for (const [what, change] of changes) {
  test(`a walk throws rather than skips when ${what}`, () => {
    for (const make of [() => BTree.from(entries(1000)), () => BTree.from(entries(5)).set(900, '').set(901, '')]) {
      for (const range of [{}, { min: 0, max: 950 }]) {
        const tree = make();
        const walk = tree.keys(range);
        assert.equal(walk.next().value, 0);
        change(tree);
        assert.throws(() => walk.next(), { name: 'CollectionChangedError', code: 'ODB_COLLECTION_CHANGED' });
        assert.deepEqual(walk.next(), { value: undefined, done: true }, 'it is over then');
        tree.check();
      }
    }
  });
}

test('a walk backwards, of values and of sets throws too', () => {
  const tree = BTree.from(entries(300));
  const set = TreeSet.from(tree.keys());
  const bucket = Bucket.from(entries(10));
  const forest = new RotatingForest<number, string>({ period: 1000 });
  forest.update(entries(10));
  const walks: [Iterator<unknown>, () => unknown][] = [
    [tree.values({ reverse: true }), () => tree.delete(7)],
    [set.values(), () => set.add(1000)],
    [bucket.entries(), () => bucket.set(-1, '')],
    [forest.keys(), () => forest.set(-1, '')],
  ];
  for (const [walk, change] of walks) {
    walk.next();
    change();
    assert.throws(() => walk.next(), CollectionChangedError);
  }
});

test('what changes no keys does not disturb a walk', () => {
  const tree = BTree.from(entries(500));
  let seen = 0;
  for (const [key, value] of tree) {
    assert.equal(value, `value ${key}`);
    tree.set(key, 'another');
    tree.set(Math.min(key + 1, 499), `value ${key + 1}`);
    assert.equal(tree.delete(-1), false);
    assert.equal(tree.insert(key, 'no'), false);
    seen++;
  }
  assert.equal(seen, 500);
});

test('a walk that has not begun begins with what is there then', () => {
  const tree = BTree.from(entries(3));
  const walk = tree.keys();
  tree.delete(0);
  assert.deepEqual([...walk], [1, 2]);
});

test('a walk that is left ends', () => {
  const tree = BTree.from(entries(10));
  const walk = tree.keys();
  for (const key of walk) if (key === 3) break;
  assert.deepEqual([...walk], []);
});

test('a range loads the buckets that it meets, and no others', () =>
  withTree(10_000, async ({ connection, tree }) => {
    const loads = (work: () => unknown): number => {
      connection.cacheMinimize();
      const before = connection.cacheCounts.loaded;
      work();
      return connection.cacheCounts.loaded - before;
    };
    const oneWay = loads(() => tree.get(5000));
    assert.ok(oneWay <= 4, `${oneWay} for the way to one bucket`);
    assert.ok(loads(() => tree.has(5000)) === oneWay);
    assert.ok(loads(() => tree.keys()) === 0, 'nothing is read before the first step');
    assert.ok(loads(() => tree.keys({ min: 5000 }).next()) <= oneWay + 1);
    assert.ok(loads(() => [...tree.keys({ min: 5000, max: 5010 })]) <= oneWay + 1);
    assert.ok(loads(() => [...tree.keys({ min: 5000, max: 5010, reverse: true })]) <= oneWay + 1);
    assert.ok(loads(() => tree.minKey()) <= oneWay);
    assert.ok(loads(() => tree.maxKey()) <= oneWay);
    assert.ok(loads(() => tree.size) > 100, 'the size visits every bucket');
  }));

test('a walk over more than the cache holds goes on when buckets are dropped behind it', () =>
  withTree(5000, async ({ connection, tree }) => {
    for (const reverse of [false, true]) {
      const seen: number[] = [];
      for (const key of tree.keys({ reverse })) {
        seen.push(key);
        if (seen.length % 37 === 0) connection.cacheMinimize();
      }
      if (reverse) seen.reverse();
      assert.deepEqual(
        seen,
        entries(5000).map(([key]) => key),
      );
    }
  }));

test('a tree whose buckets are put to rest on the way is walked, found in and shown whole', async () => {
  // So few that each trim lets the half of what is loaded rest, the bucket of the walk among it.
  await using db = await DB.open<{ tree: BTree<number, string> }>('memory:', { cacheSize: 4 });
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  connection.root.tree = BTree.from(entries(1000));
  await manager.commit();
  const { tree } = connection.root;
  for (const reverse of [false, true]) {
    for (const every of [1, 3, 50]) {
      const seen: number[] = [];
      for (const key of tree.keys({ reverse })) {
        seen.push(key);
        if (seen.length % every === 0) connection.cacheGc();
        assert.ok(tree.has(key));
      }
      assert.deepEqual(
        reverse ? seen.reverse() : seen,
        entries(1000).map(([key]) => key),
      );
    }
  }
  const small = BTree.from(entries(3));
  connection.root.set('small', small);
  await manager.commit();
  for (let i = 0; i < 8; i++) {
    for (const key of tree.keys({ min: i * 100, max: i * 100 + 5 })) assert.ok(tree.has(key));
    assert.equal(small.size, 3);
    connection.cacheGc();
    if (small._p_state === 'ghost') continue;
    assert.match(inspect(small), /2 => 'value 2'/);
    assert.match(inspect(tree), tree._p_state === 'ghost' ? /oid/ : /children: \[\n? *</);
  }
  connection.close();
});

test('a walk goes on behind its last key when a new transaction brings what others changed', () =>
  withTree(1000, async ({ db, manager, tree }) => {
    for (const reverse of [false, true]) {
      const walk = tree.keys({ reverse });
      const seen = [walk.next().value as number];
      await db.transaction(({ root }) => {
        const others = root.tree as BTree<number, string>;
        for (const key of [0, 1, 2, 998, 999]) others.delete(key);
        others.set(500.5, 'new');
      });
      manager.begin();
      seen.push(...walk);
      const expected = [...tree.keys({ reverse })];
      assert.deepEqual(seen, [reverse ? 999 : 0, ...expected]);
      await db.transaction(({ root }) => {
        const others = root.tree as BTree<number, string>;
        others.update(entries(1000));
        others.delete(500.5);
      });
      manager.begin();
    }
  }));

test('a range is given by names that there are', () => {
  const tree = BTree.from(entries(3));
  for (const range of [null, 5, 'all'])
    assert.throws(() => tree.keys(range as never), { name: 'TypeError', code: 'ARG_RANGE' });
  assert.throws(() => tree.entries({ from: 1 } as never), {
    name: 'TypeError',
    code: 'ARG_RANGE',
    message: /no option 'from'/,
  });
  const forest = new RotatingForest<number, string>({ period: 1000 });
  for (const part of ['keys', 'values', 'entries'] as const) {
    assert.throws(() => forest[part]({ from: 1 } as never), { name: 'TypeError', code: 'ARG_RANGE' });
  }
  assert.deepEqual([...tree.keys({ min: 2, max: 1 })], []);
  assert.deepEqual([...tree.keys({ min: 1, max: 1, excludeMin: true })], []);
  assert.deepEqual([...tree.keys({ min: undefined, max: 1 })], [0, 1]);
});
