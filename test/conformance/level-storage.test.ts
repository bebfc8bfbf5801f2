import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { appendResolver, type SubjectOptions, testStorage } from 'holdfast/conformance';
import 'holdfast/odb';
import { type LogSink, setLogSink } from '#src/base/index.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';

let formerSink: LogSink;

before(() => {
  // A merge that fails is logged.
  formerSink = setLogSink(() => undefined);
});

after(() => {
  setLogSink(formerSink);
});

/** What each is opened with. */
const VARIANTS = {
  LevelStorage: {},
  'LevelStorage, not durable': { durable: false },
  'LevelStorage, every transaction being a large one': { batchSize: 1 },
};

for (const [name, variant] of Object.entries(VARIANTS)) {
  testStorage({
    name,
    supports: {
      history: true,
      clients: 'one thread has the storage itself, not a view of it; views are tested by themselves',
      reopen: true,
      readOnly: true,
      clock: true,
      merges: true,
      locks: true,
      undo: true,
      blobs: true,
      pack: true,
    },
    open: async (options) => {
      const folder = mkdtempSync(join(tmpdir(), 'holdfast-conformance-'));
      const open = ({ merges, clock, readOnly }: SubjectOptions & { readOnly?: boolean }) =>
        LevelStorage.open(join(folder, 'test.fs'), {
          ...variant,
          readOnly: readOnly ?? false,
          ...(clock ? { clock } : {}),
          ...(merges ? { conflictResolver: appendResolver } : {}),
        });
      let storage = await open(options);
      return {
        storage,
        another: () => assert.fail('not supported'),
        reopen: async (again) => {
          await storage.close();
          storage = await open({ ...options, ...again });
          return storage;
        },
        close: async () => {
          await storage.close();
          rmSync(folder, { recursive: true, force: true });
        },
      };
    },
    test,
  });
}
