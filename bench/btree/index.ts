import { BTree, TransactionManager } from 'holdfast/odb';
import { type Bench, elapsedMs, perSecond } from '../harness.js';
import { withDatabase } from '../support/places.js';

/** B-trees of string keys, in a database on disk. */
export async function btree(bench: Bench): Promise<void> {
  const count = bench.size(100_000, 1000);
  const keys = Array.from({ length: count }, (_, i) => `key ${String(i).padStart(8, '0')}`);
  const shuffled = shuffle(keys);

  const sorted = await bench.samples(() => perSecond(count, () => filled(keys)));
  bench.row('insert, keys in order', '/s', sorted, { atLeast: 2_000_000 });
  const random = await bench.samples(() => perSecond(count, () => filled(shuffled)));
  bench.row('insert, keys in any order', '/s', random, { atLeast: 1_000_000 });
  const entries = keys.map((key, i) => [key, i] as const);
  const loaded = await bench.samples(() => perSecond(count, () => new BTree<string, number>().load(entries)));
  bench.row('fill at once, keys in order', '/s', loaded);
  const removed = await bench.samples(() => {
    const tree = new BTree<string, number>().load(entries);
    return perSecond(count, () => {
      for (const key of shuffled) tree.delete(key);
    });
  });
  bench.row('remove, keys in any order', '/s', removed);

  await withDatabase(
    async (db) => {
      const transactionManager = new TransactionManager();
      const connection = db.open({ transactionManager });
      const commits = await bench.samples(async () => {
        connection.root.set('tree', filled(shuffled));
        return elapsedMs(() => transactionManager.commit());
      });
      bench.row('commit of the tree just filled', 'ms', commits, { atMost: 120 });
      const tree = connection.root.get('tree') as BTree<string, number>;
      const lookup = () => {
        for (const key of shuffled) if (tree.get(key) === undefined) throw new Error(`${key} is missing`);
      };
      const walk = () => {
        let seen = 0;
        for (const _ of tree) seen++;
        if (seen !== count) throw new Error(`${seen} keys were seen`);
      };
      for (const [name, work, hotTarget, coldTarget] of [
        ['random lookup', lookup, 1_500_000, 400_000],
        ['iterate', walk, 10_000_000, 1_000_000],
      ] as const) {
        work();
        const hot = await bench.samples(() => perSecond(count, work));
        bench.row(`${name}, hot`, '/s', hot, { atLeast: hotTarget });
        const cold = await bench.samples(() => {
          connection.cacheMinimize();
          return perSecond(count, work);
        });
        bench.row(`${name}, cold`, '/s', cold, { atLeast: coldTarget });
      }
      connection.close();
    },
    { cacheSize: 100_000 },
  );
}

function filled(keys: readonly string[]): BTree<string, number> {
  const tree = new BTree<string, number>();
  for (let i = 0; i < keys.length; i++) tree.set(keys[i] as string, i);
  return tree;
}

/** The same in every run. */
function shuffle(keys: readonly string[]): string[] {
  const shuffled = [...keys];
  let seed = 42;
  for (let i = shuffled.length - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    const j = seed % (i + 1);
    [shuffled[i], shuffled[j]] = [shuffled[j] as string, shuffled[i] as string];
  }
  return shuffled;
}
