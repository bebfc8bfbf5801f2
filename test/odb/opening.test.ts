import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { inspect } from 'node:util';
import { DB, type DBOptions, type Storage, transaction } from 'holdfast/odb';

// What a program that is being written gets wrong.

const folder = mkdtempSync(join(tmpdir(), 'holdfast-opening-'));
const path = join(folder, 'test.fs');

after(() => rmSync(folder, { recursive: true, force: true }));

test('what is no storage is refused, and the message says what is one', async () => {
  for (const storage of [undefined, null, 3, '', ' ', {}, () => 'test.fs']) {
    await assert.rejects(DB.open(storage as unknown as Storage), (error: TypeError & { code: string }) => {
      assert.equal(error.code, 'ARG_STORAGE');
      assert.match(error.message, /memory:.*zeo:/);
      return true;
    });
  }
});

test('options that are none are refused before anything is made', async () => {
  const refused: [unknown, string][] = [
    [{ cacheSize: 'lots' }, 'ARG_CACHE_SIZE'],
    [{ cacheSize: -1 }, 'ARG_CACHE_SIZE'],
    [{ cacheSize: 1.5 }, 'ARG_CACHE_SIZE'],
    [{ poolSize: Number.NaN }, 'ARG_POOL_SIZE'],
    [{ historicalPoolSize: -1 }, 'ARG_POOL_SIZE'],
    [{ historicalCacheSize: 'x' }, 'ARG_CACHE_SIZE'],
    [{ poolTimeout: 'soon' }, 'ARG_DURATION'],
    [{ historicalTimeout: -1 }, 'ARG_DURATION'],
    [{ cacheBytes: 'much' }, 'ARG_SIZE'],
    [{ detectMutation: true }, 'ARG_OPTIONS'],
    [{ poolsize: 3 }, 'ARG_OPTIONS'],
    [{ cacheSzie: 3 }, 'ARG_OPTIONS'],
    [{ refuseDefaultManager: 'yes' }, 'ARG_OPTIONS'],
    [{ create: 1 }, 'ARG_OPTIONS'],
    [null, 'ARG_OPTIONS'],
    ['memory:', 'ARG_OPTIONS'],
  ];
  for (const [options, code] of refused) {
    await assert.rejects(DB.open(path, options as DBOptions), { code }, inspect(options));
    assert.ok(!existsSync(path));
  }
});

test('a transaction that is no function is refused before anything is begun', async () => {
  const db = await DB.open('memory:');
  await assert.rejects(db.transaction(undefined as unknown as () => void), { code: 'ARG_FUNCTION' });
  await assert.rejects(transaction.run(3 as unknown as () => void), { code: 'ARG_FUNCTION' });
  await db.close();
});

test('what is no number of retries, or no note, is refused', async () => {
  const retries = 'often' as unknown as number;
  await assert.rejects(
    transaction.run(() => 1, { retries }),
    { code: 'ARG_RETRIES' },
  );
  assert.throws(() => transaction.note(3 as unknown as string), { code: 'ARG_NOTE' });
});
