import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BTree, Bucket, compareKeys, type Key } from 'holdfast/odb';
import type { Node } from '#src/odb/persistent/btree/node.js';
import type { NodeTree } from '#src/odb/persistent/btree/node-tree.js';
import { TREE } from '#src/odb/persistent/btree/ordered-collection.js';
import { MiddleTree } from '../odb/persistent/btree/small-trees.js';
import { adversarialString, alikeStrings } from '../support/adversarial-strings.js';

type Tree = BTree<Key, number> | MiddleTree<Key, number> | Bucket<Key, number>;

const otherKey: fc.Arbitrary<Key> = fc.oneof(
  fc.boolean(),
  fc.integer({ min: -5, max: 5 }),
  fc.uint8Array({ maxLength: 2 }),
  fc.array(adversarialString, { maxLength: 2 }),
);
/** Strings that begin alike, with a few others, or keys of other kinds, among them. */
const keysOf = (other: fc.Arbitrary<Key>): fc.Arbitrary<fc.Arbitrary<Key>> =>
  alikeStrings.map((string) =>
    fc.oneof({ weight: 40, arbitrary: string as fc.Arbitrary<Key> }, { weight: 1, arbitrary: other }),
  );

/** Keys that are taken, or added and removed, together; then every key is looked for, so often that each node has its heads. */
interface Step {
  readonly added: readonly Key[];
  /** Numbers of keys in the order that they have then. */
  readonly removed: readonly number[];
}

const steps = (key: fc.Arbitrary<Key>): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.record({
      added: fc.array(key, { minLength: 60, maxLength: 400, size: 'max' }),
      removed: fc.array(fc.nat(), { maxLength: 120, size: 'max' }),
    }),
    { minLength: 1, maxLength: 3, size: 'max' },
  );

const order = (key: Key, keys: readonly Key[]) => keys.findIndex((other) => compareKeys(other, key) >= 0);

/** Demands that a key is found, or missed, where a sorted array has it. */
function assertFound(tree: Tree, keys: readonly Key[], key: Key): void {
  const from = order(key, keys);
  const at = from < 0 ? keys.length : from;
  const has = at < keys.length && compareKeys(keys[at], key) === 0;
  assert.equal(tree.has(key), has);
  assert.equal(tree.get(key) !== undefined, has);
  assert.deepEqual(tree.minKey(key), keys[at]);
  assert.deepEqual(tree.maxKey(key), keys[has ? at : at - 1]);
  assert.deepEqual([...tree.keys({ min: key, excludeMin: true })][0], keys[has ? at + 1 : at]);
}

/** Nodes of a tree that have heads. */
function countHeads(tree: Tree): { leaves: number; branches: number } {
  const counts = { leaves: 0, branches: 0 };
  const visit = (node: Node) => {
    if (node.hasHeads) counts[node.isLeaf ? 'leaves' : 'branches']++;
    if (!node.isLeaf) node.children.forEach(visit);
  };
  visit((tree as unknown as { [TREE]: NodeTree<unknown, unknown> })[TREE].root);
  return counts;
}

for (const [what, make, keys, hasBranches] of [
  ['a tree of middle-sized nodes', () => new MiddleTree<Key, number>(), alikeStrings, true],
  ['a tree of strings, few of them with another beginning', () => new MiddleTree(), keysOf(adversarialString), true],
  ['a tree of strings and keys of other kinds', () => new MiddleTree(), keysOf(otherKey), true],
  ['a BTree', () => new BTree<Key, number>(), keysOf(adversarialString), false],
  ['a Bucket', () => new Bucket<Key, number>(), alikeStrings, false],
] as [string, () => Tree, fc.Arbitrary<fc.Arbitrary<Key>>, boolean][]) {
  test(`${what} whose nodes have heads finds and misses what a sorted array would`, () => {
    const counts = { leaves: 0, branches: 0 };
    fc.assert(
      fc.property(
        keys.chain(steps),
        fc.array(fc.oneof(adversarialString, otherKey), { maxLength: 30 }),
        (all, others) => {
          const tree = make();
          const model: Key[] = [];
          for (const { added, removed } of all) {
            for (const each of added) {
              const isNew = !model.some((other) => compareKeys(other, each) === 0);
              assert.equal(tree.insert(each, 1), isNew);
              if (isNew) model.push(each);
            }
            model.sort(compareKeys);
            for (const number of removed) {
              if (model.length === 0) break;
              const [gone] = model.splice(number % model.length, 1) as [Key];
              assert.equal(tree.delete(gone), true);
              assert.equal(tree.delete(gone), false);
            }
            tree.check();
            assert.deepEqual([...tree.keys()], model);
            for (let round = 0; round < 15; round++) for (const each of model) assert.equal(tree.get(each), 1);
            for (const each of [...others, ...added.slice(0, 20)]) {
              assertFound(tree, model, each);
              if (typeof each === 'string') assertFound(tree, model, `${each}\0`);
            }
            const { leaves, branches } = countHeads(tree);
            counts.leaves += leaves;
            counts.branches += branches;
          }
        },
      ),
      // To make so many keys fewer takes minutes; the seed repeats the failure.
      { numRuns: 25, endOnFailure: true },
    );
    assert.ok(counts.leaves > 20, `${counts.leaves} leaves had heads`);
    if (hasBranches) assert.ok(counts.branches > 20, `${counts.branches} branches had heads`);
  });
}
