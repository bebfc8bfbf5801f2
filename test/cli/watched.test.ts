import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Program } from '../support/programs.js';

function watch(how: string): Program {
  return new Program(fileURLToPath(new URL('./watching-program.js', import.meta.url)), [how], { cwd: '.' });
}

test('a program that is watched over ends with its own exit code', async () => {
  for (const code of [0, 1, 2]) assert.deepEqual(await watch(String(code)).exited, { code, signal: null });
});

test('where its process is ended by a fault, as LevelDB does on some damage, that is told as damage of what it read', async () => {
  const program = watch('abort');
  assert.deepEqual(await program.exited, { code: 1, signal: null });
  assert.match(
    program.stderr,
    /^holdfast verify: shop\.fs is damaged: .*SIGABRT.*restore the database from a copy\n$/m,
  );
});

test('it is told to end by the signals that its watcher gets, once each', async () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const program = watch('wait');
    await program.output(/waiting\n/);
    program.child.kill(signal);
    assert.deepEqual(await program.exited, { code: 7, signal: null });
    assert.equal(program.stdout, `waiting\ntold ${signal}\n`);
  }
});
