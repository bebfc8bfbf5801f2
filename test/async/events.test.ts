import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Events } from '#src/async/events.js';

const added = (name: string) => ({ object: {}, parent: {}, name });

test('listeners are told at once, in order, of the events that they asked for', () => {
  const events = new Events();
  const told: string[] = [];
  events.on('ObjectAdded', ({ name }) => told.push(`first ${name}`));
  events.on('ObjectAdded', ({ name }) => told.push(`second ${name}`));
  events.on('DatabaseOpened', () => told.push('never'));
  events.emit('ObjectAdded', added('a'));
  assert.deepEqual(told, ['first a', 'second a']);
});

test('a listener that was taken away is told no more, one added twice is told twice', () => {
  const events = new Events();
  let calls = 0;
  const listener = () => {
    calls++;
  };
  const end = events.on('ObjectAdded', listener);
  const endAgain = events.on('ObjectAdded', listener);
  events.emit('ObjectAdded', added('a'));
  assert.equal(calls, 2);
  end();
  end();
  events.emit('ObjectAdded', added('b'));
  assert.equal(calls, 3);
  endAgain();
  events.emit('ObjectAdded', added('c'));
  assert.equal(calls, 3);
});

test('what a listener throws reaches the one who caused the event', () => {
  const events = new Events();
  events.on('ObjectAdded', () => {
    throw new RangeError('no agent for you');
  });
  assert.throws(() => events.emit('ObjectAdded', added('a')), /no agent for you/);
});

test('a listener that is added by a listener is told from the next event on', () => {
  const events = new Events();
  const told: string[] = [];
  let addedInner = false;
  events.on('ObjectAdded', ({ name }) => {
    told.push(`outer ${name}`);
    if (addedInner) return;
    addedInner = true;
    events.on('ObjectAdded', (inner) => told.push(`inner ${inner.name}`));
  });
  events.emit('ObjectAdded', added('a'));
  events.emit('ObjectAdded', added('b'));
  assert.deepEqual(told, ['outer a', 'outer b', 'inner b']);
});
