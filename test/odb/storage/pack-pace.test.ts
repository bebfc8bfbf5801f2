import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { type Oid, type PackOptions, POSKeyError, ROOT_OID, type Tid, ZERO_TID } from 'holdfast/odb';
import { type Clock, type LogSink, setLogSink, systemClock } from '#src/base/index.js';
import { newTransaction } from '#src/conformance/commits.js';
import { CommitCoordinator } from '#src/odb/storage/commit-coordinator.js';
import type { Batch, Walk } from '#src/odb/storage/level/disk.js';
import { tidOfKey } from '#src/odb/storage/level/keyspace.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { overriding, watchedDisk } from './watched-disk.js';

const KEPT = 1500;
const GARBAGE = 1500;
/** So many transactions, and the older ones are not needed to open the database any more. */
const SMALL_TRANSACTIONS = 1100;
/** Records that are looked at, or keys that are removed, in one go. */
const WORK_MAX = 550;
/** The first bytes of keys. */
const CURRENT = 0x01;
const TRANSACTION = 0x03;

let folder: string;
let storage: LevelStorage;
let formerSink: LogSink;

/** What is seen of a pack at work. */
interface Watch {
  /** A record is looked at. */
  onWork: () => void;
  /** A key is removed. */
  onRemove: () => void;
  /** Somebody gives up the turn of the event loop. */
  onTurn: () => void;
  /** The turn comes. */
  onTurned: () => void;
  /** The entry of a transaction is read. */
  onTransaction: (tid: Tid) => void;
  /** A batch goes to the disk. */
  onWrite: (batch: { readonly isCommit: boolean; readonly removed: number; readonly isDurable: boolean }) => void;
}
let watch: Watch;

before(() => {
  // That a write failed is logged as critical.
  formerSink = setLogSink(() => undefined);
});

after(() => {
  setLogSink(formerSink);
});

beforeEach(async () => {
  watch = {
    onWork: () => {},
    onRemove: () => {},
    onTurn: () => {},
    onTurned: () => {},
    onTransaction: () => {},
    onWrite: () => {},
  };
  folder = mkdtempSync(join(tmpdir(), 'holdfast-pace-'));
  await open();
});

afterEach(async () => {
  await storage.close();
  rmSync(folder, { recursive: true, force: true });
});

async function open({ durable } = { durable: false }): Promise<void> {
  storage = await LevelStorage.open(join(folder, 'test.fs'), { clock, durable, history: 'all' }, disk);
}

const clock: Clock = {
  ...systemClock,
  turn: (fn) => {
    setImmediate(() => {
      watch.onTurned();
      fn();
    });
    watch.onTurn();
  },
};

const disk = watchedDisk((level) => ({
  getSync: (key) => {
    watch.onWork();
    if (key[0] === TRANSACTION) watch.onTransaction(tidOfKey(key));
    return level.getSync(key);
  },
  iterator: (range) => {
    const walk = level.iterator(range);
    return overriding<Walk<[Buffer, Buffer]>>(walk, {
      async *[Symbol.asyncIterator]() {
        for await (const entry of walk) {
          if (entry[0][0] === TRANSACTION) watch.onTransaction(tidOfKey(entry[0]));
          yield entry;
        }
      },
    });
  },
  get: async (key) => {
    const value = await level.get(key);
    watch.onTurned();
    return value;
  },
  batch: () => {
    const batch = level.batch();
    let isCommit = false;
    let removed = 0;
    return overriding<Batch>(batch, {
      put: (key, value) => {
        isCommit ||= key[0] === TRANSACTION;
        return batch.put(key, value);
      },
      del: (key) => {
        watch.onRemove();
        if (key[0] === CURRENT) removed++;
        return batch.del(key);
      },
      write: async (options) => {
        watch.onWrite({ isCommit, removed, isDurable: options.sync });
        await batch.write(options);
      },
    });
  },
}));

/** Objects as they are stored here: one text, and the oids that it references. */
function recordOf(text: string, references: readonly number[] = []): Buffer {
  return Buffer.from([text, ...references].join(' '));
}

/** Stores objects; those that are based on a serial are there already. */
async function commit(
  stores: readonly { readonly oid: number; readonly serial?: Tid; readonly record: Buffer }[],
  tid?: Tid,
): Promise<Tid> {
  const transaction = newTransaction({ tid });
  storage.tpcBegin(transaction);
  for (const { oid, serial, record } of stores) storage.store(transaction, oid as Oid, serial ?? ZERO_TID, record);
  try {
    return (await storage.commit(transaction)).tid;
  } catch (error) {
    await storage.tpcAbort(transaction);
    throw error;
  }
}

function commitNew(): Promise<Tid> {
  return commit([{ oid: storage.newOid(), record: recordOf('new') }]);
}

/** The root keeps the first objects, each of which was changed once; the others are garbage. */
async function fill(): Promise<void> {
  const oids = Array.from({ length: KEPT + GARBAGE }, (_, i) => i + 1);
  const kept = oids.slice(0, KEPT);
  const serial = await commit(oids.map((oid) => ({ oid, record: recordOf('first') })));
  await commit([{ oid: ROOT_OID, record: recordOf('root', kept) }]);
  await commit(kept.map((oid) => ({ oid, serial, record: recordOf('second') })));
  for (let i = 0; i < SMALL_TRANSACTIONS; i++) await commitNew();
}

function pack(options: Partial<PackOptions> = {}): Promise<void> {
  return storage.pack({
    before: (storage.lastTransaction() + 1) as Tid,
    references: (data) => {
      watch.onWork();
      return Buffer.from(data).toString().split(' ').slice(1).map(Number) as Oid[];
    },
    ...options,
  });
}

function textOf(oid: number): string {
  return Buffer.from(storage.load(oid as Oid).data).toString();
}

function requirePacked(): void {
  assert.match(textOf(ROOT_OID), /^root 1 2 /);
  for (let oid = 1; oid <= KEPT; oid++) assert.equal(textOf(oid), 'second');
  for (let oid = KEPT + 1; oid <= KEPT + GARBAGE; oid++) assert.throws(() => storage.load(oid as Oid), POSKeyError);
}

test('a commit is about to be written from when it is accepted until it is handed over', async () => {
  const turns: (() => void)[] = [];
  let isAbout: boolean | undefined;
  let end = () => {};
  const commits: CommitCoordinator = new CommitCoordinator({
    backend: {
      currentTid: () => ZERO_TID,
      revision: () => undefined,
      written: () => undefined,
      write: () => {
        isAbout = commits.isAboutToWrite;
        return new Promise((resolve) => {
          end = resolve;
        });
      },
      prepare: async () => {},
      unprepare: async () => {},
      forget: () => {},
      publish: () => {},
    },
    clock: { ...systemClock, turn: (fn) => turns.push(fn) },
    lastTid: ZERO_TID,
    resolver: () => undefined,
  });
  assert.equal(commits.isAboutToWrite, false);
  const transaction = newTransaction();
  const committing = commits.commit({ transaction, stores: [], checks: [], undos: [] });
  assert.equal(commits.isAboutToWrite, true);
  turns.shift()?.();
  // What follows the turn has happened by then.
  await Promise.resolve();
  await Promise.resolve();
  assert.equal(isAbout, false);
  assert.equal(commits.isAboutToWrite, false);
  end();
  await committing;
  assert.equal(commits.isAboutToWrite, false);
});

test('no part of a pack comes between a commit and its being handed to the disk', async () => {
  await fill();
  let commits = 0;
  let works = 0;
  /** While a commit waits to be handed over: what came before it. */
  let between: string[] | undefined;
  let committing: Promise<unknown> = Promise.resolve();
  let isCommitting = false;
  const work = (what: string) => {
    works++;
    between?.push(what);
  };
  watch.onTurn = () => {
    // Ordering: the pack is first to have its turn.
    if (isCommitting) return;
    isCommitting = true;
    commits++;
    const one = commitNew().finally(() => {
      isCommitting = false;
    });
    between = [];
    committing = Promise.all([committing, one]);
  };
  watch.onWork = () => work('a look');
  watch.onWrite = ({ isCommit }) => {
    if (!isCommit) return work('a write');
    assert.deepEqual(between, []);
    between = undefined;
  };
  await pack();
  watch.onTurn = () => {};
  await committing;
  assert.ok(commits > 100, `${commits} commits`);
  assert.ok(works > 2 * KEPT, `${works} looks`);
  requirePacked();
});

test('a pack does no more at a time than others can wait for, however much a transaction wrote', async () => {
  await fill();
  let most = 0;
  let count = 0;
  watch.onWork = () => {
    count++;
    most = Math.max(most, count);
  };
  watch.onRemove = watch.onWork;
  watch.onTurned = () => {
    count = 0;
  };
  await pack();
  assert.ok(most > 0 && most <= WORK_MAX, `${most} at a time`);
  requirePacked();
});

/** Has commits follow each other, each one accepted as the one before it is published, until what is returned is called. */
function commitOnAndOn(next: () => Promise<unknown>): () => Promise<void> {
  const committing: Promise<unknown>[] = [];
  const commitNext = () => {
    const one = next();
    // Told of in the end.
    one.catch(() => {});
    committing.push(one);
  };
  const unsubscribe = storage.subscribe({ invalidate: commitNext, invalidateAll: () => {} });
  commitNext();
  return async () => {
    unsubscribe();
    await Promise.all(committing);
  };
}

test('what one transaction superseded is dropped in several steps, and a pack goes on where another was stopped', async () => {
  await fill();
  const stop = new AbortController();
  let written = 0;
  watch.onWrite = () => {
    if (++written === 2) stop.abort();
  };
  await assert.rejects(pack({ signal: stop.signal }), { name: 'AbortError' });
  const looked = Array.from({ length: KEPT / 10 }, (_, i) => (i * 10 + 1) as Oid);
  const revisions = async () => {
    let count = 0;
    for (const oid of looked) count += (await storage.history(oid, 10)).length;
    return count;
  };
  const left = await revisions();
  assert.ok(left > looked.length && left < 2 * looked.length, `${left} revisions`);
  await storage.close();
  watch.onWrite = () => {};
  await open();
  assert.equal(await revisions(), left);
  // Those that are left can be read for as long as they are there; of the others it can be told that they were dropped.
  for await (const { message } of storage.verify({ references: () => [] })) assert.fail(message);
  await pack();
  assert.equal(await revisions(), looked.length);
  requirePacked();
  for await (const { message } of storage.verify({ references: () => [] })) assert.fail(message);
});

/** The transactions that are there, and how many records of each. */
async function transactions(): Promise<Map<Tid, number>> {
  const found = new Map<Tid, number>();
  for await (const { tid, records } of storage.iterate()) found.set(tid, records.length);
  return found;
}

test('a long transaction is read a few times, however many steps it takes to trim what it superseded', async () => {
  const oids = Array.from({ length: 5 * GARBAGE }, (_, i) => i + 1);
  const serial = await commit(oids.map((oid) => ({ oid, record: recordOf('first') })));
  const tid = await commit(oids.map((oid) => ({ oid, serial, record: recordOf('second') })));
  for (let i = 0; i < SMALL_TRANSACTIONS; i++) await commitNew();
  const reads = new Map<Tid, number>();
  watch.onTransaction = (read) => reads.set(read, (reads.get(read) ?? 0) + 1);
  let writes = 0;
  watch.onWrite = () => writes++;
  await pack();
  assert.ok(writes > oids.length / WORK_MAX, `${writes} writes`);
  for (const long of [serial, tid]) {
    const count = reads.get(long) ?? 0;
    assert.ok(count > 0 && count <= 3, `${long} was read ${count} times`);
  }
});

test('a transaction is dropped once nothing is left of it, however much it wrote', async () => {
  const oids = Array.from({ length: KEPT }, (_, i) => i + 1);
  const stores = (record: Buffer, base: Tid) => oids.map((oid) => ({ oid, serial: base, record }));
  const first = await commit(stores(recordOf('first'), ZERO_TID));
  const second = await commit(stores(recordOf('second'), first));
  // All but one are superseded.
  const third = await commit(stores(recordOf('third'), second).slice(1));
  await commit([{ oid: ROOT_OID, record: recordOf('root', oids) }]);
  for (let i = 0; i < SMALL_TRANSACTIONS; i++) await commitNew();
  await pack();
  const left = await transactions();
  assert.deepEqual(
    [first, second, third].map((tid) => left.get(tid)),
    [undefined, 1, KEPT - 1],
  );
  for await (const { message } of storage.verify({ references: () => [] })) assert.fail(message);
});

test('beside a writer, what a pack removes is written with the commits', async () => {
  await fill();
  let withCommits = 0;
  let alone = 0;
  watch.onWrite = ({ isCommit, removed }) => {
    if (isCommit) withCommits += removed;
    else alone += removed;
  };
  const end = commitOnAndOn(commitNew);
  await pack();
  await end();
  assert.deepEqual({ alone, withCommits }, { alone: 0, withCommits: GARBAGE + SMALL_TRANSACTIONS });
  requirePacked();
});

test('while nobody commits, what a pack removes is written all the same', async () => {
  await fill();
  const removed: number[] = [];
  watch.onWrite = (batch) => {
    if (batch.removed > 0) removed.push(batch.removed);
  };
  await pack();
  assert.equal(
    removed.reduce((sum, count) => sum + count, 0),
    GARBAGE + SMALL_TRANSACTIONS,
  );
  assert.ok(Math.max(...removed) <= WORK_MAX, `${removed} at a time`);
  requirePacked();
});

test('each write of a pack waits for the disk, so that no crash brings back what it removed, and takes what was removed after that', async () => {
  await fill();
  await storage.close();
  await open({ durable: true });
  const waits: boolean[] = [];
  watch.onWrite = ({ isDurable }) => waits.push(isDurable);
  await pack();
  assert.ok(waits.length > GARBAGE / WORK_MAX, `${waits.length} writes`);
  assert.ok(!waits.includes(false));
});

test('an object stays that is restored by the commit with which it would have been removed', async () => {
  await fill();
  /** Of which it has just been decided that it goes. */
  let decided: Oid | undefined;
  const restored = new Set<Oid>();
  let company = 0;
  watch.onWrite = ({ isCommit, removed }) => {
    if (isCommit && removed > 0 && restored.size > 0) company++;
  };
  const end = commitOnAndOn(() => {
    const oid = decided;
    if (oid === undefined || restored.has(oid)) return commitNew();
    restored.add(oid);
    return commit([{ oid, record: recordOf('restored') }], (storage.lastTransaction() + 1_000_000) as Tid);
  });
  let last: Oid | undefined;
  await pack({
    keeps: (oid) => {
      decided = last;
      last = oid;
      return false;
    },
  });
  await end();
  assert.ok(company > 1, `${company} commits restored one and took others with them`);
  for (let oid = (KEPT + 1) as Oid; oid <= KEPT + GARBAGE; oid++) {
    if (restored.has(oid)) assert.equal(textOf(oid), 'restored');
    else assert.throws(() => storage.load(oid), POSKeyError);
  }
});

test('a commit that fails with what a pack removes takes nothing away, and the next pack removes it', async () => {
  await fill();
  let hasFailed = false;
  watch.onWrite = ({ isCommit, removed }) => {
    if (hasFailed || !isCommit || removed === 0) return;
    hasFailed = true;
    throw new Error('IO error: no');
  };
  const end = commitOnAndOn(commitNew);
  // To take writes up again is the business of the next commit, and there is none.
  await assert.rejects(pack(), { code: 'ODB_STORAGE' });
  await assert.rejects(end(), { code: 'ODB_STORAGE' });
  assert.ok(hasFailed);
  assert.equal(textOf(KEPT + 1), 'first');
  await commitNew();
  await pack();
  requirePacked();
  for await (const { message } of storage.verify({ references: () => [] })) assert.fail(message);
});
