import { type DBOptions, PersistentList, TransactionManager } from 'holdfast/odb';
import { type Bench, elapsedMs, perSecond } from '../harness.js';
import { Item } from '../support/objects.js';
import { withDatabase } from '../support/places.js';

const OBJECTS = 1000;
/** So often is each done for one sample; and once more before the first one, so that the compiler has seen it. */
const ROUNDS = 10;

/** How many objects a second can be added, changed, loaded and read? */
export async function objects(bench: Bench): Promise<void> {
  await changes(bench, { history: 'none' }, "history: 'none'", { added: 100_000, updated: 100_000 });
  await changes(bench, { history: 'all' }, 'with history', { added: undefined, updated: 55_000 });
  await loads(bench);
}

async function changes(
  bench: Bench,
  options: DBOptions,
  title: string,
  targets: { added: number | undefined; updated: number },
): Promise<void> {
  await withDatabase(async (db) => {
    const transactionManager = new TransactionManager();
    const connection = db.open({ transactionManager });
    const added = await rates(bench, () =>
      elapsedMs(async () => {
        const items = new PersistentList<Item>();
        for (let i = 0; i < OBJECTS; i++) items.push(new Item());
        connection.root.set('items', items);
        await transactionManager.commit();
      }),
    );
    const target = targets.added === undefined ? undefined : { atLeast: targets.added };
    bench.row(`add 1,000 new objects in one durable commit, ${title}`, 'objects/s', added, target);
    const items = [...(connection.root.get('items') as PersistentList<Item>)];
    const updated = await rates(bench, () =>
      elapsedMs(async () => {
        for (const item of items) item.count++;
        await transactionManager.commit();
      }),
    );
    bench.row(`update 1,000 loaded objects in one durable commit, ${title}`, 'objects/s', updated, {
      atLeast: targets.updated,
    });
    connection.close();
  }, options);
}

async function loads(bench: Bench): Promise<void> {
  await withDatabase(async (db) => {
    const transactionManager = new TransactionManager();
    const connection = db.open({ transactionManager });
    const list = new PersistentList<Item>();
    for (let i = 0; i < OBJECTS; i++) list.push(new Item());
    connection.root.set('items', list);
    await transactionManager.commit();
    const items = [...list];
    const cold = await rates(bench, () => {
      connection.cacheMinimize();
      return elapsedMs(() => sumOf(items));
    });
    bench.row('cold: load 1,000 ghosts, empty object cache', 'objects/s', cold, { atLeast: 120_000 });
    const rounds = bench.size(2000, 20);
    const steamin = await bench.samples(() =>
      perSecond(OBJECTS * rounds, () => {
        for (let round = 0; round < rounds; round++) sumOf(items);
      }),
    );
    bench.row('steamin: read 1,000 cached objects', 'objects/s', steamin, { atLeast: 50_000_000 });
    connection.close();
  });
}

/** Objects a second of samples of several rounds; a round tells how many ms it took. */
async function rates(bench: Bench, round: () => Promise<number>): Promise<number[]> {
  const rounds = bench.size(ROUNDS, 1);
  const sample = async () => {
    let ms = 0;
    for (let i = 0; i < rounds; i++) ms += await round();
    return ((OBJECTS * rounds) / ms) * 1000;
  };
  await sample();
  return bench.samples(sample);
}

function sumOf(items: readonly Item[]): number {
  let sum = 0;
  for (const item of items) sum += item.count;
  return sum;
}
