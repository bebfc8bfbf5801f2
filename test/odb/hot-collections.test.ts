import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BTree, CompositeQueue, classStatistics, DB, Length, RotatingForest, TransactionManager } from 'holdfast/odb';
import { ManualClock, settled } from '../support/manual-clock.js';

const HOUR_MS = 3_600_000;
const COMMITS_PER_HOUR = 60;
const LIMIT_MS = 20_000;

interface Root {
  counter: Length;
  waiting: CompositeQueue<number>;
  byNumber: BTree<number, string>;
  sessions: RotatingForest<number, string>;
}

test('a counter, a queue, a tree and a forest that never rest do not let a database grow for ever', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-hot-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const clock = new ManualClock();
  await using db = await DB.open<Root>(join(folder, 'test.fs'), { clock, history: 'none', durable: false });
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  const { root } = connection;
  const counter = new Length();
  const waiting = new CompositeQueue<number>({ bucketSize: 8 });
  const byNumber = new BTree<number, string>();
  const sessions = new RotatingForest<number, string>({ period: { hours: 1 } });
  root.set('counter', counter).set('waiting', waiting).set('byNumber', byNumber).set('sessions', sessions);
  waiting.put(...Array.from({ length: 20 }, (_, i) => i));
  await manager.commit();

  let last = 1000;
  const anHour = async () => {
    for (let i = 0; i < COMMITS_PER_HOUR; i++) {
      last++;
      counter.change(1);
      waiting.pull();
      waiting.put(last);
      for (const key of [2 * last, 2 * last + 1]) byNumber.set(key, 'pending');
      for (const key of [2 * last - 400, 2 * last - 399]) byNumber.delete(key);
      sessions.set(last, 'here');
      await manager.commit();
      await clock.advance(HOUR_MS / COMMITS_PER_HOUR);
    }
  };
  const count = async () => ({
    revisions: (await db.history(Number(counter._p_oid), 10_000)).length,
    transactions: (await db.undoLog(0, -10_000)).length,
  });
  /** What is older than an hour goes by itself, within some minutes. */
  const isTrimmed = async () => {
    const endMs = performance.now() + LIMIT_MS;
    for (;;) {
      const { revisions, transactions } = await count();
      if (revisions <= COMMITS_PER_HOUR + 5 && transactions <= COMMITS_PER_HOUR + 5) return;
      assert.ok(performance.now() < endMs, `${revisions} revisions, ${transactions} transactions are kept`);
      await clock.advance(1000);
      await settled();
    }
  };

  await anHour();
  const before = await count();
  assert.ok(before.revisions >= COMMITS_PER_HOUR, 'an hour is kept: so long may a transaction be open');
  /** After each hour. */
  const objects: number[] = [];
  for (let hour = 0; hour < 5; hour++) {
    await anHour();
    await isTrimmed();
    // Buckets that were dropped hold nothing any more; a pack takes them.
    await db.pack();
    const counts = await classStatistics(db.storage);
    objects.push(counts.reduce((sum, each) => sum + each.objects, 0));
  }
  assert.ok(Math.max(...objects) <= 30, `objects after each hour: ${objects}`);
  assert.deepEqual([counter.value, waiting.length, byNumber.size], [6 * COMMITS_PER_HOUR, 20, 400]);
  byNumber.check();
  assert.ok(sessions.size <= 2 * COMMITS_PER_HOUR + 1);
  connection.close();
});
