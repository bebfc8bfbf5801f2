import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CommitUnderWayError, SerializationError } from '#src/odb/errors.js';
import type { Oid } from '#src/odb/ids.js';
import { makeGhostAgain } from '#src/odb/persistent/lifecycle.js';
import { PersistentList } from '#src/odb/persistent/list.js';
import { RecordJar } from './record-jar.js';

type Both = { model: number[]; list: PersistentList<number> };
type Command = (both: Both) => void;

const item = fc.integer({ min: 0, max: 9 });
const index = fc.integer({ min: -6, max: 6 });

/** Commands whose answers must be those of an array. */
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.array(item, { maxLength: 3 }).map<Command>((items) => ({ model, list }) => {
    assert.equal(list.push(...items), model.push(...items));
  }),
  fc.array(item, { maxLength: 3 }).map<Command>((items) => ({ model, list }) => {
    assert.equal(list.unshift(...items), model.unshift(...items));
  }),
  fc.array(item, { maxLength: 3 }).map<Command>((items) => ({ model, list }) => {
    list.extend(items);
    model.push(...items);
  }),
  fc.constantFrom<Command>(
    ({ model, list }) => assert.equal(list.pop(), model.pop()),
    ({ model, list }) => assert.equal(list.shift(), model.shift()),
    ({ model, list }) => {
      assert.equal(list.reverse(), list);
      model.reverse();
    },
    ({ model, list }) => {
      assert.equal(list.sort(), list);
      model.sort();
    },
    ({ model, list }) => {
      list.sort((a, b) => b - a);
      model.sort((a, b) => b - a);
    },
    ({ model, list }) => {
      list.clear();
      model.length = 0;
    },
  ),
  fc
    .tuple(index, fc.option(index, { nil: undefined }), fc.array(item, { maxLength: 2 }))
    .map<Command>(([start, count, items]) => ({ model, list }) => {
      if (count === undefined) assert.deepEqual(list.splice(start), model.splice(start));
      else assert.deepEqual(list.splice(start, count, ...items), model.splice(start, count, ...items));
    }),
  fc.tuple(index, item).map<Command>(([at, value]) => ({ model, list }) => {
    list.insert(at, value);
    model.splice(at, 0, value);
  }),
  fc.tuple(index, item).map<Command>(([at, value]) => ({ model, list }) => {
    const place = at < 0 ? model.length + at : at;
    if (place in model) {
      list.set(at, value);
      model[place] = value;
    } else assert.throws(() => list.set(at, value), { name: 'RangeError', code: 'ARG_INDEX' });
  }),
  item.map<Command>((value) => ({ model, list }) => {
    const at = model.indexOf(value);
    assert.equal(list.remove(value), at >= 0);
    if (at >= 0) model.splice(at, 1);
  }),
  fc.tuple(index, index, item).map<Command>(([a, b, value]) => ({ model, list }) => {
    assert.deepEqual(
      [
        list.at(a),
        list.get(b),
        list.slice(a, b),
        list.indexOf(value),
        list.lastIndexOf(value),
        list.includes(value),
        list.find((each) => each > value),
        list.findIndex((each) => each > value),
        list.some((each) => each === value),
        list.every((each) => each >= value),
        list.map((each, i) => each * i),
        list.flatMap((each) => [each, value]),
        list.filter((each) => each > value),
        list.reduce((sum, each) => sum + each, 0),
        list.join('+'),
        [...list.entries()],
        [...list.keys()],
        [...list.values()],
      ],
      [
        model.at(a),
        model.at(b),
        model.slice(a, b),
        model.indexOf(value),
        model.lastIndexOf(value),
        model.includes(value),
        model.find((each) => each > value),
        model.findIndex((each) => each > value),
        model.some((each) => each === value),
        model.every((each) => each >= value),
        model.map((each, i) => each * i),
        model.flatMap((each) => [each, value]),
        model.filter((each) => each > value),
        model.reduce((sum, each) => sum + each, 0),
        model.join('+'),
        [...model.entries()],
        [...model.keys()],
        [...model.values()],
      ],
    );
  }),
);

test('a list answers as an array does, across being stored and loaded', () => {
  fc.assert(
    fc.property(
      fc.array(item, { maxLength: 5 }),
      fc.array(fc.tuple(command, fc.boolean()), { maxLength: 40 }),
      (items, steps) => {
        const jar = new RecordJar();
        const both: Both = { model: [...items], list: jar.adopt(new PersistentList(items)) };
        for (const [run, storesAfter] of steps) {
          run(both);
          if (storesAfter) {
            jar.states.set(both.list._p_oid as Oid, jar.stored(both.list));
            makeGhostAgain(both.list);
          }
          assert.equal(both.list.length, both.model.length);
          assert.deepEqual([...both.list], both.model);
        }
      },
    ),
  );
});

test('every change registers, and what changes nothing does not', () => {
  const changes: ((list: PersistentList<number>) => unknown)[] = [
    (l) => l.push(1),
    (l) => l.pop(),
    (l) => l.shift(),
    (l) => l.unshift(1),
    (l) => l.insert(0, 1),
    (l) => l.extend([1]),
    (l) => l.splice(0, 1),
    (l) => l.set(0, 5),
    (l) => l.remove(2),
    (l) => l.clear(),
    (l) => l.reverse(),
    (l) => l.sort(),
    (l) => {
      l.length = 1;
    },
  ];
  for (const change of changes) {
    const jar = new RecordJar();
    const list = jar.ghost(PersistentList<number>, [2, 1]);
    change(list);
    assert.deepEqual(jar.registered, [list], change.toString());
  }
  const jar = new RecordJar();
  const empty = jar.ghost(PersistentList<number>, []);
  void [empty.pop(), empty.shift(), empty.remove(1), empty.clear(), empty.length, empty.slice()];
  assert.deepEqual(jar.registered, []);
});

test('a refused change leaves the list as it was', () => {
  const jar = new RecordJar();
  const list = jar.loaded(PersistentList<number>, [2, 1]);
  jar.refusal = new CommitUnderWayError('wait');
  const changes = [() => list.push(1), () => list.pop(), () => list.sort(), () => list.set(0, 9), () => list.clear()];
  for (const change of changes) {
    assert.throws(change, CommitUnderWayError);
    assert.deepEqual([...list], [2, 1]);
  }
});

test('setting the length shortens, or lengthens with undefined and no holes', () => {
  const list = new PersistentList<number | undefined>([1, 2, 3]);
  list.length = 1;
  assert.deepEqual([...list], [1]);
  list.length = 3;
  assert.deepEqual(
    list.map((each) => each ?? 0),
    [1, 0, 0],
  );
  for (const wrong of [-1, 0.5, Number.NaN, 2 ** 32]) {
    assert.throws(
      () => {
        list.length = wrong;
      },
      { name: 'RangeError', code: 'ARG_LENGTH' },
    );
  }
  assert.equal(list.length, 3);
});

test('a list can be extended by itself', () => {
  const list = new PersistentList([1, 2]);
  list.extend(list);
  assert.deepEqual([...list], [1, 2, 1, 2]);
});

test('the state that is given away is not the one that is kept', () => {
  const list = new PersistentList([1]);
  list.getState().push(2);
  assert.equal(list.length, 1);
});

test('fields of a subclass, and records that are no array, are refused', () => {
  class Titled extends PersistentList {
    title = '';
  }
  assert.throws(() => new Titled().getState(), SerializationError);
  assert.throws(() => new RecordJar().loaded(PersistentList, new Map()), SerializationError);
});
