import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Connection, DB, TransactionManager } from 'holdfast/odb';
import { NODE, type Node } from '#src/odb/persistent/btree/node.js';
import { MiddleTree } from './small-trees.js';

type Tree = MiddleTree<string, number>;

interface Root {
  tree: Tree;
}

interface Stored {
  readonly db: DB<Root>;
  readonly manager: TransactionManager;
  readonly connection: Connection<Root>;
  readonly tree: Tree;
}

const keyOf = (i: number) => `key ${String(i).padStart(6, '0')}`;
const EVEN = Array.from({ length: 400 }, (_, i) => keyOf(2 * i));

/** A tree of the even keys in a database in memory, in a connection whose cache holds so many objects. */
async function withTree(cacheSize: number, work: (stored: Stored) => Promise<void>): Promise<void> {
  await using db = await DB.open<Root>('memory:', { cacheSize });
  await db.transaction(({ root }) => {
    root.tree = new MiddleTree<string, number>();
    root.tree.load(EVEN.map((key, i) => [key, i]));
  });
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  await work({ db, manager, connection, tree: connection.root.tree as Tree });
  manager.abort();
  connection.close();
}

/** Demands that the tree holds just these keys, by looking for each, and for others, as often as gives all nodes their heads. */
function assertHolds(tree: Tree, keys: ReadonlySet<string>): void {
  for (let round = 0; round < 8; round++) {
    for (let i = -2; i < 1010; i++) assert.equal(tree.has(keyOf(i)), keys.has(keyOf(i)), keyOf(i));
    for (const other of ['', 'key', 'key 0', 'key 00\uffff', 'key 1', 'kez', '\uffff']) assert.ok(!tree.has(other));
  }
}

function withHeads(tree: Tree): number {
  const count = (node: Node): number =>
    Number(node.hasHeads) + (node.isLeaf ? 0 : node.children.reduce((sum, child) => sum + count(child), 0));
  return count(tree[NODE]);
}

test('strings are found after all nodes were made ghosts and loaded again', () =>
  withTree(10_000, async ({ connection, tree }) => {
    const keys = new Set(EVEN);
    for (let round = 0; round < 2; round++) {
      assertHolds(tree, keys);
      assert.ok(withHeads(tree) > 20);
      connection.cacheMinimize();
      assert.equal(withHeads(tree), 0);
    }
    assertHolds(tree, keys);
  }));

test('strings are found while nodes are put to rest, and are awakened', () =>
  withTree(8, async ({ connection, tree }) => {
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 800; i++) {
        for (let again = 0; again < 30; again++) assert.equal(tree.has(keyOf(i)), i % 2 === 0);
        if (i % 7 === 0) connection.cacheGc();
      }
    }
    assertHolds(tree, new Set(EVEN));
  }));

test('strings that an aborted transaction added and removed are missed and found', () =>
  withTree(10_000, async ({ manager, tree }) => {
    const keys = new Set(EVEN);
    assertHolds(tree, keys);
    // Another prefix, other places of all keys, and nodes that are split and dropped.
    tree.set('', 0).set('zzz', 0);
    for (let i = 0; i < 400; i++) {
      tree.set(keyOf(2 * i + 1), i);
      if (i > 100 && i < 200) tree.delete(keyOf(2 * i));
    }
    for (let round = 0; round < 40; round++) for (const key of [...tree.keys()]) assert.ok(tree.has(key));
    manager.abort();
    assertHolds(tree, keys);
    tree.check();
  }));

test('strings that another connection added and removed are found and missed', () =>
  withTree(10_000, async ({ db, manager, tree }) => {
    const keys = new Set(EVEN);
    for (let round = 0; round < 6; round++) {
      assertHolds(tree, keys);
      assert.ok(withHeads(tree) > 20);
      await db.transaction(({ root }) => {
        const others = root.tree as Tree;
        for (let i = round; i < 1000; i += 5 + round) {
          const key = keyOf(i);
          if (keys.delete(key)) others.delete(key);
          else {
            keys.add(key);
            others.set(key, i);
          }
        }
        if (round === 3) {
          others.set('a', 0);
          others.set('kez', 0);
          others.delete('kez');
        }
      });
      manager.begin();
    }
    assertHolds(tree, keys);
    tree.check();
    assert.deepEqual([...tree.keys()], ['a', ...keys].sort());
  }));
