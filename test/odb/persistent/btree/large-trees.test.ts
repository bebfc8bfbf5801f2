import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BTree, DB, TransactionManager, TreeSet } from 'holdfast/odb';

const MILLION = 1_000_000;

/** The numbers below `count`, each once, in an order that jumps about. `stride` has no factor in common with it. */
function* jumping(count: number, stride: number): Generator<number> {
  for (let i = 0, at = 0; i < count; i++, at = (at + stride) % count) yield at;
}

function* ascending(count: number): Generator<readonly [number, number]> {
  for (let i = 0; i < count; i++) yield [i, -i];
}

test('a tree of a million keys is filled at once, found in, walked both ways, and emptied', () => {
  const tree = new BTree<number, number>().load(ascending(MILLION));
  tree.check();
  assert.equal(tree.size, MILLION);
  for (let key = 0; key < MILLION; key += 997) assert.equal(tree.get(key), -key);
  assert.equal(tree.get(0.5), undefined);
  assert.deepEqual([tree.minKey(77.5), tree.maxKey(77.5), tree.minKey(), tree.maxKey()], [78, 77, 0, MILLION - 1]);
  let last = 600_000;
  for (const key of tree.keys({ min: 400_000, max: 600_000, excludeMax: true, reverse: true }))
    assert.equal(key, --last);
  assert.equal(last, 400_000);
  for (const key of tree.keys({ min: 400_000, max: 600_000 })) assert.equal(key, last++);
  assert.equal(last, 600_001);
  for (const key of jumping(MILLION, 77_777)) {
    if (key % 10 !== 0) assert.ok(tree.delete(key));
  }
  tree.check();
  assert.equal(tree.size, MILLION / 10);
  for (const key of jumping(MILLION, 333_667)) assert.equal(tree.delete(key), key % 10 === 0);
  tree.check();
  assert.ok(tree.isEmpty);
  assert.equal(tree.popItem(), undefined);
});

test('a large set is filled in commits, in any order, and emptied in commits, whatever of it is loaded', async () => {
  const count = 100_000;
  const perCommit = count / 10;
  await using db = await DB.open<{ numbers: TreeSet<number> }>('memory:', { cacheSize: 500 });
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  connection.root.numbers = new TreeSet<number>();
  const set = connection.root.numbers as TreeSet<number>;
  let done = 0;
  // Near each other within a commit, as keys that come in time are.
  const inCommits = async (change: (key: number) => unknown) => {
    for (const part of jumping(10, 3)) {
      for (const offset of jumping(perCommit, 7)) assert.equal(change(part * perCommit + offset), true);
      await manager.commit();
      done++;
      if (done % 5 === 0) set.check();
    }
  };
  await inCommits((key) => set.insert(key));
  assert.equal(set.size, count);
  let expected = 0;
  for (const key of set) assert.equal(key, expected++);
  await inCommits((key) => set.delete(key));
  assert.ok(set.isEmpty);
  connection.cacheMinimize();
  assert.deepEqual([...set], []);
  // What is left are the root and the set: the buckets are garbage.
  await db.pack();
  assert.equal(db.storage.length, 2);
  connection.close();
});
