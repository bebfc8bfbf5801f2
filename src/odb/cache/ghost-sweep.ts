import { heapBytes, suggestCollection } from '../../base/index.js';
import type { Oid } from '../ids.js';
import type { Persistent } from '../persistent/persistent.js';
import { Held } from './held-list.js';

/** References that are looked at as soon as the garbage collector was there. */
const SWEEP_COUNT = 10_000;
/** What a ghost takes that is held weakly: itself, the reference, and its place in the table. */
const GHOST_BYTES = 200;
/** Ghosts that may wait for the garbage collector, in any case, and as a part of the heap. */
const WAITING_COUNT_MIN = 20_000;
const WAITING_PART = 1 / 4;

/**
 * Forgets, of the objects of a cache, those that the garbage collector took.
 *
 * It asks for no news of each: that would cost more memory than a ghost has. It waits for a sign that the collector was there, and then
 * looks at all references once, in steps.
 *
 * The collector does not know that ghosts are dead that were used once, nor that what refers to them weakly is of no use then: left alone
 * it lets them pile up to several times what is alive. So when many wait for it, it is given a hint.
 */
export class GhostSweep {
  readonly #objects: Map<Oid, Held | WeakRef<Persistent>>;
  /** Ghosts that are held weakly since the garbage collector was there last. */
  #waitingCount = 0;
  #hintCount = WAITING_COUNT_MIN;
  #isWatching = false;
  readonly #collected = new FinalizationRegistry<void>(() => {
    this.#isWatching = false;
    this.#waitingCount = 0;
    this.#hintCount = WAITING_COUNT_MIN;
    this.#leftCount = this.#objects.size;
    this.#sweep(SWEEP_COUNT);
    if (this.#objects.size > 0) this.#watch();
  });
  /** Objects that are to be looked at. */
  #leftCount = 0;
  #position: MapIterator<[Oid, Held | WeakRef<Persistent>]> | undefined;
  /** Objects that the next step looks at: two for each that was released, so that all had their turn before they are twice as many. */
  #stepCount = 0;

  constructor(objects: Map<Oid, Held | WeakRef<Persistent>>) {
    this.#objects = objects;
  }

  /** One more ghost is held weakly. */
  released(): void {
    this.#waitingCount++;
    this.#stepCount += 2;
    if (!this.#isWatching) this.#watch();
  }

  /** Waits for the sign: nothing refers to this object, so it goes when the collector comes. */
  #watch(): void {
    this.#isWatching = true;
    this.#collected.register({});
  }

  /** Looks at some of the objects, if the collector was there, or has it come. To be called now and then. */
  step(): void {
    if (this.#waitingCount >= this.#hintCount) {
      // Where nothing can be collected, as within a function that runs on and on, there are ever fewer hints.
      this.#hintCount = this.#waitingCount * 2;
      if (this.#waitingCount * GHOST_BYTES > heapBytes() * WAITING_PART) suggestCollection();
    }
    this.#sweep(this.#stepCount);
    this.#stepCount = 0;
  }

  #sweep(countMax: number): void {
    this.#position ??= this.#objects.entries();
    for (let left = Math.min(countMax, this.#leftCount); left > 0; left--) {
      this.#leftCount--;
      const { done, value } = this.#position.next();
      if (done) {
        this.#leftCount = 0;
        break;
      }
      const [oid, entry] = value;
      if (!(entry instanceof Held) && entry.deref() === undefined) this.#objects.delete(oid);
    }
    // A place in the table holds the table as it was then.
    if (this.#leftCount === 0) this.#position = undefined;
  }
}
