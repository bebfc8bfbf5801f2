import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type CommitOutcome, type Oid, type StorageTransaction, type Tid, ZERO_TID } from 'holdfast/odb';
import { systemRandom } from '#src/base/index.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';

const OBJECTS = 5000;
/** Garbage, fewer than what a pack removes in one write. */
const GARBAGE = 50;

function commit(
  storage: LevelStorage,
  stores: readonly { readonly oid: number; readonly text: string }[],
  tid?: Tid,
): Promise<CommitOutcome> {
  const transaction: StorageTransaction = {
    commitId: systemRandom.bytes(16),
    user: '',
    description: '',
    extension: new Uint8Array(0),
    tid,
  };
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
