import assert from 'node:assert/strict';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CorruptionError, StorageError } from 'holdfast/odb';
import { seededRandom } from '#src/base/index.js';
import { newTransaction } from '#src/conformance/commits.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { Program } from '../../support/programs.js';
import { copyOf, readAll, settleIntoTables, type Written, writeSample } from './sample.js';

const READER = fileURLToPath(new URL('./damaged-reader.js', import.meta.url));

/** What is written, and which bits are flipped: to see a failure again, put the seed here that it names. */
const SEED = Math.floor(Math.random() * 2 ** 32);
const random = seededRandom(SEED);

let folder: string;
/** With everything in LevelDB's log, as a process leaves it that did not run long. */
let inLog: string;
/** With everything in a table. */
let inTable: string;
let written: readonly Written[];
let copies = 0;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-damage-'));
  inLog = join(folder, 'log.fs');
  written = await writeSample(inLog, random);
  inTable = copyOf(inLog, 'table');
  await settleIntoTables(inTable);
});

after(() => rmSync(folder, { recursive: true, force: true }));

/** A copy with a damaged file: the largest one of LevelDB's with that ending. */
function damaged(path: string, ending: string, damage: (file: string, sizeBytes: number) => void): string {
  const copy = copyOf(path, String(++copies));
  const [largest] = readdirSync(join(copy, 'level'))
    .filter((name) => name.endsWith(ending))
    .map((name) => join(copy, 'level', name))
    .map((file) => ({ file, sizeBytes: statSync(file).size }))
    .sort((a, b) => b.sizeBytes - a.sizeBytes);
  assert.ok(largest);
  damage(largest.file, largest.sizeBytes);
  return copy;
}

function flip(file: string, at: number, mask = 0x10): void {
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(at) ^ mask, at);
  writeFileSync(file, bytes);
}

function indexesOf(bytes: Buffer, part: Buffer): number[] {
  const indexes: number[] = [];
  for (let at = bytes.indexOf(part); at >= 0; at = bytes.indexOf(part, at + 1)) indexes.push(at);
  return indexes;
}

test('a sound copy is read without an error', async () => {
  for (const path of [inLog, inTable]) {
    const storage = await LevelStorage.open(copyOf(path, 'sound'), { history: 'all' });
    try {
      assert.deepEqual(await readAll(storage, written), {});
    } finally {
      await storage.close();
    }
  }
});

test('a flipped bit in a stored revision is an error that names its oid and tid; the others are read', async () => {
  for (const pick of [3, 70, 120, written.length - 1]) {
    const { oid, tid, data } = written[pick] as Written;
    const copy = damaged(inTable, '.ldb', (file) => {
      // A revision that was superseded stands there twice: as it was stored first, and where it was moved.
      const places = indexesOf(readFileSync(file), Buffer.from(data, 'latin1'));
      assert.ok(places.length > 0, 'it stands there as it is');
      for (const at of places) flip(file, at + 60);
    });
    const storage = await LevelStorage.open(copy, { history: 'all' });
    try {
      assert.throws(
        () => storage.loadSerial(oid, tid),
        (error: unknown) => {
          assert.ok(error instanceof CorruptionError, String(error));
          assert.deepEqual([error.oid, error.tid, error.code], [oid, tid, 'ODB_CORRUPTION']);
          assert.ok(error.message.includes(`oid ${oid}`) && error.message.includes(String(tid)), error.message);
          return true;
        },
      );
      const errors = await readAll(storage, written);
      assert.deepEqual(Object.keys(errors), ['ODB_CORRUPTION']);
      // Of an object whose current revision is damaged nothing can be found.
      assert.ok((errors['ODB_CORRUPTION'] as number) < 25, JSON.stringify(errors));
    } finally {
      await storage.close();
    }
  }
});

test('a damaged current revision is not superseded: the commit fails, others go on', async () => {
  const { oid, tid, data } = written.findLast((each) => each.isCurrent) as Written;
  const copy = damaged(inTable, '.ldb', (file) => flip(file, readFileSync(file).indexOf(Buffer.from(data, 'latin1'))));
  const storage = await LevelStorage.open(copy, { history: 'all' });
  try {
    const [bad, good] = [newTransaction(), newTransaction()];
    storage.tpcBegin(bad);
    storage.store(bad, oid, tid, Buffer.from('on top of damage'));
    storage.tpcBegin(good);
    storage.store(good, storage.newOid(), 0 as typeof tid, Buffer.from('fine'));
    const [failed, done] = await Promise.allSettled([storage.commit(bad), storage.commit(good)]);
    assert.ok(failed.status === 'rejected' && failed.reason instanceof CorruptionError);
    assert.equal(failed.reason.oid, oid);
    assert.equal(done.status, 'fulfilled');
    await storage.tpcAbort(bad);
    assert.equal(await storage.outcome(bad.commitId), undefined);
  } finally {
    await storage.close();
  }
});

test('a flipped bit anywhere in the log is told at open: what was acknowledged does not go missing in silence', async () => {
  for (let i = 0; i < 12; i++) {
    const copy = damaged(inLog, '.log', (file, sizeBytes) =>
      flip(file, Math.floor(((i + random.next()) * sizeBytes) / 12), 1 << (i % 8)),
    );
    await assert.rejects(LevelStorage.open(copy), (error: unknown) => {
      assert.ok(error instanceof CorruptionError, String(error));
      assert.ok(error.message.includes(copy), error.message);
      return true;
    });
    // Whoever was refused has let go of the directory.
    await assert.rejects(LevelStorage.open(copy), CorruptionError);
  }
});

test('a log that was cut short is told at open', async () => {
  for (const part of [0, 0.3, 0.7, 0.999]) {
    const copy = damaged(inLog, '.log', (file, sizeBytes) => truncateSync(file, Math.floor(sizeBytes * part)));
    await assert.rejects(LevelStorage.open(copy), CorruptionError);
  }
});

test('a missing or cut table is told, and never taken for an empty database', async () => {
  const damages: ((file: string, sizeBytes: number) => void)[] = [
    (file) => unlinkSync(file),
    (file, sizeBytes) => truncateSync(file, sizeBytes >> 1),
    (file) => truncateSync(file, 0),
    (file) => unlinkSync(join(file, '..', 'CURRENT')),
    (file) => rmSync(join(file, '..'), { recursive: true }),
  ];
  for (const damage of damages) {
    const copy = damaged(inTable, '.ldb', damage);
    await assert.rejects(LevelStorage.open(copy), (error: unknown) => {
      assert.ok(error instanceof StorageError, String(error));
      assert.ok(error.message.includes(copy), error.message);
      return true;
    });
  }
});

test('a flipped bit anywhere in a table never gives wrong data', async () => {
  const writtenPath = join(folder, 'written.json');
  writeFileSync(writtenPath, JSON.stringify(written));
  const programs = Array.from({ length: 14 }, (_, i) => {
    let where = '';
    const copy = damaged(inTable, '.ldb', (file, sizeBytes) => {
      // The last ones are in the index and what follows it.
      const at = Math.floor(i < 9 ? ((i + random.next()) * sizeBytes) / 9 : sizeBytes - 1 - random.next() * 300);
      flip(file, at, 1 << (i % 8));
      where = `seed ${SEED}, bit ${i % 8} of byte ${at}`;
    });
    return { where, start: () => new Program(READER, [copy, writtenPath], { cwd: folder }) };
  });
  const outcomes: string[] = [];
  const next = async () => {
    for (let each = programs.pop(); each; each = programs.pop()) {
      const program = each.start();
      const { code, signal } = await program.exited;
      // LevelDB checks some of its own structures by assertions that end the process: no data is better than wrong data.
      if (signal === 'SIGABRT') outcomes.push('aborted');
      else assert.equal(code, 0, `${each.where}: ${program.stderr}`);
      if (code === 0) outcomes.push(...Object.keys(JSON.parse(program.stdout) as object));
    }
  };
  await Promise.all([next(), next()]);
  assert.ok(outcomes.includes('ODB_CORRUPTION'), outcomes.join(' '));
});

test('a flipped bit that hides the current revision is an error, where LevelDB finds the one before it', async () => {
  const { oid, tid, data } = written.findLast((each) => each.isCurrent) as Written;
  const transaction = newTransaction();
  // Before a value stands the end of its key: eight bytes of LevelDB's that number the entry, the highest one last.
  for (const back of [1, 4, 6]) {
    const copy = damaged(inTable, '.ldb', (file) => {
      const bytes = readFileSync(file);
      const head = Buffer.alloc(12);
      head.writeUInt32BE(written.filter((each) => each.oid === oid).length - 1);
      head.writeBigUInt64BE(BigInt(tid), 4);
      const places = indexesOf(bytes, Buffer.concat([head, Buffer.from(data, 'latin1')]));
      assert.equal(places.length, 1);
      flip(file, (places[0] as number) - back);
    });
    const storage = await LevelStorage.open(copy, { history: 'all' });
    try {
      const isLost = (error: unknown) =>
        error instanceof CorruptionError && error.oid === oid && error.message.includes('current revision');
      assert.throws(() => storage.load(oid), isLost);
      assert.throws(() => storage.loadSerial(oid, tid), isLost);
      await assert.rejects(storage.history(oid), isLost);
      storage.tpcBegin(transaction);
      storage.store(transaction, oid, tid, Buffer.from('on top of damage'));
      await assert.rejects(storage.commit(transaction), isLost);
      await storage.tpcAbort(transaction);
      const problems: unknown[] = [];
      for await (const problem of storage.verify({ references: () => [] })) problems.push(problem.oid);
      assert.ok(problems.includes(oid));
    } finally {
      await storage.close();
    }
  }
});

test('where the mark of reserved oids is damaged or missing, no oid of what is stored is given out', async () => {
  const highest = Math.max(...written.map(({ oid }) => oid));
  const damages: ((file: string) => void)[] = [
    (file) => flip(file, 7),
    (file) => flip(file, 11),
    (file) => truncateSync(file, 5),
    (file) => unlinkSync(file),
  ];
  for (const damage of damages) {
    const copy = copyOf(inLog, String(++copies));
    damage(join(copy, 'oids'));
    const storage = await LevelStorage.open(copy);
    assert.ok(storage.newOid() > highest);
    await storage.close();
  }
});

test('a damaged or cut file of LevelDB’s own books is told at open, or does not matter: no transaction goes missing in silence', async () => {
  const writtenPath = join(folder, 'written-books.json');
  writeFileSync(writtenPath, JSON.stringify(written));
  const largest = (copy: string, start: string) => {
    const names = readdirSync(join(copy, 'level')).filter((name) => name.startsWith(start));
    return names
      .map((name) => join(copy, 'level', name))
      .sort((a, b) => statSync(b).size - statSync(a).size)[0] as string;
  };
  const damages: ((file: string, sizeBytes: number) => void)[] = [
    (file) => unlinkSync(file),
    (file) => truncateSync(file, 0),
    (file, sizeBytes) => truncateSync(file, sizeBytes >> 1),
    (file, sizeBytes) => truncateSync(file, sizeBytes - 1),
    (file, sizeBytes) => flip(file, Math.floor(random.next() * sizeBytes)),
    (file, sizeBytes) => flip(file, sizeBytes - 1 - Math.floor(random.next() * 8)),
  ];
  const copies_ = [inLog, inTable].flatMap((path) =>
    ['MANIFEST', 'CURRENT'].flatMap((start) =>
      damages.map((damage) => {
        const copy = copyOf(path, String(++copies));
        const file = largest(copy, start);
        damage(file, statSync(file).size);
        return copy;
      }),
    ),
  );
  const outcomes: string[] = [];
  const next = async () => {
    for (let copy = copies_.pop(); copy; copy = copies_.pop()) {
      const program = new Program(READER, [copy, writtenPath], { cwd: folder });
      const { code, signal } = await program.exited;
      if (signal === 'SIGABRT') continue;
      assert.equal(code, 0, program.stderr);
      outcomes.push(...Object.keys(JSON.parse(program.stdout) as object));
    }
  };
  await Promise.all([next(), next()]);
  assert.ok(outcomes.includes('ODB_CORRUPTION'), outcomes.join(' '));
});

test('where the mark of the last commit is damaged or missing, all is there, and it is written anew', async () => {
  const damages: ((file: string) => void)[] = [
    (file) => flip(file, 3),
    (file) => flip(file, 17),
    (file) => truncateSync(file, 5),
    (file) => truncateSync(file, 0),
    (file) => unlinkSync(file),
  ];
  for (const damage of damages) {
    const copy = copyOf(inLog, String(++copies));
    const file = join(copy, 'last-commit');
    const sound = readFileSync(file);
    damage(file);
    let storage = await LevelStorage.open(copy, { history: 'all' });
    assert.deepEqual(await readAll(storage, written), {});
    const transaction = newTransaction();
    storage.tpcBegin(transaction);
    await storage.commit(transaction);
    await storage.close();
    assert.equal(readFileSync(file).length, sound.length);
    storage = await LevelStorage.open(copy, { history: 'all' });
    await storage.close();
  }
});
