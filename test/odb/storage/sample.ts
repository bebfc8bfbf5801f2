import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { type Oid, type Storage, StorageError, type Tid, ZERO_TID } from 'holdfast/odb';
import type { Random } from '#src/base/index.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { ManualClock } from '../../support/manual-clock.js';

/** A revision, and what was written as it. */
export interface Written {
  readonly oid: Oid;
  readonly tid: Tid;
  readonly isCurrent: boolean;
  readonly data: string;
}

const OBJECTS = 30;
const TRANSACTIONS = 60;

/** Writes a database of some objects with several revisions each, none of which can be compressed; closes it. One seed, the same places. */
export async function writeSample(path: string, random: Random): Promise<readonly Written[]> {
  const storage = await LevelStorage.open(path, { history: 'all', clock: new ManualClock() });
  const written: Written[] = [];
  for (let i = 0; i < TRANSACTIONS; i++) {
    const stores = [0, 1, 2].map((j) => {
      const oid = (1 + ((i * 3 + j) % OBJECTS)) as Oid;
      const serial = written.findLast((each) => each.oid === oid)?.tid ?? ZERO_TID;
      return { oid, serial, data: Buffer.from(random.bytes(120)) };
    });
    const transaction = {
      commitId: random.bytes(16),
      user: '',
      description: `${i}`,
      extension: new Uint8Array(0),
    };
    storage.tpcBegin(transaction);
    for (const { oid, serial, data } of stores) storage.store(transaction, oid, serial, Buffer.from(data));
    const { tid } = await storage.commit(transaction);
    for (const { oid, data } of stores) written.push({ oid, tid, isCurrent: true, data: data.toString('latin1') });
  }
  await storage.close();
  return written.map((each) => ({ ...each, isCurrent: each === written.findLast(({ oid }) => oid === each.oid) }));
}

/** Has LevelDB turn its log into a table, which it does as it opens. */
export async function settleIntoTables(path: string): Promise<void> {
  await (await LevelStorage.open(path, { history: 'all' })).close();
}

/** A copy to be damaged. */
export function copyOf(path: string, name: string): string {
  const copy = `${path}.${name}`;
  cpSync(path, copy, { recursive: true });
  return copy;
}

/**
 * Reads everything that was written, in every way. Each read gives what was written, or an error.
 *
 * @returns how often which error came, by code.
 */
export async function readAll(storage: Storage, written: readonly Written[]): Promise<Record<string, number>> {
  const errors: Record<string, number> = {};
  const attempt = (fn: () => void) => {
    try {
      fn();
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      const { code } = error as { code: string };
      errors[code] = (errors[code] ?? 0) + 1;
    }
  };
  const text = (data: Uint8Array) => Buffer.from(data).toString('latin1');
  for (const { oid, tid, isCurrent, data } of written) {
    attempt(() => assert.ok(text(storage.loadSerial(oid, tid)) === data, `wrong data of oid ${oid} by its tid`));
    attempt(() => {
      const revision = storage.loadBefore(oid, (tid + 1) as Tid);
      assert.ok(revision?.tid === tid && text(revision.data) === data, `wrong data of oid ${oid} at its tid`);
    });
    if (!isCurrent) continue;
    attempt(() => {
      const revision = storage.load(oid);
      assert.ok(revision.tid === tid && text(revision.data) === data, `wrong data of oid ${oid}`);
    });
  }
  try {
    let count = 0;
    for await (const { tid, records } of storage.iterate()) {
      count++;
      for (const record of records) {
        const expected = written.find((each) => each.oid === record.oid && each.tid === tid);
        assert.ok(expected?.data === text(record.data as Uint8Array), `wrong data of oid ${record.oid} in ${tid}`);
      }
    }
    assert.equal(count, TRANSACTIONS, 'a transaction is missing in silence');
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    errors[error.code] = (errors[error.code] ?? 0) + 1;
  }
  return errors;
}
