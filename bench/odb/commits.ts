import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { type DB, TransactionManager } from 'holdfast/odb';
import { type Bench, perSecond } from '../harness.js';
import { Item } from '../support/objects.js';
import { withDatabase, withDirectory } from '../support/places.js';

/** How many durable commits a second, by how many committers? Beside the same number of puts on bare LevelDB, in turn. */
export async function commits(bench: Bench): Promise<void> {
  const count = bench.size(2000, 50);
  await withBare(async (bare) => {
    await withDatabase(async (db) => {
      const puts: number[] = [];
      const alone: number[] = [];
      await bench.samples(async () => {
        puts.push(await perSecond(count, () => barePuts(bare, count, true)));
        alone.push(await committed(db, 1, count));
      });
      bench.row('bare classic-level: synced puts, one after the other', '/s', puts);
      bench.row('durable commits, one object, 1 committer', '/s', alone);
      bench.ratio('… against the bare put', alone, puts, { atLeast: 0.8 });
      for (const [committers, atLeast] of [
        [8, 3],
        [64, 8],
      ] as const) {
        const rates = await bench.samples(() => committed(db, committers, count * Math.min(committers, 8)));
        bench.row(`durable commits, ${committers} committers in one process`, '/s', rates);
        bench.ratio('… against one committer', rates, alone, { atLeast });
      }
    });
  });
  await withBare(async (bare) => {
    await withDatabase(
      async (db) => {
        const puts: number[] = [];
        const alone: number[] = [];
        await bench.samples(async () => {
          puts.push(await perSecond(count * 2, () => barePuts(bare, count * 2, false)));
          alone.push(await committed(db, 1, count * 2));
        });
        bench.row('bare classic-level: puts without sync, one after the other', '/s', puts);
        bench.row('commits without sync, one object, 1 committer', '/s', alone, { atLeast: 15_000 });
        bench.ratio('… against the bare put', alone, puts);
      },
      { durable: false },
    );
  });
}

async function withBare(fn: (bare: ClassicLevel<Buffer, Buffer>) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const bare = new ClassicLevel<Buffer, Buffer>(join(directory, 'bare'), {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
    });
    await bare.open();
    await fn(bare);
    await bare.close();
  });
}

async function barePuts(bare: ClassicLevel<Buffer, Buffer>, count: number, sync: boolean): Promise<void> {
  const value = Buffer.alloc(160);
  for (let i = 0; i < count; i++) {
    const key = Buffer.from(`key ${i}`);
    await bare.batch([{ type: 'put', key, value }], { sync });
  }
}

/** Commits a second, each of one object that is the committer's own. */
async function committed(db: DB, committers: number, count: number): Promise<number> {
  const each = Math.ceil(count / committers);
  db.poolSize = Math.max(db.poolSize, committers);
  const users = await Promise.all(
    Array.from({ length: committers }, async (_, index) => {
      const transactionManager = new TransactionManager();
      const connection = db.open({ transactionManager });
      const name = `item ${committers} ${index}`;
      await transactionManager.run(
        () => {
          if (!connection.root.has(name)) connection.root.set(name, new Item());
        },
        { retries: 100 },
      );
      const item = connection.root.get(name) as Item;
      return { transactionManager, connection, item };
    }),
  );
  const rate = await perSecond(each * committers, () =>
    Promise.all(
      users.map(async ({ transactionManager, item }) => {
        for (let i = 0; i < each; i++) {
          item.count++;
          await transactionManager.commit();
        }
      }),
    ),
  );
  for (const { connection } of users) connection.close();
  return rate;
}
