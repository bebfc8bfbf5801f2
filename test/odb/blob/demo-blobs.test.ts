import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import {
  copyTransactions,
  DB,
  DemoStorage,
  openStorage,
  PersistentBlob,
  type Storage,
  strongReferences,
  type Tid,
  TransactionManager,
} from 'holdfast/odb';

interface Root {
  blob: PersistentBlob;
}

let folder: string;
/** Replaced the first content. */
let second: Tid;

/** Writes a base with a blob that has two revisions. */
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-demo-'));
  const db = await DB.open<Root>(join(folder, 'base.fs'));
  await db.transaction(({ root }) => {
    root.blob = new PersistentBlob('first');
  });
  second = await write(db, 'second');
  await db.close();
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function write(db: DB<Root>, content: string): Promise<Tid> {
  await db.transaction(async ({ root }) => {
    const stream = root.blob.open('w');
    await new Promise((resolve, reject) => stream.on('error', reject).end(content, () => resolve(undefined)));
  });
  return db.lastTransaction();
}

async function contentIn(db: DB<Root>): Promise<string> {
  const connection = db.open({ transactionManager: new TransactionManager() });
  try {
    return await readFile(await connection.root.blob.committed(), 'utf8');
  } finally {
    connection.close();
  }
}

/** The contents that a database has, and what else stands in its folder of blobs. */
function filesIn(name: string): string[] {
  const blobs = join(folder, name, 'blobs');
  if (!existsSync(blobs)) return [];
  const names = readdirSync(blobs, { recursive: true, encoding: 'utf8' }).filter((each) =>
    statSync(join(blobs, each)).isFile(),
  );
  return names.sort();
}

function contentsIn(name: string): string[] {
  const contents = filesIn(name).filter((each) => /[/\\][0-9a-f]{32}$/.test(each));
  return contents.map((each) => readFileSync(join(folder, name, 'blobs', each), 'utf8')).sort();
}

async function overBase(): Promise<{ readonly demo: DemoStorage; readonly changes: Storage }> {
  const changes = await openStorage(join(folder, 'changes.fs'));
  return {
    demo: await DemoStorage.open(await openStorage(join(folder, 'base.fs'), { readOnly: true }), { changes }),
    changes,
  };
}

test('contents go to the changes, those of the base are read there, and the base takes none', async () => {
  const before = filesIn('base.fs');
  const { demo } = await overBase();
  const db = await DB.open<Root>(demo);
  assert.equal(await contentIn(db), 'second');
  assert.deepEqual(contentsIn('changes.fs'), []);
  await write(db, 'third');
  assert.equal(await contentIn(db), 'third');
  assert.deepEqual(contentsIn('changes.fs'), ['third']);
  await db.close();
  assert.deepEqual(filesIn('base.fs'), before);
  assert.deepEqual(
    filesIn('changes.fs').filter((each) => /tmp|pending/.test(each)),
    [],
    'nothing is left of what was on its way',
  );
  const again = await DB.open<Root>((await overBase()).demo);
  assert.equal(await contentIn(again), 'third');
  await again.close();
});

test('a content of the base that an undo brings back stands in the changes too, which can be copied by themselves', async () => {
  const { demo, changes } = await overBase();
  const db = await DB.open<Root>(demo);
  await db.transaction(() => db.undo(second));
  assert.equal(await contentIn(db), 'first');
  assert.deepEqual(contentsIn('changes.fs'), ['first']);
  await write(db, 'third');
  const copy = await openStorage(join(folder, 'copy.fs'));
  await copyTransactions(changes, copy);
  assert.deepEqual(contentsIn('copy.fs'), ['first', 'third']);
  await copy.close();
  await db.close();
  assert.deepEqual(contentsIn('base.fs'), ['first', 'second']);
});

test('a pack drops contents of the changes, and none of the base', async () => {
  const { demo } = await overBase();
  const db = await DB.open<Root>(demo);
  await write(db, 'third');
  await write(db, 'fourth');
  await demo.pack({ before: (demo.lastTransaction() + 1) as Tid, references: strongReferences });
  assert.equal(await contentIn(db), 'fourth');
  await db.close();
  assert.deepEqual(contentsIn('changes.fs'), ['fourth']);
  assert.deepEqual(contentsIn('base.fs'), ['first', 'second']);
});

test('what stands on other changes reads through both, and drops its own contents only', async () => {
  const { demo } = await overBase();
  const lower = await DB.open<Root>(demo);
  await write(lower, 'third');
  const pushed = await demo.push();
  const upper = await DB.open<Root>(pushed);
  assert.equal(await contentIn(upper), 'third');
  await write(upper, 'fourth');
  assert.equal(await contentIn(upper), 'fourth');
  await upper.close();
  assert.equal(await contentIn(lower), 'third');
  await lower.close();
});

test('over changes that take no blobs, those of the base are read, and a new one is refused', async () => {
  const changes = await openStorage('memory:');
  Object.defineProperty(changes, 'supports', { value: { ...changes.supports, blobs: false } });
  const base = await openStorage(join(folder, 'base.fs'), { readOnly: true });
  const db = await DB.open<Root>(await DemoStorage.open(base, { changes }));
  assert.equal(db.storage.supports.blobs, false);
  assert.equal(await contentIn(db), 'second');
  await assert.rejects(write(db, 'third'), /does not support blobs/);
  await db.close();
});
