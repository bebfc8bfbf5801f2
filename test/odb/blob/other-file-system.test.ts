import assert from 'node:assert/strict';
import fsSync, { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, test } from 'node:test';
import { DB, PersistentBlob, transaction } from 'holdfast/odb';

interface Root {
  blob: PersistentBlob;
}

let folder: string;
let db: DB<Root>;
/** A file that stands, as far as the process can tell, on another file system than the database. */
let path: string;
const real = { ...fs };
const { rmSync } = fsSync;

/** An error of the system. */
function failure(code: string): Error {
  return Object.assign(new Error(`${code}: a test says so`), { code });
}

/** Has calls of the system that concern `path` do something else. */
function intercept(calls: Partial<Pick<typeof fs, 'rename' | 'copyFile' | 'rm' | 'link'>>): void {
  Object.assign(fs, calls);
  syncBuiltinESMExports();
}

function interceptRemoval(remove: typeof rmSync): void {
  fsSync.rmSync = remove;
  syncBuiltinESMExports();
}

const isElsewhere = (name: unknown) => String(name).startsWith(join(folder, 'elsewhere'));

/** Neither renamed nor linked to and fro. */
const apart: Parameters<typeof intercept>[0] = {
  rename: async (from, to) => {
    if (isElsewhere(from) !== isElsewhere(to)) throw failure('EXDEV');
    await real.rename(from, to);
  },
  link: async (from, to) => {
    if (isElsewhere(from) !== isElsewhere(to)) throw failure('EXDEV');
    await real.link(from, to);
  },
};

/** The disk is full in the middle of a copy. */
const copyFails: Parameters<typeof intercept>[0] = {
  copyFile: async (from, to) => {
    writeFileSync(to, readFileSync(from).subarray(0, 5));
    throw failure('ENOSPC');
  },
};

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-blob-test-'));
  db = await DB.open<Root>(join(folder, 'test.fs'));
  path = join(mkdtempSync(join(folder, 'elsewhere-')), 'file');
  writeFileSync(path, 'from elsewhere');
});

afterEach(async () => {
  intercept(real);
  interceptRemoval(rmSync);
  transaction.abort();
  await db.close();
  rmSync(folder, { recursive: true, force: true });
});

function temporaryFiles(): string[] {
  return ['tmp', 'pending'].flatMap((name) => {
    const each = join(folder, 'test.fs', 'blobs', name);
    return existsSync(each) ? readdirSync(each) : [];
  });
}

async function committedBlob(): Promise<PersistentBlob> {
  const { root } = db.open();
  root.blob = new PersistentBlob('former');
  await transaction.commit();
  while (temporaryFiles().length > 0) await real.access(folder);
  return root.blob;
}

test('a file of another file system is copied, and is gone there', async () => {
  const blob = await committedBlob();
  intercept(apart);
  await blob.consumeFile(path);
  assert.ok(!existsSync(path));
  await transaction.commit();
  assert.equal(await text(blob.open('c')), 'from elsewhere');
});

test('where neither a move nor a copy succeeds, the error is told, nothing is left, and both contents are as they were', async () => {
  const blob = await committedBlob();
  intercept({ ...apart, ...copyFails });
  await assert.rejects(blob.consumeFile(path), { code: 'ENOSPC' });
  assert.equal(readFileSync(path, 'utf8'), 'from elsewhere');
  assert.equal(await text(blob.open('c')), 'former');
  assert.deepEqual(temporaryFiles(), []);
  assert.equal(blob._p_changed, false);
});

test('where the file cannot be taken away after it was copied, it stays the only one', async () => {
  const blob = await committedBlob();
  intercept(apart);
  interceptRemoval((name, options) => {
    if (name === path) throw failure('EACCES');
    rmSync(name, options);
  });
  await assert.rejects(blob.consumeFile(path), { code: 'EACCES' });
  assert.equal(readFileSync(path, 'utf8'), 'from elsewhere');
  assert.equal(await text(blob.open('c')), 'former');
  assert.deepEqual(temporaryFiles(), []);
  assert.equal(blob._p_changed, false);
});

test('a move that fails for another reason is not tried by a copy', async () => {
  const blob = await committedBlob();
  intercept({ rename: () => Promise.reject(failure('EACCES')) });
  await assert.rejects(blob.consumeFile(path), { code: 'EACCES' });
  assert.equal(readFileSync(path, 'utf8'), 'from elsewhere');
  assert.equal(await text(blob.open('c')), 'former');
  assert.deepEqual(temporaryFiles(), []);
});

test('a content that cannot be copied into the database at commit fails it, leaves nothing, and can be committed later', async () => {
  await committedBlob();
  const { root } = db.open();
  // Made among the system's temporary files, since it has no connection yet.
  const blob = new PersistentBlob();
  await blob.consumeFile(path);
  root.blob = blob;
  intercept({ ...copyFails, link: () => Promise.reject(failure('EXDEV')) });
  await assert.rejects(transaction.commit(), { code: 'ENOSPC' });
  transaction.abort();
  assert.deepEqual(temporaryFiles(), []);
  intercept(real);
  assert.equal(await text(blob.open('r')), 'from elsewhere');
  root.blob = blob;
  await transaction.commit();
  assert.equal(await text(blob.open('c')), 'from elsewhere');
});
