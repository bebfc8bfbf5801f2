import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { crc32 } from 'node:zlib';
import {
  BlobInfo,
  blobOf,
  CorruptionError,
  encodeBlobRecord,
  FormatVersionError,
  type Oid,
  readOpaqueState,
  readRecord,
  type Storage,
  StorageError,
  strongReferences,
  type Tid,
  ZERO_TID,
} from 'holdfast/odb';
import { newTransaction } from '#src/conformance/commits.js';
import { classStatistics } from '#src/odb/class-statistics.js';
import { BlobStore } from '#src/odb/storage/blob/blob-store.js';
import { LevelStorage, type LevelStorageOptions } from '#src/odb/storage/level/level-storage.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { ManualClock } from '../../support/manual-clock.js';

let folder: string;
let storages: Storage[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-blob-store-'));
  storages = [];
});

afterEach(async () => {
  for (const storage of storages) await storage.close();
  rmSync(folder, { recursive: true, force: true });
});

async function open(options: LevelStorageOptions = {}): Promise<LevelStorage> {
  const storage = await LevelStorage.open(join(folder, 'test.fs'), options);
  storages.push(storage);
  return storage;
}

interface Stored {
  readonly oid: Oid;
  readonly info: BlobInfo;
  readonly tid: Tid;
}

async function store(
  storage: Storage,
  content: string,
  { oid, tid }: { readonly oid: Oid; readonly tid: Tid } = { oid: storage.newOid(), tid: ZERO_TID },
): Promise<Stored> {
  const file = join(folder, 'draft');
  writeFileSync(file, content);
  const info = BlobInfo.of(content.length, crc32(content));
  const transaction = newTransaction();
  storage.tpcBegin(transaction);
  storage.storeBlob(transaction, oid, tid, encodeBlobRecord(info), file);
  const { tid: stored } = await storage.commit(transaction);
  rmSync(file);
  return { oid, info, tid: stored };
}

async function problems(storage: Storage): Promise<string> {
  const found: string[] = [];
  for await (const { oid, message } of storage.verify({ references: strongReferences }))
    found.push(`${oid}: ${message}`);
  return found.join('\n');
}

const blobs = () => join(folder, 'test.fs', 'blobs');

test('the record of a blob can be told from others by its bytes; junk, and nothing, are not one', () => {
  const info = new BlobInfo('00112233445566778899aabbccddeeff', 2 ** 40 + 3, 0xfedcba98);
  const record = encodeBlobRecord(info);
  assert.deepEqual(blobOf(record), info);
  assert.equal(readRecord(record).className, 'holdfast.PersistentBlob');
  assert.deepEqual(readOpaqueState(record), { ...info });
  assert.deepEqual(strongReferences(record), []);
  assert.equal(blobOf(undefined), undefined);
  assert.equal(blobOf(new Uint8Array(0)), undefined);
  assert.equal(blobOf(record.subarray(1)), undefined);
  assert.equal(blobOf(Buffer.alloc(record.length)), undefined);
  const later = Buffer.from(record);
  later[1] = 2;
  assert.equal(blobOf(later), undefined);
  assert.throws(() => readRecord(later), FormatVersionError);
  const tooLarge = Buffer.from(record);
  tooLarge.fill(0xff, 2, 10);
  assert.equal(blobOf(tooLarge), undefined);
});

for (const kind of ['in memory', 'on disk']) {
  test(`verify tells of a content that is missing, cut off, changed, or named by nobody: ${kind}`, async () => {
    const storage = kind === 'on disk' ? await open() : new MemoryStorage();
    storages.push(storage);
    const stored = await store(storage, 'sound');
    assert.equal(await problems(storage), '');
    const path = await storage.loadBlob(stored.oid, stored.info);
    rmSync(path);
    writeFileSync(path, 'Sound');
    assert.match(await problems(storage), new RegExp(`^${stored.oid}: .* is damaged: its checksum does not match`));
    writeFileSync(path, 'so');
    await assert.rejects(storage.loadBlob(stored.oid, stored.info), CorruptionError);
    assert.match(await problems(storage), /has 2 bytes, and was stored with 5/);
    rmSync(path);
    await assert.rejects(storage.loadBlob(stored.oid, stored.info), CorruptionError);
    assert.match(await problems(storage), /is lost/);
    writeFileSync(path, 'sound');
    const orphan = join(dirname(path), BlobInfo.of(0, 0).id);
    writeFileSync(orphan, '');
    assert.match(await problems(storage), /is named by no revision: the next pack removes it$/);
    await storage.pack({ before: (storage.lastTransaction() + 1) as Tid, references: strongReferences });
    assert.ok(!existsSync(orphan));
  });
}

test('contents stand in folders made of their oids, none of which grows without bounds', async () => {
  const storage = await open();
  assert.ok(!existsSync(blobs()), 'without blobs there is nothing');
  for (const [oid, path] of [
    [1, '1/001'],
    [0xabc, '1/abc'],
    [0x1000, '2/001/000'],
    [0x1234_5678_9abc, '4/123/456/789/abc'],
    [Number.MAX_SAFE_INTEGER, '5/01f/fff/fff/fff/fff'],
  ] as const) {
    const { info } = await store(storage, 'content', { oid: oid as Oid, tid: ZERO_TID });
    const found = await storage.loadBlob(oid as Oid, info);
    assert.ok(found.startsWith(blobs()));
    assert.equal(found, join(blobs(), path, info.id));
  }
  assert.deepEqual(JSON.parse(readFileSync(join(blobs(), 'layout.json'), 'utf8')), {
    format: 'holdfast blobs',
    version: 1,
  });
  await storage.close();
});

test('the folder of a blob goes with its last content', async () => {
  const storage = await open();
  const first = await store(storage, 'first');
  const second = await store(storage, 'second', first);
  const third = await store(storage, 'third', second);
  const path = await storage.loadBlob(first.oid, third.info);
  assert.equal(readdirSync(dirname(path)).length, 3);
  await storage.pack({ before: third.tid, references: strongReferences });
  assert.deepEqual(new Set(readdirSync(dirname(path))), new Set([second.info.id, third.info.id]));
  await storage.pack({ before: (third.tid + 1) as Tid, references: strongReferences });
  assert.ok(!existsSync(dirname(path)));
  const again = await store(storage, 'again', { oid: first.oid, tid: ZERO_TID });
  assert.equal(readFileSync(await storage.loadBlob(first.oid, again.info), 'utf8'), 'again');
});

test('what leaves the history by itself takes its contents with it', async () => {
  const clock = new ManualClock(Date.now());
  const storage = await open({ clock, history: { hours: 2 } });
  const first = await store(storage, 'first');
  const second = await store(storage, 'second', first);
  const path = await storage.loadBlob(first.oid, first.info);
  clock.advance(3 * 3_600_000);
  while (existsSync(path)) {
    await new Promise(setImmediate);
    clock.advance(1000);
  }
  assert.equal(readFileSync(await storage.loadBlob(first.oid, second.info), 'utf8'), 'second');
});

test('a layout of a later version, and a folder that is not ours, are refused, and left as they are', async () => {
  await (await open()).close();
  mkdirSync(blobs());
  const stray = join(blobs(), 'stray');
  writeFileSync(stray, '');
  await assert.rejects(
    open(),
    (error: Error) => error instanceof StorageError && /is no folder of blobs.*stray/.test(error.message),
  );
  rmSync(stray);
  const marker = join(blobs(), 'layout.json');
  for (const [text, expected] of [
    ['{"format":"holdfast blobs","version":2}', FormatVersionError],
    ['{"format":"something","version":1}', StorageError],
    ['{', StorageError],
  ] as const) {
    writeFileSync(marker, text);
    await assert.rejects(open(), expected);
    assert.equal(readFileSync(marker, 'utf8'), text);
  }
  rmSync(marker);
  const storage = await open();
  await store(storage, 'content');
});

test('what a crash left is removed at the next open: drafts, and contents of transactions that did not happen', async () => {
  const storage = await open();
  const kept = await store(storage, 'kept');
  const path = await storage.loadBlob(kept.oid, kept.info);
  await storage.close();
  const draft = join(blobs(), 'tmp', 'draft');
  writeFileSync(draft, 'half');
  const lost = { oid: 77, info: BlobInfo.of(4, 0) };
  const place = join(blobs(), '1', '04d');
  mkdirSync(place);
  writeFileSync(join(place, lost.info.id), 'lost');
  const marks = [`77-${lost.info.id}`, `${kept.oid}-${kept.info.id}`, `9-${BlobInfo.of(0, 0).id}`, 'junk'];
  for (const mark of marks) writeFileSync(join(blobs(), 'pending', mark), '');
  const readOnly = await open({ readOnly: true });
  assert.ok(existsSync(draft), 'who only reads removes nothing');
  await readOnly.close();
  await (await open()).close();
  assert.ok(existsSync(path));
  assert.ok(!existsSync(place));
  assert.deepEqual([readdirSync(join(blobs(), 'tmp')), readdirSync(join(blobs(), 'pending'))], [[], []]);
});

test('statistics count the bytes of contents with those of records', async () => {
  const storage = await open();
  await store(storage, 'x'.repeat(1000));
  const other = await store(storage, 'y'.repeat(10));
  await store(storage, 'z'.repeat(500), other);
  assert.deepEqual(await classStatistics(storage), [
    { className: 'holdfast.PersistentBlob', objects: 2, bytes: 1000 + 500 + 2 * encodeBlobRecord(other.info).length },
  ]);
});

test('a storage in memory removes its files when it is closed', async () => {
  const storage = new MemoryStorage();
  const { oid, info } = await store(storage, 'content');
  const path = await storage.loadBlob(oid, info);
  await storage.close();
  assert.ok(!existsSync(path));
  assert.ok(!existsSync(storage.temporaryDirectory as string));
});

test('the content of a transaction that was found in doubt, and has not happened, goes at once, not with the next open', async () => {
  for (const happened of [false, true]) {
    const storage = await open();
    const oid = storage.newOid();
    const file = join(folder, 'draft');
    writeFileSync(file, 'in doubt');
    const info = BlobInfo.of(8, crc32('in doubt'));
    const transaction = newTransaction();
    storage.tpcBegin(transaction);
    storage.storeBlob(transaction, oid, ZERO_TID, encodeBlobRecord(info), file);
    await storage.tpcVote(transaction, { identity: '00', name: 'the other one' });
    await storage.close();
    const found = await open();
    await found.pack({ before: (found.lastTransaction() + 1) as Tid, references: strongReferences });
    const path = BlobStore.open(join(folder, 'test.fs', 'blobs')).pathOf({ oid, id: info.id });
    assert.ok(existsSync(path));
    await found.doubts.resolve(transaction.commitId, happened);
    assert.equal(existsSync(path), happened);
    await found.close();
  }
});
