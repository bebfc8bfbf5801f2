import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextTurn, suggestCollection, systemClock } from '#src/base/index.js';

const TURNS_MAX = 10_000;

/** How many turns of the event loop an object outlives of which nobody knows, after `fn`. */
async function turnsUntilCollected(fn: () => void): Promise<number> {
  let isCollected = false;
  const registry = new FinalizationRegistry<void>(() => {
    isCollected = true;
  });
  (() => registry.register({}))();
  await nextTurn(systemClock);
  fn();
  let turns = 0;
  while (!isCollected && turns < TURNS_MAX) {
    await nextTurn(systemClock);
    turns++;
  }
  return turns;
}

test('the garbage collector comes when it is given a hint, which takes no memory', async () => {
  assert.equal(await turnsUntilCollected(() => {}), TURNS_MAX, 'nothing else has it come');
  const rssBefore = process.memoryUsage.rss();
  assert.ok((await turnsUntilCollected(suggestCollection)) < TURNS_MAX);
  assert.ok(process.memoryUsage.rss() - rssBefore < 30e6);
});
