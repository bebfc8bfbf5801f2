import { join } from 'node:path';
import { type Connection, DB, TransactionManager } from 'holdfast/odb';
import { type Bench, elapsedMs, perSecond } from '../harness.js';
import { Item } from '../support/objects.js';
import { fill, LIST_OBJECTS, withDirectory } from '../support/places.js';

/** How fast is garbage found and dropped, and what does it cost those who write meanwhile? */
export async function packing(bench: Bench): Promise<void> {
  const count = bench.size(1_000_000, 4000);
  const alone: number[] = [];
  const beside: number[] = [];
  const packed: number[] = [];
  const memory: number[] = [];
  await bench.samples(() =>
    withDirectory(async (directory) => {
      const db = await DB.open(join(directory, 'bench.fs'), { history: 'none' });
      await fill(db, count);
      await dropHalf(db, count);
      const writer = new Writer(db);
      alone.push(await writer.rateDuring(() => new Promise((resolve) => setTimeout(resolve, bench.size(3000, 50)))));
      let peakBytes = 0;
      const sampler = setInterval(() => {
        peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
      }, 20);
      beside.push(
        await writer.rateDuring(async () => {
          packed.push(await perSecond(count, () => db.pack()));
        }),
      );
      clearInterval(sampler);
      memory.push(Math.max(peakBytes, process.memoryUsage.rss()) / 1024 / 1024);
      writer.close();
      await db.close();
    }),
  );
  const title = `pack ${count.toLocaleString('en')} objects, half of them garbage, beside a writer`;
  bench.row(title, 'objects/s', packed, { atLeast: 100_000 });
  bench.row('… memory of the process meanwhile', 'MB', memory, { atMost: 512 });
  bench.row('… durable commits of a writer alone', '/s', alone);
  bench.ratio('… commits beside the pack, against alone', beside, alone, { atLeast: 0.7 });
}

async function dropHalf(db: DB, count: number): Promise<void> {
  await db.transaction(({ root }) => {
    for (let done = 0; done < count; done += LIST_OBJECTS * 2) root.delete(`items ${done}`);
  });
}

/** Commits one small change after the other. */
class Writer {
  readonly #manager = new TransactionManager();
  readonly #connection: Connection;
  readonly #item: Item;

  constructor(db: DB) {
    this.#connection = db.open({ transactionManager: this.#manager });
    this.#item = new Item();
    this.#connection.root.set('item of the writer', this.#item);
  }

  /** Commits a second while `work` is under way. */
  async rateDuring(work: () => Promise<void>): Promise<number> {
    let isOver = false;
    let commits = 0;
    const writing = (async () => {
      while (!isOver) {
        this.#item.count++;
        await this.#manager.commit();
        commits++;
      }
    })();
    const ms = await elapsedMs(async () => {
      await work();
      isOver = true;
      await writing;
    });
    return (commits / ms) * 1000;
  }

  close(): void {
    this.#connection.close();
  }
}
