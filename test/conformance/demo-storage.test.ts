import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { appendResolver, type SubjectOptions, testStorage } from 'holdfast/conformance';
import { DemoStorage, openStorage, type Storage } from 'holdfast/odb';
import { type LogSink, setLogSink } from '#src/base/index.js';

let formerSink: LogSink;

before(() => {
  // A merge that fails is logged.
  formerSink = setLogSink(() => undefined);
});

after(() => {
  setLogSink(formerSink);
});

/** What stands over what; a disk is a path below the folder of the test. */
const KINDS = [
  { name: 'changes in memory over memory', base: 'memory:', changes: 'memory:' },
  { name: 'changes in memory over a disk', base: 'base.fs', changes: 'memory:' },
  { name: 'changes on a disk over a disk', base: 'base.fs', changes: 'changes.fs' },
];

for (const kind of KINDS) {
  const isOnDisk = kind.changes !== 'memory:';
  testStorage({
    name: `DemoStorage, ${kind.name}`,
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
      doubts: 'what is in doubt is kept in memory',
      blobs: true,
    },
    open: async (options) => {
      const folder = mkdtempSync(join(tmpdir(), 'holdfast-conformance-'));
      const at = (uri: string) => (uri === 'memory:' ? uri : join(folder, uri));
      const open = async ({ merges, clock, readOnly = false }: SubjectOptions & { readOnly?: boolean }) => {
        const timed = clock ? { clock } : {};
        // A directory that is only read has to be there.
        if (kind.base !== 'memory:') await (await openStorage(at(kind.base))).close();
        const base = await openStorage(at(kind.base), { ...timed, readOnly: kind.base !== 'memory:' });
        return DemoStorage.open(base, {
          ...timed,
          changes: await openStorage(at(kind.changes), { ...timed, readOnly, durable: false }),
          ...(merges ? { conflictResolver: appendResolver } : {}),
        });
      };
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
