import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { BTree, Bucket, BucketSet, TreeSet } from 'holdfast/odb';
import { CommitUnderWayError, CorruptionError, SerializationError } from '#src/odb/errors.js';
import type { Oid } from '#src/odb/ids.js';
import { makeGhostAgain, type PersistentClass } from '#src/odb/persistent/lifecycle.js';
import { RecordJar } from '../record-jar.js';

type AnyMap = BTree<string, number> | Bucket<string, number>;
type AnySet = TreeSet<string> | BucketSet<string>;

const maps: [string, () => AnyMap][] = [
  ['BTree', () => new BTree<string, number>()],
  ['Bucket', () => new Bucket<string, number>()],
];
const sets: [string, () => AnySet][] = [
  ['TreeSet', () => new TreeSet<string>()],
  ['BucketSet', () => new BucketSet<string>()],
];

for (const [name, make] of maps) {
  test(`${name}: the whole interface of a map`, () => {
    const map = make();
    assert.ok(map.isEmpty);
    assert.deepEqual([map.size, map.minKey(), map.maxKey(), map.popItem()], [0, undefined, undefined, undefined]);
    assert.equal(map.set('b', 2).set('d', 4), map);
    assert.deepEqual([map.get('b'), map.get('c'), map.has('b'), map.has('c')], [2, undefined, true, false]);
    assert.deepEqual([map.insert('b', 9), map.insert('c', 3)], [false, true]);
    assert.deepEqual([map.setDefault('b', 9), map.setDefault('a', 1)], [2, 1]);
    assert.deepEqual([...map], Object.entries({ a: 1, b: 2, c: 3, d: 4 }));
    assert.deepEqual([map.minKey(), map.minKey('bb'), map.minKey('c'), map.minKey('e')], ['a', 'c', 'c', undefined]);
    assert.deepEqual([map.maxKey(), map.maxKey('bb'), map.maxKey('c'), map.maxKey('A')], ['d', 'b', 'c', undefined]);
    assert.deepEqual([map.pop('d'), map.pop('d'), map.pop('d', -1)], [4, undefined, -1]);
    assert.deepEqual(map.popItem(), ['a', 1]);
    map.update([
      ['z', 26],
      ['b', 20],
    ]);
    const seen: unknown[] = [];
    map.forEach((value, key, whole) => void seen.push([key, value, whole === map]));
    assert.deepEqual(seen, [
      ['b', 20, true],
      ['c', 3, true],
      ['z', 26, true],
    ]);
    assert.deepEqual([...map.values({ min: 'c' })], [3, 26]);
    assert.equal(JSON.stringify(map), '{"b":20,"c":3,"z":26}');
    assert.match(inspect(map), new RegExp(`^${name} \\{[^]*'c' => 3`));
    assert.deepEqual([map.delete('z'), map.delete('z')], [true, false]);
    map.clear();
    assert.deepEqual([...map], []);
    map.check();
  });

  test(`${name}: algebra gives new maps of the same class, and changes neither side`, () => {
    const map = make().load(Object.entries({ a: 1, b: 2, c: 3 }));
    const others = make().load(Object.entries({ b: -2, d: -4 }));
    for (const other of [others, [...others].reverse(), new Map([...others])]) {
      const union = map.union(other);
      assert.equal(union.constructor, map.constructor);
      assert.deepEqual([...union], Object.entries({ a: 1, b: 2, c: 3, d: -4 }));
    }
    for (const other of [others, ['d', 'b'], new Set(['b', 'd']), TreeSet.from(['b', 'd'])]) {
      assert.deepEqual([...map.intersection(other)], [['b', 2]]);
      assert.deepEqual([...map.difference(other).keys()], ['a', 'c']);
    }
    assert.deepEqual([...map.keys(), ...others.keys()], ['a', 'b', 'c', 'b', 'd']);
    assert.deepEqual([...map.union([['a', 9] as [string, number], ['e', 1], ['e', 2]])].at(-1), ['e', 2]);
  });

  test(`${name}: filled at once with ascending keys alone, when it is empty; a refusal changes nothing`, () => {
    const map = make();
    for (const wrong of [
      [
        ['b', 1],
        ['a', 2],
      ],
      [
        ['a', 1],
        ['a', 2],
      ],
    ] as [string, number][][]) {
      assert.throws(() => map.load(wrong), { name: 'RangeError', code: 'ARG_NOT_ASCENDING' });
      assert.ok(map.isEmpty);
    }
    map.load([['a', 1]]);
    assert.throws(() => map.load([['b', 1]]), { name: 'RangeError', code: 'ARG_NOT_EMPTY' });
    assert.deepEqual([...map], [['a', 1]]);
  });

  test(`${name}: what changes nothing marks no change; a value that may have been changed within does`, () => {
    const jar = new RecordJar();
    const plain = { tags: ['x'] };
    const cls = make().constructor as PersistentClass<Bucket<string, unknown>>;
    const map = jar.loaded(cls, { keys: ['a', 'b'], values: [1, plain] });
    for (const change of [
      () => map.set('a', 1),
      () => map.insert('a', 5),
      () => map.setDefault('a', 5),
      () => map.delete('z'),
      () => map.pop('z'),
      () => map.update([]),
      () => map.update([['a', 1]]),
      () => [...map],
    ]) {
      change();
      assert.deepEqual(jar.registered, [], change.toString());
    }
    plain.tags.push('y');
    map.set('b', plain);
    assert.deepEqual(jar.registered, [map]);
  });

  test(`${name}: a refused change leaves it as it was`, () => {
    const jar = new RecordJar();
    const map = jar.loaded(make().constructor as PersistentClass<Bucket<string, number>>, { keys: ['a'], values: [1] });
    jar.refusal = new CommitUnderWayError('wait');
    for (const change of [
      () => map.set('a', 2),
      () => map.set('b', 2),
      () => map.insert('b', 2),
      () => map.delete('a'),
      () => map.pop('a'),
      () => map.popItem(),
      () => map.clear(),
    ]) {
      assert.throws(change, CommitUnderWayError, change.toString());
      assert.deepEqual([...map], [['a', 1]]);
    }
    const empty = jar.loaded(make().constructor as PersistentClass<Bucket<string, number>>, { keys: [], values: [] });
    assert.throws(() => empty.load([['a', 1]]), CommitUnderWayError);
    assert.ok(empty.isEmpty);
  });
}

for (const [name, make] of sets) {
  test(`${name}: the whole interface of a set`, () => {
    const set = make();
    assert.deepEqual([set.isEmpty, set.size, set.pop(), set.minKey()], [true, 0, undefined, undefined]);
    assert.equal(set.add('b').add('d').add('b'), set);
    assert.deepEqual([set.insert('b'), set.insert('a')], [false, true]);
    set.update(['c', 'a']);
    assert.deepEqual([...set], ['a', 'b', 'c', 'd']);
    assert.deepEqual([...set.keys({ min: 'b', excludeMin: true })], ['c', 'd']);
    assert.deepEqual([...set.values({ reverse: true })], ['d', 'c', 'b', 'a']);
    assert.deepEqual([set.has('a'), set.has('z'), set.minKey('bb'), set.maxKey('bb')], [true, false, 'c', 'b']);
    const seen: unknown[] = [];
    set.forEach((key, whole) => void seen.push(key, whole === set));
    assert.deepEqual(seen, ['a', true, 'b', true, 'c', true, 'd', true]);
    assert.equal(JSON.stringify(set), '["a","b","c","d"]');
    assert.deepEqual([set.pop(), set.delete('d'), set.delete('d'), set.size], ['a', true, false, 2]);
    assert.deepEqual(
      [...set.union(['a']), ...set.difference(['b']), ...set.intersection(['b'])],
      ['a', 'b', 'c', 'c', 'b'],
    );
    assert.deepEqual([...set.symmetricDifference(['b', 'x'])], ['c', 'x']);
    assert.ok(set.isSubsetOf(['a', 'b', 'c']) && set.isSupersetOf(['b']) && set.isDisjointFrom(['x']));
    assert.ok(!set.isSubsetOf(['b']) && !set.isSupersetOf(['x']) && !set.isDisjointFrom(['b']));
    assert.throws(() => set.load(['x']), { code: 'ARG_NOT_EMPTY' });
    set.clear();
    assert.throws(() => set.load(['x', 'a']), { code: 'ARG_NOT_ASCENDING' });
    assert.deepEqual([...set.load(['a', 'x'])], ['a', 'x']);
    set.check();
  });
}

test('a field of a subclass, which would be lost, is refused', () => {
  class Index extends BTree<string, number> {
    title = 'mine';
  }
  assert.throws(
    () => new RecordJar().adopt(new Index()).getState(),
    (error: Error) => error instanceof SerializationError && /'title'/.test(error.message),
  );
});

test('a tree is stored and loaded as it grows from one record to many, and shrinks to one', () => {
  const jar = new RecordJar();
  const tree = jar.adopt(new BTree<number, number>());
  const states = () => tree.getState() as { keys?: unknown[]; children?: unknown[] };
  for (let i = 0; i < 96; i++) tree.set(i, i);
  assert.equal(states().keys?.length, 96);
  tree.set(96, 96);
  assert.equal(states().children?.length, 2);
  const oid = tree._p_oid as Oid;
  for (let i = 0; i < 93; i++) tree.delete(i);
  assert.deepEqual(states(), { keys: [93, 94, 95, 96], values: [93, 94, 95, 96] });
  jar.states.set(oid, jar.stored(tree));
  makeGhostAgain(tree);
  assert.deepEqual([...tree.keys()], [93, 94, 95, 96]);
});

const damages: [string, PersistentClass, unknown, RegExp][] = [
  ['keys out of order', Bucket, { keys: [2, 1], values: [0, 0] }, /keys 0 and 1 are not in order/],
  ['a key twice', BucketSet, { keys: [1, 1] }, /keys 0 and 1 are not in order/],
  ['a value missing', Bucket, { keys: [1, 2], values: [0] }, /keys and values do not match/],
  ['values in a set', TreeSet, { keys: [1], values: [0] }, /keys and values do not match/],
  ['no values in a map', BTree, { keys: [1] }, /keys and values do not match/],
  ['a branch in a bucket', Bucket, { separators: [], children: [] }, /none of its kind/],
  ['a branch without children', BTree, { separators: [], children: [] }, /branch without children/],
  ['separators that do not match', BTree, { separators: [1, 2], children: [new Bucket()] }, /do not match/],
  ['a child that is no node', BTree, { separators: [], children: [new Map()] }, /something that is no node/],
  ['an empty bucket', BTree, { separators: [], children: [new Bucket()] }, /empty bucket of a tree/],
  ['a set below a map', BTree, { separators: [], children: [BucketSet.from([1])] }, /of a set in a map/],
  [
    'a key beyond its bounds',
    BTree,
    { separators: [5], children: [Bucket.from([[7, 0]]), Bucket.from([[9, 0]])] },
    /lies behind the bounds/,
  ],
  [
    'buckets that are not linked',
    TreeSet,
    { separators: [5], children: [BucketSet.from([1]), BucketSet.from([5])] },
    /not followed by the next bucket/,
  ],
  [
    'one bucket twice',
    TreeSet,
    ((bucket) => ({ separators: [5], children: [bucket, bucket] }))(BucketSet.from([1])),
    /occurs twice|behind the bounds|before the bounds/,
  ],
  ['something else', BTree, [1, 2], /none of its kind/],
];
for (const [what, cls, state, message] of damages) {
  test(`a check finds ${what}`, () => {
    const jar = new RecordJar();
    assert.throws(
      () => (jar.loaded(cls, state) as BTree).check(),
      (error: Error) => error instanceof CorruptionError && message.test(error.message),
    );
  });
}

test('entries that are given to a constructor are refused, rather than passed over', () => {
  for (const cls of [BTree, Bucket, TreeSet, BucketSet] as unknown as (new (
    entries?: unknown,
  ) => unknown)[]) {
    for (const entries of [[['a', 1]], [], new Map(), null]) {
      assert.throws(() => new cls(entries), { name: 'TypeError', code: 'ARG_ENTRIES' }, cls.name);
    }
  }
});

test('what cannot be walked over, and what is no pair, are refused with a code, and change nothing', () => {
  const entries = { name: 'TypeError', code: 'ARG_ENTRIES' };
  for (const [, make] of maps) {
    for (const wrong of [undefined, null, 5, {}, [5], ['ab', null].slice(1)] as never[]) {
      const map = make();
      assert.throws(() => map.update(wrong), entries);
      assert.throws(() => map.load(wrong), entries);
      assert.throws(() => BTree.from(wrong), entries);
      assert.throws(() => map.union(wrong), entries);
      assert.ok(map.isEmpty);
    }
    assert.throws(() => make().intersection(5 as never), entries);
  }
  for (const [, make] of sets) {
    const set = make();
    for (const wrong of [undefined, null, 5, {}] as never[]) {
      assert.throws(() => set.update(wrong), entries);
      assert.throws(() => set.load(wrong), entries);
      assert.throws(() => TreeSet.from(wrong), entries);
      assert.throws(() => set.union(wrong), entries);
      assert.throws(() => set.isSubsetOf(wrong), entries);
    }
    assert.ok(set.isEmpty);
  }
});
