import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { appendResolver, testStorage } from 'holdfast/conformance';
import 'holdfast/odb';
import { type LogSink, setLogSink } from '#src/base/index.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

let formerSink: LogSink;

before(() => {
  // A merge that fails is logged.
  formerSink = setLogSink(() => undefined);
});

after(() => {
  setLogSink(formerSink);
});

testStorage({
  name: 'MemoryStorage',
  supports: {
    history: true,
    clients: 'one thread has the storage itself, not a view of it; views are tested by themselves',
    reopen: 'what is in memory is gone with it',
    readOnly: 'what is in memory is empty at first, so there would be nothing to read',
    clock: true,
    merges: true,
    locks: true,
    undo: true,
    blobs: true,
    pack: true,
  },
  open: async ({ merges, clock }) => {
    const storage = new MemoryStorage({
      ...(clock ? { clock } : {}),
      ...(merges ? { conflictResolver: appendResolver } : {}),
    });
    return {
      storage,
      another: () => assert.fail('not supported'),
      reopen: () => assert.fail('not supported'),
      close: () => storage.close(),
    };
  },
  test,
});
