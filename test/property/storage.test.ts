import { cpSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { appendResolver } from 'holdfast/conformance';
import { DemoStorage, openStorage, type Storage } from 'holdfast/odb';
import type { Clock } from '#src/base/index.js';
import { command, Pair, type Place } from './storage-pair.js';

/** A directory. */
class Disk implements Place {
  readonly #folder = mkdtempSync(join(tmpdir(), 'holdfast-storage-'));
  #path = join(this.#folder, 'test.fs');
  #crashes = 0;

  /** @param batchSize what is larger than this is a large transaction */
  constructor(private readonly batchSize: number | undefined) {}

  open(clock: Clock): Promise<Storage> {
    const options = this.batchSize === undefined ? {} : { batchSize: this.batchSize };
    return openStorage(this.#path, { clock, conflictResolver: appendResolver, history: 'all', ...options });
  }

  async reopen(storage: Storage, how: 'close' | 'crash', clock: Clock): Promise<Storage> {
    const copy = join(this.#folder, `crash-${++this.#crashes}.fs`);
    if (how === 'crash') await copyAsOfOneInstant(this.#path, copy);
    await storage.close();
    if (how === 'crash') this.#path = copy;
    return this.open(clock);
  }

  async remove(): Promise<void> {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Changes over changes: instead of being opened anew, the storage becomes the base of another one. */
class Stack implements Place {
  readonly #open: Storage[] = [];

  open(clock: Clock): Promise<Storage> {
    return openStorage('memory:', { clock, conflictResolver: appendResolver });
  }

  async reopen(storage: Storage, _how: unknown, clock: Clock): Promise<Storage> {
    this.#open.push(storage);
    return DemoStorage.open(storage, { clock, conflictResolver: appendResolver, closesBase: false });
  }

  async remove(): Promise<void> {
    for (const storage of this.#open.reverse()) await storage.close();
  }
}

/** LevelDB writes and removes files at any time; a process that is killed leaves them as they were at one instant. */
async function copyAsOfOneInstant(from: string, to: string): Promise<void> {
  const look = () =>
    readdirSync(from, { recursive: true, encoding: 'utf8' }).map((name) => {
      const stat = statSync(join(from, name), { throwIfNoEntry: false });
      return [name, stat?.size, stat?.mtimeMs];
    });
  for (;;) {
    const before = look();
    try {
      cpSync(from, to, { recursive: true });
      if (isDeepStrictEqual(look(), before)) return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    rmSync(to, { recursive: true, force: true });
    await new Promise(setImmediate);
  }
}

test('a storage on disk does what the one in memory does, whatever is asked of it, and however often it is closed or killed', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(command, { minLength: 1, maxLength: 18 }),
      // With few bytes, every transaction is a large one, and is written in several batches.
      fc.constantFrom(undefined, 1),
      (commands, batchSize) => Pair.run(new Disk(batchSize), commands),
    ),
    { numRuns: 60 },
  );
});

test('changes over changes look like one storage, wherever one ends and the next begins', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 18 }), (commands) => Pair.run(new Stack(), commands)),
    { numRuns: 60 },
  );
});
