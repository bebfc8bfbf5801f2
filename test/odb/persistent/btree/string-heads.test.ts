import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Bucket } from '#src/odb/persistent/btree/bucket.js';
import { search } from '#src/odb/persistent/btree/keys.js';
import { type LeafNode, NODE } from '#src/odb/persistent/btree/node.js';
import { StringHeads } from '#src/odb/persistent/btree/string-heads.js';
import { adversarialString, alikeStrings } from '../../../support/adversarial-strings.js';

const numbered = (count: number, start = 'key ') =>
  Array.from({ length: count }, (_, i) => `${start}${String(i).padStart(4, '0')}`);

/** Demands that each key is found where a search among the strings finds it. */
function assertFound(heads: StringHeads, keys: readonly string[], sought: readonly string[]): void {
  for (const key of sought) {
    const found = search(keys, key);
    assert.equal(heads.find(key), found, `of ${JSON.stringify(key)}`);
    const guess = heads.guess(key);
    const isOutside = found === ~0 || found === ~keys.length;
    if (isOutside) assert.ok(guess < 0 && ~guess <= keys.length);
    else assert.equal(guess, found);
  }
}

test('heads find what a search among the strings finds, while keys come and go', () => {
  let keptCount = 0;
  let droppedCount = 0;
  fc.assert(
    fc.property(
      alikeStrings.chain((string) => fc.uniqueArray(string, { minLength: 16, maxLength: 60, size: 'max' })),
      fc.array(fc.tuple(fc.boolean(), fc.nat(), adversarialString), { maxLength: 40, size: 'max' }),
      fc.nat(),
      (given, changes, from) => {
        // Some of the keys only, so that prefixes are of many lengths.
        const sorted = given.toSorted((a, b) => (a < b ? -1 : 1));
        const keys = sorted.slice(from % Math.max(1, sorted.length - 8));
        const heads = StringHeads.of(keys);
        if (!heads) return;
        assertFound(heads, keys, given);
        for (const [isInserted, number, key] of changes) {
          if (isInserted) {
            const at = search(keys, key);
            if (at >= 0) continue;
            keys.splice(~at, 0, key);
            if (!heads.inserted(~at)) {
              droppedCount++;
              return;
            }
          } else if (keys.length > 0) {
            const at = number % keys.length;
            keys.splice(at, 1);
            heads.removed(at);
          }
          keptCount++;
          assert.ok(heads.isOf(keys));
          assertFound(heads, keys, [...given, key, `${key}\0`]);
        }
      },
    ),
    { numRuns: 300 },
  );
  assert.ok(keptCount > 500 && droppedCount > 10, `${keptCount} kept, ${droppedCount} dropped`);
});

test('keys that are not all strings, are few, or begin alike for long, have no heads', () => {
  assert.ok(StringHeads.of(numbered(20)));
  assert.equal(StringHeads.of([1, ...numbered(20)]), undefined);
  assert.equal(StringHeads.of([...numbered(20), ['tuple']]), undefined);
  assert.equal(StringHeads.of(numbered(7)), undefined);
  assert.equal(StringHeads.of(['a', ...numbered(20)]), undefined);
  assert.equal(StringHeads.of([]), undefined);
});

test('letters beyond Latin-1 are told apart', () => {
  const greek = 'αβγδεζηθικλμνξοπρστυφχψω';
  const words = [...greek].flatMap((a) => [...greek].map((b) => `${a}${b}`)).sort();
  const heads = StringHeads.of(words);
  assert.ok(heads);
  assertFound(heads, words, [...words, '', 'α', 'ωω', 'ω\0', 'a', '\uffff']);
});

test('heads are of one array, as long as it is', () => {
  const keys = numbered(20);
  const heads = StringHeads.of(keys);
  assert.ok(heads);
  assert.ok(heads.isOf(keys));
  assert.ok(!heads.isOf([...keys]));
  keys.pop();
  assert.ok(!heads.isOf(keys));
});

function leafOf(keys: readonly string[]): LeafNode<string, number> {
  const leaf = new Bucket<string, number>()[NODE] as LeafNode<string, number>;
  leaf.set(
    [...keys],
    keys.map((_, i) => i),
    undefined,
  );
  return leaf;
}

function searchOften(leaf: LeafNode<string, number>): void {
  const keys = [...leaf.keys];
  for (let i = 0; i < 40; i++) assert.equal(leaf.find(keys[i % keys.length]), i % keys.length);
}

test('a node gets heads when strings are searched in it often, not when it is filled', () => {
  const leaf = leafOf(numbered(20));
  for (let i = 20; i < 80; i++) {
    const key = `key ${String(i).padStart(4, '0')}`;
    assert.equal(leaf.find(key), ~i);
    leaf.insertAt(i, key, i);
  }
  assert.ok(!leaf.hasHeads);
  for (let i = 0; i < 100; i++) assert.equal(leaf.find(i), ~0);
  assert.ok(!leaf.hasHeads);
  searchOften(leaf);
  assert.ok(leaf.hasHeads);
  assert.equal(leaf.find(5), ~0);
  assert.equal(leaf.find(['tuple']), ~80);

  const few = leafOf(numbered(5));
  searchOften(few);
  assert.ok(!few.hasHeads);
});

const kept: [string, (leaf: LeafNode<string, number>) => void][] = [
  ['a key is inserted between others', (leaf) => leaf.insertAt(5, 'key 00041', 0)],
  ['a key with their prefix is inserted behind all', (leaf) => leaf.insertAt(20, 'key 002', 0)],
  ['a key with their prefix is inserted before all', (leaf) => leaf.insertAt(0, 'key 000', 0)],
  ['the first one is removed', (leaf) => leaf.removeAt(0)],
  ['the last one is removed', (leaf) => leaf.removeAt(19)],
  ['one between others is removed', (leaf) => leaf.removeAt(7)],
];
const dropped: [string, (leaf: LeafNode<string, number>) => void][] = [
  ['a key without their prefix is inserted behind all', (leaf) => leaf.insertAt(20, 'key 1', 0)],
  ['a key without their prefix is inserted before all', (leaf) => leaf.insertAt(0, 'key', 0)],
  ['a number is inserted', (leaf) => (leaf as LeafNode<unknown, number>).insertAt(0, 1, 0)],
  ['bytes are inserted', (leaf) => (leaf as LeafNode<unknown, number>).insertAt(20, new Uint8Array(), 0)],
  ['the node is split', (leaf) => leaf.splitTo(leafOf([]), 10)],
  ['the node is given other keys', (leaf) => leaf.set(numbered(20, 'other '), [], undefined)],
  ['the node is cleared', (leaf) => leaf.clear()],
  ['another node takes the keys', (leaf) => leafOf([]).takeFrom(leaf)],
  [
    'the node is put to rest',
    (leaf) => {
      leaf.hide();
      assert.equal(leaf.hasHeads, false);
      assert.equal(leaf.keys.length, 0);
      leaf.show();
    },
  ],
];
for (const [changes, areKept] of [
  [kept, true],
  [dropped, false],
] as const) {
  for (const [what, change] of changes) {
    test(`a node ${areKept ? 'keeps' : 'drops'} its heads when ${what}, and finds its keys`, () => {
      const leaf = leafOf(numbered(20));
      searchOften(leaf);
      assert.ok(leaf.hasHeads);
      change(leaf);
      assert.equal(leaf.hasHeads, areKept);
      for (let round = 0; round < 3; round++) {
        leaf.keys.forEach((key, i) => {
          assert.equal(leaf.find(key), i);
        });
        for (const key of ['', 'key', 'key 0', 'key 0005x', 'key 9', 'z', ...numbered(22)])
          assert.equal(leaf.find(key), search(leaf.keys, key));
      }
    });
  }
}
