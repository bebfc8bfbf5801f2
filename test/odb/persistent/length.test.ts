import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CommitUnderWayError, SerializationError } from '#src/odb/errors.js';
import { Length } from '#src/odb/persistent/length.js';
import { RecordJar } from './record-jar.js';

test('a length counts, and registers its changes', () => {
  const jar = new RecordJar();
  const length = jar.ghost(Length, 4);
  assert.equal(length.value, 4);
  assert.deepEqual(jar.registered, []);
  length.change(3);
  length.change(-1);
  assert.deepEqual([length.value, jar.stored(length), jar.registered], [6, 6, [length]]);
  length.set(1);
  assert.equal(length.value, 1);
  length._p_invalidate();
  assert.equal(length.value, 4);
  assert.equal(new Length().value, 0);
  assert.equal(new Length(7).getState(), 7);
});

test('a refused change leaves the number as it was', () => {
  const jar = new RecordJar();
  const length = jar.loaded(Length, 4);
  jar.refusal = new CommitUnderWayError('wait');
  assert.throws(() => length.change(1), CommitUnderWayError);
  assert.throws(() => length.set(1), CommitUnderWayError);
  assert.equal(length.value, 4);
});

test('what is no number is refused, before anything is registered', () => {
  const jar = new RecordJar();
  const length = jar.loaded(Length, 4);
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, '1' as unknown as number]) {
    assert.throws(() => length.change(value), { code: 'ARG_LENGTH' });
    assert.throws(() => length.set(value), { code: 'ARG_LENGTH' });
    assert.throws(() => new Length(value), { code: 'ARG_LENGTH' });
  }
  assert.deepEqual([length.value, jar.registered], [4, []]);
  assert.throws(() => jar.loaded(Length, 'four'), SerializationError);
});

test('any order of merged changes gives the sum of all differences', () => {
  fc.assert(
    fc.property(fc.integer(), fc.array(fc.integer(), { minLength: 1, maxLength: 8 }), (base, deltas) => {
      // All begin from the same revision, and commit one after the other.
      let committed = base;
      for (const delta of deltas) committed = Length.resolveConflict(base, committed, base + delta);
      assert.equal(
        committed,
        deltas.reduce((sum, delta) => sum + delta, base),
      );
    }),
  );
});
