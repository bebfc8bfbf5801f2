import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DB, type DBOptions } from 'holdfast/odb';

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
