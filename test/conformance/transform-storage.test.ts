import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { appendResolver, type SubjectOptions, testStorage } from 'holdfast/conformance';
import { openStorage, type Storage, TransformStorage } from 'holdfast/odb';
import { type LogSink, setLogSink } from '#src/base/index.js';
import { hex } from './hex.js';

let formerSink: LogSink;

before(() => {
  // A merge that fails is logged.
  formerSink = setLogSink(() => undefined);
});

after(() => {
  setLogSink(formerSink);
});

for (const isOnDisk of [false, true]) {
  testStorage({
    name: isOnDisk ? 'hexadecimal LevelStorage' : 'hexadecimal MemoryStorage',
    supports: {
      history: true,
      clients: 'one thread has the storage itself, not a view of it; views are tested by themselves',
      reopen: isOnDisk || 'what is in memory is gone with it',
      readOnly: isOnDisk || 'what is in memory is empty at first, so there would be nothing to read',
      clock: true,
      merges: true,
      locks: true,
      undo: true,
      pack: true,
      blobs: true,
    },
    open: async (options) => {
      const folder = mkdtempSync(join(tmpdir(), 'holdfast-conformance-'));
      const open = async ({ merges, clock, readOnly = false }: SubjectOptions & { readOnly?: boolean }) =>
        new TransformStorage(
          await openStorage(isOnDisk ? join(folder, 'test.fs') : 'memory:', {
            readOnly,
            durable: false,
            ...(clock ? { clock } : {}),
          }),
          hex,
          merges ? { conflictResolver: appendResolver } : {},
        );
      let storage: Storage = await open(options);
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
