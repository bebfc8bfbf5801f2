import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BTree, compareKeys, DB, type Key, SerializationError, TransactionManager, TreeSet } from 'holdfast/odb';

/** Ascending. */
const ALL_KINDS: readonly Key[] = [
  false,
  true,
  Number.NEGATIVE_INFINITY,
  -1.5,
  0,
  Number.MIN_VALUE,
  1,
  2 ** 53,
  Number.POSITIVE_INFINITY,
  -(10n ** 30n),
  0n,
  1n,
  10n ** 30n,
  new Date(-8.64e15),
  new Date(0),
  new Date(8.64e15),
  '',
  '\0',
  'Z',
  'a',
  'ab',
  'x'.repeat(100_000),
  'é',
  '\u{10000}',
  '\uffff',
  new Uint8Array(),
  new Uint8Array([0]),
  new Uint8Array([0, 0]),
  new Uint8Array([1]),
  new Uint8Array([255]),
  [],
  [false],
  [0],
  [0, 'a'],
  [0, 'b', new Date(0)],
  [1],
  ['a'],
  ['a', []],
  ['a', [1n, new Uint8Array([7])]],
  [[]],
];

/** What is no key, and cannot become one. */
const NO_KEYS: readonly [string, unknown][] = [
  ['NaN', Number.NaN],
  ['undefined', undefined],
  ['null', null],
  ['an invalid date', new Date(Number.NaN)],
  ['an object', {}],
  ['a function', () => 1],
  ['a symbol', Symbol('key')],
  ['a map', new Map()],
  ['other typed arrays', new Uint16Array(2)],
  ['an array with a hole', new Array(2)],
  ['NaN within an array', ['a', [Number.NaN]]],
  ['a string object', Object('text')],
  ['a persistent object', new TreeSet()],
];

test('keys of all kinds have one order, whatever the order in which they come', () => {
  const tree = new TreeSet<Key>();
  for (const stride of [7, 11, 3]) {
    tree.clear();
    for (let i = 0; i < ALL_KINDS.length; i++) tree.add(ALL_KINDS[(i * stride) % ALL_KINDS.length] as Key);
    tree.check();
    assert.deepEqual([...tree], ALL_KINDS);
    assert.deepEqual([...tree.keys({ reverse: true })], ALL_KINDS.toReversed());
  }
  for (const [i, key] of ALL_KINDS.entries()) {
    for (const [j, other] of ALL_KINDS.entries()) assert.equal(Math.sign(compareKeys(key, other)), Math.sign(i - j));
  }
});

test('keys come out of their record as they went in', async () => {
  await using db = await DB.open<{ byKey: BTree<Key, number>; members: TreeSet<Key> }>('memory:');
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  const entries = ALL_KINDS.map((key, i) => [key, i] as const);
  connection.root.byKey = BTree.from(entries);
  connection.root.members = TreeSet.from(ALL_KINDS);
  await manager.commit();
  const byKey = connection.root.byKey as BTree<Key, number>;
  const members = connection.root.members as TreeSet<Key>;
  connection.cacheMinimize();
  assert.deepEqual([...byKey], entries);
  assert.deepEqual([...members], ALL_KINDS);
  for (const [key, i] of entries) assert.equal(byKey.get(key), i);
  connection.close();
});

for (const [what, key] of NO_KEYS) {
  test(`${what} cannot be a key, nor be looked for`, () => {
    const tree = new BTree<Key, number>();
    tree.set('a', 1).set(2, 2);
    const refused = { name: 'TypeError', code: 'ARG_KEY' };
    for (const use of [
      () => tree.set(key as Key, 1),
      () => tree.insert(key as Key, 1),
      () => tree.setDefault(key as Key, 1),
      () => tree.get(key as Key),
      () => tree.has(key as Key),
      () => tree.delete(key as Key),
      () => tree.pop(key as Key),
      () => new BTree<Key, number>().load([[key as Key, 1]]),
      () => BTree.from([[key as Key, 1]]),
      () => tree.difference([key as Key]),
    ]) {
      assert.throws(use, refused, use.toString());
    }
    // Where a bound is left out, it is `undefined`.
    if (key !== undefined) {
      assert.throws(() => tree.minKey(key as Key), refused);
      assert.throws(() => tree.maxKey(key as Key), refused);
      assert.throws(() => tree.keys({ min: key as Key }).next(), refused);
      assert.throws(() => tree.keys({ max: key as Key }).next(), refused);
    }
    assert.deepEqual([...tree.keys()], [2, 'a']);
    tree.check();
  });
}

test('0 and -0 are one key, which is 0', () => {
  const tree = new BTree<Key, string>();
  tree.set(-0, 'minus').set(0, 'plus').set([-0], 'in an array');
  assert.deepEqual([...tree.keys()], [0, [0]]);
  assert.ok(Object.is([...tree.keys()][0], 0));
  assert.equal(tree.get(-0), 'plus');
  assert.equal(tree.get([0]), 'in an array');
});

test('a number, a bigint, a string and a date of the same value are four keys', () => {
  const tree = new TreeSet<Key>();
  for (const key of [1, 1n, '1', new Date(1), true, [1]] as const) assert.ok(tree.insert(key));
  assert.equal(tree.size, 6);
});

test('dates, bytes and arrays are keys by what they hold, and are copied', () => {
  const date = new Date(5);
  const bytes = Buffer.from([1, 2]);
  const parts: Key[] = ['a', new Date(7)];
  const tree = TreeSet.from<Key>([date, bytes, parts]);
  date.setTime(99);
  bytes[0] = 99;
  parts.push('more');
  (parts[1] as Date).setTime(99);
  assert.ok(tree.has(new Date(5)) && tree.has(new Uint8Array([1, 2])) && tree.has(['a', new Date(7)]));
  assert.ok(!tree.has(date) && !tree.has(bytes) && !tree.has(parts));
  tree.check();
});

test('an array that is nested without end is refused, rather than walked', () => {
  const circle: Key[] = [];
  circle.push(circle);
  const tree = new TreeSet<Key>();
  assert.throws(() => tree.add(circle), { name: 'TypeError', code: 'ARG_KEY', message: /nested more than 100 deep/ });
  assert.throws(() => tree.has(circle), { name: 'TypeError', code: 'ARG_KEY' });
});

test('strings are ordered by their UTF-16 code units; halves of pairs cannot be stored', async () => {
  const tree = TreeSet.from(['\u{10000}', '\uffff', '\ud800']);
  assert.deepEqual([...tree], ['\ud800', '\u{10000}', '\uffff']);
  await using db = await DB.open<{ tree: TreeSet<string> }>('memory:');
  await assert.rejects(
    db.transaction(({ root }) => {
      root.tree = tree;
    }),
    SerializationError,
  );
});
