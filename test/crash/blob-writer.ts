// A process that commits blobs until it is killed: new ones, and new contents of old ones, by several committers at once. Each acknowledged
// commit is a line of output that is out before the committer goes on.
import { writeSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { DB, PersistentBlob, type PersistentMapping } from 'holdfast/odb';
import { contentOf } from './blob-contents.js';

const [path, seats] = process.argv.slice(2) as [string, string];
const db = await DB.open<{ blobs: PersistentMapping<PersistentBlob> }>(path);
writeSync(1, 'ready\n');

async function commitForEver(seat: string): Promise<never> {
  for (let version = 1; ; version++) {
    const key = `${seat}.${version % 5}`;
    const content = contentOf(key, version);
    await db.transaction(async ({ root }) => {
      let blob = root.blobs.get(key);
      // Every other time it is a new object.
      if (!blob || version % 2 === 0) {
        blob = new PersistentBlob();
        root.blobs.set(key, blob);
      }
      await pipeline([content], blob.open('w'));
    });
    writeSync(1, `ack ${key} ${version}\n`);
  }
}

await Promise.all(seats.split(',').map(commitForEver));
