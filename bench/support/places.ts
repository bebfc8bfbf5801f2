import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DB, type DBOptions, PersistentList } from 'holdfast/odb';
import { Item } from './objects.js';

/** Runs `work` with a fresh directory, which is gone afterwards. */
export async function withDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Runs `work` with a fresh database on disk. */
export function withDatabase<T>(work: (db: DB) => Promise<T>, options: DBOptions = {}): Promise<T> {
  return withDirectory(async (directory) => {
    const db = await DB.open(join(directory, 'bench.fs'), options);
    try {
      return await work(db);
    } finally {
      await db.close();
    }
  });
}

/** Objects that {@link fill} puts into a list. */
export const LIST_OBJECTS = 1000;

/** Puts so many objects into lists at the root, `items 0`, `items 1000`, …; each list in a transaction of its own. */
export async function fill(db: DB, count: number, make: () => Item = () => new Item()): Promise<void> {
  for (let done = 0; done < count; done += LIST_OBJECTS) {
    await db.transaction((connection) => {
      connection.root.set(`items ${done}`, new PersistentList(Array.from({ length: LIST_OBJECTS }, make)));
    });
  }
}

/** Bytes of all files in a directory. */
export async function bytesIn(directory: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(directory, { recursive: true })) bytes += statSync(join(directory, name)).size;
  return bytes;
}
