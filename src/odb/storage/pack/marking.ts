import { POSKeyError } from '../../errors.js';
import { type Oid, ROOT_OID, ZERO_TID } from '../../ids.js';
import type { AcceptedRecord, CommitGuard } from '../commit-coordinator.js';
import { OidSet } from './oid-set.js';

/** What a {@link Marking} walks. */
export interface Graph {
  /** All revisions of an object that are kept; nothing for one that is not there. */
  revisions(oid: Oid): Iterable<Uint8Array>;
  /** The oids that a record references and keeps alive: none where it removes the object. */
  references(data: Uint8Array): Iterable<Oid>;
}

/**
 * Finds what can be reached, a part at a time, while others commit. (E. W. Dijkstra and others, On-the-fly garbage collection: an
 * exercise in cooperation, 1978.)
 *
 * Whatever a commit references meanwhile is marked before the commit is accepted, to be looked at later. Once all has been looked at, it
 * is looked at within the commit, with all that it reaches; a commit that references what was swept already is refused.
 *
 * A marking that came to its end is asked about commits for as long as the storage is open: one whose view, or whose cache, still has an
 * object that was packed away may want to reference it at any time. The next one takes its place when it has come as far.
 */
export class Marking implements CommitGuard {
  readonly #graph: Graph;
  readonly #marked = new OidSet();
  readonly #swept: OidSet;
  /** Asked first, until this one knows as much. */
  #former: Marking | undefined;
  /** Marked, not yet looked at. */
  readonly #waiting = new OidSet();
  /** Those of them that are looked at next. */
  readonly #next: Oid[] = [];
  /** Written by commits since this began. */
  readonly #written = new OidSet();
  #isComplete = false;

  /** @param former the one that is asked about commits so far */
  constructor(graph: Graph, former?: Marking) {
    this.#graph = graph;
    this.#former = former;
    this.#swept = former ? former.#swept : new OidSet();
    this.mark(ROOT_OID);
  }

  /** An object is reached. */
  mark(oid: Oid): void {
    if (this.#marked.add(oid)) this.#waiting.add(oid);
  }

  /** Whether an object is reached and was not looked at yet, by {@link look} or by {@link step}. */
  isWaiting(oid: Oid): boolean {
    return this.#waiting.has(oid);
  }

  /** Number of objects that are reached and were not looked at yet. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Looks at an object that was come by: these are the revisions of it that are kept. */
  look(oid: Oid, revisions: Iterable<Uint8Array>): void {
    this.#waiting.delete(oid);
    for (const data of revisions) {
      // Where a transaction removed it, there are none.
      if (data.length > 0) for (const reference of this.#graph.references(data)) this.mark(reference);
    }
  }

  /** Looks at up to `count` objects; returns whether that were all. */
  step(count: number): boolean {
    for (let looked = 0; looked < count; looked++) {
      // In the order of their oids, which is as they stand.
      if (this.#next.length === 0) this.#next.push(...this.#waiting.takePage().reverse());
      const oid = this.#next.pop();
      if (oid === undefined) {
        this.#isComplete = true;
        this.#former = undefined;
        break;
      }
      this.look(oid, this.#graph.revisions(oid));
    }
    return this.#isComplete;
  }

  /** Whether all that is reached was looked at. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Number of objects that were reached so far. */
  get markedCount(): number {
    return this.#marked.size;
  }

  isMarked(oid: Oid): boolean {
    return this.#marked.has(oid);
  }

  /** Whether a commit wrote the object since this began: what was read of it before may be out of date. */
  isWritten(oid: Oid): boolean {
    return this.#written.has(oid);
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
    this.#former?.accept(records);
    for (const { oid, previous } of records) {
      if (previous !== ZERO_TID) continue;
      // What is new has but the revision that is looked at here. Traffic does not lengthen the marking.
      this.#marked.add(oid);
      this.#swept.delete(oid);
    }
    const reached = new Set<Oid>();
    for (const { oid, data } of records) {
      this.#written.add(oid);
      for (const to of this.#graph.references(data)) if (!this.#marked.has(to)) reached.add(to);
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
        if (data.length === 0) continue;
        for (const reference of this.#graph.references(data)) if (!this.#marked.has(reference)) reached.add(reference);
      }
    }
    for (const oid of reached) this.#marked.add(oid);
  }
}
