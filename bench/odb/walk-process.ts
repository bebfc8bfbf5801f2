import { performance } from 'node:perf_hooks';
import { BTree, DB } from 'holdfast/odb';
import { Item } from '../support/objects.js';
import { serveRequests } from '../support/processes.js';

/** What the process is asked for: to fill the database with so many objects, or to walk over them. */
type Request = { readonly fill: number } | { readonly walk: number };

interface Root {
  items: BTree<number, Item>;
}

const BATCH = 10_000;
const [path = '', cacheSize = ''] = process.argv.slice(2);

async function fill(db: DB<Root>, count: number): Promise<void> {
  for (let start = 0; start < count; start += BATCH) {
    await db.transaction(({ root }) => {
      root.items ??= new BTree();
      for (let i = start; i < Math.min(count, start + BATCH); i++) root.items.set(i, new Item());
    });
  }
}

async function walk(db: DB<Root>, count: number): Promise<{ residentMax: number; perSecond: number }> {
  let [found, residentMax] = [0, 0];
  const start = performance.now();
  for await (const object of db.each()) {
    if (object instanceof Item && ++found % BATCH === 0) {
      residentMax = Math.max(residentMax, process.memoryUsage.rss());
    }
  }
  if (found !== count) throw new Error(`${found} objects were found, not ${count}`);
  return {
    residentMax: Math.max(residentMax, process.memoryUsage.rss()),
    perSecond: (found / (performance.now() - start)) * 1000,
  };
}

serveRequests(async (request: Request) => {
  const db = await DB.open<Root>(path, { cacheSize: Number(cacheSize), history: 'none', durable: false });
  try {
    return await ('fill' in request ? fill(db, request.fill) : walk(db, request.walk));
  } finally {
    await db.close();
  }
});
