import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import fc from 'fast-check';
import { DB, PersistentList, WeakReference } from 'holdfast/odb';

const OBJECTS = 12;

type Link = { readonly to: number; readonly isWeak: boolean };
type Node = PersistentList<number | Node | WeakReference<Node>>;

const link: fc.Arbitrary<Link> = fc.record({ to: fc.nat({ max: OBJECTS - 1 }), isWeak: fc.boolean() });
const graph = fc.array(fc.array(link, { maxLength: 4 }), { minLength: OBJECTS, maxLength: OBJECTS });

/** What can be seen from an object, in the order in which it is seen: the numbers of objects, and where each leads. */
function shapeOf(top: Node): unknown {
  const seen = new Map<Node, number>([[top, 0]]);
  const shape: unknown[] = [];
  const numberOf = (node: Node) => {
    if (!seen.has(node)) seen.set(node, seen.size);
    return seen.get(node);
  };
  const weak: (() => unknown)[] = [];
  // A map tells of what is added while it is walked.
  for (const [node] of seen) {
    const [label, ...links] = [...node];
    shape.push([
      label,
      links.map((to) => {
        if (!(to instanceof WeakReference)) return numberOf(to as Node);
        const place: unknown[] = [];
        weak.push(() => place.push(seen.get(to.get() as Node) ?? 'gone'));
        return place;
      }),
    ]);
  }
  for (const settle of weak) settle();
  return shape;
}

test('an import has the shape of what was exported, and shares no object with it', async () => {
  const source = await DB.open('memory:');
  const target = await DB.open('memory:');
  const check = async (links: readonly (readonly Link[])[], top: number) => {
    const bytes = await source.transaction(async (connection) => {
      const nodes = links.map((_, i) => new PersistentList([i]) as Node);
      for (const [i, each] of links.entries()) {
        for (const { to, isWeak } of each) {
          const node = nodes[to] as Node;
          nodes[i]?.push(isWeak ? new WeakReference(node) : node);
        }
      }
      connection.root['nodes'] = new PersistentList(nodes);
      await connection.transactionManager.commit();
      const expected = shapeOf(nodes[top] as Node);
      const exported = await buffer(connection.exportFile(nodes[top] as Node));
      // Into the same database, and into another one: both times it is new.
      const copy = (await connection.importFile(Readable.from([exported]))) as Node;
      assert.deepEqual(shapeOf(copy), expected);
      assert.ok(!nodes.includes(copy));
      connection.root['copy'] = copy;
      return { exported, expected };
    });
    const imported = await target.transaction(async (connection) => {
      connection.root['copy'] = await connection.importFile(Readable.from([bytes.exported]));
      return connection.root['copy'] as Node;
    });
    assert.ok(imported);
    await target.transaction(({ root }) => assert.deepEqual(shapeOf(root['copy'] as Node), bytes.expected));
  };
  await fc.assert(fc.asyncProperty(graph, fc.nat({ max: OBJECTS - 1 }), check), { numRuns: 60 });
  await source.close();
  await target.close();
});
