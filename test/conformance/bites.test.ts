import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { appendResolver, onlyOf, type StorageSuite, testStorage } from 'holdfast/conformance';
import {
  type CommitOutcome,
  type Oid,
  type PackOptions,
  POSKeyError,
  type Revision,
  type Storage,
  type StorageLocks,
  type StorageTransaction,
  type Tid,
  type TransactionRecord,
} from 'holdfast/odb';
import { type LogSink, setLogSink } from '#src/base/index.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

/** Storages that break one promise each, by the groups of the suite that are to notice. */
const BROKEN: Record<string, Record<string, new (options: object) => MemoryStorage>> = {
  'commit|revisions|conflicts|copy': {
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
    'tells of what was committed since': class extends MemoryStorage {
      override async *iterate(from?: Tid, to?: Tid): AsyncGenerator<TransactionRecord> {
        let last = from;
        for await (const each of super.iterate(from, to)) {
          last = (each.tid + 1) as Tid;
          yield each;
        }
        yield* super.iterate(last, to);
      }
    },
    'leaves out the first of the transactions that are asked for': class extends MemoryStorage {
      override iterate(from?: Tid, to?: Tid): AsyncGenerator<TransactionRecord> {
        return super.iterate(from === undefined ? from : ((from + 1) as Tid), to);
      }
    },
    'gives copies tids of its own': class extends MemoryStorage {
      override tpcBegin(transaction: StorageTransaction): void {
        Reflect.deleteProperty(transaction, 'tid');
        super.tpcBegin(transaction);
      }
    },
    'gives an oid that was stored from elsewhere': class extends MemoryStorage {
      #last = 0;
      override newOid(): Oid {
        return ++this.#last as Oid;
      }
    },
    'says of nothing who removed it': class extends MemoryStorage {
      override load(oid: Oid): Revision {
        try {
          return super.load(oid);
        } catch (error) {
          throw error instanceof POSKeyError ? new POSKeyError(oid) : error;
        }
      }
    },
    'does not tell what it merged': class extends MemoryStorage {
      override async commit(transaction: StorageTransaction): Promise<CommitOutcome> {
        return { ...(await super.commit(transaction)), resolved: [] };
      }
    },
  },
  'undo|objects': {
    'undoes nothing': class extends MemoryStorage {
      override undo(): void {}
    },
  },
  pack: {
    'packs away what is reached': class extends MemoryStorage {
      override pack(options: PackOptions): Promise<void> {
        return super.pack({ ...options, references: () => [] });
      }
    },
    'packs away what is young': class extends MemoryStorage {
      override pack(options: PackOptions): Promise<void> {
        return super.pack({ ...options, before: (this.lastTransaction() + 1) as Tid });
      }
    },
    'never packs': class extends MemoryStorage {
      override async pack(): Promise<void> {}
    },
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

/** Locks that break one promise each. */
const BROKEN_LOCKS: Record<string, (locks: StorageLocks) => Partial<StorageLocks>> = {
  'gives a lock to everybody': () => ({ tryLock: async () => true, lock: async () => undefined }),
  'does not wait for a lock': () => ({ lock: async () => undefined }),
  'keeps a lock that is given up': () => ({ unlock: async () => undefined }),
  'tells no watcher': () => ({ watch: () => () => undefined }),
  'cannot be told to wait no more': (locks) => ({ lock: (name) => locks.lock(name) }),
};

/** A storage with clients that have but locks of their own. */
function withLocks(breaks: (locks: StorageLocks) => Partial<StorageLocks>): StorageSuite['open'] {
  return async () => {
    const storage = new MemoryStorage();
    const client = (): Storage => {
      const session = storage.lockSession();
      const locks: StorageLocks = {
        tryLock: (name) => session.tryLock(name),
        lock: (name, options) => session.lock(name, options),
        unlock: (name) => session.unlock(name),
        watch: (name, fn) => session.watch(name, fn),
      };
      return {
        supports: storage.supports,
        locks: { ...locks, ...breaks(locks) },
        close: async () => session.close(),
      } as Storage;
    };
    return {
      storage: client(),
      another: async () => client(),
      reopen: () => assert.fail('not supported'),
      close: () => storage.close(),
    };
  };
}

const NOT_HERE = 'of no interest here';

/** Runs a suite; returns how many tests failed, of how many. */
async function failuresOf(
  suite: Pick<StorageSuite, 'open'> & { readonly clients: true | string; readonly pattern: RegExp },
): Promise<readonly [failures: number, tests: number]> {
  const tests: (() => Promise<void>)[] = [];
  const test: StorageSuite['test'] = (_name, { skip }, fn) => {
    if (skip === undefined) tests.push(fn);
  };
  testStorage({
    name: 'broken',
    supports: {
      history: true,
      clients: suite.clients,
      reopen: NOT_HERE,
      readOnly: NOT_HERE,
      clock: NOT_HERE,
      merges: true,
      locks: suite.clients === true || NOT_HERE,
      undo: true,
      pack: true,
      blobs: NOT_HERE,
    },
    open: suite.open,
    test: onlyOf(suite.pattern, test),
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
  return [failures, tests.length];
}

function openOf(Storage: new (options: object) => MemoryStorage): StorageSuite['open'] {
  return async ({ merges }) => {
    const storage = new Storage(merges ? { conflictResolver: appendResolver } : {});
    return {
      storage,
      another: () => assert.fail('not supported'),
      reopen: () => assert.fail('not supported'),
      close: () => storage.close(),
    };
  };
}

for (const [groups, faults] of Object.entries(BROKEN)) {
  const pattern = new RegExp(`: (?:${groups}): `);
  for (const [fault, Broken] of Object.entries(faults)) {
    test(`the suite notices a storage that ${fault}`, async () => {
      const [failures, tests] = await failuresOf({ open: openOf(Broken), clients: NOT_HERE, pattern });
      assert.ok(failures > 0, 'all tests passed');
      assert.ok(failures < tests, 'not everything is broken');
    });
  }
}

for (const [fault, breaks] of Object.entries(BROKEN_LOCKS)) {
  test(`the suite notices a storage that ${fault}`, async () => {
    const [failures] = await failuresOf({ open: withLocks(breaks), clients: true, pattern: /: locks: / });
    assert.ok(failures > 0, 'all tests passed');
  });
}

test('the suite finds nothing wrong where nothing is', async () => {
  const sound = await failuresOf({
    open: openOf(MemoryStorage),
    clients: NOT_HERE,
    pattern: /: (?:commit|revisions|conflicts|copy|undo|pack|objects): /,
  });
  assert.equal(sound[0], 0);
  const [failures, tests] = await failuresOf({ open: withLocks(() => ({})), clients: true, pattern: /: locks: / });
  assert.deepEqual([failures, tests], [0, 8]);
});

async function turns(): Promise<string> {
  for (let i = 0; i < 3000; i++) await new Promise(setImmediate);
  return 'hangs';
}
