import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { Program } from '../../support/programs.js';

const CLOSING = fileURLToPath(new URL('./closing-process.js', import.meta.url));

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-closing-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Runs the orders in a process of their own: LevelDB answers a handle that was let go of too early by the end of the process. */
async function closes(orders: readonly string[]): Promise<void> {
  const program = new Program(CLOSING, [folder, ...orders], { cwd: folder });
  const { code, signal } = await program.exited;
  assert.deepEqual(
    { code, signal },
    { code: 0, signal: null },
    `${program.stdout.split('\n').at(-2)}: ${program.stderr}`,
  );
  const storage = await LevelStorage.open(join(folder, 'test.fs'));
  for await (const { message } of storage.verify({ references: () => [] })) assert.fail(message);
  await storage.close();
}

test('a database may be closed by its owner before, between and after its threads, while all of them read it', () =>
  closes([
    'owner.close.terminate.exit',
    'close.owner.exit.terminate',
    'terminate.exit.owner.close',
    'exit.terminate.close.owner',
  ]));

test('its owner and its threads may all end at once', () =>
  closes(['owner.+close.+terminate.+exit', '+terminate.+owner.+exit.+close', '+exit.+close.+terminate.+owner']));

for (const order of ['end', 'owner.+end', '+terminate.+exit.+end']) {
  test(`a process may end in the middle of that: ${order}`, () => closes([order]));
}
