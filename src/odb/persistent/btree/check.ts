import { compareKeys, requireKey } from './keys.js';
import { damaged, type LeafNode, type Node } from './node.js';
import type { NodeTree } from './node-tree.js';

/** Walks a collection, and throws where a rule of its structure does not hold. @throws CorruptionError */
export function checkNodes(tree: NodeTree<unknown, unknown>): void {
  tree.root.use();
  let depthOfLeaves: number | undefined;
  let previous: LeafNode | undefined;
  const seen = new Set<Node>();

  const visit = (
    node: Node,
    depth: number,
    low: { key: unknown } | undefined,
    high: { key: unknown } | undefined,
  ): void => {
    node.use();
    const { owner } = node;
    const demand = (holds: boolean, why: string) => {
      if (!holds) throw damaged(owner, why);
    };
    demand(!seen.has(node), 'it occurs twice in one tree');
    seen.add(node);
    const keys = node.isLeaf ? node.keys : node.separators;
    keys.forEach((key, i) => {
      requireKey(key);
      if (i > 0) demand(compareKeys(keys[i - 1], key) < 0, `its keys ${i - 1} and ${i} are not in order`);
      demand(!low || compareKeys(low.key, key) <= 0, `its key ${i} lies before the bounds of the node`);
      demand(!high || compareKeys(key, high.key) < 0, `its key ${i} lies behind the bounds of the node`);
    });
    if (!node.isLeaf) {
      demand(node.children.length > 0, 'it is a branch without children');
      demand(keys.length === node.children.length - 1, 'its children and separators do not match');
      const { isLeaf } = node.children[0] as Node;
      node.children.forEach((child, i) => {
        demand(child.isLeaf === isLeaf, 'its children are of two kinds');
        visit(child, depth + 1, i === 0 ? low : { key: keys[i - 1] }, i === keys.length ? high : { key: keys[i] });
      });
      return;
    }
    demand(node.hasValues === tree.hasValues, 'it is of a set in a map, or of a map in a set');
    demand((node.values?.length ?? keys.length) === keys.length, 'its keys and values do not match');
    demand(node === tree.root || keys.length > 0, 'it is an empty bucket of a tree');
    depthOfLeaves ??= depth;
    demand(depth === depthOfLeaves, 'the buckets of its tree lie at different depths');
    if (previous && previous.next !== node) throw damaged(previous.owner, 'it is not followed by the next bucket');
    previous = node;
  };
  visit(tree.root, 0, undefined, undefined);
  // A bucket on its own may be one of a tree: nothing is said of what follows it.
  if (tree.growth && previous?.next)
    throw damaged(previous.owner, 'it is the last bucket, and followed by another one');
}
