import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { ClassicLevel } from 'classic-level';
import { type Oid, POSKeyError, type Storage, StorageError, type Tid, ZERO_TID } from 'holdfast/odb';
import { type LogSink, setLogSink, systemRandom } from '#src/base/index.js';
import type { Batch, Disk } from '#src/odb/storage/level/disk.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { overriding, watchedDisk } from './watched-disk.js';

const COUNT = 50;
/** Current revisions, and prepared transactions, by the first bytes of their keys. */
const CURRENT = 0x01;
const PREPARED = 0x04;

let folder: string;
let path: string;
let formerSink: LogSink;

before(() => {
  // That a write failed is logged as critical.
  formerSink = setLogSink(() => undefined);
});

after(() => {
  setLogSink(formerSink);
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-large-'));
  path = join(folder, 'test.fs');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The machine's disk, on which something comes before each write of a batch. */
function diskWith(beforeWrite: () => Promise<void>): Disk {
  return watchedDisk((level) => ({
    batch: () => {
      const batch = level.batch();
      return overriding<Batch>(batch, { write: (options) => beforeWrite().then(() => batch.write(options)) });
    },
  }));
}

function open(beforeWrite: () => Promise<void> = async () => {}): Promise<LevelStorage> {
  return LevelStorage.open(path, { batchSize: 1000, history: 'all' }, diskWith(beforeWrite));
}

/** Commits new objects of 100 bytes each; resolves to their oids. */
async function commitNew(storage: Storage, oids: readonly Oid[]): Promise<Tid> {
  const commitId = systemRandom.bytes(16);
  const transaction = { commitId, user: '', description: '', extension: new Uint8Array(0) };
  storage.tpcBegin(transaction);
  for (const oid of oids) storage.store(transaction, oid, ZERO_TID, Buffer.alloc(100, oid));
  try {
    return (await storage.commit(transaction)).tid;
  } catch (error) {
    await storage.tpcAbort(transaction);
    throw error;
  }
}

function newOids(storage: Storage, count = COUNT): Oid[] {
  return Array.from({ length: count }, () => storage.newOid());
}

async function problems(storage: Storage): Promise<string[]> {
  const messages = [];
  for await (const { message } of storage.verify({ references: () => [] })) messages.push(message);
  return messages;
}

/** How many entries there are of a kind, read past the storage. */
async function count(kind: number): Promise<number> {
  const level = new ClassicLevel<Buffer, Buffer>(join(path, 'level'), {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
  });
  const keys = await level.keys({ gte: Buffer.from([kind]), lt: Buffer.from([kind + 1]) }).all();
  await level.close();
  return keys.length;
}

test('a large transaction is written in several batches, of which nothing is seen before the last', async () => {
  let looked = 0;
  let look = () => {};
  const storage = await open(async () => look());
  const [oids, first] = [newOids(storage), storage.newOid()];
  await commitNew(storage, [first]);
  const known = storage.lastTransaction();
  look = () => {
    looked++;
    assert.equal(storage.lastTransaction(), known);
    for (const oid of oids) {
      assert.throws(() => storage.load(oid), POSKeyError);
      // Of what is written already, there is nothing before.
      try {
        assert.equal(storage.loadBefore(oid, (known + 1) as Tid), undefined);
      } catch (error) {
        assert.ok(error instanceof POSKeyError);
      }
    }
  };
  const tid = await commitNew(storage, oids);
  look = () => {};
  assert.ok(looked >= 6, `${looked} batches of at most 1000 bytes`);
  for (const oid of oids) assert.deepEqual(storage.load(oid), { data: Buffer.alloc(100, oid), tid, endTid: undefined });
  const written = [];
  for await (const { records } of storage.iterate(tid, tid)) written.push(records.length);
  assert.deepEqual(written, [COUNT]);
  assert.deepEqual(await problems(storage), []);
  await storage.close();
  assert.deepEqual([await count(CURRENT), await count(PREPARED)], [COUNT + 1, 0]);
});

test('nothing that is written ahead of its transaction is taken for damage', async () => {
  let look = async () => {};
  const storage = await open(() => look());
  const found: string[] = [];
  let isLooking = false;
  look = async () => {
    if (isLooking) return;
    isLooking = true;
    found.push(...(await problems(storage)));
    isLooking = false;
  };
  await commitNew(storage, newOids(storage));
  assert.deepEqual(found, []);
  await storage.close();
});

/** A storage in which the third batch of a large transaction was not written. */
async function failed(): Promise<{ storage: LevelStorage; oids: Oid[] }> {
  let left = Number.POSITIVE_INFINITY;
  const storage = await open(async () => {
    if (--left === 0) throw new Error('the disk is full');
  });
  const oids = newOids(storage);
  left = 3;
  await assert.rejects(
    commitNew(storage, oids),
    (error) => error instanceof StorageError && /disk is full/.test(error.message),
  );
  for (const oid of oids) assert.throws(() => storage.load(oid), POSKeyError);
  return { storage, oids };
}

test('what was written ahead of a transaction that failed goes with the next one', async () => {
  const { storage, oids } = await failed();
  const [one] = newOids(storage, 1) as [Oid];
  await commitNew(storage, [one]);
  for (const oid of oids) assert.throws(() => storage.load(oid), POSKeyError);
  assert.deepEqual(await problems(storage), []);
  await storage.close();
  assert.deepEqual([await count(CURRENT), await count(PREPARED)], [1, 0]);
});

test('what was written ahead of a transaction that failed can be written by another try', async () => {
  const { storage, oids } = await failed();
  const tid = await commitNew(storage, oids);
  for (const oid of oids) assert.equal(storage.load(oid).tid, tid);
  await storage.close();
  assert.deepEqual([await count(CURRENT), await count(PREPARED)], [COUNT, 0]);
});

test('what was written ahead of a transaction that did not come to its end is removed at the next open', async () => {
  const { storage } = await failed();
  await storage.close();
  assert.ok((await count(CURRENT)) > 5, 'something was written ahead');
  const reader = await LevelStorage.open(path, { readOnly: true });
  assert.deepEqual(await problems(reader), []);
  await reader.close();
  assert.ok((await count(CURRENT)) > 5);
  await (await open()).close();
  assert.deepEqual([await count(CURRENT), await count(PREPARED)], [0, 0]);
});
