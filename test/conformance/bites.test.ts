import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { appendResolver, testStorage } from 'holdfast/conformance';
import type { CommitOutcome, Oid, Revision, StorageTransaction, Tid } from 'holdfast/odb';
import { type LogSink, setLogSink } from '#src/base/index.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

/** Storages that break one promise each. */
const BROKEN: Record<string, new (options: object) => MemoryStorage> = {
  'reads at a tid, not before it': class extends MemoryStorage {
    override loadBefore(oid: Oid, before: Tid): Revision | undefined {
      return super.loadBefore(oid, (before + 1) as Tid);
    }
  },
  'forgets to check what was read': class extends MemoryStorage {
    override checkCurrentSerial(): void {}
  },
  'lets the last committer win': class extends MemoryStorage {
    override store(transaction: StorageTransaction, oid: Oid, _serial: Tid, data: Uint8Array): void {
      const current = this.lastTransaction() > 0 ? this.#tidOf(oid) : 0;
      super.store(transaction, oid, current as Tid, data);
    }
    #tidOf(oid: Oid): number {
      try {
        return this.load(oid).tid;
      } catch {
        return 0;
      }
    }
  },
  'gives an oid twice': class extends MemoryStorage {
    #last: Oid | undefined;
    override newOid(): Oid {
      const again = this.#last;
      this.#last = again === undefined ? super.newOid() : undefined;
      return again ?? (this.#last as Oid);
    }
  },
  'knows no outcome': class extends MemoryStorage {
    override async outcome(): Promise<undefined> {}
  },
  'does not tell what it merged': class extends MemoryStorage {
    override async commit(transaction: StorageTransaction): Promise<CommitOutcome> {
      return { ...(await super.commit(transaction)), resolved: [] };
    }
  },
};

let formerSink: LogSink;

before(() => {
  // A merge that fails is logged.
  formerSink = setLogSink(() => undefined);
});

after(() => {
  setLogSink(formerSink);
});

for (const [fault, Broken] of Object.entries(BROKEN)) {
  test(`the suite notices a storage that ${fault}`, async () => {
    const tests: (() => Promise<void>)[] = [];
    testStorage({
      name: fault,
      supports: {
        history: true,
        clients: 'of no interest here',
        reopen: 'of no interest here',
        readOnly: 'of no interest here',
        clock: 'of no interest here',
        merges: true,
        locks: 'of no interest here',
        undo: true,
        blobs: 'of no interest here',
        pack: true,
      },
      open: async ({ merges }) => {
        const storage = new Broken(merges ? { conflictResolver: appendResolver } : {});
        return {
          storage,
          another: () => assert.fail('not supported'),
          reopen: () => assert.fail('not supported'),
          close: () => storage.close(),
        };
      },
      test: (_name, { skip }, fn) => {
        if (skip === undefined) tests.push(fn);
      },
    });
    let failures = 0;
    for (const each of tests) {
      // One that waits for ever notices too: nothing holds the event loop, so its turn is over after some of it.
      const outcome = await Promise.race([
        each().then(
          () => 'passed',
          () => 'failed',
        ),
        turns(),
      ]);
      if (outcome !== 'passed') failures++;
    }
    assert.ok(failures > 0, 'all tests passed');
    assert.ok(failures < tests.length, 'not everything is broken');
  });
}

async function turns(): Promise<string> {
  for (let i = 0; i < 3000; i++) await new Promise(setImmediate);
  return 'hangs';
}
