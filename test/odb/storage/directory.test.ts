import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { FormatVersionError, NotADatabaseError, StorageLockedError } from 'holdfast/odb';
import { type LogRecord, type LogSink, setLogSink } from '#src/base/index.js';
import { make } from '#src/conformance/commits.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';

let folder: string;
let path: string;
let lines: LogRecord[];
let formerSink: LogSink;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-directory-'));
  path = join(folder, 'test.fs');
  lines = [];
  formerSink = setLogSink((line) => lines.push(line));
});

afterEach(() => {
  setLogSink(formerSink);
  rmSync(folder, { recursive: true, force: true });
});

/** Every file below, with its content. */
function contents(): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map((entry) => {
      const file = join(entry.parentPath, entry.name);
      return [file, readFileSync(file, 'latin1')];
    }),
  );
}

async function refusesAndLeavesAlone(
  errorClass: typeof NotADatabaseError | typeof FormatVersionError,
  pattern: RegExp,
) {
  const before = contents();
  await assert.rejects(LevelStorage.open(path), (error: unknown) => {
    assert.ok(error instanceof errorClass, String(error));
    assert.ok(error.message.includes(path), error.message);
    assert.match(error.message, pattern);
    return true;
  });
  assert.deepEqual(contents(), before, 'nothing was touched');
}

test('a directory with something else in it is refused, and left alone', async () => {
  mkdirSync(path);
  writeFileSync(join(path, 'thesis.txt'), 'three years of work');
  await refusesAndLeavesAlone(NotADatabaseError, /thesis\.txt.*choose/);
});

test('a file is refused, and left alone', async () => {
  writeFileSync(path, 'a file of another database');
  await refusesAndLeavesAlone(NotADatabaseError, /it is a file/);
});

test('a marker that is not ours is refused, and left alone', async () => {
  for (const marker of [
    '',
    '{}',
    'null',
    '[]',
    '{"format":"other","version":1}',
    '{"format":"holdfast","version":"1"}',
    '{"format":"holdfast","version":0}',
    '{"format":"holdfast","version":-1}',
    '{"format":"holdfast","version":1.5}',
    '{"format":"holdfast","version":null}',
    '\0\xff',
  ]) {
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path);
    writeFileSync(join(path, 'holdfast.json'), marker, 'latin1');
    await refusesAndLeavesAlone(NotADatabaseError, /holdfast\.json/);
  }
});

test('a newer format is refused, and left alone', async () => {
  await (await LevelStorage.open(path)).close();
  writeFileSync(join(path, 'holdfast.json'), '{"format":"holdfast","version":2}\n');
  await refusesAndLeavesAlone(FormatVersionError, /version 2.*reads 1/);
});

test('what is only to be read has to be there', async () => {
  for (const options of [{ readOnly: true }, { create: false }]) {
    await assert.rejects(LevelStorage.open(path, options), NotADatabaseError);
    assert.deepEqual(readdirSync(folder), []);
  }
  mkdirSync(path);
  await assert.rejects(LevelStorage.open(path, { create: false }), NotADatabaseError);
  assert.deepEqual(readdirSync(folder), ['test.fs']);
});

test('what a process left that was killed while it made the database is taken over', async () => {
  await (await LevelStorage.open(path)).close();
  // All is there but the marker, which comes last.
  rmSync(join(path, 'holdfast.json'));
  writeFileSync(join(path, 'holdfast.json.new'), '{"form');
  const storage = await LevelStorage.open(path);
  assert.equal(storage.length, 0);
  await storage.close();
  assert.match(readFileSync(join(path, 'holdfast.json'), 'utf8'), /"version":1/);
});

test('one process opens a directory once, whatever it calls it', async () => {
  const storage = await LevelStorage.open(path);
  symlinkSync(path, join(folder, 'link'));
  for (const spelling of [path, `${path}/`, join(folder, 'link'), `${folder}/link/../test.fs`]) {
    await assert.rejects(LevelStorage.open(spelling), (error: unknown) => {
      assert.ok(error instanceof StorageLockedError, String(error));
      assert.deepEqual([error.pid, error.path], [process.pid, path]);
      return true;
    });
  }
  await storage.close();
  await (await LevelStorage.open(join(folder, 'link'))).close();
});

test('a lock of another boot is passed over; of one of another machine the message says what to do if that is gone', async () => {
  const lock = `${path}.lock`;
  const held = { host: hostname(), bootId: 'an earlier one', pid: process.pid, startTime: '1' };
  writeFileSync(lock, JSON.stringify(held));
  await (await LevelStorage.open(path)).close();
  assert.deepEqual(readdirSync(folder), ['test.fs']);
  const text = JSON.stringify({ ...held, host: 'elsewhere' });
  writeFileSync(lock, text);
  await assert.rejects(LevelStorage.open(path), (error: unknown) => {
    assert.ok(error instanceof StorageLockedError, String(error));
    assert.ok(error.message.includes('on elsewhere') && error.message.includes(`remove ${lock}`), error.message);
    return true;
  });
  assert.equal(readFileSync(lock, 'utf8'), text);
});

test('a directory and its parents are made', async () => {
  path = join(folder, 'a', 'b', 'test.fs');
  await (await LevelStorage.open(path)).close();
  assert.ok(readdirSync(path).includes('holdfast.json'));
});

test('what is opened to be read only keeps the mark of its last commit, though it were to be written without waiting', async () => {
  let storage = await LevelStorage.open(path);
  await make(storage, ['x']);
  await storage.close();
  const mark = readFileSync(join(path, 'last-commit'));
  assert.ok(mark.length > 0);
  storage = await LevelStorage.open(path, { readOnly: true, durable: false });
  await storage.close();
  assert.deepEqual(readFileSync(join(path, 'last-commit')), mark);
});

test('a last transaction in the future is told: an hour ahead as critical, a quarter of one as a warning', async () => {
  const clockAt = (nowMs: number) => ({ now: () => nowMs, schedule: () => ({ cancel: () => undefined }) });
  const nowMs = 1_700_000_000_000;
  let storage = await LevelStorage.open(path, { clock: clockAt(nowMs) });
  const transaction = { commitId: Buffer.alloc(16, 1), user: '', description: '', extension: new Uint8Array(0) };
  storage.tpcBegin(transaction);
  const { tid } = await storage.commit(transaction);
  await storage.close();
  for (const [minutes, level] of [
    [14, undefined],
    [16, 'warning'],
    [59, 'warning'],
    [61, 'critical'],
  ] as const) {
    lines.length = 0;
    storage = await LevelStorage.open(path, { clock: clockAt(nowMs - minutes * 60_000) });
    assert.deepEqual(
      lines.map((line) => line.level),
      level === undefined ? [] : [level],
    );
    assert.equal(storage.lastTransaction(), tid);
    await storage.close();
  }
});
