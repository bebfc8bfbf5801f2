import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BTree, DB, Persistent, persistable, transaction } from 'holdfast/odb';

/*
 * Walks over a database of many more objects than its caches hold, and prints how much memory is in use on the way:
 *
 *     node walking-process.js COUNT CACHE
 */

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

class Leaf extends Persistent {
  n: number;
  text: string;

  constructor(n: number) {
    super();
    this.n = n;
    this.text = `leaf ${n} ${'x'.repeat(200)}`;
  }
}

persistable('test.walking', import.meta, { Leaf });

interface Root {
  leaves: BTree<number, Leaf>;
}

/** Bytes that live on the heap. */
async function heapBytes(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    await new Promise(setImmediate);
    collectGarbage();
  }
  return process.memoryUsage().heapUsed;
}

interface Walk {
  readonly count: number;
  readonly sum: number;
  readonly heapMax: number;
  readonly cachedMax: number;
}

async function measured(
  db: DB<Root>,
  source: AsyncIterable<unknown>,
  leafOf: (item: unknown) => Leaf | undefined,
): Promise<Walk> {
  let [count, sum, heapMax, cachedMax] = [0, 0, 0, 0];
  for await (const item of source) {
    const leaf = leafOf(item);
    if (!leaf) continue;
    sum += leaf.n;
    if (++count % 5000 === 0) {
      heapMax = Math.max(heapMax, await heapBytes());
      cachedMax = Math.max(cachedMax, ...db.connectionDebugInfo().map(({ objects }) => objects));
    }
  }
  return { count, sum, heapMax, cachedMax };
}

const [count = 0, cacheSize = 0] = process.argv.slice(2).map(Number);
const db = await DB.open<Root>(process.argv[4] as string, { cacheSize, history: 'none', durable: false });
for (let start = 0; start < count; start += 5000) {
  await db.transaction(({ root }) => {
    root.leaves ??= new BTree();
    for (let n = start; n < Math.min(count, start + 5000); n++) root.leaves.set(n, new Leaf(n));
  });
}
db.cacheMinimize();
const heapBefore = await heapBytes();
const entries = db.each(({ root }) => root.leaves);
const tree = await measured(db, entries, (entry) => (entry as [number, Leaf])[1]);
const all = await measured(db, db.each(), (object) => (object instanceof Leaf ? object : undefined));
const own = await db.transaction((connection) =>
  measured(db, connection.each(connection.root.leaves.values()), (leaf) => leaf as Leaf),
);
transaction.abort();
await db.close();
console.log(JSON.stringify({ heapBefore, tree, all, own }));
