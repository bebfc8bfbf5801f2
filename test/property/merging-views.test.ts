import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { DB, type Persistent } from 'holdfast/odb';
import { openAttached } from '#src/odb/remote/index.js';
import { Owner } from '../odb/remote/owner.js';
import { historyOf, type Outcomes, playHistory, subjects } from './merging.js';

for (const where of ['in memory', 'on disk'] as const) {
  for (const who of ['the thread that owns the data', 'the thread that commits'] as const) {
    test(`all collections merge ${where} as one after the other, through two views of another thread’s storage, in ${who}`, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'holdfast-merging-'));
      const owner = await Owner.start({
        ...(where === 'on disk' ? { path: join(folder, 'test.fs') } : {}),
        resolves: who === 'the thread that owns the data' && 'records',
      });
      const outcomes: Outcomes = { plain: 0, merged: 0, refused: 0 };
      try {
        await using a = await DB.open<{ it: Persistent }>(await openAttached(await owner.attach()));
        await using b = await DB.open<{ it: Persistent }>(await openAttached(await owner.attach()));
        for (const subject of subjects) {
          await fc.assert(
            fc.asyncProperty(historyOf(subject), (history) => playHistory([a, b], subject, history, outcomes)),
            { numRuns: 4, endOnFailure: true },
          );
        }
        assert.ok(outcomes.merged > 20 && outcomes.refused > 0, JSON.stringify(outcomes));
      } finally {
        await owner.end();
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
}
