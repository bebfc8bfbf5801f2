import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { onlyOf, testStorage } from 'holdfast/conformance';
import type { Storage } from 'holdfast/odb';
import { openAttached } from '#src/odb/remote/index.js';
import { Owner } from '../odb/remote/owner.js';

/** Threads whose storage is closed. */
const idle: Worker[] = [];
after(() => Promise.all(idle.map((worker) => worker.terminate())));

for (const kind of ['MemoryStorage', 'LevelStorage', 'hexadecimal LevelStorage'] as const) {
  const isOnDisk = kind !== 'MemoryStorage';
  testStorage({
    name: `a view of another thread’s ${kind}`,
    supports: {
      history: true,
      clients: true,
      reopen: isOnDisk || 'what is in memory is gone with it',
      readOnly: 'whether it is read only is up to the thread that owns it',
      clock: 'a view has the clock of the thread that owns the storage',
      merges: true,
      locks: true,
      undo: true,
      blobs: true,
      pack: true,
    },
    open: async ({ merges, objects }) => {
      const folder = isOnDisk ? mkdtempSync(join(tmpdir(), 'holdfast-conformance-')) : undefined;
      const options = {
        resolves: objects ? ('records' as const) : (merges ?? false),
        isHex: kind === 'hexadecimal LevelStorage',
        ...(folder ? { path: join(folder, 'test.fs') } : {}),
      };
      let owner = await Owner.start(options, idle);
      let views: Storage[] = [];
      const another = async () => {
        const view = await openAttached(await owner.attach());
        views.push(view);
        return view;
      };
      const end = async () => {
        await Promise.all(views.map((view) => view.close()));
        views = [];
        await owner.closeStorage();
        idle.push(owner.worker);
      };
      return {
        storage: await another(),
        another,
        reopen: async (again = {}) => {
          await end();
          owner = await Owner.start({ ...options, resolves: again.merges ?? options.resolves }, idle);
          return another();
        },
        close: async () => {
          await end();
          if (folder) rmSync(folder, { recursive: true, force: true });
        },
      };
    },
    // What is above a storage of ours, and served in the same way as it, differs in what looks into records or at the past.
    test: kind === 'hexadecimal LevelStorage' ? onlyOf(/: (?:conflicts|races|undo|pack|blobs|objects): /, test) : test,
  });
}
