import type { Oid } from '../ids.js';
import type { Persistent } from '../persistent/persistent.js';

/** An object that a cache holds, in one of its lists. */
export class Held {
  /** Of its record; 0 for a ghost. */
  bytes = 0;
  list: HeldList | undefined = undefined;
  previous: Held | undefined = undefined;
  next: Held | undefined = undefined;

  /** @param weak the reference under which the object is kept once it is let go of */
  constructor(
    readonly oid: Oid,
    readonly object: Persistent,
    readonly weak?: WeakRef<Persistent>,
  ) {}
}

/**
 * Objects in the order in which they were put here. An object is in one list at most, and changes its place at no cost: no table has to
 * grow or to be made anew for that.
 */
export class HeldList {
  first: Held | undefined = undefined;
  count = 0;
  /** Of the records of the objects. */
  bytes = 0;
  #last: Held | undefined = undefined;

  /** Puts an object at the end, and takes it out of where it was. */
  push(held: Held): void {
    held.list?.remove(held);
    const last = this.#last;
    held.list = this;
    held.previous = last;
    if (last) last.next = held;
    else this.first = held;
    this.#last = held;
    this.count++;
    this.bytes += held.bytes;
  }

  remove(held: Held): void {
    const { previous, next } = held;
    if (previous) previous.next = next;
    else this.first = next;
    if (next) next.previous = previous;
    else this.#last = previous;
    // What is dead and old must not lead to what is young: the collector of young objects would have to keep it.
    held.list = held.previous = held.next = undefined;
    this.count--;
    this.bytes -= held.bytes;
  }

  /** The objects as they are now. */
  objects(): Persistent[] {
    const objects: Persistent[] = [];
    for (let held = this.first; held; held = held.next) objects.push(held.object);
    return objects;
  }
}
