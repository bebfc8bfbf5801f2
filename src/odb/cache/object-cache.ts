import type { Oid } from '../ids.js';
import { makeGhostAgain, rest } from '../persistent/lifecycle.js';
import type { Persistent } from '../persistent/persistent.js';
import { GhostSweep } from './ghost-sweep.js';
import { Held, HeldList } from './held-list.js';

/** How much a cache keeps loaded after a trim; may be changed at any time. */
export interface CacheLimits {
  objectsMax: number;
  /** Of the records of the loaded objects. */
  bytesMax: number;
}

/** What a walk has loaded and not yet passed: enough for what it looks at together, and so little that the rest dies young. */
const PASSING_COUNT_MAX = 500;
/** The part of a cache, by count and by bytes, that walks take at most, twice. */
const PASSING_PART = 1 / 8;

/**
 * The objects of one connection, by oid: an identity map that also bounds memory.
 *
 * Loaded objects are held in the order of their use, as far as that is noticed: reading a field tells nobody, since it would cost more than
 * the read. So a trim that has to make room puts the half of the objects that was not used for longest to _rest_. The first touch of such
 * an object wakes it, which is noticed, and makes it the most recently used one; nothing is loaded for that. What still rests when room is
 * needed again was not used since, and becomes a ghost. Changed objects stay.
 *
 * A walk loads many objects, and uses each for a moment. So that it takes little memory, and leaves in the cache what was there, what is
 * loaded during a walk passes through two short lists: it rests in the second one, and becomes a ghost at its end, unless it was used
 * again.
 *
 * Ghosts are held weakly after a trim, so that the garbage collector takes those that nobody refers to.
 */
export class ObjectCache {
  readonly #limits: Readonly<CacheLimits>;
  readonly #objects = new Map<Oid, Held | WeakRef<Persistent>>();
  /** Ghosts that are held. */
  readonly #fresh = new HeldList();
  /** Loaded objects, the least recently used first. */
  readonly #awake = new HeldList();
  /** Loaded objects that were not used since they were put here, the oldest first: the first to go. */
  readonly #resting = new HeldList();
  /** What walks have loaded, the oldest first. */
  readonly #passing = new HeldList();
  /** The same, and not used since it was put here. */
  readonly #passed = new HeldList();
  /** The walks that are on. */
  readonly #walks = new Set<symbol>();
  readonly #sweep = new GhostSweep(this.#objects);

  /** Called with each object before a trim takes its state away; throws to keep it. */
  beforeUnload: ((object: Persistent) => void) | undefined;

  constructor(limits: Readonly<CacheLimits>) {
    this.#limits = limits;
  }

  /** Number of loaded objects. */
  get loadedCount(): number {
    return this.#awake.count + this.#resting.count + this.#passing.count + this.#passed.count;
  }

  /** Number of objects, ghosts included. */
  get objectCount(): number {
    return this.#objects.size;
  }

  /** Bytes of the records of the loaded objects. */
  get loadedBytes(): number {
    return this.#awake.bytes + this.#resting.bytes + this.#passing.bytes + this.#passed.bytes;
  }

  get(oid: Oid): Persistent | undefined {
    const entry = this.#objects.get(oid);
    return entry instanceof Held ? entry.object : entry?.deref();
  }

  /** Takes in a new ghost. */
  addGhost(oid: Oid, object: Persistent): void {
    const held = new Held(oid, object);
    this.#objects.set(oid, held);
    this.#fresh.push(held);
  }

  /** The object was loaded, stored or made: it is the most recently used one, with a record of `bytes`. */
  used(oid: Oid, object: Persistent, bytes: number): void {
    const entry = this.#objects.get(oid);
    let held: Held;
    if (entry instanceof Held) held = entry;
    else {
      held = new Held(oid, object, entry);
      this.#objects.set(oid, held);
    }
    const isNew = held.list === undefined || held.list === this.#fresh;
    held.list?.remove(held);
    held.bytes = bytes;
    (isNew && this.#walks.size > 0 ? this.#passing : this.#awake).push(held);
  }

  /** An object that rested was touched. */
  touched(oid: Oid): void {
    const held = this.#objects.get(oid);
    if (held instanceof Held && (held.list === this.#resting || held.list === this.#passed)) this.#awake.push(held);
  }

  /** The object became a ghost: after the next trim it is held weakly. */
  ghosted(oid: Oid): void {
    const held = this.#objects.get(oid);
    if (!(held instanceof Held)) return;
    held.list?.remove(held);
    held.bytes = 0;
    this.#fresh.push(held);
  }

  /** Forgets the object: it is not in the database after all. */
  remove(oid: Oid): void {
    const held = this.#objects.get(oid);
    if (held instanceof Held) held.list?.remove(held);
    this.#objects.delete(oid);
  }

  /** The loaded objects. */
  loaded(): Persistent[] {
    return [this.#passed, this.#resting, this.#passing, this.#awake].flatMap((list) => list.objects());
  }

  /** Drops the state of an object, changed or not. */
  revert(object: Persistent): void {
    makeGhostAgain(object);
    this.ghosted(object._p_oid as Oid);
  }

  /** All objects that are alive. */
  *[Symbol.iterator](): Generator<Persistent> {
    for (const entry of this.#objects.values()) {
      const object = entry instanceof Held ? entry.object : entry.deref();
      if (object) yield object;
    }
  }

  /** Brings the cache down to its limits. Changed objects stay. */
  trim(): void {
    if (this.#walks.size > 0) this.#letPass();
    if (this.#isOver()) {
      this.#unloadWhile(() => this.#isOver());
      this.#putToRest();
    }
    if (this.#fresh.count > this.#limits.objectsMax) this.#releaseGhosts();
    this.#sweep.step();
  }

  /** Whether it is far enough over its limits that a walk should stop to trim it. */
  get isOverfull(): boolean {
    const { objectsMax, bytesMax } = this.#limits;
    return (
      this.loadedCount > objectsMax + objectsMax / 8 + 100 ||
      this.loadedBytes > bytesMax + bytesMax / 8 + 100_000 ||
      this.#fresh.count > objectsMax + 100
    );
  }

  #isOver(): boolean {
    return this.loadedCount > this.#limits.objectsMax || this.loadedBytes > this.#limits.bytesMax;
  }

  /** Turns every unchanged object into a ghost. */
  minimize(): void {
    this.#unloadWhile(() => true);
    this.#releaseGhosts();
  }

  // ---------------------------------------------------------------- walks

  /** A walk begins: what is loaded from now on is not expected to be used for long. Returns what ends it. */
  beginWalk(): () => void {
    const walk = Symbol('walk');
    this.#walks.add(walk);
    return () => {
      if (this.#walks.delete(walk) && this.#walks.size === 0) this.#keepPassing();
    };
  }

  /** No walk is on any more, ended or not. */
  endWalks(): void {
    if (this.#walks.size === 0) return;
    this.#walks.clear();
    this.#keepPassing();
  }

  #keepPassing(): void {
    for (let held = this.#passed.first; held; held = this.#passed.first) this.#resting.push(held);
    for (let held = this.#passing.first; held; held = this.#passing.first) this.#awake.push(held);
  }

  #letPass(): void {
    const countMax = Math.min(PASSING_COUNT_MAX, this.#limits.objectsMax * PASSING_PART);
    const bytesMax = this.#limits.bytesMax * PASSING_PART;
    const isOver = (list: HeldList) => list.count > countMax || list.bytes > bytesMax;
    // Ordering: what comes to rest now has until the next trim to be touched.
    this.#unload(this.#passed, () => isOver(this.#passed));
    for (let held = this.#passing.first; held && isOver(this.#passing); held = this.#passing.first) {
      (rest(held.object) ? this.#passed : this.#awake).push(held);
    }
  }

  // ---------------------------------------------------------------- making room

  #unloadWhile(wanted: () => boolean): void {
    for (const list of [this.#passed, this.#resting, this.#passing, this.#awake]) this.#unload(list, wanted);
  }

  #unload(list: HeldList, wanted: () => boolean): void {
    // What stays goes to the end of its list, and so does an object that touches itself while it is dropped: each is tried once.
    for (let left = list.count; left > 0 && wanted(); left--) {
      const held = list.first;
      if (!held) return;
      if (!this.#drop(held) && held.list === list) list.push(held);
    }
  }

  /** Makes a ghost of an object, and returns whether it became one: it is changed, or it may refuse. */
  #drop(held: Held): boolean {
    const { object } = held;
    if (object._p_changed === true) return false;
    this.beforeUnload?.(object);
    object._p_deactivate();
    if (object._p_changed !== undefined) return false;
    this.#release(held);
    return true;
  }

  /** Lets the older half of the loaded objects rest. */
  #putToRest(): void {
    const restingMin = this.loadedCount / 2;
    for (let left = this.#awake.count; left > 0 && this.#resting.count < restingMin; left--) {
      const held = this.#awake.first as Held;
      (rest(held.object) ? this.#resting : this.#awake).push(held);
    }
  }

  #releaseGhosts(): void {
    for (let held = this.#fresh.first; held; held = this.#fresh.first) this.#release(held);
  }

  /** Holds a ghost weakly from now on. */
  #release(held: Held): void {
    held.list?.remove(held);
    this.#objects.set(held.oid, held.weak ?? new WeakRef(held.object));
    this.#sweep.released();
  }

  // ---------------------------------------------------------------- dropping all

  /** Drops the states of all objects, changed or not. */
  invalidateAll(): void {
    for (const object of this) makeGhostAgain(object);
    for (const object of this.loaded()) this.ghosted(object._p_oid as Oid);
  }

  /** Lets go of all objects: nothing more is loaded. */
  clear(): void {
    this.invalidateAll();
    this.#releaseGhosts();
  }
}
