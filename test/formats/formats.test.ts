import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  checkedReferences,
  DB,
  type Oid,
  openStorage,
  type PersistentMapping,
  readRecord,
  ZERO_TID,
} from 'holdfast/odb';
import { systemRandom } from '#src/base/index.js';
import { PROJECT } from '../support/doctest/document.js';
import { checkBlob, checkSample, type SampleRoot } from './sample.js';

// What every version has written can be read for ever.

const SAMPLES = join(PROJECT, 'test', 'formats');
const folder = mkdtempSync(join(tmpdir(), 'holdfast-formats-'));

after(() => rmSync(folder, { recursive: true, force: true }));

const versions = readdirSync(SAMPLES).filter((name) => /^v\d+$/.test(name));
assert.ok(versions.includes('v1'));

for (const version of versions) {
  test(`a database that was recorded in format ${version} is read, with its history`, async () => {
    const path = join(folder, `${version}.fs`);
    cpSync(join(SAMPLES, version, 'sample.fs'), path, { recursive: true });
    const db = await DB.open<SampleRoot>(path, { create: false, history: 'all' });
    try {
      checkSample(db);
      await checkBlob(db);
      const problems: string[] = [];
      for await (const { message } of db.storage.verify({ references: checkedReferences })) problems.push(message);
      assert.deepEqual(problems, []);

      const log = await db.undoLog();
      assert.deepEqual(
        log.map(({ description }) => description),
        ['taken back', '', 'a change', 'everything', 'initial database creation'],
      );
      assert.deepEqual([log[0]?.user, log[0]?.extension], ['/ ada', { reason: 'it was a mistake' }]);
      const past = db.open({ before: log[2]?.tid as number as typeof ZERO_TID });
      assert.deepEqual([past.root.note.text, past.root.tree.get('key 5'), past.root.length.value], ['first', 5, 7]);
      past.close();

      // And it can be written to.
      await db.transaction(({ root }) => {
        root.note.text = 'written today';
        root.tree.set('key 5', 5);
      });
      const connection = db.open();
      assert.deepEqual([connection.root.note.text, connection.root.tree.get('key 5')], ['written today', 5]);
      connection.close();
    } finally {
      await db.close();
    }
  });

  test(`records that were recorded in format ${version} are read in any storage`, async () => {
    const records = JSON.parse(readFileSync(join(SAMPLES, version, 'records.json'), 'utf8')) as {
      readonly oid: Oid;
      readonly className: string;
      readonly hex: string;
    }[];
    const storage = await openStorage('memory:');
    const transaction = {
      commitId: systemRandom.bytes(16),
      user: '',
      description: '',
      extension: new Uint8Array(0),
    };
    storage.tpcBegin(transaction);
    for (const { oid, className, hex } of records) {
      const data = Buffer.from(hex, 'hex');
      assert.equal(readRecord(data).className, className);
      storage.store(transaction, oid, ZERO_TID, data);
    }
    await storage.commit(transaction);
    const db = await DB.open<SampleRoot>(storage);
    checkSample(db);
    await db.close();
  });

  test(`an export file that was recorded in format ${version} is imported`, async () => {
    const db = await DB.open<SampleRoot>('memory:');
    await db.transaction(async (connection) => {
      const top = (await connection.importFile(join(SAMPLES, version, 'sample.export'))) as PersistentMapping;
      for (const [name, object] of top) connection.root.set(name, object as SampleRoot[keyof SampleRoot]);
    });
    checkSample(db);
    await checkBlob(db);
    await db.close();
  });
}
