import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CorruptionError, type Oid, type Tid } from 'holdfast/odb';
import type { Level } from '#src/odb/storage/level/disk.js';
import { currentKey, encodeRevision, olderKey } from '#src/odb/storage/level/keyspace.js';
import { LevelReader } from '#src/odb/storage/level/level-reader.js';

const OID = 7 as Oid;

/** A LevelDB in memory in which `between` happens after each read. */
function levelOf(between: (values: Map<string, Buffer>, reads: number) => void): Level {
  const values = new Map<string, Buffer>();
  put(values, 0);
  let reads = 0;
  const getSync = (key: Buffer) => {
    const value = values.get(key.toString('hex'));
    between(values, ++reads);
    return value;
  };
  return { getSync } as unknown as Level;
}

/** As a commit writes the n-th revision. */
function put(values: Map<string, Buffer>, n: number): void {
  const key = currentKey(OID).toString('hex');
  const superseded = values.get(key);
  if (superseded) values.set(olderKey(OID, n - 1).toString('hex'), superseded);
  values.set(key, encodeRevision({ oid: OID, n, tid: (100 + n) as Tid, data: Buffer.from(`revision ${n}`) }));
}

test('commits between the two reads that find the current revision are no damage', () => {
  let n = 0;
  const reader = new LevelReader(levelOf((values, reads) => reads < 8 && put(values, ++n)));
  const { tid } = reader.current(OID) ?? {};
  assert.ok(tid !== undefined && tid > 100, `${tid}`);
  assert.equal(reader.current(OID)?.tid, 100 + n);
});

test('an object that is packed away between the two reads is not there', () => {
  const reader = new LevelReader(
    levelOf((values, reads) => {
      if (reads === 1) put(values, 1);
      if (reads === 2) values.clear();
    }),
  );
  assert.equal(reader.current(OID), undefined);
});

test('a current revision that is among the older ones is not the current one', () => {
  const reader = new LevelReader(
    levelOf((values, reads) => {
      if (reads > 1) return;
      const former = values.get(currentKey(OID).toString('hex')) as Buffer;
      put(values, 1);
      values.set(currentKey(OID).toString('hex'), former);
    }),
  );
  assert.throws(
    () => reader.current(OID),
    (error: unknown) => error instanceof CorruptionError && error.oid === OID,
  );
});
