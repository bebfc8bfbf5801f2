import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { finished, pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, test } from 'node:test';
import { inspect } from 'node:util';
import {
  BlobError,
  ConflictError,
  ConnectionStateError,
  CorruptionError,
  DB,
  PersistentBlob,
  ReadOnlyHistoryError,
  type StorageSupports,
  type Tid,
  TransactionManager,
  transaction,
} from 'holdfast/odb';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

interface Root {
  blob: PersistentBlob;
  other: PersistentBlob;
  stream: unknown;
}

let folder: string;
let db: DB<Root>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-blob-test-'));
  db = await DB.open<Root>(join(folder, 'test.fs'));
});

afterEach(async () => {
  transaction.abort();
  await db.close();
  rmSync(folder, { recursive: true, force: true });
});

async function write(blob: PersistentBlob, content: string | Uint8Array, mode: 'w' | 'a' = 'w'): Promise<void> {
  await pipeline(Readable.from([Buffer.from(content as string)]), blob.open(mode));
}

function read(blob: PersistentBlob, mode: 'r' | 'c' = 'r'): Promise<string> {
  return text(blob.open(mode));
}

/** Commits a blob with this content, through a connection of its own. */
async function committed(content: string): Promise<void> {
  await db.transaction(({ root }) => {
    root.blob = new PersistentBlob(content);
  });
}

/** A connection with a manager of its own: another user of the database. */
function another() {
  const manager = new TransactionManager();
  return { manager, connection: db.open({ transactionManager: manager }) };
}

/** Names of the files under the folder of blobs that are no contents in their places. */
function leftOver(): string[] {
  const blobs = join(folder, 'test.fs', 'blobs');
  return ['tmp', 'pending'].flatMap((name) => {
    const path = join(blobs, name);
    return existsSync(path) ? readdirSync(path) : [];
  });
}

/** Marks of contents go once their transaction is durable; the commit does not wait for that. */
async function nothingIsLeftOver(): Promise<void> {
  const end = performance.now() + 10_000;
  while (leftOver().length > 0 && performance.now() < end) await new Promise(setImmediate);
  assert.deepEqual(leftOver(), []);
}

const isBlobError = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof BlobError, String(error));
  assert.equal(error.code, 'ODB_BLOB');
  assert.match(error.message, pattern);
  return true;
};

test('a new blob is empty; what is written to it can be read before and after the commit', async () => {
  const { root } = db.open();
  root.blob = new PersistentBlob();
  assert.equal(await read(root.blob), '');
  assert.equal(root.blob.size, 0);
  await write(root.blob, 'content');
  assert.equal(await read(root.blob), 'content');
  await transaction.commit();
  assert.equal(await read(root.blob), 'content');
  assert.equal(root.blob.size, 7);
  assert.equal(await read(db.open().root.blob), 'content');
});

test('a blob that was never written is committed as empty', async () => {
  const { root } = db.open();
  root.blob = new PersistentBlob();
  await transaction.commit();
  assert.equal(await read(root.blob), '');
  assert.equal(readFileSync(await root.blob.committed()).length, 0);
});

test('small content may be given to the constructor, as bytes or as a text', async () => {
  const bytes = Buffer.from([0, 1, 2, 255]);
  const { root } = db.open();
  root.blob = new PersistentBlob(bytes);
  bytes.fill(9);
  root.other = new PersistentBlob('süß');
  assert.deepEqual(await buffer(root.blob.open('r')), Buffer.from([0, 1, 2, 255]));
  await transaction.commit();
  assert.deepEqual(await buffer(root.blob.open('r')), Buffer.from([0, 1, 2, 255]));
  assert.equal(await read(root.other), 'süß');
  assert.throws(() => new PersistentBlob(7 as never), { name: 'TypeError', code: 'ARG_BLOB_CONTENT' });
});

test('a blob cannot be subclassed', () => {
  class Photo extends PersistentBlob {}
  assert.throws(() => new Photo(), { name: 'TypeError', code: 'ARG_BLOB_CLASS' });
});

test("'w' replaces the content, 'a' appends to what is there, committed or not", async () => {
  const { root } = db.open();
  root.blob = new PersistentBlob('one');
  await write(root.blob, ' two', 'a');
  assert.equal(await read(root.blob), 'one two');
  await transaction.commit();
  await write(root.blob, ' three', 'a');
  assert.equal(await read(root.blob), 'one two three');
  await transaction.commit();
  assert.equal(await read(root.blob), 'one two three');
  await write(root.blob, 'four');
  await write(root.blob, '!', 'a');
  await transaction.commit();
  assert.equal(await read(root.blob), 'four!');
  await nothingIsLeftOver();
});

test('an unknown mode is refused', async () => {
  assert.throws(() => new PersistentBlob().open('rw' as 'r'), { name: 'RangeError', code: 'ARG_BLOB_MODE' });
});

test('open for writing excludes all others, open for reading excludes writers; the error says which', async () => {
  const blob = new PersistentBlob('content');
  const writer = blob.open('w');
  for (const mode of ['r', 'w', 'a'] as const) {
    assert.throws(() => blob.open(mode as 'r'), isBlobError(new RegExp(`open\\('${mode}'\\).*is open for writing`)));
  }
  await assert.rejects(blob.consumeFile('nothing'), isBlobError(/is open for writing/));
  writer.end();
  await finished(writer);
  const [first, second] = [blob.open('r'), blob.open('r')];
  for (const mode of ['w', 'a'] as const) assert.throws(() => blob.open(mode), isBlobError(/is open for reading/));
  await assert.rejects(blob.consumeFile('nothing'), isBlobError(/is open for reading/));
  first.destroy();
  await once(first, 'close');
  assert.throws(() => blob.open('w'), isBlobError(/is open for reading/));
  await text(second);
  await write(blob, 'new');
  assert.equal(await read(blob), 'new');
});

test('a stream that fails, or is destroyed, leaves the former content', async () => {
  await committed('former');
  const { root } = db.open();
  const writer = root.blob.open('w');
  writer.write('half');
  writer.destroy();
  await once(writer, 'close');
  assert.equal(await read(root.blob), 'former');
  await assert.rejects(
    pipeline(async function* () {
      yield 'half';
      throw new RangeError('the source fails');
    }, root.blob.open('a')),
    RangeError,
  );
  assert.equal(await read(root.blob), 'former');
  await transaction.commit();
  assert.equal(await read(root.blob), 'former');
  await nothingIsLeftOver();
});

test('the committed content can be opened as a plain file, unaffected by later writes, and cannot be written', async () => {
  await committed('committed');
  const { root } = db.open();
  const path = await root.blob.committed();
  assert.equal(statSync(path).mode & 0o777, 0o444);
  const stream = root.blob.open('c');
  // It does not count as open.
  await write(root.blob, 'new');
  await transaction.commit();
  assert.equal(await text(stream), 'committed');
  assert.equal(readFileSync(path, 'utf8'), 'committed');
  assert.equal(await read(root.blob, 'c'), 'new');
});

test('asking for what is committed with uncommitted changes is an error, also when these are saved for a savepoint', async () => {
  await committed('committed');
  const { root } = db.open();
  const isRefused = async () => {
    assert.throws(() => root.blob.open('c'), isBlobError(/open\('c'\).*uncommitted changes/));
    await assert.rejects(root.blob.committed(), isBlobError(/committed\(\).*uncommitted changes/));
  };
  await write(root.blob, 'new');
  await isRefused();
  transaction.savepoint();
  await isRefused();
  root.blob._p_deactivate();
  await isRefused();
  transaction.abort();
  assert.equal(await read(root.blob, 'c'), 'committed');
  root.other = new PersistentBlob('new');
  assert.throws(() => root.other.open('c'), isBlobError(/uncommitted changes/));
});

test('abort of a changed blob goes back to the committed content, and removes the uncommitted one', async () => {
  await committed('committed');
  const { root } = db.open();
  await write(root.blob, 'uncommitted');
  assert.equal(leftOver().length, 1);
  transaction.abort();
  assert.equal(await read(root.blob), 'committed');
  await nothingIsLeftOver();
});

test('abort of a new blob keeps its content with the object', async () => {
  const connection = db.open();
  const blob = new PersistentBlob();
  connection.add(blob);
  await write(blob, 'kept');
  transaction.abort();
  assert.equal(await read(blob), 'kept');
  await write(blob, ' on', 'a');
  connection.root.blob = blob;
  await transaction.commit();
  assert.equal(await read(blob), 'kept on');
  await nothingIsLeftOver();
});

test('a commit that fails keeps the content of a new blob with the object, to be committed later', async () => {
  await committed('first');
  const { manager, connection } = another();
  const { root } = db.open();
  root.other = new PersistentBlob('kept');
  const { other } = root;
  await write(root.blob, 'mine');
  await manager.run(() => write(connection.root.blob, 'theirs'));
  await assert.rejects(transaction.commit(), ConflictError);
  transaction.abort();
  assert.equal(await read(other), 'kept');
  assert.equal(await read(root.blob), 'theirs');
  root.other = other;
  await transaction.commit();
  assert.equal(await read(root.other), 'kept');
  await nothingIsLeftOver();
  connection.close();
});

test('a file that was taken over before a transaction is not lost when that has to run again', async () => {
  await committed('first');
  const path = join(folder, 'upload');
  writeFileSync(path, 'uploaded');
  const upload = new PersistentBlob();
  await upload.consumeFile(path);
  let tries = 0;
  await db.transaction(async ({ root }) => {
    root.other = upload;
    await write(root.blob, 'mine');
    if (tries++ === 0) await db.transaction((another) => write(another.root.blob, 'theirs'));
  });
  assert.equal(tries, 2);
  const { root } = db.open();
  assert.deepEqual([await read(root.other), await read(root.blob)], ['uploaded', 'mine']);
  await nothingIsLeftOver();
});

test('abort, and an invalidation, end who is writing; who reads what is committed may go on', async () => {
  await committed('committed');
  const { root } = db.open();
  const writer = root.blob.open('w');
  writer.write('half');
  const failure = once(writer, 'error');
  transaction.abort();
  assert.ok((await failure)[0] instanceof BlobError);
  assert.equal(await read(root.blob), 'committed');
  const reader = root.blob.open('r');
  await db.transaction((connection) => write(connection.root.blob, 'new'));
  transaction.begin();
  assert.equal(root.blob.size, 3);
  assert.equal(await text(reader), 'committed');
  assert.equal(await read(root.blob), 'new');
  await nothingIsLeftOver();
});

test('commit with an open stream is an error that names the blob', async () => {
  await committed('former');
  const { root } = db.open();
  const writer = root.blob.open('w');
  await assert.rejects(transaction.commit(), isBlobError(/PersistentBlob oid \d+ is open for writing/));
  writer.on('error', () => undefined);
  transaction.abort();
  await write(root.blob, 'new');
  const reader = root.blob.open('r');
  assert.throws(() => transaction.savepoint(), isBlobError(/is open for reading/));
  transaction.abort();
  await assert.rejects(text(reader), BlobError);
  assert.equal(await read(root.blob), 'former');
});

test('a blob that is only read may be open while others are committed, also where changes are looked for', async () => {
  await committed('content');
  const path = join(folder, 'test.fs');
  await db.close();
  db = await DB.open<Root>(path, { detectMutations: true });
  const { root } = db.open();
  const reader = root.blob.open('r');
  root.other = new PersistentBlob('new');
  await transaction.commit();
  assert.equal(await text(reader), 'content');
});

test('an open stream cannot itself be stored', async () => {
  const { root } = db.open();
  const stream = new PersistentBlob('content').open('r');
  root.stream = stream;
  await assert.rejects(transaction.commit(), { code: 'ODB_UNREGISTERED' });
  transaction.abort();
  stream.destroy();
});

test('consumeFile takes a file over, and replaces what was there', async () => {
  const { root } = db.open();
  root.blob = new PersistentBlob('former');
  const path = join(folder, 'file');
  writeFileSync(path, 'consumed');
  await root.blob.consumeFile(path);
  assert.ok(!existsSync(path));
  assert.equal(await read(root.blob), 'consumed');
  await transaction.commit();
  assert.equal(await read(root.blob), 'consumed');
  writeFileSync(path, 'again');
  await root.blob.consumeFile(path);
  await transaction.commit();
  assert.equal(await read(root.blob), 'again');
  await nothingIsLeftOver();
});

test('consumeFile copies where the file system is another one, and leaves all as it was where both fail', async (t) => {
  const { root } = db.open();
  root.blob = new PersistentBlob('former');
  await assert.rejects(root.blob.consumeFile(join(folder, 'nothing')), { code: 'ENOENT' });
  assert.equal(await read(root.blob), 'former');
  const elsewhere = '/dev/shm';
  if (!existsSync(elsewhere) || statSync(elsewhere).dev === statSync(folder).dev) {
    t.diagnostic('no second file system here');
    return;
  }
  const other = mkdtempSync(join(elsewhere, 'holdfast-'));
  try {
    const path = join(other, 'file');
    writeFileSync(path, 'from elsewhere');
    await root.blob.consumeFile(path);
    assert.ok(!existsSync(path));
    assert.equal(await read(root.blob), 'from elsewhere');
    await transaction.commit();
    assert.equal(await read(root.blob), 'from elsewhere');
  } finally {
    rmSync(other, { recursive: true });
  }
});

test('consumeFile copies what has another name too, which nobody is to write the content by', async () => {
  const { root } = db.open();
  const [file, second, link] = ['file', 'second', 'link'].map((name) => join(folder, name)) as [string, string, string];
  writeFileSync(file, 'mine');
  linkSync(file, second);
  root.blob = new PersistentBlob();
  await root.blob.consumeFile(file);
  symlinkSync(second, link);
  root.other = new PersistentBlob();
  await root.other.consumeFile(link);
  await transaction.commit();
  assert.ok(!existsSync(file));
  assert.throws(() => lstatSync(link), { code: 'ENOENT' });
  assert.notEqual(statSync(second).mode & 0o200, 0, 'it can be written as ever');
  writeFileSync(second, 'ours');
  for (const blob of [root.blob, root.other]) {
    assert.ok(!lstatSync(await blob.committed()).isSymbolicLink());
    assert.equal(await read(blob, 'c'), 'mine');
  }
  await nothingIsLeftOver();
});

test('consumeFile takes nothing that is no file, and no content of another blob', async () => {
  await committed('content');
  const { root } = db.open();
  root.other = new PersistentBlob('former');
  const path = await root.blob.committed();
  await assert.rejects(root.other.consumeFile(path), isBlobError(/is the content of another blob/));
  await assert.rejects(root.other.consumeFile(folder), isBlobError(/is no file/));
  await transaction.commit();
  assert.deepEqual([await read(root.blob), await read(root.other)], ['content', 'former']);
});

test('of a file that is just being taken over when the transaction is aborted, nothing is changed', async () => {
  await committed('committed');
  const { root } = db.open();
  const path = join(folder, 'file');
  writeFileSync(path, 'stays');
  const consuming = root.blob.consumeFile(path);
  await assert.rejects(transaction.commit(), isBlobError(/is open for writing/));
  transaction.abort();
  // Another one may begin at once, and is not disturbed by the end of the former.
  const writer = root.blob.open('w');
  await assert.rejects(consuming, isBlobError(/was taken back/));
  assert.equal(readFileSync(path, 'utf8'), 'stays');
  assert.throws(() => root.blob.open('w'), isBlobError(/is open for writing/));
  writer.end('written');
  await finished(writer);
  await transaction.commit();
  assert.equal(await read(root.blob), 'written');
  await nothingIsLeftOver();
});

test('a file that cannot be taken over since the object cannot be changed is left where it is', async () => {
  await committed('committed');
  const past = db.open({ at: new Date() });
  const path = join(folder, 'file');
  writeFileSync(path, 'stays');
  await assert.rejects(past.root.blob.consumeFile(path), ReadOnlyHistoryError);
  assert.equal(readFileSync(path, 'utf8'), 'stays');
  assert.equal(await read(past.root.blob), 'committed');
  past.close();
});

test('of two who write the same blob the second one conflicts', async () => {
  await committed('first');
  const { manager, connection } = another();
  const { root } = db.open();
  await write(root.blob, 'mine');
  await manager.run(() => write(connection.root.blob, 'theirs'));
  await assert.rejects(transaction.commit(), ConflictError);
  transaction.abort();
  assert.equal(await read(root.blob), 'theirs');
  assert.equal(await read(connection.root.blob), 'theirs');
  connection.close();
});

test('a storage without blobs refuses them at commit', async () => {
  class WithoutBlobs extends MemoryStorage {
    override readonly supports: StorageSupports = { history: true, undo: true, pack: true, blobs: false, locks: true };
    protected override makeBlobs(): undefined {}
  }
  const storage = new WithoutBlobs();
  const other = await DB.open<Root>(storage);
  const { root } = other.open();
  root.blob = new PersistentBlob('content');
  await write(root.blob, 'more', 'a');
  await assert.rejects(transaction.commit(), { code: 'ODB_STORAGE', message: /does not support blobs/ });
  transaction.abort();
  await other.close();
});

test('savepoints go back to the content of then, and leave nothing behind', async () => {
  await committed('0');
  const { root } = db.open();
  await write(root.blob, '1', 'a');
  const first = transaction.savepoint();
  await write(root.blob, '2', 'a');
  root.other = new PersistentBlob('new');
  const other = root.other;
  const second = transaction.savepoint();
  await write(root.blob, '3', 'a');
  await write(root.other, '!', 'a');
  assert.equal(await read(root.blob), '0123');
  assert.equal(await read(another().connection.root.blob), '0', 'nobody else sees it');
  second.rollback();
  assert.deepEqual([await read(root.blob), await read(root.other)], ['012', 'new']);
  first.rollback();
  assert.equal(await read(root.blob), '01');
  assert.deepEqual([...Object.keys(root)], ['blob']);
  // Its place is gone, its content is not.
  assert.equal(other._p_oid, undefined);
  assert.equal(await read(other), 'new');
  await write(root.blob, 'x', 'a');
  first.rollback();
  assert.equal(await read(root.blob), '01');
  root.other = other;
  await transaction.commit();
  assert.deepEqual([await read(root.blob), await read(root.other)], ['01', 'new']);
  await nothingIsLeftOver();
  await write(root.blob, '9', 'a');
  transaction.savepoint();
  transaction.abort();
  assert.equal(await read(root.blob), '01');
  await nothingIsLeftOver();
});

test('undo, redo, and a look at the past give the content of then', async () => {
  await committed('first');
  const before = db.lastTransaction();
  await db.transaction(({ root }) => write(root.blob, 'second'));
  const second = db.lastTransaction();
  const connection = db.open();
  const { root } = connection;
  db.undo(second);
  const undone = (await transaction.commit()) as Tid;
  assert.equal(await read(root.blob), 'first');
  db.undo(undone);
  await transaction.commit();
  assert.equal(await read(root.blob), 'second');
  const past = db.open({ before: (before + 1) as Tid });
  assert.equal(await read(past.root.blob), 'first');
  assert.throws(() => past.root.blob.open('w'), ReadOnlyHistoryError);
  past.close();
  await db.pack();
  assert.equal(await read(root.blob), 'second');
});

test('a pack does not harm who is reading, nor what is not committed', async () => {
  await committed('first');
  const { root } = db.open();
  await write(root.blob, 'second');
  await transaction.commit();
  const large = 'x'.repeat(1_000_000);
  await write(root.blob, large);
  const reader = root.blob.open('r');
  await once(reader, 'readable');
  await db.pack();
  assert.equal(await text(reader), large);
  await transaction.commit();
  assert.equal(await read(root.blob), large);
});

test('a flipped bit is told of at the end of the stream, and a file that was cut off at its beginning', async () => {
  await committed('the content of the blob');
  const { root } = db.open();
  const path = await root.blob.committed();
  rmSync(path);
  writeFileSync(path, 'the content of the glob');
  await assert.rejects(read(root.blob), CorruptionError);
  await assert.rejects(read(root.blob, 'c'), CorruptionError);
  writeFileSync(path, 'the');
  await assert.rejects(read(root.blob), CorruptionError);
  await assert.rejects(root.blob.committed(), CorruptionError);
  const writer = root.blob.open('a');
  writer.end('more');
  await assert.rejects(finished(writer), CorruptionError);
});

test('a change of the working directory does not matter', async () => {
  const relativePath = relative(process.cwd(), join(realpathSync(folder), 'other.fs'));
  const other = await DB.open<Root>(relativePath);
  const cwd = process.cwd();
  const { root } = other.open();
  root.blob = new PersistentBlob();
  const file = join(folder, 'relative');
  writeFileSync(file, 'consumed');
  const consumed = relative(cwd, file);
  try {
    const consuming = root.blob.consumeFile(consumed);
    process.chdir('/');
    await consuming;
    await transaction.commit();
    assert.equal(await read(root.blob), 'consumed');
    await write(root.blob, ' and more', 'a');
    await transaction.commit();
    assert.equal(await read(root.blob), 'consumed and more');
  } finally {
    process.chdir(cwd);
    await other.close();
  }
});

test('a blob shows its size, and nothing is loaded to show it', async () => {
  await committed('1234');
  const connection = db.open();
  connection.cacheMinimize();
  const { root } = connection;
  assert.match(inspect(root.blob), /^<PersistentBlob oid \d+>$/);
  assert.equal(root.blob.size, 4);
  assert.match(inspect(root.blob), /^PersistentBlob \{ _p_oid: \d+, size: 4 \}$/);
  assert.equal(JSON.stringify(root.blob), '{"size":4}');
});

test('once its connection is closed a blob cannot be read any more', async () => {
  await committed('content');
  const connection = db.open();
  const { blob } = connection.root;
  assert.equal(await read(blob), 'content');
  connection.close();
  assert.throws(() => blob.open('r'), ConnectionStateError);
  assert.throws(() => blob.open('w'), ConnectionStateError);
});

test('a writer keeps back what comes faster than it can be written', async () => {
  const writer: Writable = new PersistentBlob().open('w');
  let isFull = false;
  for (let i = 0; i < 100 && !isFull; i++) isFull = !writer.write(Buffer.alloc(4096));
  assert.ok(isFull);
  writer.destroy();
  await once(writer, 'close');
});
