import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DB, type Oid, POSKeyError, readRecord, transaction } from 'holdfast/odb';
import { ManualClock } from '../support/manual-clock.js';
import { fillSample, type SampleRoot } from './sample.js';

/*
 * Records the sample of a version of the formats: `node build/test/formats/record.js test/formats/v1`. To be run once for each, before it
 * is released; what a released version has recorded is never written again.
 */

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: record.js FOLDER');
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const path = join(folder, 'sample.fs');
const db = await DB.open<SampleRoot>(path, { history: 'all', clock: new ManualClock() });
await fillSample(db);
const [last] = await db.undoLog();
transaction.begin();
transaction.setUser('ada');
transaction.setExtendedInfo('reason', 'it was a mistake');
transaction.note('taken back');
if (last) db.undo(last.tid);
await transaction.commit();

const records: { oid: Oid; className: string; hex: string }[] = [];
for (let oid = 0; oid < db.storage.length; oid++) {
  try {
    const { data } = db.storage.load(oid as Oid);
    const { className } = readRecord(data);
    // The content of a blob is no record.
    if (className === 'holdfast.PersistentBlob') continue;
    records.push({ oid: oid as Oid, className, hex: Buffer.from(data).toString('hex') });
  } catch (error) {
    // An oid that nothing has: the undone transaction made it.
    if (!(error instanceof POSKeyError)) throw error;
  }
}
writeFileSync(join(folder, 'records.json'), `${JSON.stringify(records, undefined, 2)}\n`);
await db.transaction((connection) => connection.exportFile(0, join(folder, 'sample.export')));
await db.close();
// LevelDB's own diary, and its lock.
for (const name of ['LOG', 'LOG.old', 'LOCK']) rmSync(join(path, 'level', name), { force: true });
