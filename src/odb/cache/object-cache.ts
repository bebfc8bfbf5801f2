import type { Oid } from '../ids.js';
import { makeGhostAgain, rest } from '../persistent/lifecycle.js';
import type { Persistent } from '../persistent/persistent.js';

/** How much a cache keeps loaded after a trim; may be changed at any time. */
export interface CacheLimits {
  objectsMax: number;
  /** Of the records of the loaded objects. */
  bytesMax: number;
}

interface Loaded {
  readonly object: Persistent;
  bytes: number;
}

/**
 * The objects of one connection, by oid: an identity map that also bounds memory.
 *
 * Loaded objects are held in the order of their use, as far as that is noticed: reading a field tells nobody, since it would cost more than
 * the read. So a trim that has to make room puts the half of the objects that was not used for longest to _rest_. The first touch of such
 * an object wakes it, which is noticed, and makes it the most recently used one; nothing is loaded for that. What still rests when room is
 * needed again was not used since, and becomes a ghost. Changed objects stay.
 *
 * Ghosts are held weakly after a trim, so that the garbage collector takes those that nobody refers to.
 */
export class ObjectCache {
  readonly #limits: Readonly<CacheLimits>;
  readonly #objects = new Map<Oid, Persistent | WeakRef<Persistent>>();
  /** Loaded objects, the least recently used first. */
  readonly #awake = new Map<Oid, Loaded>();
  /** Loaded objects that were not used since they were put here, the oldest first: all are older than the ones awake. */
  readonly #resting = new Map<Oid, Loaded>();
  readonly #finalized = new FinalizationRegistry<Oid>((oid) => {
    const entry = this.#objects.get(oid);
    if (entry instanceof WeakRef && entry.deref() === undefined) this.#objects.delete(oid);
  });
  /** Ghosts that are still held: made since the last trim. */
  #freshGhosts: Oid[] = [];
  #loadedBytes = 0;

  /** Called with each object before a trim takes its state away; throws to keep it. */
  beforeUnload: ((object: Persistent) => void) | undefined;

  constructor(limits: Readonly<CacheLimits>) {
    this.#limits = limits;
  }

  /** Number of loaded objects. */
  get loadedCount(): number {
    return this.#awake.size + this.#resting.size;
  }

  /** Number of objects, ghosts included. */
  get objectCount(): number {
    return this.#objects.size;
  }

  /** Bytes of the records of the loaded objects. */
  get loadedBytes(): number {
    return this.#loadedBytes;
  }

  get(oid: Oid): Persistent | undefined {
    const entry = this.#objects.get(oid);
    return entry instanceof WeakRef ? entry.deref() : entry;
  }

  /** Takes in a new ghost. */
  addGhost(oid: Oid, object: Persistent): void {
    this.#objects.set(oid, object);
    this.#freshGhosts.push(oid);
  }

  /** The object was loaded, stored or made: it is the most recently used one, with a record of `bytes`. */
  used(oid: Oid, object: Persistent, bytes: number): void {
    const loaded = this.#take(oid) ?? { object, bytes: 0 };
    this.#loadedBytes += bytes - loaded.bytes;
    loaded.bytes = bytes;
    this.#awake.set(oid, loaded);
    // What was once held weakly stays so in the map: a loaded object is held by the other one.
    if (!this.#objects.has(oid)) this.#objects.set(oid, object);
  }

  /** An object that rested was touched. */
  touched(oid: Oid): void {
    const loaded = this.#resting.get(oid);
    if (!loaded) return;
    this.#resting.delete(oid);
    this.#awake.set(oid, loaded);
  }

  /** The object became a ghost: after the next trim it is held weakly. */
  ghosted(oid: Oid): void {
    this.#unload(oid);
    if (!(this.#objects.get(oid) instanceof WeakRef)) this.#freshGhosts.push(oid);
  }

  /** Forgets the object: it is not in the database after all. */
  remove(oid: Oid): void {
    this.#unload(oid);
    this.#objects.delete(oid);
  }

  /** The loaded objects, the least recently used first. */
  *loaded(): Generator<Persistent> {
    for (const { object } of this.#resting.values()) yield object;
    for (const { object } of this.#awake.values()) yield object;
  }

  /** Drops the state of an object, changed or not. */
  revert(object: Persistent): void {
    makeGhostAgain(object);
    this.ghosted(object._p_oid as Oid);
  }

  /** All objects that are alive. */
  *[Symbol.iterator](): Generator<Persistent> {
    for (const entry of this.#objects.values()) {
      const object = entry instanceof WeakRef ? entry.deref() : entry;
      if (object) yield object;
    }
  }

  /** Brings the cache down to its limits. Changed objects stay. */
  trim(): void {
    if (this.#isOver()) {
      this.#unloadWhile(() => this.#isOver());
      this.#putToRest();
    }
    if (this.#freshGhosts.length > this.#limits.objectsMax) this.#releaseGhosts();
  }

  /** Whether it is far enough over its limits that a walk should stop to trim it. */
  get isOverfull(): boolean {
    const { objectsMax, bytesMax } = this.#limits;
    return (
      this.loadedCount > objectsMax + objectsMax / 8 + 100 ||
      this.#loadedBytes > bytesMax + bytesMax / 8 + 100_000 ||
      this.#freshGhosts.length > objectsMax + 100
    );
  }

  #isOver(): boolean {
    return this.loadedCount > this.#limits.objectsMax || this.#loadedBytes > this.#limits.bytesMax;
  }

  /** Turns every unchanged object into a ghost. */
  minimize(): void {
    this.#unloadWhile(() => true);
    this.#releaseGhosts();
  }

  #unloadWhile(wanted: () => boolean): void {
    for (const loaded of [this.#resting, this.#awake]) {
      // An object that touches itself while it is dropped comes in again at the end: each is tried once.
      let left = loaded.size;
      for (const [oid, { object }] of loaded) {
        if (left-- === 0 || !wanted()) break;
        if (object._p_changed === true) continue;
        this.beforeUnload?.(object);
        object._p_deactivate();
        // An object may refuse to become a ghost: then it stays, and the next one is tried.
        if (object._p_changed === undefined) this.ghosted(oid);
      }
    }
  }

  /** Lets the older half of the loaded objects rest. */
  #putToRest(): void {
    const restingMin = this.loadedCount / 2;
    for (const [oid, loaded] of this.#awake) {
      if (this.#resting.size >= restingMin) return;
      if (!rest(loaded.object)) continue;
      this.#awake.delete(oid);
      this.#resting.set(oid, loaded);
    }
  }

  #releaseGhosts(): void {
    for (const oid of this.#freshGhosts) {
      const entry = this.#objects.get(oid);
      if (!entry || entry instanceof WeakRef || this.#awake.has(oid) || this.#resting.has(oid)) continue;
      this.#objects.set(oid, new WeakRef(entry));
      this.#finalized.register(entry, oid);
    }
    this.#freshGhosts = [];
  }

  /** Drops the states of all objects, changed or not. */
  invalidateAll(): void {
    for (const object of this) makeGhostAgain(object);
    for (const oid of [...this.#awake.keys(), ...this.#resting.keys()]) this.ghosted(oid);
  }

  /** Lets go of all objects: nothing more is loaded. */
  clear(): void {
    this.invalidateAll();
    this.#releaseGhosts();
  }

  #unload(oid: Oid): void {
    const loaded = this.#take(oid);
    if (loaded) this.#loadedBytes -= loaded.bytes;
  }

  #take(oid: Oid): Loaded | undefined {
    for (const place of [this.#awake, this.#resting]) {
      const loaded = place.get(oid);
      if (loaded) {
        place.delete(oid);
        return loaded;
      }
    }
    return undefined;
  }
}
