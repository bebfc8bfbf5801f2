import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ClassCount, classStatistics, type Oid, openStorage, type Storage, ZERO_TID } from 'holdfast/odb';
import { commit, undo } from '#src/conformance/commits.js';
import { writeRecord } from '#src/odb/serialize/writer.js';

/** The record of an object of a class that this process does not know. */
function recordOf(className: string, text = ''): Buffer {
  return writeRecord({
    className,
    state: { text },
    references: {
      isPersistent: () => false,
      reference: () => assert.fail('there are none'),
    },
    path: className,
  });
}

async function storageOf(classNames: readonly string[]): Promise<{ storage: Storage; oids: readonly Oid[] }> {
  const storage = await openStorage('memory:');
  const oids = classNames.map(() => storage.newOid());
  await commit(
    storage,
    classNames.map((name, i) => [oids[i] as Oid, ZERO_TID, recordOf(name)]),
  );
  return { storage, oids };
}

test('every current object is counted, of classes that are not known too, those of the most bytes first', async () => {
  const { storage, oids } = await storageOf(['nowhere.Small', 'nowhere.Large', 'nowhere.Small']);
  const [small, large] = oids as [Oid, Oid];
  const text = recordOf('nowhere.Large', 'x'.repeat(500));
  await commit(storage, [[large, storage.load(large).tid, text]]);
  // One more revision is no more objects, and one that was taken back is none.
  const { tid } = await commit(storage, [[storage.newOid(), ZERO_TID, recordOf('nowhere.Gone')]]);
  await undo(storage, [tid]);
  const told: number[] = [];
  const counts = await classStatistics(storage, { onProgress: (objects) => told.push(objects) });
  assert.deepEqual(counts, [
    { className: 'nowhere.Large', objects: 1, bytes: text.length },
    { className: 'nowhere.Small', objects: 2, bytes: storage.load(small).data.length * 2 },
  ] satisfies ClassCount[]);
  assert.deepEqual(told, [0]);
});

test('counting can be stopped', async () => {
  const { storage } = await storageOf(['nowhere.Small']);
  const reason = new RangeError('enough');
  await assert.rejects(classStatistics(storage, { signal: AbortSignal.abort(reason) }), reason);
});

test('an empty storage has no classes', async () => {
  assert.deepEqual(await classStatistics(await openStorage('memory:')), []);
});
