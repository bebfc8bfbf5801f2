import { POSKeyError } from '../../errors.js';
import { type Oid, ROOT_OID, ZERO_TID } from '../../ids.js';
import type { AcceptedRecord, CommitGuard } from '../commit-coordinator.js';
import { OidSet } from './oid-set.js';

/** Oids that are kept in order of their discovery; what is beyond waits in a set. */
const STACK_MAX = 100_000;

/** What a {@link Marking} walks. */
export interface Graph {
  /** All revisions of an object that are kept; nothing for one that is not there. */
  revisions(oid: Oid): Iterable<Uint8Array>;
  /** The oids that a record references and keeps alive. */
  references(data: Uint8Array): Iterable<Oid>;
}

/**
 * Finds what can be reached, a part at a time, while others commit. (E. W. Dijkstra and others, On-the-fly garbage collection: an
 * exercise in cooperation, 1978.)
 *
 * Whatever a commit references meanwhile is marked before the commit is accepted, to be looked at later. Once all has been looked at, it
 * is looked at within the commit, with all that it reaches; a commit that references what was swept already is refused.
 */
export class Marking implements CommitGuard {
  readonly #graph: Graph;
  readonly #marked = new OidSet();
  readonly #swept = new OidSet();
  /** Marked, not yet looked at: the rest of the stack. */
  readonly #waiting = new OidSet();
  readonly #stack: Oid[] = [];
  #isComplete = false;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.mark(ROOT_OID);
  }

  /** An object is reached. */
  mark(oid: Oid): void {
    if (!this.#marked.add(oid)) return;
    if (this.#stack.length < STACK_MAX) this.#stack.push(oid);
    else this.#waiting.add(oid);
  }

  /** Looks at up to `count` objects; returns whether that were all. */
  step(count: number): boolean {
    for (let looked = 0; looked < count; looked++) {
      if (this.#stack.length === 0) this.#stack.push(...this.#waiting.takePage());
      const oid = this.#stack.pop();
      if (oid === undefined) {
        this.#isComplete = true;
        break;
      }
      for (const data of this.#graph.revisions(oid))
        for (const reference of this.#graph.references(data)) this.mark(reference);
    }
    return this.#isComplete;
  }

  /** Number of objects that were reached so far. */
  get markedCount(): number {
    return this.#marked.size;
  }

  isMarked(oid: Oid): boolean {
    return this.#marked.has(oid);
  }

  /** An object is dropped from now on, whether that is written or not. */
  sweep(oid: Oid): void {
    this.#swept.add(oid);
  }

  isSwept(oid: Oid): boolean {
    return this.#swept.has(oid);
  }

  /** @throws POSKeyError when the records reference what was swept. */
  accept(records: readonly AcceptedRecord[]): void {
    // What is new has but the revision that is looked at here. Traffic does not lengthen the marking.
    for (const { oid, previous } of records) if (previous === ZERO_TID) this.#marked.add(oid);
    const reached = new Set<Oid>();
    for (const { data } of records) {
      if (data.length > 0) for (const oid of this.#graph.references(data)) if (!this.#marked.has(oid)) reached.add(oid);
    }
    if (this.#isComplete) this.#follow(reached);
    else for (const oid of reached) this.mark(oid);
  }

  #follow(reached: Set<Oid>): void {
    // A set tells of what is added while it is walked.
    for (const oid of reached) {
      if (this.#swept.has(oid)) {
        throw new POSKeyError(oid, 'nothing referenced it any more, and it was packed away; make the object anew');
      }
      for (const data of this.#graph.revisions(oid)) {
        for (const reference of this.#graph.references(data)) if (!this.#marked.has(reference)) reached.add(reference);
      }
    }
    for (const oid of reached) this.#marked.add(oid);
  }
}
