import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { type Oid, type PackOptions, POSKeyError, ROOT_OID, type Tid, ZERO_TID } from 'holdfast/odb';
import { type LogSink, setLogSink } from '#src/base/index.js';
import { newTransaction } from '#src/conformance/commits.js';
import { machineDisk } from '#src/odb/storage/level/directory.js';
import type { Disk } from '#src/odb/storage/level/disk.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { overriding } from './watched-disk.js';

/** Objects: more than a pack reads in the thread of the storage. Of two that follow each other, the root keeps one. */
const OBJECTS = 30_000;
const KEPT = Array.from({ length: OBJECTS / 2 }, (_, i) => i * 2 + 1);
const GARBAGE = KEPT.map((oid) => oid + 1);

let folder: string;
let storage: LevelStorage;
let threads: Worker[];
let warnings: string[];
let formerSink: LogSink;

const noteThread = (thread: Worker) => threads.push(thread);

before(() => {
  formerSink = setLogSink(({ level, message }) => {
    if (level === 'warning') warnings.push(message);
  });
  process.on('worker', noteThread);
});

after(() => {
  setLogSink(formerSink);
  process.off('worker', noteThread);
});

beforeEach(async () => {
  [threads, warnings] = [[], []];
  folder = mkdtempSync(join(tmpdir(), 'holdfast-scan-'));
  await open();
  await commit(Array.from({ length: OBJECTS }, (_, i) => ({ oid: i + 1, record: recordOf('first') })));
  await commit([{ oid: ROOT_OID, record: recordOf('root', KEPT) }]);
});

afterEach(async () => {
  await storage.close();
  rmSync(folder, { recursive: true, force: true });
});

async function open(disk: Disk = machineDisk): Promise<void> {
  storage = await LevelStorage.open(join(folder, 'test.fs'), { durable: false, history: 'all' }, disk);
}

/** Objects as they are stored here: one text, and the oids that it references. */
function recordOf(text: string, references: readonly number[] = []): Buffer {
  return Buffer.from([text, ...references].join(' '));
}

async function commit(
  stores: readonly { readonly oid: number; readonly serial?: Tid; readonly record: Buffer }[],
): Promise<Tid> {
  const transaction = newTransaction();
  storage.tpcBegin(transaction);
  for (const { oid, serial, record } of stores) storage.store(transaction, oid as Oid, serial ?? ZERO_TID, record);
  return (await storage.commit(transaction)).tid;
}

function pack(options: Partial<PackOptions> = {}): Promise<void> {
  return storage.pack({
    before: (storage.lastTransaction() + 1) as Tid,
    references: (data) => Buffer.from(data).toString().split(' ').slice(1).map(Number) as Oid[],
    ...options,
  });
}

function textOf(oid: number): string {
  return Buffer.from(storage.load(oid as Oid).data).toString();
}

function requirePacked(): void {
  for (const oid of KEPT) assert.equal(textOf(oid), 'first');
  for (const oid of GARBAGE) assert.throws(() => storage.load(oid as Oid), POSKeyError);
}

async function requireSound(): Promise<void> {
  for await (const { message } of storage.verify({ references: () => [] })) assert.fail(message);
}

/** Calls `then` once, while a thread reads. */
function whileRead(then: () => void): PackOptions['onProgress'] {
  let isDone = false;
  return ({ phase }) => {
    if (isDone || phase !== 'mark' || threads.length === 0) return;
    isDone = true;
    then();
  };
}

test('a large database is read by a thread, and exactly the garbage is dropped', async () => {
  await pack();
  assert.ok(threads.length > 0);
  assert.deepEqual(warnings, []);
  requirePacked();
  await requireSound();
});

test('what is moved to where the walk has been, from where the thread still reads, stays', async () => {
  const [early, late, moved] = [KEPT[0] as Oid, KEPT.at(-1) as Oid, GARBAGE.at(-1) as Oid];
  let serial = await commit([{ oid: late, serial: storage.load(late).tid, record: recordOf('late', [moved]) }]);
  let moving: Promise<unknown> | undefined;
  const { tid } = storage.load(early);
  await pack({
    onProgress: whileRead(() => {
      moving = commit([
        { oid: early, serial: tid, record: recordOf('early', [moved]) },
        { oid: late, serial, record: recordOf('late') },
      ]).then((done) => {
        serial = done;
      });
    }),
  });
  assert.ok(moving);
  await moving;
  assert.equal(storage.load(late).tid, serial);
  assert.equal(textOf(early), `early ${moved}`);
  assert.equal(textOf(moved), 'first');
  assert.throws(() => storage.load(GARBAGE[0] as Oid), POSKeyError);
  await requireSound();
});

test('a pack that is stopped while the thread reads lets the directory go, and the next one does the rest', async () => {
  const stop = new AbortController();
  await assert.rejects(pack({ signal: stop.signal, onProgress: whileRead(() => stop.abort()) }), {
    name: 'AbortError',
  });
  // Of a thread that has ended, the number is -1.
  assert.deepEqual(
    threads.map(({ threadId }) => threadId),
    [-1],
  );
  await storage.close();
  await open();
  assert.equal(textOf(GARBAGE[0] as number), 'first');
  await pack();
  requirePacked();
});

test('a storage that is closed while the thread reads lets the directory go', async () => {
  let closing: Promise<void> | undefined;
  const packing = pack({
    onProgress: whileRead(() => {
      closing = storage.close();
    }),
  });
  await Promise.allSettled([packing]);
  assert.ok(closing);
  await closing;
  assert.deepEqual(
    threads.map(({ threadId }) => threadId),
    threads.map(() => -1),
  );
  await open();
  await pack();
  requirePacked();
});

test('where no thread can read the directory, the pack reads it itself', async () => {
  await storage.close();
  await open({
    hold: (place, options) => overriding(machineDisk.hold(place, options), { levelFolder: join(folder, 'nowhere') }),
  });
  await pack();
  assert.deepEqual(warnings, ['the thread that reads for the pack has failed; the pack goes on without it']);
  requirePacked();
});
