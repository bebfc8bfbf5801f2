import { registerInternal } from '../../serialize/registry.js';
import {
  BranchNode,
  type BranchState,
  damaged,
  fillBranch,
  isBranchState,
  type LeafState,
  NODE,
  NodeOwner,
  nodeState,
} from './node.js';

/** An inner node of a tree, below its top. Two transactions that change it conflict. */
export class TreeBranch extends NodeOwner {
  readonly [NODE]: BranchNode = new BranchNode(this);

  override getState(): LeafState | BranchState {
    this.readable();
    return nodeState(this[NODE]);
  }

  override setState(state: unknown): void {
    if (!isBranchState(state)) throw damaged(this, 'its record is no branch');
    fillBranch(this[NODE], state);
  }

  protected override clearState(): void {
    this[NODE].clear();
  }

  protected override inspectState(): Record<string, unknown> {
    this.readable();
    const { separators, children } = this[NODE];
    return { separators, children: children.map((child) => child.owner) };
  }
}

registerInternal({ 'holdfast.TreeBranch': TreeBranch });
