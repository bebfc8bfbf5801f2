import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { onlyOf, testStorage } from 'holdfast/conformance';
import { ClientStorage } from 'holdfast/zeo';
import type { Request } from './serving-process.js';

let child: ChildProcess;
let lastId = 0;

before(() => {
  child = fork(fileURLToPath(new URL('./serving-process.js', import.meta.url)));
});

after(async () => {
  const exited = once(child, 'exit');
  child.disconnect();
  await exited;
});

async function ask(request: Request): Promise<string> {
  const id = ++lastId;
  child.send({ id, request });
  for (;;) {
    const [answer] = (await once(child, 'message')) as [{ id: number; address: string; error?: string }];
    if (answer.id !== id) continue;
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.address;
  }
}

/** Runs the suite on clients of a server that has a process of its own. */
export function testClients(kind: 'MemoryStorage' | 'LevelStorage' | 'DemoStorage'): void {
  const isOnDisk = kind === 'LevelStorage';
  const isDemo = kind === 'DemoStorage';
  testStorage({
    name: `ClientStorage of a ${kind}`,
    supports: {
      history: true,
      clients: true,
      reopen: isOnDisk || 'what is in memory is gone with it',
      readOnly: isOnDisk || 'what is in memory is empty at first, so there would be nothing to read',
      clock: 'a client has the clock of its server',
      merges: true,
      locks: true,
      undo: true,
      blobs: true,
      pack: true,
    },
    open: async ({ merges = false }) => {
      const folder = isOnDisk ? mkdtempSync(join(tmpdir(), 'holdfast-conformance-')) : undefined;
      const path = folder && join(folder, 'test.fs');
      let address = await ask({ kind: 'open', path, isDemo, merges, readOnly: false });
      let clients: ClientStorage[] = [];
      const another = async () => {
        const client = await ClientStorage.connect(address);
        clients.push(client);
        return client;
      };
      const end = async () => {
        await Promise.all(clients.map((client) => client.close()));
        clients = [];
        await ask({ kind: 'close', address });
      };
      return {
        storage: await another(),
        another,
        reopen: async (again = {}) => {
          await end();
          address = await ask({
            kind: 'open',
            path,
            isDemo,
            merges: again.merges ?? merges,
            readOnly: again.readOnly ?? false,
          });
          return another();
        },
        close: async () => {
          await end();
          if (folder) rmSync(folder, { recursive: true, force: true });
        },
      };
    },
    // What is above a storage of ours, and served in the same way as it, differs in what looks into records or at the past.
    test: kind === 'DemoStorage' ? onlyOf(/: (?:conflicts|races|undo|pack|blobs|objects): /, test) : test,
  });
}
