import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { inspect } from 'node:util';
import {
  DB,
  type DBOptions,
  openStorage,
  registerScheme,
  type Storage,
  type StorageOptions,
  transaction,
} from 'holdfast/odb';
import 'holdfast/zeo';

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

test('an option that no storage takes is refused by its name, with the one that was meant', async () => {
  const refused: [Record<string, unknown>, RegExp][] = [
    [{ batchSiz: 1 }, /^there is no option 'batchSiz': do you mean 'batchSize'\?$/],
    [{ blokCachSize: '1MB' }, /'blokCachSize': do you mean 'blockCacheSize'\?$/],
    [{ readonly: true }, /'readonly': do you mean 'readOnly'\?$/],
    [{ hsitory: 'all' }, /'hsitory': do you mean 'history'\?$/],
    [{ clientCacheSiz: 3 }, /'clientCacheSiz': do you mean 'clientCacheSize'\?$/],
    [{ poolSyze2: 3 }, /'poolSyze2': do you mean 'poolSize'\?$/],
    [{ colour: 'red' }, /^there is no option 'colour'; storages take clock, .*batchSize/],
  ];
  const open = await DB.open('memory:');
  for (const [options, message] of refused) {
    for (const place of [path, 'memory:', 'zeo://127.0.0.1:1', open.storage]) {
      await assert.rejects(DB.open(place, options), { code: 'ARG_OPTIONS', message }, inspect(options));
    }
    if (!('poolSyze2' in options)) await assert.rejects(openStorage(path, options), { code: 'ARG_OPTIONS', message });
  }
  assert.ok(!existsSync(path));
  await open.close();
});

test('an option of another kind of storage is passed over: the place may come from a configuration', async () => {
  const options = {
    history: 'all',
    durable: false,
    batchSize: '1MB',
    waitTimeout: 100,
    clientCacheSize: '1MB',
  } as const;
  for (const place of ['memory:', join(folder, 'other.fs')]) await (await DB.open(place, options)).close();
});

test('a scheme that tells its options refuses others, and one that does not takes all', async () => {
  const given: unknown[] = [];
  const opener = (_: string, { level, ...options }: StorageOptions) => {
    given.push(level);
    return openStorage('memory:', options);
  };
  registerScheme('told', opener, { options: ['level'] });
  await (await DB.open('told:x', { level: 3 })).close();
  await assert.rejects(DB.open('told:x', { levle: 3 }), { message: /'levle': do you mean 'level'\?/ });
  registerScheme('silent', (_, options) => {
    given.push(options['anything']);
    return openStorage('memory:');
  });
  await (await DB.open('silent:x', { anything: 4 })).close();
  await assert.rejects(DB.open('silent:x', { poolSiz: 4 }), { message: /do you mean 'poolSize'/ });
  assert.deepEqual(given, [3, 4]);
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
