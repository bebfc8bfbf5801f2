import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { DB, type Oid, type Tid, TransactionManager } from 'holdfast/odb';
import { type Bench, elapsedMs } from '../harness.js';
import { Item } from '../support/objects.js';
import { withDirectory } from '../support/places.js';

/** Commits that are under way at a time while the revisions are made. */
const TOGETHER = 1000;

/** How long does it take to read an object of many revisions as it was at some time? */
export async function past(bench: Bench): Promise<void> {
  const count = bench.size(1_000_000, 2000);
  await withDirectory(async (directory) => {
    const db = await DB.open(join(directory, 'bench.fs'), { history: 'all', durable: false });
    const manager = new TransactionManager();
    const connection = db.open({ transactionManager: manager });
    const item = new Item();
    connection.root.set('item', item);
    await manager.commit();
    const oid = item._p_oid as Oid;
    const tids = await revise(db, oid, count);
    const ms = await bench.samples(async (index) => {
      const places = Array.from({ length: 200 }, (_, i) => Math.floor(((i * 5 + index) * 7919) % tids.length));
      return (
        (await elapsedMs(() => {
          for (const place of places) db.storage.loadBefore(oid, ((tids[place] as number) + 1) as Tid);
        })) / places.length
      );
    });
    bench.row(`read at a past time, object with ${count.toLocaleString('en')} revisions`, 'ms', ms, { atMost: 1 });
    connection.close();
    await db.close();
  });
}

/** Gives an object so many revisions; resolves to their tids. */
async function revise(db: DB, oid: Oid, count: number): Promise<Tid[]> {
  const { storage } = db;
  const { data, tid } = storage.load(oid);
  const tids: Tid[] = [];
  let base = tid;
  for (let done = 0; done < count; done += TOGETHER) {
    // Each is restored with a tid of its own, so that none has to wait for the one before.
    const commits = Array.from({ length: Math.min(TOGETHER, count - done) }, () => {
      base = (base + 10) as Tid;
      tids.push(base);
      const transaction = {
        commitId: randomBytes(16),
        user: '',
        description: '',
        extension: new Uint8Array(0),
        tid: base,
      };
      storage.tpcBegin(transaction);
      storage.store(transaction, oid, base, Buffer.from(data));
      return storage.commit(transaction);
    });
    await Promise.all(commits);
  }
  return tids;
}
