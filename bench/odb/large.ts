import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { DB } from 'holdfast/odb';
import { type Bench, elapsedMs } from '../harness.js';
import { Item } from '../support/objects.js';
import { bytesIn, fill, withDirectory } from '../support/places.js';

/** How large is a database, and how long does it take to open a large one? */
export async function large(bench: Bench): Promise<void> {
  const count = bench.size(1_000_000, 1000);
  await withDirectory(async (directory) => {
    const path = join(directory, 'bench.fs');
    const filled = await DB.open(path, { history: 'none' });
    await fill(filled, count, makeItem);
    await filled.close();
    const open = async () => {
      let db: DB | undefined;
      const elapsed = await elapsedMs(async () => {
        db = await DB.open(path, { history: 'none' });
      });
      await db?.close();
      return elapsed;
    };
    bench.row(`open a database of ${count.toLocaleString('en')} objects`, 'ms', await bench.samples(open), {
      atMost: 100,
    });
    const db = await DB.open(path, { history: 'none' });
    await db.pack();
    await db.close();
    const bytes = (await bytesIn(path)) / count;
    bench.row('bytes on disk for each of them, records of 164 bytes, after compaction', 'bytes', [bytes], {
      atMost: 250,
    });
  });
}

/** Of the text of an item, for a record of 164 bytes. */
const TEXT_CHARACTERS = 84;

/** An item whose record takes 164 bytes, of which a third cannot be compressed. */
function makeItem(): Item {
  const item = new Item();
  item.text = randomBytes(TEXT_CHARACTERS / 2).toString('hex');
  return item;
}
