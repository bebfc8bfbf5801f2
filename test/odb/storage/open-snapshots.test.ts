import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DB,
  type PersistentMapping as Mapping,
  openStorage,
  PersistentMapping,
  ReadConflictError,
  TransactionManager,
} from 'holdfast/odb';

const HOUR_MS = 3_600_000;

test('a transaction that is open for more than an hour holds no pack back: what it has not read raises ReadConflictError', async () => {
  let nowMs = Date.UTC(2030, 0, 1);
  const clock = { now: () => nowMs, schedule: () => ({ cancel: () => undefined }) };
  const db = await DB.open<{ a: Mapping<number> }>(await openStorage('memory:', { clock }));
  await db.transaction(({ root }) => {
    root.a = new PersistentMapping([['value', 0]]);
  });
  const managers = [new TransactionManager(), new TransactionManager()];
  const [early, late] = managers.map((transactionManager) => {
    const connection = db.open({ transactionManager });
    // One of them was used before, and has it loaded.
    connection.cacheMinimize();
    return connection.root;
  });
  for (let i = 1; i <= 3; i++) {
    nowMs += 0.4 * HOUR_MS;
    if (i === 3) managers[1]?.begin();
    await db.transaction(({ root }) => {
      root.a.set('value', i);
    });
  }
  nowMs += 0.4 * HOUR_MS;
  await db.pack();
  assert.equal(late?.a.get('value'), 2);
  assert.throws(() => early?.a.get('value'), ReadConflictError);
  managers[0]?.begin();
  assert.equal(early?.a.get('value'), 3);
  // What is held back no longer goes with the next one.
  managers[1]?.begin();
  const oid = late?.a._p_oid as number;
  assert.equal((await db.history(oid, 10)).length, 3);
  await db.pack();
  assert.equal((await db.history(oid, 10)).length, 1);
  await db.close();
});
