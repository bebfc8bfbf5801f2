import { isDeepStrictEqual } from 'node:util';
import { Logger } from '../../base/index.js';
import type { ObjectCache } from '../cache/object-cache.js';
import { SerializationError, UnnoticedMutationError, UnregisteredError } from '../errors.js';
import { type Oid, ROOT_OID } from '../ids.js';
import { isBroken } from '../persistent/broken.js';
import { describe } from '../persistent/display.js';
import { recordState } from '../persistent/lifecycle.js';
import { Persistent } from '../persistent/persistent.js';
import { WeakReference } from '../persistent/weak-reference.js';
import { readOpaqueState } from '../serialize/reader.js';
import { PersistentReference, type RecordReference, type ReferenceWriter } from '../serialize/references.js';
import { writeRecord } from '../serialize/writer.js';

const logger = new Logger('holdfast.mutations');

const NO_OID = Number.MAX_SAFE_INTEGER as Oid;

type Path = readonly (string | number)[];

/**
 * Finds changes that nobody was told of: within a plain value of a field, of an object that is not registered as changed.
 *
 * What each object says of its state is written down when it was loaded or stored, and compared with what it says later. The record that
 * it was loaded from will not do: defaults and `setState` may have made something else of it, without a change.
 */
export class MutationDetector {
  readonly #cache: ObjectCache;
  /** The states as they were. */
  readonly #states = new WeakMap<Persistent, Buffer>();
  /** Objects of which an error told already. */
  readonly #told = new WeakSet<Persistent>();

  constructor(cache: ObjectCache) {
    this.#cache = cache;
  }

  /** The object was just loaded, or handed over to be stored. */
  remember(object: Persistent): void {
    const { state } = isBroken(object) ? {} : written(object);
    // What cannot be written right after it was loaded is never compared: its class makes something of the state that is not stored.
    if (state) this.#states.set(object, state);
    else this.#states.delete(object);
  }

  /** @throws UnnoticedMutationError for the first object of the connection that was changed unnoticed. */
  checkAll(): void {
    for (const object of this.#cache.loaded()) this.check(object);
  }

  /** @throws UnnoticedMutationError. */
  check(object: Persistent): void {
    const mutation = this.#mutationOf(object);
    if (!mutation) return;
    this.#told.add(object);
    throw mutation;
  }

  /** Takes the changes back that nobody was told of, as an abort does with others: their objects become ghosts. */
  takeBack(): void {
    for (const object of [...this.#cache.loaded()]) {
      const mutation = this.#mutationOf(object);
      if (!mutation) continue;
      if (!this.#told.delete(object)) logger.warning(`taken back with the aborted transaction: ${mutation.message}`);
      this.#cache.revert(object);
    }
  }

  #mutationOf(object: Persistent): UnnoticedMutationError | undefined {
    const before = this.#states.get(object);
    // A frozen object cannot be looked into, and could not be stored.
    if (before === undefined || object._p_changed !== false || !Object.isExtensible(object)) return undefined;
    const { state, failure } = written(object);
    if (state?.equals(before)) return undefined;
    const keys = state && differenceOf(readOpaqueState(before), readOpaqueState(state));
    const path = keys ? pathOf(nameOf(object), object.statePath(keys)) : (failure?.path ?? nameOf(object));
    return new UnnoticedMutationError({ oid: object._p_oid as Oid, path }, failure ? { cause: failure } : {});
  }
}

/** A state as bytes; or what it cannot be written for. */
function written(object: Persistent): { state?: Buffer; failure?: SerializationError | UnregisteredError } {
  try {
    const state = recordState(object);
    return { state: writeRecord({ className: 'compared', state, references, path: nameOf(object), owner: object }) };
  } catch (error) {
    if (error instanceof SerializationError || error instanceof UnregisteredError) return { failure: error };
    throw error;
  }
}

function nameOf(object: Persistent): string {
  return object._p_oid === ROOT_OID ? 'root' : describe(object);
}

/** References by place alone: nothing gets one because it is looked at. An object without a place was never stored. */
const references: ReferenceWriter = {
  isPersistent: (value) => value instanceof Persistent || value instanceof WeakReference,
  reference(value): RecordReference {
    if (value instanceof WeakReference) return { oid: value.oid ?? NO_OID, className: 'compared', kind: 'weak' };
    const { _p_oid: oid = NO_OID, _p_jar: jar } = value as Persistent;
    return { oid, className: 'compared', kind: 'strong', ...(jar && { databaseName: jar.databaseName }) };
  },
};

function pathOf(name: string, keys: Path): string {
  return keys.reduce<string>((path, key) => path + (typeof key === 'number' ? `[${key}]` : `.${key}`), name);
}

/** Where two states differ first; `undefined` where that cannot be told, as when only an order differs. */
function differenceOf(before: unknown, now: unknown, seen = new Set<unknown>()): Path | undefined {
  if (!isContainer(before) || !isContainer(now)) return isDeepStrictEqual(before, now) ? undefined : [];
  if (seen.has(before)) return undefined;
  seen.add(before);
  const below = (key: string | number, one: unknown, other: unknown): Path | undefined => {
    const path = differenceOf(one, other, seen);
    return path && [key, ...path];
  };
  if (Array.isArray(before) && Array.isArray(now)) {
    for (let i = 0; i < Math.max(before.length, now.length); i++) {
      if (i >= before.length || i >= now.length) return [i];
      const path = below(i, before[i], now[i]);
      if (path) return path;
    }
    return undefined;
  }
  if (before instanceof Map && now instanceof Map) {
    for (const key of [...before.keys(), ...now.keys()]) {
      const name = typeof key === 'string' || typeof key === 'number' ? key : undefined;
      if (name === undefined) continue;
      if (!before.has(key) || !now.has(key)) return [name];
      const path = below(name, before.get(key), now.get(key));
      if (path) return path;
    }
    return isDeepStrictEqual(before, now) ? undefined : [];
  }
  const prototype = Object.getPrototypeOf(before) as unknown;
  if (prototype !== Object.getPrototypeOf(now) || (prototype !== null && prototype !== Object.prototype)) {
    return isDeepStrictEqual(before, now) ? undefined : [];
  }
  for (const key of new Set([...Object.keys(before), ...Object.keys(now)])) {
    if (!Object.hasOwn(before, key) || !Object.hasOwn(now, key)) return [key];
    const path = below(key, (before as Record<string, unknown>)[key], (now as Record<string, unknown>)[key]);
    if (path) return path;
  }
  return undefined;
}

function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !(value instanceof PersistentReference);
}
