import { DB, PersistentList, TransactionManager } from 'holdfast/odb';
import { type Bench, perSecond } from '../harness.js';
import { Item } from '../support/objects.js';

const OBJECTS = 1000;

/** How many objects a second can a client load: one by one, many at once, and from its own cache? */
export async function loads(bench: Bench, uri: string): Promise<void> {
  const filling = await DB.open(uri);
  await filling.transaction(({ root }) => {
    const list = new PersistentList<Item>();
    for (let i = 0; i < OBJECTS; i++) list.push(new Item());
    root.set('loads', list);
  });
  await filling.close();
  const warm: number[] = [];
  const touched = await bench.samples(() =>
    withItems(uri, async ({ items, touch, forget }) => {
      const rate = await perSecond(items.length, touch);
      forget();
      warm.push(await perSecond(items.length, touch));
      return rate;
    }),
  );
  const prefetched = await bench.samples(() =>
    withItems(uri, ({ items, touch, prefetch }) =>
      perSecond(items.length, async () => {
        await prefetch();
        touch();
      }),
    ),
  );
  bench.row('cold load by touch', 'objects/s', touched, { atLeast: 9000 });
  bench.row('cold load with prefetch', 'objects/s', prefetched, { atLeast: 100_000 });
  bench.row("warm: hits of the client's revision cache", 'objects/s', warm, { atLeast: 200_000 });
}

interface Loading {
  readonly items: readonly Item[];
  touch(): void;
  prefetch(): Promise<void>;
  /** Drops the objects, not the revisions that the client keeps. */
  forget(): void;
}

/** Runs `work` as a client that knows nothing yet. */
async function withItems<T>(uri: string, work: (loading: Loading) => Promise<T>): Promise<T> {
  const db = await DB.open(uri);
  const connection = db.open({ transactionManager: new TransactionManager() });
  const items = [...(connection.root.get('loads') as PersistentList<Item>)];
  try {
    return await work({
      items,
      touch() {
        for (const item of items) if (item.count !== 0) throw new Error('an item was changed');
      },
      prefetch: () => connection.prefetch(items),
      forget: () => connection.cacheMinimize(),
    });
  } finally {
    connection.close();
    await db.close();
  }
}
