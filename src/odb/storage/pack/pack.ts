import { untilAborted } from '../../../base/index.js';
import type { Oid, Tid } from '../../ids.js';
import type { PackOptions } from '../storage.js';
import { type Graph, Marking } from './marking.js';

/** Objects that are looked at, one by one, between two turns of the event loop: others wait that long. */
const STEP_OBJECTS = 16;
/** To read an object that is looked for costs as much as to come by so many in a walk. */
const WALKED_FOR_ONE = 4;

/** An object that a walk comes by. */
export interface WalkedObject {
  readonly oid: Oid;
  /** The transaction that wrote the current revision. */
  readonly tid: Tid;
  /** All revisions that are kept. */
  revisions(): Iterable<Uint8Array>;
}

/** What packing needs of a storage. */
export interface PackBackend {
  /** Drops the revisions that transactions before `before` superseded. */
  trim(before: Tid, signal: AbortSignal | undefined): Promise<void>;
  /**
   * Walks over objects, a few at a time, after each of which others have had their turn: over all, in the order of their oids, or at least
   * over those that were changed by the transaction `since` or later ones.
   */
  walk(since: Tid): AsyncIterable<readonly WalkedObject[]>;
  /** All revisions of an object that are kept. */
  revisions(oid: Oid): Iterable<Uint8Array>;
  /**
   * Drops objects with all their revisions, after `trim` and a `walk` since the same time. `decide` says at once, and finally, whether an
   * object goes; it is asked only of those whose current revision is older than `before`, and says no of those that were written meanwhile.
   * `isDropped` is asked when an object is removed at last: one that was restored after the decision stays. Yields how many were looked at.
   */
  sweep(before: Tid, decide: (oid: Oid) => boolean, isDropped: (oid: Oid) => boolean): AsyncIterable<number>;
  /** Drops transactions of which nothing is left, and gives room back; `isDropped` says what was swept. */
  tidy(before: Tid, isDropped: (oid: Oid) => boolean): Promise<void>;
}

/** How the packing takes part in commits. */
export interface PackCommits {
  /** Lets others have their turn: to be awaited between any two parts of the work, which last as long as others wait at most. */
  turn(): Promise<void>;
  /** Has commits ask the marking; resolves once all that were accepted before are written. */
  begin(marking: Marking): Promise<void>;
  /** Whether nobody is about to write the object; what is known of it is forgotten. */
  release(oid: Oid): boolean;
  /** What was asked about commits before this pack. */
  readonly former: Marking | undefined;
  /** Has commits ask this marking from now on, or none. */
  end(lasting: Marking | undefined): void;
}

/**
 * Packs a storage beside its traffic: drops the revisions that were superseded before a time, then what neither the root, nor anything
 * written since that time, nor any revision that is kept can reach.
 *
 * An interrupted one, by a signal or by a crash, has dropped only what was garbage; the next one finds the rest.
 */
export async function pack(backend: PackBackend, commits: PackCommits, options: PackOptions): Promise<void> {
  const { before, references, keeps, signal, onProgress } = options;
  const graph: Graph = {
    revisions: (oid) => backend.revisions(oid),
    // A transaction may have removed the object.
    references: (data) => (data.length > 0 ? references(data) : []),
  };
  const marking = new Marking(graph, commits.former);
  try {
    // A vote may hold it up for as long as its owner likes.
    await untilAborted(commits.begin(marking), signal);
    onProgress?.({ phase: 'trim', objects: 0 });
    await backend.trim(before, signal);
    signal?.throwIfAborted();
    onProgress?.({ phase: 'mark', objects: marking.markedCount });
    await walk(backend, marking, options);
    while (!marking.step(STEP_OBJECTS)) {
      onProgress?.({ phase: 'mark', objects: marking.markedCount });
      await commits.turn();
      signal?.throwIfAborted();
    }
    signal?.throwIfAborted();
    let objects = 0;
    const decide = (oid: Oid): boolean => {
      if (marking.isMarked(oid) || marking.isWritten(oid) || !commits.release(oid) || keeps?.(oid)) return false;
      marking.sweep(oid);
      return true;
    };
    const isDropped = (oid: Oid) => marking.isSwept(oid);
    for await (const count of backend.sweep(before, decide, isDropped)) {
      objects += count;
      onProgress?.({ phase: 'sweep', objects });
      signal?.throwIfAborted();
    }
    await backend.tidy(before, isDropped);
  } finally {
    commits.end(marking.isComplete ? marking : commits.former);
  }
}

/**
 * Marks what was written since the time, and looks at what is reached as it comes by: references lead mostly to what was made later, which
 * has a higher oid and comes later. Walks again for as long as that is less work than to look for what is left one by one.
 */
async function walk(
  backend: PackBackend,
  marking: Marking,
  { before, signal, onProgress }: PackOptions,
): Promise<void> {
  let [walked, looked] = [0, 0];
  let isFirst = true;
  do {
    [walked, looked] = [0, 0];
    for await (const objects of backend.walk(before)) {
      signal?.throwIfAborted();
      for (const each of objects) {
        if (isFirst && each.tid >= before) marking.mark(each.oid);
        if (!marking.isWaiting(each.oid)) continue;
        marking.look(each.oid, each.revisions());
        looked++;
      }
      walked += objects.length;
      onProgress?.({ phase: 'mark', objects: marking.markedCount });
    }
    isFirst = false;
  } while (looked > 0 && marking.waitingCount * WALKED_FOR_ONE > walked);
}
