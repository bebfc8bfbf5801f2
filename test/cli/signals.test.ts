import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BTree, checkedReferences, copyTransactions, DB, openStorage, PersistentMapping } from 'holdfast/odb';
import { type Exit, Program } from '../support/programs.js';

const STOPPING = fileURLToPath(new URL('./stopping-program.js', import.meta.url));
const HOLDFAST = fileURLToPath(import.meta.resolve('#src/cli/main.js'));

/** Of the database, those that make it and its root among them. */
const TRANSACTIONS = 1502;

let folder: string;
/** A database of many transactions and objects, some of which are garbage. */
let path: string;
let exported: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-signals-'));
  path = join(folder, 'test.fs');
  exported = join(folder, 'tree.hfx');
  const db = await DB.open<{ tree: BTree<number, PersistentMapping<string, unknown>> }>(path, {
    history: 'all',
    durable: false,
  });
  await db.transaction(({ root }) => {
    root.tree = new BTree();
  });
  for (let i = 0; i < TRANSACTIONS - 2; i++) {
    await db.transaction(({ root }) => {
      for (let j = 0; j < 10; j++) root.tree.set(i * 5 + j, new PersistentMapping([['text', `object ${j}`.repeat(9)]]));
    });
  }
  await db.transaction((connection) => connection.exportFile(connection.root.tree, exported));
  await db.close();
});

after(() => rmSync(folder, { recursive: true, force: true }));

/** Starts a tool, sends the signals once it has told of progress, and resolves to how it ended. */
async function interrupted(
  args: readonly string[],
  signals: readonly NodeJS.Signals[],
  stopAt = '',
): Promise<Exit & { stdout: string; said: string }> {
  // Not watched over: that one process gets the signal is another matter.
  const program = new Program(STOPPING, args, { cwd: folder, env: { HOLDFAST_WATCHED: '1', STOP_AT: stopAt } });
  let goOn: NodeJS.Timeout | undefined;
  try {
    await program.output(/\(stopped\)\n/, 'stderr');
    for (const signal of signals) program.child.kill(signal);
    // It says that it has stopped an instant before it does.
    goOn = setInterval(() => program.child.kill('SIGCONT'), 10);
    const exit = await program.end('SIGCONT');
    // The line of the progress is wiped out.
    return { ...exit, stdout: program.stdout, said: program.stderr.split('\u001b[K').at(-1) as string };
  } finally {
    clearInterval(goOn);
    if (!program.hasEnded) program.child.kill('SIGKILL');
  }
}

/** What is in the folder besides what was there at first. */
function left(): string[] {
  return readdirSync(folder).filter((name) => name !== 'test.fs' && name !== 'tree.hfx');
}

async function transactionsOf(database: string): Promise<number> {
  const storage = await openStorage(database, { readOnly: true });
  let count = 0;
  for await (const _ of storage.iterate()) count++;
  await storage.close();
  return count;
}

/** How a tool ends that was told to by a signal, and says so. */
function endedBy(signal: 'SIGINT' | 'SIGTERM', said: string) {
  return { code: 128 + constants.signals[signal], signal: null, stdout: '', said: `${said}\n` };
}

test('a verification that is told to end lets the database go, and says that it did not come to the end', async () => {
  assert.deepEqual(
    await interrupted(['verify', '--db', path, '--json'], ['SIGINT'], 'objects'),
    endedBy('SIGINT', 'holdfast verify: ended by SIGINT: not everything was read; 0 problems by then'),
  );
  assert.deepEqual(left(), []);
});

test('statistics that are told to end are none', async () => {
  const exit = await interrupted(['stats', '--db', path], ['SIGTERM']);
  assert.deepEqual(exit, endedBy('SIGTERM', 'holdfast stats: ended by SIGTERM'));
  assert.deepEqual(left(), []);
});

test('an export that is told to end leaves the file as it was', async () => {
  const file = join(folder, 'new.hfx');
  const args = ['export', '--db', path, '--root-key', 'tree', file];
  const said = (signal: string) => `holdfast export: ended by ${signal}: nothing was written to ${file}`;
  assert.deepEqual(await interrupted(args, ['SIGINT']), endedBy('SIGINT', said('SIGINT')));
  assert.deepEqual(left(), []);
  writeFileSync(file, 'former');
  assert.deepEqual(await interrupted(args, ['SIGTERM']), endedBy('SIGTERM', said('SIGTERM')));
  assert.equal(readFileSync(file, 'utf8'), 'former');
  rmSync(file);
  assert.deepEqual(left(), []);
});

test('an import that is told to end has imported nothing', async () => {
  const database = join(folder, 'import.fs');
  await (await DB.open(database)).close();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    assert.deepEqual(
      await interrupted(['import', '--db', database, '--root-key', 'tree', exported], [signal]),
      endedBy(signal, `holdfast import: ended by ${signal}: nothing was imported`),
    );
  }
  assert.deepEqual(left(), ['import.fs']);
  assert.equal(await transactionsOf(database), 1);
  rmSync(database, { recursive: true });
});

test('a copy that is told to end says that the target is incomplete, and goes on when it is run again', async () => {
  const copy = join(folder, 'copy.fs');
  let transactions = 0;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const exit = await interrupted(['copy', path, copy], [signal]);
    const [, count = ''] = /it got ([\d,]+) transactions/.exec(exit.said) ?? [];
    const said = `holdfast copy: ended by ${signal}: ${copy} is incomplete, it got ${count} transactions: copy again, and it gets the rest`;
    assert.deepEqual(exit, endedBy(signal, said));
    assert.deepEqual(left(), ['copy.fs']);
    transactions += Number(count.replace(',', ''));
    assert.equal(await transactionsOf(copy), transactions);
  }
  assert.ok(transactions < TRANSACTIONS, `${transactions}`);
  const again = new Program(HOLDFAST, ['copy', path, copy], { cwd: folder });
  assert.deepEqual(await again.exited, { code: 0, signal: null });
  assert.equal(await transactionsOf(copy), TRANSACTIONS);
  rmSync(copy, { recursive: true });
});

test('a pack that is told to end leaves a sound database, and the next one finds the rest', async () => {
  const packed = join(folder, 'packed.fs');
  const [source, target] = [await openStorage(path, { readOnly: true }), await openStorage(packed, { durable: false })];
  await copyTransactions(source, target);
  await Promise.all([source.close(), target.close()]);
  for (const [phase, signal] of [
    ['trim', 'SIGINT'],
    ['mark', 'SIGTERM'],
    ['sweep', 'SIGINT'],
  ] as const) {
    const said = `holdfast pack: ended by ${signal}: what was dropped by then was garbage; the next pack finds the rest`;
    assert.deepEqual(await interrupted(['pack', '--db', packed], [signal], `${phase}:`), endedBy(signal, said));
    assert.deepEqual(left(), ['packed.fs']);
    const db = await DB.open(packed);
    for await (const { message } of db.storage.verify({ references: checkedReferences })) assert.fail(message);
    await db.close();
  }
  rmSync(packed, { recursive: true });
});

test('a second signal ends a tool at once, by that signal', async () => {
  const { code, signal, said } = await interrupted(
    ['export', '--db', path, '--root-key', 'tree', 'new.hfx'],
    ['SIGINT', 'SIGTERM'],
  );
  assert.equal(code, null);
  assert.ok(signal === 'SIGINT' || signal === 'SIGTERM', `${signal}: ${said}`);
  assert.ok(!existsSync(join(folder, 'new.hfx')));
  // What it left behind is in nobody's way.
  const again = new Program(HOLDFAST, ['export', '--db', path, '--root-key', 'tree', 'new.hfx'], { cwd: folder });
  assert.deepEqual(await again.exited, { code: 0, signal: null }, again.stderr);
  for (const name of left()) rmSync(join(folder, name), { recursive: true });
});

test('a dump that is longer than a pipe is whole, and one that nobody reads on ends when it is told to, or when the reader goes away', async () => {
  const whole = new Program(HOLDFAST, ['dump', '--db', path], { cwd: folder });
  assert.deepEqual(await whole.exited, { code: 0, signal: null });
  assert.equal(whole.stdout.match(/^transaction /gm)?.length, TRANSACTIONS);
  assert.ok(whole.stdout.endsWith(' bytes\n'), 'to the end of the last line');
  for (const how of ['SIGINT', 'close'] as const) {
    const child = spawn(process.execPath, [HOLDFAST, 'dump', '--db', path], { stdio: ['ignore', 'pipe', 'ignore'] });
    await once(child.stdout, 'readable');
    if (how === 'close') child.stdout.destroy();
    else child.kill(how);
    assert.deepEqual(await once(child, 'exit'), [how === 'close' ? 0 : 130, null]);
    child.stdout.destroy();
  }
  assert.deepEqual(left(), []);
});
