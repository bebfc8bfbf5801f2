import { type Clock, nextTurn } from '../../base/index.js';
import type { ObjectCache } from '../cache/object-cache.js';
import { POSKeyError } from '../errors.js';
import { type Oid, ROOT_OID, type Tid } from '../ids.js';
import type { Persistent } from '../persistent/persistent.js';
import { strongReferences } from '../serialize/reader.js';
import { OidSet } from '../storage/pack/oid-set.js';
import type { Revision, Storage } from '../storage/storage.js';

/** Items of a walk between two turns of the event loop, and oids that are loaded in one round trip. */
const WALK_STEP = 100;

/**
 * Hands on what `source` gives. Now and then, between two items, the cache is brought down to its limits, and the event loop has a turn:
 * the garbage collector takes ghosts only between turns.
 */
export async function* walk<T>(
  source: Iterable<T> | AsyncIterable<T>,
  { cache, clock, check }: { readonly cache: ObjectCache; readonly clock: Clock; readonly check: () => void },
): AsyncGenerator<T, void, undefined> {
  let count = 0;
  const pause = async () => {
    count = 0;
    cache.trim();
    await nextTurn(clock);
    check();
  };
  if (Symbol.asyncIterator in source) {
    for await (const item of source) {
      yield item;
      if (++count >= WALK_STEP || cache.isOverfull) await pause();
    }
    return;
  }
  for (const item of source) {
    yield item;
    if (++count >= WALK_STEP || cache.isOverfull) await pause();
  }
}

/**
 * Every object that the root reaches by strong references within its database, once each, loaded, in no order that matters. It takes a
 * bit of memory for each object, and a number for each that was found and not yet come to. What is referred to and is not there is passed
 * over.
 */
export async function* reachable(view: {
  readonly storage: Storage;
  readonly before: Tid;
  readonly object: (oid: Oid, revision: Revision) => Persistent;
}): AsyncGenerator<Persistent, void, undefined> {
  const { storage, before } = view;
  const seen = new OidSet();
  seen.add(ROOT_OID);
  // What was found last comes first: while few of those that refer are loaded, few of those that they refer to are in memory.
  const pending: Oid[] = [ROOT_OID];
  while (pending.length > 0) {
    const step = pending.splice(-WALK_STEP);
    await storage.prefetch(step, before);
    for (const oid of step) {
      const revision = revisionOf(storage, oid, before);
      if (!revision) continue;
      for (const reference of strongReferences(revision.data)) if (seen.add(reference)) pending.push(reference);
      yield view.object(oid, revision);
    }
  }
}

function revisionOf(storage: Storage, oid: Oid, before: Tid): Revision | undefined {
  try {
    return storage.loadBefore(oid, before);
  } catch (error) {
    if (error instanceof POSKeyError) return undefined;
    throw error;
  }
}
