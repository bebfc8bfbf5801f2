import { inspect } from 'node:util';
import { argumentTypeError, type Clock, nextTurn } from '../../base/index.js';
import type { ObjectCache } from '../cache/object-cache.js';
import { POSKeyError } from '../errors.js';
import { type Oid, ROOT_OID, type Tid } from '../ids.js';
import type { Persistent } from '../persistent/persistent.js';
import { type ParsedRecord, readRecord, strongReferencesOf } from '../serialize/reader.js';
import { OidSet } from '../storage/pack/oid-set.js';
import type { Revision, Storage } from '../storage/storage.js';

/** Items of a walk between two turns of the event loop, and oids that are loaded in one round trip. */
const WALK_STEP = 100;

/** What is walked over, and the cache that it goes through. */
export interface Walked<T> {
  /** What is handed on, in parts: one after the other. */
  readonly parts: Iterable<AnyIterable<T>> | AsyncIterable<AnyIterable<T>>;
  readonly cache: ObjectCache;
  readonly clock: Clock;
  /** Throws when the walk cannot go on. */
  readonly check: () => void;
  /** Called when the walk ends, however it does. */
  readonly end?: () => void;
}

export type AnyIterable<T> = Iterable<T> | AsyncIterable<T>;

/** @throws TypeError (`ARG_ITERABLE`). */
export function requireIterable<T>(source: AnyIterable<T>): AnyIterable<T> {
  if (typeof source === 'object' && source !== null && (Symbol.iterator in source || Symbol.asyncIterator in source)) {
    return source;
  }
  throw argumentTypeError('ARG_ITERABLE', `each: ${inspect(source, { depth: 0 })} is nothing that can be walked over`);
}

/**
 * Hands on what there is to be walked over. Now and then, between two items, the cache is brought down to its limits, and the event loop
 * has a turn: the garbage collector takes ghosts only between turns.
 *
 * @param begin called with the first step
 */
export async function* walk<T>(begin: () => Walked<T>): AsyncGenerator<T, void, undefined> {
  const { parts, cache, clock, check, end } = begin();
  const endInCache = cache.beginWalk();
  let count = 0;
  const pause = async () => {
    count = 0;
    cache.trim();
    await nextTurn(clock);
    check();
  };
  try {
    for await (const part of parts) {
      // Not `for await` for both: what can be had at once need not be waited for.
      if (Symbol.asyncIterator in part) {
        for await (const item of part) {
          yield item;
          if (++count >= WALK_STEP || cache.isOverfull) await pause();
        }
      } else {
        for (const item of part) {
          yield item;
          if (++count >= WALK_STEP || cache.isOverfull) await pause();
        }
      }
    }
  } finally {
    endInCache();
    end?.();
  }
}

/** What the objects of a view are made of. */
export interface View {
  readonly storage: Storage;
  readonly before: Tid;
  readonly object: (oid: Oid, record: ParsedRecord, serial: Tid) => Persistent;
}

/**
 * Every object that the root reaches by strong references within its database, once each, loaded, in no order that matters. It takes a
 * bit of memory for each object, and a number for each that was found and not yet come to. What is referred to and is not there is passed
 * over.
 */
export async function* reachable(view: View): AsyncGenerator<Iterable<Persistent>, void, undefined> {
  const { storage, before } = view;
  const seen = new OidSet();
  seen.add(ROOT_OID);
  // What was found last comes first: while few of those that refer are loaded, few of those that they refer to are in memory.
  const pending: Oid[] = [ROOT_OID];
  while (pending.length > 0) {
    const step = pending.splice(-WALK_STEP);
    await storage.prefetch(step, before);
    yield objectsOf(step, view, (found) => {
      if (seen.add(found)) pending.push(found);
    });
  }
}

/** Loads one object after the other, and tells of what they refer to. */
function* objectsOf(oids: readonly Oid[], view: View, found: (oid: Oid) => void): Generator<Persistent> {
  for (const oid of oids) {
    const revision = revisionOf(view.storage, oid, view.before);
    if (!revision) continue;
    const record = readRecord(revision.data);
    for (const target of strongReferencesOf(record)) found(target);
    yield view.object(oid, record, revision.tid);
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
