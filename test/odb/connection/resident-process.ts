import { getHeapStatistics } from 'node:v8';
import { BTree, DB, Persistent, persistable } from 'holdfast/odb';

/*
 * Fills a database, or walks over it, as an ordinary program does: the garbage collector comes when it wants to. Prints the largest heap,
 * garbage included, in bytes.
 *
 *     node resident-process.js PATH fill COUNT
 *     node resident-process.js PATH each|tree|boundaries
 */

class Leaf extends Persistent {
  n: number;
  text: string;

  constructor(n: number) {
    super();
    this.n = n;
    this.text = `leaf ${n} ${'x'.repeat(50)}`;
  }
}

persistable('test.resident', import.meta, { Leaf });

interface Root {
  leaves: BTree<number, Leaf>;
}

const STEP = 1000;
let [count, sum, heapMax] = [0, 0, 0];

function passed(leaf: Leaf): boolean {
  sum += leaf.n;
  if (++count % STEP !== 0) return false;
  heapMax = Math.max(heapMax, getHeapStatistics().used_heap_size);
  return true;
}

const WALKS: Record<string, (db: DB<Root>) => Promise<void>> = {
  async each(db) {
    for await (const object of db.each()) if (object instanceof Leaf) passed(object);
  },
  async tree(db) {
    for await (const leaf of db.each(({ root }) => root.leaves.values())) passed(leaf);
  },
  /** Follows references by itself, in many transactions. */
  async boundaries(db) {
    const connection = db.open();
    for (const leaf of connection.root.leaves.values()) {
      if (!passed(leaf)) continue;
      connection.transactionManager.begin();
      await new Promise(setImmediate);
    }
    connection.close();
  },
};

const [path = '', what = '', fillCount = '0'] = process.argv.slice(2);
const db = await DB.open<Root>(path, { history: 'none', durable: false });
if (what === 'fill') {
  for (let start = 0; start < Number(fillCount); start += 10_000) {
    await db.transaction(({ root }) => {
      root.leaves ??= new BTree();
      for (let n = start; n < Math.min(Number(fillCount), start + 10_000); n++) root.leaves.set(n, new Leaf(n));
    });
  }
} else await WALKS[what]?.(db);
await db.close();
console.log(JSON.stringify({ count, sum, heapMax }));
