import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { DB, type Persistent } from 'holdfast/odb';
import { historyOf, type Outcomes, playHistory, subjects } from './merging.js';

for (const subject of subjects) {
  test(`${subject.name}: a commit that succeeds comes to the transactions one after the other, and is refused by the rule alone`, async () => {
    const outcomes: Outcomes = { plain: 0, merged: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(historyOf(subject), async (history) => {
        await using db = await DB.open<{ it: Persistent }>('memory:');
        await playHistory([db], subject, history, outcomes);
      }),
      { numRuns: 60 },
    );
    const refusable = !['Length', 'Maximum', 'Minimum'].includes(subject.name);
    assert.ok(outcomes.merged > 20, JSON.stringify(outcomes));
    assert.ok(refusable ? outcomes.refused > 5 : outcomes.refused === 0, JSON.stringify(outcomes));
  });
}

test('all of them merge on disk as they do in memory', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-merging-'));
  const outcomes: Outcomes = { plain: 0, merged: 0, refused: 0 };
  try {
    await using db = await DB.open<{ it: Persistent }>(join(folder, 'test.fs'), { durable: false });
    for (const subject of subjects) {
      await fc.assert(
        fc.asyncProperty(historyOf(subject), (history) => playHistory([db], subject, history, outcomes)),
        { numRuns: 5, endOnFailure: true },
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  assert.ok(outcomes.merged > 20 && outcomes.refused > 10, JSON.stringify(outcomes));
});
