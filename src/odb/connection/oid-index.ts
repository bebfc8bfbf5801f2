import type { Oid } from '../ids.js';

const CAPACITY_MIN = 64;

/** Numbers oids in the order in which they come, from 0; some 20 bytes of memory each, however many they are. */
export class OidIndex {
  #oids = new Float64Array(CAPACITY_MIN);
  /** Numbers + 1, by a hash of the oid; 0 where there is none. Never more than half full. */
  #slots = new Uint32Array(2 * CAPACITY_MIN);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** The oid with this number. */
  at(number: number): Oid {
    return this.#oids[number] as Oid;
  }

  /** The number of an oid; -1 when it has none. */
  numberOf(oid: Oid): number {
    return (this.#slots[this.#slotOf(oid)] as number) - 1;
  }

  /** Numbers an oid that has no number; returns it. */
  add(oid: Oid): number {
    if (this.#count === this.#oids.length) this.#grow();
    const number = this.#count++;
    this.#oids[number] = oid;
    this.#slots[this.#slotOf(oid)] = number + 1;
    return number;
  }

  /** Where the oid is, or belongs. */
  #slotOf(oid: Oid): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    const mixed = Math.imul((oid >>> 0) ^ Math.imul(Math.floor(oid / 2 ** 32), 0x85ebca6b), 0x9e3779b1);
    for (let slot = (mixed ^ (mixed >>> 15)) & mask; ; slot = (slot + 1) & mask) {
      const found = slots[slot] as number;
      if (found === 0 || this.#oids[found - 1] === oid) return slot;
    }
  }

  #grow(): void {
    this.#oids = grown(this.#oids, 2 * this.#count);
    this.#slots = new Uint32Array(4 * this.#count);
    for (let number = 0; number < this.#count; number++) this.#slots[this.#slotOf(this.at(number))] = number + 1;
  }
}

/** A longer array that begins with the same numbers. */
export function grown<T extends Float64Array | Uint32Array>(array: T, length: number): T {
  const longer = new (array.constructor as new (length: number) => T)(length);
  longer.set(array);
  return longer;
}
