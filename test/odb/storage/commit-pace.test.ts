import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { ConflictError, type Oid, StorageError, type StorageTransaction, type Tid, ZERO_TID } from 'holdfast/odb';
import { type Clock, systemClock } from '#src/base/index.js';
import { newTransaction } from '#src/conformance/commits.js';
import type { Batch } from '#src/odb/storage/level/disk.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { overriding, watchedDisk } from './watched-disk.js';

/** More than what is known of current revisions without a look at the disk. */
const OBJECTS = 120_000;
/** What is read or put into a batch in one go. */
const WORK_MAX = 600;

let folder: string;
let storage: LevelStorage;
/** Called whenever the event loop is to have a turn; what it returns is waited for before. */
let onTurn: () => Promise<unknown> | undefined;
let work = 0;
let most = 0;
let reads = 0;

const clock: Clock = {
  ...systemClock,
  turn: (fn) => {
    work = 0;
    const held = onTurn();
    if (held) held.then(fn);
    else setImmediate(fn);
  },
};

function note(): void {
  work++;
  most = Math.max(most, work);
}

const disk = watchedDisk((level) => ({
  getSync: (key) => {
    note();
    reads++;
    return level.getSync(key);
  },
  batch: () => {
    const batch = level.batch();
    return overriding<Batch>(batch, {
      put: (key, value) => {
        note();
        return batch.put(key, value);
      },
    });
  },
}));

beforeEach(async () => {
  onTurn = () => undefined;
  folder = mkdtempSync(join(tmpdir(), 'holdfast-commit-pace-'));
  storage = await LevelStorage.open(join(folder, 'test.fs'), { clock, durable: false, history: 'all' }, disk);
});

afterEach(async () => {
  await storage.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Begins a transaction that stores objects, and hands it over to be committed. */
function storing(oids: Iterable<number>, serial: Tid, text: string): StorageTransaction {
  const transaction = newTransaction();
  storage.tpcBegin(transaction);
  for (const oid of oids) storage.store(transaction, oid as Oid, serial, Buffer.from(text));
  return transaction;
}

async function commit(oids: Iterable<number>, serial: Tid, text: string): Promise<Tid> {
  const transaction = storing(oids, serial, text);
  try {
    return (await storage.commit(transaction)).tid;
  } catch (error) {
    await storage.tpcAbort(transaction);
    throw error;
  }
}

function* all(): Generator<number> {
  for (let oid = 1; oid <= OBJECTS; oid++) yield oid;
}

function* others(): Generator<number> {
  for (let oid = 1; oid <= OBJECTS; oid++) yield OBJECTS + oid;
}

function textOf(oid: number): string {
  return Buffer.from(storage.load(oid as Oid).data).toString();
}

/** Has something happen while the large transaction, which is committed next, looks its objects up, and has come some way. */
function amidLookups(then: () => Promise<unknown> | undefined): void {
  const before = reads;
  onTurn = () => {
    if (reads - before < OBJECTS / 10) return undefined;
    onTurn = () => undefined;
    return then();
  };
}

test('a commit does no more at a time than others can wait for, however many objects it changes', async () => {
  const serial = await commit(all(), ZERO_TID, 'first');
  work = 0;
  most = 0;
  await commit(all(), serial, 'second');
  assert.ok(most > 0 && most <= WORK_MAX, `${most} at a time`);
  // A vote, too.
  const transaction = storing(all(), storage.lastTransaction(), 'third');
  work = 0;
  most = 0;
  await storage.tpcVote(transaction);
  await storage.tpcFinish(transaction);
  assert.ok(most > 0 && most <= WORK_MAX, `${most} at a time`);
  assert.equal(textOf(OBJECTS), 'third');
});

test('a large transaction conflicts with what was committed while it looked its objects up', async () => {
  const serial = await commit(all(), ZERO_TID, 'first');
  let tid: Tid | undefined;
  amidLookups(async () => {
    await commit([1], serial, 'small');
    // So many that the small one is not among those whose tids are remembered.
    const other = await commit(others(), ZERO_TID, 'other');
    tid = await commit(others(), other, 'other');
  });
  await assert.rejects(commit(all(), serial, 'large'), ConflictError);
  assert.deepEqual([1, 2].map(textOf), ['small', 'first']);
  assert.equal(storage.lastTransaction(), tid);
});

test('of all that a very large transaction changed, the new revision is current', async () => {
  const first = await commit([1], ZERO_TID, 'first');
  const transaction = storing([1], first, 'second');
  for (const oid of others()) storage.store(transaction, oid as Oid, ZERO_TID, Buffer.from('second'));
  const { tid } = await storage.commit(transaction);
  await assert.rejects(commit([1], first, 'too late'), (error) => {
    assert.ok(error instanceof ConflictError);
    assert.equal(error.committedSerial, tid);
    return true;
  });
  await commit([1], tid, 'third');
  assert.equal(textOf(1), 'third');
});

test('a storage that is closed while a large transaction looks its objects up commits none of it', async () => {
  const serial = await commit(all(), ZERO_TID, 'first');
  let closing: Promise<void> | undefined;
  amidLookups(() => {
    closing = storage.close();
    return undefined;
  });
  await assert.rejects(storage.commit(storing(all(), serial, 'large')), StorageError);
  assert.ok(closing);
  await closing;
  storage = await LevelStorage.open(join(folder, 'test.fs'), {}, disk);
  assert.equal(textOf(1), 'first');
  assert.equal(storage.lastTransaction(), serial);
});
