import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '#src/base/index.js';
import { Reconnect } from '#src/zeo/client/reconnect.js';

test('pauses grow, spread by chance, have a bound, and begin anew after success', () => {
  const reconnect = new Reconnect(seededRandom(1));
  let expectedMs = 25;
  for (let i = 0; i < 20; i++) {
    const pauseMs = reconnect.nextPauseMs();
    assert.ok(pauseMs >= expectedMs / 2 && pauseMs <= expectedMs, `${pauseMs} of ${expectedMs}`);
    expectedMs = Math.min(expectedMs * 2, 2000);
  }
  reconnect.reset();
  assert.ok(reconnect.nextPauseMs() <= 25);
  const many = Array.from({ length: 50 }, (_, seed) => new Reconnect(seededRandom(seed)).nextPauseMs());
  assert.ok(new Set(many).size > 40, 'clients do not come back at one instant');
});
