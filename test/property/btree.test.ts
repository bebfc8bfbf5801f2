import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BTree, Bucket, BucketSet, compareKeys, type Key, TreeSet } from 'holdfast/odb';
import { SmallTree, SmallTreeSet } from '../odb/persistent/btree/small-trees.js';

const numberKey = fc.integer({ min: 0, max: 150 });
const simpleKey: fc.Arbitrary<Key> = fc.oneof(
  fc.boolean(),
  fc.integer({ min: -5, max: 5 }),
  fc.constantFrom(0, 0.5, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
  fc.bigInt({ min: -3n, max: 3n }),
  fc.constantFrom('', 'a', 'ab', 'b', 'é', 'ﬀ', '\u{10000}'),
  fc.integer({ min: 0, max: 3 }).map((ms) => new Date(ms)),
  fc.uint8Array({ maxLength: 2 }),
);
const anyKey: fc.Arbitrary<Key> = fc.oneof(
  { weight: 3, arbitrary: simpleKey },
  { weight: 1, arbitrary: fc.array(simpleKey, { maxLength: 2 }) },
);

/** A map kept as a sorted array: slow, and right by inspection. */
class Model<K extends Key> {
  entries: [K, unknown][] = [];

  index(key: K): number {
    return this.entries.findIndex(([other]) => compareKeys(other, key) === 0);
  }

  set(key: K, value: unknown): void {
    const index = this.index(key);
    if (index >= 0) (this.entries[index] as [K, unknown])[1] = value;
    else this.entries = [...this.entries, [key, value] as [K, unknown]].sort(([a], [b]) => compareKeys(a, b));
  }

  delete(key: K): boolean {
    const index = this.index(key);
    if (index >= 0) this.entries.splice(index, 1);
    return index >= 0;
  }
}

type Command<K> =
  | { kind: 'set' | 'insert' | 'setDefault'; key: K; value: number }
  | { kind: 'delete' | 'pop'; key: K }
  | { kind: 'popItem' | 'clear' };

function commands<K>(key: fc.Arbitrary<K>): fc.Arbitrary<Command<K>[]> {
  return fc.array(
    fc.oneof(
      { weight: 12, arbitrary: fc.record({ kind: fc.constant('set' as const), key, value: fc.nat(9) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('insert', 'setDefault'), key, value: fc.nat(9) }) },
      { weight: 12, arbitrary: fc.record({ kind: fc.constantFrom('delete', 'pop'), key }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('popItem' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear' as const) }) },
    ) as fc.Arbitrary<Command<K>>,
    { maxLength: 120, size: 'max' },
  );
}

function apply<K extends Key>(tree: BTree<K, unknown>, model: Model<K>, command: Command<K>): void {
  switch (command.kind) {
    case 'set':
      tree.set(command.key, command.value);
      model.set(command.key, command.value);
      return;
    case 'insert':
    case 'setDefault': {
      const known = model.entries[model.index(command.key)];
      if (command.kind === 'insert') assert.equal(tree.insert(command.key, command.value), known === undefined);
      else assert.equal(tree.setDefault(command.key, command.value), known ? known[1] : command.value);
      if (!known) model.set(command.key, command.value);
      return;
    }
    case 'delete':
      assert.equal(tree.delete(command.key), model.delete(command.key));
      return;
    case 'pop': {
      const known = model.entries[model.index(command.key)];
      assert.equal(tree.pop(command.key, 'none'), known ? known[1] : 'none');
      model.delete(command.key);
      return;
    }
    case 'popItem':
      assert.deepEqual(tree.popItem(), model.entries.shift());
      return;
    case 'clear':
      tree.clear();
      model.entries = [];
  }
}

function assertSame<K extends Key>(tree: BTree<K, unknown>, model: Model<K>): void {
  tree.check();
  assert.deepEqual([...tree], model.entries);
  assert.deepEqual([...tree.entries({ reverse: true })], model.entries.toReversed());
  assert.equal(tree.size, model.entries.length);
  assert.equal(tree.isEmpty, model.entries.length === 0);
  assert.deepEqual(tree.minKey(), model.entries[0]?.[0]);
  assert.deepEqual(tree.maxKey(), model.entries.at(-1)?.[0]);
}

for (const [what, make, key] of [
  ['a tree of small nodes', () => new SmallTree<Key, unknown>(), numberKey],
  ['a tree of small nodes with keys of all kinds', () => new SmallTree<Key, unknown>(), anyKey],
  ['a BTree', () => new BTree<Key, unknown>(), numberKey],
  ['a Bucket', () => new Bucket<Key, unknown>(), anyKey],
] as [string, () => BTree<Key, unknown>, fc.Arbitrary<Key>][]) {
  test(`${what} holds after any commands what a sorted array would`, () => {
    fc.assert(
      fc.property(fc.array(commands(key), { minLength: 1, maxLength: 4 }), (batches) => {
        const tree = make();
        const model = new Model<Key>();
        for (const batch of batches) {
          for (const command of batch) apply(tree, model, command);
          assertSame(tree, model);
        }
      }),
      { numRuns: 60 },
    );
  });
}

const sets: [string, () => TreeSet<number>][] = [
  ['a TreeSet', () => new TreeSet<number>()],
  ['a BucketSet', () => new BucketSet<number>()],
  ['a set of small nodes', () => new SmallTreeSet<number>()],
];
for (const [what, make] of sets) {
  test(`${what} behaves as a Set that is sorted`, () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), numberKey), { maxLength: 300, size: 'max' }), (changes) => {
        const tree = make();
        const model = new Set<number>();
        for (const [isAdded, key] of changes) {
          if (isAdded) {
            assert.equal(tree.insert(key), !model.has(key));
            model.add(key);
          } else assert.equal(tree.delete(key), model.delete(key));
        }
        tree.check();
        assert.deepEqual(
          [...tree],
          [...model].sort((a, b) => a - b),
        );
        for (const key of model) assert.ok(tree.has(key));
        assert.deepEqual(tree.pop(), model.size === 0 ? undefined : Math.min(...model));
      }),
      { numRuns: 60 },
    );
  });
}

const range = <K>(key: fc.Arbitrary<K>) =>
  fc.record({
    min: fc.option(key, { nil: undefined }),
    max: fc.option(key, { nil: undefined }),
    excludeMin: fc.boolean(),
    excludeMax: fc.boolean(),
    reverse: fc.boolean(),
  });

test('a range gives what a filter of all entries would, both ways', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(anyKey, { maxLength: 60, size: 'max', comparator: (a, b) => compareKeys(a, b) === 0 }),
      fc.array(range(anyKey), { minLength: 1, maxLength: 10 }),
      (keys, ranges) => {
        const tree = new SmallTree<Key, number>();
        keys.forEach((key, i) => {
          tree.set(key, i);
        });
        const all = keys.map((key, i) => [key, i] as const).sort(([a], [b]) => compareKeys(a, b));
        for (const { min, max, excludeMin, excludeMax, reverse } of ranges) {
          let expected = all.filter(([key]) => {
            const low = min === undefined ? 1 : compareKeys(key, min);
            const high = max === undefined ? -1 : compareKeys(key, max);
            return (excludeMin ? low > 0 : low >= 0) && (excludeMax ? high < 0 : high <= 0);
          });
          if (reverse) expected = expected.reverse();
          const options = { min, max, excludeMin, excludeMax, reverse };
          assert.deepEqual([...tree.entries(options)], expected);
          assert.deepEqual(
            [...tree.keys(options)],
            expected.map(([key]) => key),
          );
          assert.deepEqual(
            [...tree.values(options)],
            expected.map(([, value]) => value),
          );
          if (min !== undefined) {
            assert.deepEqual(tree.minKey(min), all.find(([key]) => compareKeys(key, min) >= 0)?.[0]);
            assert.deepEqual(tree.maxKey(min), all.findLast(([key]) => compareKeys(key, min) <= 0)?.[0]);
          }
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('the order of keys is a total one', () => {
  fc.assert(
    fc.property(anyKey, anyKey, anyKey, (a, b, c) => {
      assert.equal(Math.sign(compareKeys(a, b)), -Math.sign(compareKeys(b, a)) + 0);
      assert.equal(compareKeys(a, a), 0);
      if (compareKeys(a, b) <= 0 && compareKeys(b, c) <= 0) assert.ok(compareKeys(a, c) <= 0);
      if (compareKeys(a, b) === 0) assert.equal(Math.sign(compareKeys(a, c)), Math.sign(compareKeys(b, c)));
    }),
    { numRuns: 1000 },
  );
});

test('filling at once makes the tree that setting one by one makes, and it can be changed as well', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(2000), { maxLength: 400, size: 'max' }), fc.boolean(), (keys, isSorted) => {
      const given = isSorted ? keys.toSorted((a, b) => a - b) : keys;
      const entries = given.map((key) => [key, -key] as const);
      const tree = new SmallTree<number, number>();
      if (isSorted) tree.load(entries);
      else tree.update(entries);
      tree.check();
      const from = BTree.from(entries);
      from.check();
      assert.deepEqual([...from], [...tree]);
      for (const key of keys) {
        tree.set(key + 0.5, key);
        if (key % 3 === 0) assert.ok(tree.delete(key));
      }
      tree.check();
      assert.equal(tree.size, 2 * keys.length - keys.filter((key) => key % 3 === 0).length);
    }),
    { numRuns: 60 },
  );
});

test('set algebra gives what filters of arrays would', () => {
  const someKeys = fc.uniqueArray(fc.nat(60), { maxLength: 40 });
  fc.assert(
    fc.property(someKeys, someKeys, fc.boolean(), (left, right, isTree) => {
      const ascending = (keys: number[]) => keys.toSorted((a, b) => a - b);
      const set = SmallTreeSet.prototype.union.call(new SmallTreeSet<number>(), left) as SmallTreeSet<number>;
      const other = isTree ? TreeSet.from(right) : right;
      const both = left.filter((key) => right.includes(key));
      const leftAlone = left.filter((key) => !right.includes(key));
      const rightAlone = right.filter((key) => !left.includes(key));
      const same = (tree: SmallTreeSet<number>, keys: number[]) => {
        tree.check();
        assert.deepEqual([...tree], ascending(keys));
      };
      same(set, left);
      same(set.union(other), [...left, ...rightAlone]);
      same(set.intersection(other), both);
      same(set.difference(other), leftAlone);
      same(set.symmetricDifference(other), [...leftAlone, ...rightAlone]);
      assert.equal(set.isSubsetOf(other), leftAlone.length === 0);
      assert.equal(set.isSupersetOf(other), rightAlone.length === 0);
      assert.equal(set.isDisjointFrom(other), both.length === 0);

      const map = BTree.from(left.map((key) => [key, 'left'] as [number, string]));
      const pairs = right.map((key) => [key, 'right'] as [number, string]);
      const union = map.union(isTree ? BTree.from(pairs) : pairs);
      assert.deepEqual(
        [...union],
        ascending([...left, ...rightAlone]).map((key) => [key, left.includes(key) ? 'left' : 'right']),
      );
      assert.deepEqual([...map.intersection(other).keys()], ascending(both));
      assert.deepEqual([...map.difference(other).keys()], ascending(leftAlone));
    }),
    { numRuns: 150 },
  );
});
