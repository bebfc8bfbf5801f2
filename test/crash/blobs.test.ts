import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkedReferences, DB, type PersistentBlob, PersistentMapping } from 'holdfast/odb';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { Site } from '../support/programs.js';
import { contentOf, versionOf } from './blob-contents.js';

const BLOB_WRITER = fileURLToPath(new URL('./blob-writer.js', import.meta.url));

interface Root {
  blobs: PersistentMapping<PersistentBlob>;
}

let site: Site;

beforeEach(() => {
  site = new Site();
});

afterEach(() => site[Symbol.asyncDispose]());

/** Resolves once `text` has been said so often; the program writes on meanwhile. */
async function said(program: ReturnType<Site['startFile']>, text: RegExp, count: number): Promise<void> {
  while ([...program.stdout.matchAll(text)].length < count) {
    assert.ok(!program.hasEnded, program.stderr);
    await Promise.race([new Promise((resolve) => program.child.stdout?.once('data', resolve)), program.exited]);
  }
}

test('kill -9 of a process that commits blobs, at any instant: each acknowledged one is whole, and nothing is left of others', async () => {
  const path = join(site.directory, 'test.fs');
  const first = await DB.open<Root>(path);
  await first.transaction(({ root }) => {
    root.blobs = new PersistentMapping();
  });
  await first.close();
  for (let round = 0; round < 5; round++) {
    const seats = [0, 1, 2].map((seat) => `round${round}seat${seat}`);
    const program = site.startFile(BLOB_WRITER, [path, seats.join(',')]);
    await said(program, /^ack /gm, 2 + Math.floor(Math.random() * 15));
    for (let i = Math.floor(Math.random() * 100); i > 0; i--) await new Promise(setImmediate);
    await program.end('SIGKILL');
    const acknowledged = new Map(
      [...program.stdout.matchAll(/^ack (\S+) (\d+)\n/gm)].map(([, key, version]) => [key as string, Number(version)]),
    );
    const storage = await LevelStorage.open(path);
    for (const folder of ['tmp', 'pending']) assert.deepEqual(readdirSync(join(path, 'blobs', folder)), []);
    for await (const { message } of storage.verify({ references: checkedReferences })) assert.fail(message);
    const db = await DB.open<Root>(storage);
    const { root } = db.open();
    for (const [key, version] of acknowledged) assert.ok(root.blobs.has(key), `${key} ${version} is there`);
    for (const [key, blob] of root.blobs) {
      const content = await buffer(blob.open('r'));
      const version = versionOf(content);
      assert.ok(content.equals(contentOf(key, version)), `${key} is whole`);
      const known = acknowledged.get(key) ?? 0;
      // Each committer may have been killed between a commit and its acknowledgement.
      if (key.startsWith(`round${round}`)) assert.ok(version === known || version === known + 5 || known === 0);
    }
    await db.close();
  }
});
