import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';

/** A value and the key that it stands under. */
export type Entry = readonly [key: string, value: Buffer];

/** A store of values by key that runs in this process, as holdfast does. */
export interface Store {
  /** Writes all or none, durably. */
  write(entries: readonly Entry[]): Promise<void>;
  get(key: string): Buffer | undefined;
  /** Walks over all entries in the order of their keys. Returns how many there are. */
  count(): Promise<number>;
  close(): Promise<void>;
}

/** Stores to be compared with, by name; each is opened in a directory of its own. */
export type Stores = ReadonlyMap<string, (directory: string) => Promise<Store>>;

/** The stores that are installed here, and the names of those that are not. */
export async function findStores(): Promise<{ readonly stores: Stores; readonly missing: readonly string[] }> {
  const stores = new Map([['classic-level', openLevel]]);
  const lmdb = await findLmdb();
  if (lmdb) stores.set('lmdb', (directory) => openLmdb(lmdb, directory));
  return { stores, missing: lmdb ? [] : ['lmdb'] };
}

async function openLevel(directory: string): Promise<Store> {
  const level = new ClassicLevel<string, Buffer>(join(directory, 'level'), { valueEncoding: 'buffer' });
  await level.open();
  return {
    write: (entries) =>
      level.batch(
        entries.map(([key, value]) => ({ type: 'put', key, value })),
        { sync: true },
      ),
    get: (key) => level.getSync(key),
    count: async () => {
      let count = 0;
      const entries = level.iterator();
      for (;;) {
        const some = await entries.nextv(1000);
        if (some.length === 0) break;
        count += some.length;
      }
      await entries.close();
      return count;
    },
    close: () => level.close(),
  };
}

/** The part of lmdb that is used here: it is measured where it is installed, and needed nowhere. */
interface Lmdb {
  open(options: { readonly path: string; readonly encoding: 'binary' }): LmdbDatabase;
}

interface LmdbDatabase {
  transaction(work: () => void): Promise<unknown>;
  put(key: string, value: Buffer): unknown;
  getBinary(key: string): Buffer | undefined;
  getRange(): Iterable<unknown>;
  readonly flushed: Promise<unknown>;
  close(): Promise<void>;
}

async function findLmdb(): Promise<Lmdb | undefined> {
  // Not a name that the compiler would look for.
  const name: string = 'lmdb';
  try {
    return (await import(name)) as Lmdb;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

async function openLmdb(lmdb: Lmdb, directory: string): Promise<Store> {
  const database = lmdb.open({ path: join(directory, 'lmdb'), encoding: 'binary' });
  return {
    write: async (entries) => {
      await database.transaction(() => {
        for (const [key, value] of entries) database.put(key, value);
      });
      // A transaction resolves once it can be read; this once it is on the disk.
      await database.flushed;
    },
    get: (key) => database.getBinary(key),
    count: async () => {
      let count = 0;
      for (const _ of database.getRange()) count++;
      return count;
    },
    close: () => database.close(),
  };
}
