import type { Oid } from '../ids.js';
import { makeGhostAgain } from '../persistent/lifecycle.js';
import type { Persistent } from '../persistent/persistent.js';

interface Loaded {
  readonly object: Persistent;
  bytes: number;
}

/**
 * The objects of one connection, by oid: an identity map that also bounds memory.
 *
 * Loaded objects are held, in the order in which they were loaded or changed. A trim turns the oldest unchanged ones into
 * ghosts; ghosts are held weakly from then on, so that the garbage collector takes those that nobody refers to.
 */
export class ObjectCache {
  readonly #objects = new Map<Oid, Persistent | WeakRef<Persistent>>();
  readonly #loaded = new Map<Oid, Loaded>();
  readonly #finalized = new FinalizationRegistry<Oid>((oid) => {
    const entry = this.#objects.get(oid);
    if (entry instanceof WeakRef && entry.deref() === undefined) this.#objects.delete(oid);
  });
  /** Ghosts that are still held: made since the last trim. */
  #freshGhosts: Oid[] = [];
  #loadedBytes = 0;

  constructor(
    private readonly objectsMax: number,
    private readonly bytesMax: number,
  ) {}

  /** Called with each object before a trim takes its state away; throws to keep it. */
  beforeUnload: ((object: Persistent) => void) | undefined;

  /** Number of loaded objects. */
  get loadedCount(): number {
    return this.#loaded.size;
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
    const loaded = this.#loaded.get(oid);
    if (loaded) {
      this.#loadedBytes += bytes - loaded.bytes;
      loaded.bytes = bytes;
      this.#loaded.delete(oid);
      this.#loaded.set(oid, loaded);
    } else {
      this.#loaded.set(oid, { object, bytes });
      this.#loadedBytes += bytes;
    }
    // What was once held weakly stays so in the map: a loaded object is held by the other one.
    if (!this.#objects.has(oid)) this.#objects.set(oid, object);
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

  /** The loaded objects. */
  *loaded(): Generator<Persistent> {
    for (const { object } of this.#loaded.values()) yield object;
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
    if (this.#loaded.size > this.objectsMax || this.#loadedBytes > this.bytesMax) {
      this.#unloadWhile(() => this.#loaded.size > this.objectsMax || this.#loadedBytes > this.bytesMax);
    }
    if (this.#freshGhosts.length > this.objectsMax) this.#releaseGhosts();
  }

  /** Turns every unchanged object into a ghost. */
  minimize(): void {
    this.#unloadWhile(() => true);
    this.#releaseGhosts();
  }

  #unloadWhile(wanted: () => boolean): void {
    for (const [oid, { object }] of this.#loaded) {
      if (!wanted()) return;
      if (object._p_changed === true) continue;
      this.beforeUnload?.(object);
      object._p_deactivate();
      // An object may refuse to become a ghost: then it stays, and the next one is tried.
      if (object._p_changed !== undefined) continue;
      this.ghosted(oid);
    }
  }

  #releaseGhosts(): void {
    for (const oid of this.#freshGhosts) {
      const entry = this.#objects.get(oid);
      if (!entry || entry instanceof WeakRef || this.#loaded.has(oid)) continue;
      this.#objects.set(oid, new WeakRef(entry));
      this.#finalized.register(entry, oid);
    }
    this.#freshGhosts = [];
  }

  /** Drops the states of all objects, changed or not. */
  invalidateAll(): void {
    for (const object of this) makeGhostAgain(object);
    for (const oid of [...this.#loaded.keys()]) this.ghosted(oid);
  }

  /** Lets go of all objects: nothing more is loaded. */
  clear(): void {
    this.invalidateAll();
    this.#releaseGhosts();
  }

  #unload(oid: Oid): void {
    const loaded = this.#loaded.get(oid);
    if (!loaded) return;
    this.#loaded.delete(oid);
    this.#loadedBytes -= loaded.bytes;
  }
}
