import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BTree, ConflictError, DB, type Tid, TransactionManager } from 'holdfast/odb';
import { SmallTree } from './small-trees.js';

type Tree = BTree<number, string> | SmallTree<number, string>;
interface Root {
  tree: Tree;
}
/** Keys and their new values; `undefined` for those that were removed. */
type Writes = readonly (readonly [number, string | undefined])[];

const WORKERS = 6;
const KEYS = 1500;

/** The same numbers in every run. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    // The last bits of such numbers repeat soon.
    yield state >>> 8;
  }
}

/** Changes keys all over the tree; returns what it wrote. */
function change(tree: Tree, count: number, random: Generator<number, never>, value: string): Writes {
  return Array.from({ length: count }, (_, i) => {
    const key = random.next().value % KEYS;
    // Both are changes of the key, whatever others do.
    if (random.next().value % 3 > 0 && tree.delete(key)) return [key, undefined];
    tree.set(key, `${value}, ${i}`);
    return [key, `${value}, ${i}`];
  });
}

/**
 * Lets transactions of some keys each, spread over one tree, run at once, and again after conflicts; demands that the tree is what they
 * come to one after the other, in the order of their tids.
 */
async function race(db: DB<Root>, { make, rounds, keysEach }: { make: () => Tree; rounds: number; keysEach: number }) {
  const model = new Map<number, string>();
  await db.transaction(({ root }) => {
    const tree = make();
    root.tree = tree;
    for (let key = 0; key < KEYS; key += 2) {
      tree.set(key, 'first');
      model.set(key, 'first');
    }
  });
  const committed: { readonly tid: Tid; readonly writes: Writes }[] = [];
  let conflicts = 0;
  const work = async (worker: number): Promise<void> => {
    const random = numbers(worker);
    const manager = new TransactionManager();
    const connection = db.open({ transactionManager: manager });
    for (let round = 0; round < rounds; ) {
      manager.begin();
      const writes = change(connection.root.tree, keysEach, random, `${worker}, ${round}`);
      // All have begun before the first one commits.
      await new Promise(setImmediate);
      try {
        committed.push({ tid: (await manager.commit()) as Tid, writes });
        round++;
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error;
        manager.abort();
        conflicts++;
      }
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: WORKERS }, (_, worker) => work(worker + 1)));
  committed.sort((a, b) => a.tid - b.tid);
  for (const [key, value] of committed.flatMap(({ writes }) => writes)) {
    if (value === undefined) model.delete(key);
    else model.set(key, value);
  }
  const connection = db.open({ transactionManager: new TransactionManager() });
  const { tree } = connection.root;
  tree.check();
  assert.deepEqual(
    [...tree],
    [...model].sort(([a], [b]) => a - b),
  );
  assert.equal(committed.length, WORKERS * rounds);
  assert.ok(conflicts > 0, 'they met');
  connection.close();
}

test('transactions of many keys at once on a tree of small nodes come to one after the other', async () => {
  await using db = await DB.open<Root>('memory:');
  await race(db, { make: () => new SmallTree<number, string>(), rounds: 20, keysEach: 3 });
});

test('transactions of many keys at once on a BTree come to one after the other', async () => {
  await using db = await DB.open<Root>('memory:');
  await race(db, { make: () => new BTree<number, string>(), rounds: 15, keysEach: 20 });
});

test('transactions of many keys at once on a BTree on disk come to one after the other', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-side-by-side-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  await using db = await DB.open<Root>(join(folder, 'test.fs'), { durable: false });
  await race(db, { make: () => new BTree<number, string>(), rounds: 10, keysEach: 20 });
});
