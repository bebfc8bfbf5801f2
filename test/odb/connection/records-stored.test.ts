import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { DB, Persistent, persistable, transaction } from 'holdfast/odb';
import { type LogRecord, type LogSink, setLogSink } from '#src/base/index.js';

/** Its stored form counts how often it was asked for, in a field of its own. */
class Counting extends Persistent {
  asked = 0;
  text = '';

  override getState(): unknown {
    this.asked++;
    return super.getState();
  }
}

persistable('test.stored', import.meta, { Counting });

interface Root {
  counting: Counting;
  text: string;
}

let lines: LogRecord[];
let formerSink: LogSink;

beforeEach(() => {
  lines = [];
  formerSink = setLogSink((line) => lines.push(line));
});

afterEach(() => {
  setLogSink(formerSink);
});

/** The records of the newest transaction: oids. */
async function newest(db: DB<Root>): Promise<number[]> {
  const oids: number[] = [];
  for await (const { records } of db.storage.iterate(db.lastTransaction())) oids.push(...records.map(({ oid }) => oid));
  return oids;
}

for (const withSavepoint of [false, true]) {
  test(`an object whose getState changes itself is stored once, ${withSavepoint ? 'with a savepoint too' : 'and is clean then'}`, () =>
    transaction.isolate(async () => {
      const db = await DB.open<Root>('memory:');
      const { root } = db.open();
      root.counting = new Counting();
      if (withSavepoint) transaction.savepoint();
      await transaction.commit();
      const { counting } = root;
      const oid = Number(counting._p_oid);
      assert.equal((await newest(db)).filter((each) => each === oid).length, 1);
      counting.text = 'changed';
      if (withSavepoint) {
        transaction.savepoint();
        counting.text = 'changed again';
      }
      const before = db.lastTransaction();
      await transaction.commit();
      assert.deepEqual(await newest(db), [oid]);
      assert.equal(counting._p_changed, false);
      const after = db.lastTransaction();
      assert.ok(after > before);
      // Nothing of it is left over for the next transaction.
      assert.equal(await transaction.commit(), undefined);
      assert.equal(db.lastTransaction(), after);
      await db.close();
    }));
}

test('a record larger than largeRecordSize, 16 MB where nothing is said, is warned about by its name, and stored', () =>
  transaction.isolate(async () => {
    for (const [options, bytes, isWarned] of [
      [{ largeRecordSize: '1KB' }, 900, false],
      [{ largeRecordSize: '1KB' }, 1100, true],
      [{}, 16_000_000, false],
      [{}, 17_000_000, true],
    ] as const) {
      const db = await DB.open<Root>('memory:', options);
      const { root } = db.open();
      root.counting = new Counting();
      await transaction.commit();
      lines.length = 0;
      root.counting.text = 'x'.repeat(bytes);
      await transaction.commit();
      const warnings = lines.filter(({ level }) => level === 'warning').map(({ message }) => message);
      assert.equal(warnings.length, isWarned ? 1 : 0, `${bytes}: ${warnings}`);
      if (isWarned) assert.match(warnings[0] as string, /Counting oid 1.* record of \d+ bytes/);
      await db.close();
    }
    await assert.rejects(DB.open('memory:', { largeRecordSize: 'much' as '1MB' }), { code: 'ARG_SIZE' });
  }));
