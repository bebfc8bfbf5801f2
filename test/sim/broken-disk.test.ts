import assert from 'node:assert/strict';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { DB, PersistentBlob, StorageError, strongReferences, type Tid, TransactionManager } from 'holdfast/odb';
import { setLogSink } from '#src/base/index.js';
import { LevelStorage, type LevelStorageOptions } from '#src/odb/storage/level/level-storage.js';
import { Scheduler } from './scheduler.js';
import { SimDisk } from './sim-disk.js';
import { noFaults } from './sim-level.js';

/** A database on a simulated disk, and what makes time go on there. */
class Broken {
  readonly scheduler: Scheduler;
  readonly disk: SimDisk;
  readonly manager: TransactionManager;
  storage!: LevelStorage;
  db!: DB;

  constructor(seed = 1) {
    this.scheduler = new Scheduler(seed);
    this.disk = new SimDisk(this.scheduler);
    this.manager = new TransactionManager({ clock: this.scheduler });
  }

  /** Takes steps until the promise settles. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    promise.then(
      () => {
        isSettled = true;
      },
      () => {
        isSettled = true;
      },
    );
    while (!isSettled) assert.ok((await this.scheduler.step()) || isSettled, 'nobody waits for what will never come');
    return promise;
  }

  async open(options: LevelStorageOptions = {}): Promise<void> {
    this.storage = await this.until(LevelStorage.open('simulated', { clock: this.scheduler, ...options }, this.disk));
    // Contents that are to be stored are files of the machine.
    Object.defineProperty(this.storage, 'temporaryDirectory', { value: undefined });
    this.db = await this.until(DB.open(this.storage));
  }
}

function brokenTest(name: string, fn: (broken: Broken) => Promise<void>): void {
  test(name, async () => {
    const formerSink = setLogSink(() => {});
    const broken = new Broken();
    try {
      await broken.open();
      await fn(broken);
      Object.assign(broken.disk.faults, noFaults());
      await broken.until(broken.db.close());
    } finally {
      setLogSink(formerSink);
    }
  });
}

brokenTest('a connection can be used again after a finish that failed', async (broken) => {
  const { manager, db, disk } = broken;
  const connection = db.open({ transactionManager: manager });
  connection.root['name'] = 'a';
  manager.join({
    sortKey: () => '~~',
    abort: () => undefined,
    tpcBegin: () => undefined,
    commit: () => undefined,
    tpcVote: async () => {
      disk.faults.appendFails = 1;
    },
    tpcFinish: async () => undefined,
    tpcAbort: async () => undefined,
  });
  await assert.rejects(broken.until(manager.commit()), StorageError);
  manager.abort();
  disk.faults.appendFails = 0;
  assert.equal(connection.root['name'], undefined);
  connection.root['name'] = 'b';
  await broken.until(manager.commit());
  assert.equal(connection.root['name'], 'b');
  connection.close();
});

brokenTest(
  'what became of a commit whose sync failed is told when it is known: after the next open',
  async (broken) => {
    const { manager, disk, scheduler } = broken;
    const commitIds: Uint8Array[] = [];
    const { tpcBegin } = broken.storage;
    broken.storage.tpcBegin = (transaction) => {
      commitIds.push(transaction.commitId);
      tpcBegin.call(broken.storage, transaction);
    };
    const connection = broken.db.open({ transactionManager: manager });
    disk.faults.syncFails = 1;
    connection.root['name'] = 'a';
    await assert.rejects(broken.until(manager.commit()), StorageError);
    manager.abort();
    const [commitId] = commitIds as [Uint8Array];
    await assert.rejects(broken.until(broken.storage.outcome(commitId)), StorageError);
    scheduler.forget();
    disk.crash('machine');
    await broken.open();
    const found = broken.db.open({ transactionManager: new TransactionManager() }).root['name'];
    const outcome = await broken.until(broken.storage.outcome(commitId));
    assert.equal(found, outcome === undefined ? undefined : 'a');
  },
);

brokenTest('what became of a commit that could not be appended is told at once', async (broken) => {
  const { manager, disk, storage } = broken;
  const commitId = new Uint8Array(16).fill(7);
  const connection = broken.db.open({ transactionManager: manager });
  const transaction = { commitId, user: '', description: '', extension: new Uint8Array(0) };
  disk.faults.appendTears = 1;
  storage.tpcBegin(transaction);
  storage.store(transaction, storage.newOid(), 0 as never, Buffer.from('x'));
  await assert.rejects(broken.until(storage.commit(transaction)), StorageError);
  await storage.tpcAbort(transaction);
  disk.faults.appendTears = 0;
  assert.equal(await broken.until(storage.outcome(commitId)), undefined);
  connection.root['name'] = 'a';
  await broken.until(manager.commit());
  connection.close();
});

brokenTest('a pack that meets a broken disk says so as a StorageError', async (broken) => {
  const { disk, db } = broken;
  for (const fault of ['readFails', 'appendFails'] as const) {
    disk.faults[fault] = 1;
    await assert.rejects(broken.until(db.pack()), (error: Error) => {
      assert.ok(error instanceof StorageError && error.cause instanceof Error);
      return true;
    });
    disk.faults[fault] = 0;
  }
});

brokenTest(
  'a database that cannot be opened while its disk is full, or fails, is not said to be damaged',
  async (broken) => {
    const { disk, db } = broken;
    await broken.until(db.close());
    for (const fault of [{ isFull: true }, { readFails: 1 }]) {
      Object.assign(disk.faults, fault);
      await assert.rejects(broken.open(), (error: { readonly code?: string }) => error.code === 'ODB_STORAGE');
      disk.heal();
    }
    await broken.open();
  },
);

brokenTest('a disk that cannot be read is told of by whatever needs it', async (broken) => {
  const { disk, storage } = broken;
  const tid = storage.lastTransaction();
  const references = strongReferences;
  const drain = async (all: AsyncIterable<unknown>) => {
    for await (const _ of all);
  };
  // What is read at once does not fail in a simulation.
  const reads: Record<string, () => unknown> = {
    outcome: () => storage.outcome(Buffer.alloc(16)),
    undoLog: () => storage.undoLog(),
    iterate: () => drain(storage.iterate()),
    pack: () => storage.pack({ before: (tid + 1) as Tid, references }),
  };
  for (const [name, read] of Object.entries(reads)) {
    disk.faults.readFails = 1;
    const failure = await broken.until((async () => read())().catch((error: unknown) => error));
    disk.heal();
    assert.ok(failure instanceof StorageError, `${name}: ${String(failure)}`);
    await broken.until((async () => read())());
  }
});

test('where commits do not wait for the disk, a content goes only once it is certain that it is superseded', async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const broken = new Broken(seed);
    const { scheduler, manager, disk } = broken;
    await broken.open({ durable: false });
    const connection = broken.db.open({ transactionManager: manager });
    const blob = new PersistentBlob(Buffer.from('first'));
    connection.root['blob'] = blob;
    await broken.until(manager.commit());
    await broken.until(broken.storage.pack({ before: 1 as Tid, references: strongReferences }));
    await pipeline([Buffer.from('second')], blob.open('w'));
    await broken.until(manager.commit());
    broken.db.pack().catch(() => undefined);
    // Each step ends when all that it settled has been dealt with: before the first, the end of the process would cut off nothing.
    for (let steps = 1 + scheduler.below(40); steps > 0; steps--) await scheduler.step();
    scheduler.forget();
    disk.crash('machine');
    await broken.open();
    const found = broken.db.open({ transactionManager: new TransactionManager() }).root['blob'] as PersistentBlob;
    const path = await broken.until(found.committed());
    assert.match(String(disk.blobs.read(path)), /^(first|second)$/, `seed ${seed}`);
    await broken.until(broken.db.close());
  }
});
