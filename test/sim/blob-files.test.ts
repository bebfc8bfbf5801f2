import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlobInfo, type Oid } from 'holdfast/odb';
import { crc32 } from '#src/base/index.js';
import { BlobStore } from '#src/odb/storage/blob/blob-store.js';
import { Scheduler } from './scheduler.js';
import { SimFiles } from './sim-files.js';
import { noFaults } from './sim-level.js';

const FOLDER = '/sim/test.fs';

interface Placed {
  readonly oid: Oid;
  readonly info: BlobInfo;
  readonly text: string;
}

/** Puts a content into its place, which may fail; tells of it once it is durable. */
async function place(store: BlobStore, files: SimFiles, content: Placed, placed: Placed[]): Promise<void> {
  const draft = `${FOLDER}/draft-${content.info.id}`;
  files.writeText(draft, content.text);
  await store.place(content.oid, content.info, draft);
  placed.push(content);
}

/** Some contents are placed at once, until the process or the machine ends; then others, and so on. */
async function rounds(seed: number): Promise<void> {
  const scheduler = new Scheduler(seed);
  const faults = { ...noFaults(), filesFail: scheduler.pick([0, 0.1]) };
  const files = new SimFiles(scheduler, faults, FOLDER);
  const placed: Placed[] = [];
  for (let round = 0; round < 4; round++) {
    const store = BlobStore.open(`${FOLDER}/blobs`, files);
    for (let i = 0; i < 3; i++) {
      const text = `content ${i} of round ${round}`;
      const oid = (1 + scheduler.below(3) * 5000 + i) as Oid;
      const content = { oid, text, info: BlobInfo.of(text.length, crc32(Buffer.from(text))) };
      place(store, files, content, placed).catch((error: { readonly code?: string }) =>
        assert.equal(error.code, 'EIO'),
      );
    }
    for (let steps = scheduler.below(60); steps > 0; steps--) await scheduler.step();
    scheduler.forget();
    if (scheduler.chance(0.5)) continue;
    files.crash();
    const after = BlobStore.open(`${FOLDER}/blobs`, files);
    for (const { oid, info, text } of placed) {
      assert.equal(files.read(after.pathOf({ oid, id: info.id }))?.toString(), text, `seed ${seed}`);
    }
  }
}

test('what was placed is there after the machine went down, whoever made its folders, or failed to', async () => {
  for (let seed = 1; seed <= 150; seed++) await rounds(seed);
});

test('a content of which it is not known whether its transaction happened stays whatever is packed, and the next open decides', async () => {
  const text = 'content';
  const info = BlobInfo.of(text.length, crc32(Buffer.from(text)));
  const blob = { oid: 7 as Oid, id: info.id };
  for (const happened of [true, false]) {
    const scheduler = new Scheduler(1);
    const files = new SimFiles(scheduler, noFaults(), FOLDER);
    const textOf = (store: BlobStore) => files.read(store.pathOf(blob))?.toString();
    const store = BlobStore.open(`${FOLDER}/blobs`, files);
    const placed: Placed[] = [];
    void place(store, files, { oid: blob.oid, info, text }, placed);
    while (placed.length === 0) await scheduler.step();
    store.retain(blob.oid, () => false);
    assert.equal(textOf(store), text);
    const next = BlobStore.open(`${FOLDER}/blobs`, files);
    next.recover(() => happened);
    assert.equal(textOf(next), happened ? text : undefined);
  }
});
