import { testArguments } from './storage-arguments.js';
import { testBlobs } from './storage-blobs.js';
import { testCommits } from './storage-commit.js';
import { testConflicts } from './storage-conflicts.js';
import { testCopy } from './storage-copy.js';
import { testDoubts } from './storage-doubts.js';
import { testLocks } from './storage-locks.js';
import { testObjects } from './storage-objects.js';
import { testPack } from './storage-pack.js';
import { testRaces } from './storage-races.js';
import { testReopen } from './storage-reopen.js';
import { testRevisions } from './storage-revisions.js';
import { testUndo } from './storage-undo.js';
import type { StorageSuite } from './subject.js';

/**
 * Tests whether a storage keeps what `Storage` promises. Tied to no runner: it registers its tests by the `test` that it is given.
 *
 * @example
 * ```ts
 * import { test } from 'node:test';
 * testStorage({ name: 'MyStorage', open: openMine, supports: { … }, test });
 * ```
 */
export function testStorage(suite: StorageSuite): void {
  testCommits(suite);
  testArguments(suite);
  testRevisions(suite);
  testConflicts(suite);
  testRaces(suite);
  testLocks(suite);
  testReopen(suite);
  testCopy(suite);
  testUndo(suite);
  testPack(suite);
  testBlobs(suite);
  testDoubts(suite);
  testObjects(suite);
}
