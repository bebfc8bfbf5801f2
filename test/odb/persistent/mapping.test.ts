import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CommitUnderWayError, MergeRefusedError, SerializationError } from '#src/odb/errors.js';
import type { Oid } from '#src/odb/ids.js';
import { makeGhostAgain } from '#src/odb/persistent/lifecycle.js';
import { PersistentMapping } from '#src/odb/persistent/mapping.js';
import { PersistentReference } from '#src/odb/serialize/references.js';
import { RecordJar } from './record-jar.js';

const KEYS = ['a', 'b', 'c', 'd'];

type Command = (map: { model: Map<string, number>; mapping: PersistentMapping<number> }) => void;

/** Commands whose answers must be those of a `Map`. */
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.tuple(fc.constantFrom(...KEYS), fc.integer()).map<Command>(([key, value]) => ({ model, mapping }) => {
    model.set(key, value);
    assert.equal(mapping.set(key, value), mapping);
  }),
  fc.constantFrom(...KEYS).map<Command>((key) => ({ model, mapping }) => {
    assert.equal(mapping.delete(key), model.delete(key));
  }),
  fc.constantFrom(...KEYS).map<Command>((key) => ({ model, mapping }) => {
    assert.equal(mapping.get(key), model.get(key));
    assert.equal(mapping.has(key), model.has(key));
  }),
  fc.tuple(fc.constantFrom(...KEYS), fc.integer()).map<Command>(([key, value]) => ({ model, mapping }) => {
    const expected = model.get(key) ?? value;
    model.set(key, expected);
    assert.equal(mapping.setDefault(key, value), expected);
  }),
  fc.constantFrom(...KEYS).map<Command>((key) => ({ model, mapping }) => {
    const expected = model.has(key) ? model.get(key) : -1;
    model.delete(key);
    assert.equal(mapping.pop(key, -1), expected);
  }),
  fc.dictionary(fc.constantFrom(...KEYS), fc.integer()).map<Command>((entries) => ({ model, mapping }) => {
    for (const [key, value] of Object.entries(entries)) model.set(key, value);
    mapping.update(entries);
  }),
  fc.constant<Command>(({ model, mapping }) => {
    model.clear();
    mapping.clear();
  }),
);

test('a mapping answers as a Map does, across being stored and loaded', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(command, fc.boolean()), { maxLength: 40 }), (steps) => {
      const jar = new RecordJar();
      const model = new Map<string, number>();
      const mapping = jar.adopt(new PersistentMapping<number>());
      for (const [run, storesAfter] of steps) {
        run({ model, mapping });
        if (storesAfter) {
          jar.states.set(mapping._p_oid as Oid, jar.stored(mapping));
          makeGhostAgain(mapping);
        }
        assert.equal(mapping.size, model.size);
        assert.deepEqual([...mapping], [...model]);
        assert.deepEqual([...mapping.keys()], [...model.keys()]);
        assert.deepEqual([...mapping.values()], [...model.values()]);
        const seen: unknown[] = [];
        mapping.forEach((value, key, whole) => {
          seen.push([key, value]);
          assert.equal(whole, mapping);
        });
        assert.deepEqual(seen, [...model]);
      }
    }),
  );
});

test('what changes nothing registers nothing', () => {
  const jar = new RecordJar();
  const mapping = jar.loaded(PersistentMapping<number>, new Map([['a', 1]]));
  mapping.delete('b');
  assert.equal(mapping.setDefault('a', 2), 1);
  assert.equal(mapping.pop('b'), undefined);
  void [mapping.size, mapping.get('a'), mapping.has('a'), [...mapping]];
  const empty = jar.loaded(PersistentMapping, new Map());
  empty.clear();
  assert.deepEqual(jar.registered, []);
});

test('every change registers', () => {
  const changes: ((mapping: PersistentMapping<number>) => void)[] = [
    (m) => m.set('a', 1),
    (m) => m.delete('a'),
    (m) => m.clear(),
    (m) => m.setDefault('b', 1),
    (m) => m.update({ c: 3 }),
    (m) => m.update([['c', 3]]),
    (m) => m.pop('a'),
  ];
  for (const change of changes) {
    const jar = new RecordJar();
    const mapping = jar.ghost(PersistentMapping<number>, new Map([['a', 1]]));
    change(mapping);
    assert.deepEqual(jar.registered, [mapping], change.toString());
  }
});

test('a refused change leaves the mapping as it was', () => {
  const jar = new RecordJar();
  const mapping = jar.loaded(PersistentMapping<number>, new Map([['a', 1]]));
  jar.refusal = new CommitUnderWayError('wait');
  for (const change of [
    () => mapping.set('a', 2),
    () => mapping.delete('a'),
    () => mapping.clear(),
    () => mapping.update({ b: 1 }),
  ]) {
    assert.throws(change, CommitUnderWayError);
    assert.deepEqual([...mapping], [['a', 1]]);
  }
});

test('a mapping begins with an object, pairs or another mapping', () => {
  assert.deepEqual([...new PersistentMapping({ a: 1 })], [['a', 1]]);
  assert.deepEqual([...new PersistentMapping<number>([['a', 1]])], [['a', 1]]);
  assert.deepEqual([...new PersistentMapping(new PersistentMapping({ a: 1 }))], [['a', 1]]);
  assert.deepEqual([...new PersistentMapping<string, number>(new Map([[1, 'a']]))], [[1, 'a']]);
});

test('the state that is given away is not the one that is kept', () => {
  const mapping = new PersistentMapping({ a: 1 });
  mapping.getState().set('b', 2);
  assert.equal(mapping.size, 1);
});

test('a field of a subclass, which would be lost, is refused', () => {
  class Folder extends PersistentMapping {
    title = 'mine';
    _v_cache = 5;
  }
  const folder = new RecordJar().adopt(new Folder());
  assert.throws(
    () => folder.getState(),
    (error: Error) => error instanceof SerializationError && /'title'/.test(error.message),
  );
});

test('a record that is no map is refused', () => {
  assert.throws(() => new RecordJar().loaded(PersistentMapping, [1]), SerializationError);
});

const state = fc
  .dictionary(fc.constantFrom(...KEYS), fc.integer({ min: 0, max: 2 }))
  .map((o) => new Map(Object.entries(o)));

const changedKeys = (from: Map<string, number>, to: Map<string, number>) =>
  KEYS.filter((key) => from.has(key) !== to.has(key) || from.get(key) !== to.get(key));

test('changes of different keys merge to what both did, changes of the same key never', () => {
  fc.assert(
    fc.property(state, state, state, (base, committed, mine) => {
      const theirs = changedKeys(base, committed);
      const ours = changedKeys(base, mine);
      const copies = [base, committed, mine].map((map) => [...map]);
      if (theirs.some((key) => ours.includes(key))) {
        assert.throws(() => PersistentMapping.resolveConflict(base, committed, mine), MergeRefusedError);
      } else {
        const merged = PersistentMapping.resolveConflict(base, committed, mine);
        for (const key of KEYS) {
          const expected = ours.includes(key) ? mine : committed;
          assert.equal(merged.has(key), expected.has(key));
          assert.equal(merged.get(key), expected.get(key));
        }
      }
      assert.deepEqual(
        [base, committed, mine].map((map) => [...map]),
        copies,
        'the states are left alone',
      );
    }),
  );
});

test('values merge by what they hold, and references by what they mean', () => {
  const ref = (oid: number) => new PersistentReference({ oid: oid as Oid, className: 'bank.Account', kind: 'strong' });
  const [one, two] = [ref(1), ref(2)];
  const merged = PersistentMapping.resolveConflict(
    new Map<string, unknown>([
      ['plain', { tags: ['x'] }],
      ['account', one],
    ]),
    new Map<string, unknown>([
      ['plain', { tags: ['x'] }],
      ['account', one],
      ['theirs', 1],
    ]),
    new Map<string, unknown>([
      ['plain', { tags: ['x'] }],
      ['account', two],
    ]),
  );
  assert.deepEqual(
    [...merged],
    [
      ['plain', { tags: ['x'] }],
      ['account', two],
      ['theirs', 1],
    ],
  );
  const keyed = PersistentMapping.resolveConflict(
    new Map([[one, 1]]),
    new Map([[one, 2]]),
    new Map([
      [one, 1],
      [two, 3],
    ]),
  );
  assert.deepEqual(
    [...keyed],
    [
      [one, 2],
      [two, 3],
    ],
  );
  assert.throws(
    () => PersistentMapping.resolveConflict(new Map([[one, 1]]), new Map([[one, 2]]), new Map([[one, 3]])),
    (error: Error) => error instanceof MergeRefusedError && /oid 1/.test(error.message),
  );
});

test('keys that are objects of their own in each state are not merged', () => {
  const at = () => new Map([[new Date(0), 1]]);
  assert.throws(() => PersistentMapping.resolveConflict(at(), at(), at()), MergeRefusedError);
});
