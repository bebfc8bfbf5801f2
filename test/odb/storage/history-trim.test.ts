import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { type Oid, POSKeyError, ReadConflictError, type Tid, UndoError } from 'holdfast/odb';
import { commit, make, text, undo } from '#src/conformance/commits.js';
import { LevelStorage, type LevelStorageOptions } from '#src/odb/storage/level/level-storage.js';
import { ManualClock } from '../../support/manual-clock.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-history-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** What there is to read of an object before a transaction. */
function pastOf(storage: LevelStorage, oid: Oid, before: Tid): string {
  try {
    return text(storage.loadBefore(oid, before)?.data as Uint8Array);
  } catch (error) {
    assert.ok(error instanceof ReadConflictError, String(error));
    return 'gone';
  }
}

async function withHistory(history: LevelStorageOptions['history'] | undefined) {
  const clock = new ManualClock();
  const storage = await LevelStorage.open(join(folder, 'test.fs'), {
    clock,
    durable: false,
    ...(history === undefined ? {} : { history }),
  });
  const { oids, tid } = await make(storage, ['early 0', 'late 0', 'never changed']);
  const [early, late, never] = oids as [Oid, Oid, Oid];
  const first = await commit(storage, [[early, tid, 'early 1']]);
  await clock.advance(30 * MINUTE_MS);
  const second = await commit(storage, [[late, tid, 'late 1']]);
  /** Lets time go by until something has come to pass; a test that waits in vain hangs, and fails. */
  const until = async (isSo: () => boolean) => {
    while (!isSo()) await clock.advance(1000);
  };
  return { clock, storage, early, late, never, first: first.tid, second: second.tid, until };
}

for (const [history, keptMs, what] of [
  [undefined, 7 * 24 * HOUR_MS, 'seven days, where nothing is said'],
  [{ hours: 5 }, 5 * HOUR_MS, 'as long as is said'],
  ['none', HOUR_MS, 'an hour, which transactions may be open, with none'],
  [{ minutes: 1 }, HOUR_MS, 'an hour at least'],
] as const) {
  test(`superseded revisions are kept for ${what}; then they go, and what is current stays`, async () => {
    const { clock, storage, early, late, never, first, second, until } = await withHistory(history);
    // What was superseded earlier has gone, so that all that was to go by now has.
    await clock.advance(keptMs - 25 * MINUTE_MS);
    await until(() => pastOf(storage, early, first) === 'gone');
    assert.equal(pastOf(storage, late, second), 'late 0', 'it was superseded half an hour later');
    await clock.advance(30 * MINUTE_MS);
    await until(() => pastOf(storage, late, second) === 'gone');
    assert.deepEqual(
      [early, late, never].map((oid) => text(storage.load(oid).data)),
      ['early 1', 'late 1', 'never changed'],
    );
    assert.throws(() => storage.loadSerial(late, storage.load(never).tid), POSKeyError);
    assert.equal((await storage.history(late, 10)).length, 1);
    await assert.rejects(undo(storage, [second]), UndoError);
    for await (const { message } of storage.verify({ references: () => [] })) assert.fail(message);
    await storage.close();
  });
}

test('with all, nothing goes, however old it is', async () => {
  const { clock, storage, early, late, first, second } = await withHistory('all');
  for (let day = 0; day < 400; day++) await clock.advance(24 * HOUR_MS);
  assert.deepEqual([pastOf(storage, early, first), pastOf(storage, late, second)], ['early 0', 'late 0']);
  await undo(storage, [first]);
  assert.equal(text(storage.load(early).data), 'early 0');
  await storage.close();
});
