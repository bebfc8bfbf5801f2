import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type CommitOutcome, type Oid, type Tid, ZERO_TID } from 'holdfast/odb';
import { newTransaction } from '#src/conformance/commits.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';

const OBJECTS = 5000;
/** Garbage, fewer than what a pack removes in one write. */
const GARBAGE = 50;

function commit(
  storage: LevelStorage,
  stores: readonly { readonly oid: number; readonly text: string }[],
  tid?: Tid,
): Promise<CommitOutcome> {
  const transaction = newTransaction({ tid });
  storage.tpcBegin(transaction);
  for (const { oid, text } of stores) storage.store(transaction, oid as Oid, ZERO_TID, Buffer.from(text));
  return storage.commit(transaction);
}

test('an object that is restored between the decision to drop it and its removal stays', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-pack-'));
  const storage = await LevelStorage.open(join(folder, 'test.fs'));
  try {
    const { tid } = await commit(
      storage,
      Array.from({ length: OBJECTS }, (_, oid) => ({ oid, text: `object ${oid}` })),
    );
    let restoring: Promise<CommitOutcome> | undefined;
    await storage.pack({
      before: (tid + 1) as Tid,
      references: (data) =>
        Buffer.from(data).toString() === 'object 0'
          ? Array.from({ length: OBJECTS - GARBAGE - 1 }, (_, i) => (i + GARBAGE + 1) as Oid)
          : [],
      onProgress: ({ phase }) => {
        if (phase !== 'sweep') return;
        restoring ??= commit(storage, [{ oid: 1, text: 'restored' }], (tid + 10) as Tid);
      },
    });
    await restoring;
    assert.equal(Buffer.from(storage.load(1 as Oid).data).toString(), 'restored');
    assert.throws(() => storage.load(2 as Oid), { code: 'ODB_POS_KEY' });
    assert.equal(Buffer.from(storage.load((OBJECTS - 1) as Oid).data).toString(), `object ${OBJECTS - 1}`);
  } finally {
    await storage.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('an object that was packed away and is restored has no part in the transactions of its former life', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-pack-'));
  const storage = await LevelStorage.open(join(folder, 'test.fs'));
  const references = (data: Uint8Array) => (Buffer.from(data).toString() === 'root' ? [2 as Oid] : []);
  try {
    const made = await commit(
      storage,
      [0, 1, 2].map((oid) => ({ oid, text: oid === 0 ? 'root' : 'made' })),
    );
    const changed = await commit(
      storage,
      [
        { oid: 1, text: 'changed' },
        { oid: 2, text: 'kept' },
      ],
      (made.tid + 1) as Tid,
    );
    await storage.pack({ before: (changed.tid + 1) as Tid, references });
    assert.throws(() => storage.load(1 as Oid), { code: 'ODB_POS_KEY' });
    const restored = await commit(storage, [{ oid: 1, text: 'restored' }], (changed.tid + 10) as Tid);
    const found: string[] = [];
    for await (const { tid, records } of storage.iterate()) {
      for (const { oid, data } of records) found.push(`${tid - made.tid} ${oid} ${Buffer.from(data ?? []).toString()}`);
    }
    assert.deepEqual(found, ['0 0 root', '1 2 kept', '11 1 restored']);
    for await (const { message } of storage.verify({ references })) assert.fail(message);
    const undoing = newTransaction();
    storage.tpcBegin(undoing);
    storage.undo(undoing, changed.tid);
    await assert.rejects(storage.commit(undoing), { code: 'ODB_UNDO' });
    await storage.tpcAbort(undoing);
    assert.equal(storage.load(1 as Oid).tid, restored.tid);
  } finally {
    await storage.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
