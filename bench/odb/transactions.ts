import { DB } from 'holdfast/odb';
import { type Bench, elapsedMs } from '../harness.js';
import { Item } from '../support/objects.js';

/** What does a transaction cost that only reads? */
export async function transactions(bench: Bench): Promise<void> {
  const count = bench.size(200_000, 2000);
  const db = await DB.open('memory:');
  const connection = db.open();
  const { transactionManager: manager } = connection;
  const item = new Item();
  connection.root.set('item', item);
  await manager.commit();
  let sum = 0;
  const us = await bench.samples(async () => {
    const ms = await elapsedMs(() => {
      for (let i = 0; i < count; i++) {
        manager.begin();
        sum += item.count;
        manager.abort();
      }
    });
    return (ms * 1000) / count;
  });
  if (sum !== 0) throw new Error('the item was changed');
  bench.row('begin, read one cached field, abort', 'µs', us, { atMost: 2 });
  connection.close();
  await db.close();
}
