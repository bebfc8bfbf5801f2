import type { Oid } from '../../ids.js';

/** Oids of a page: a page takes 8 KiB. */
const PAGE_OIDS = 65_536;

/** A set of oids that takes one bit for each, in pages: oids come in rows. */
export class OidSet {
  readonly #pages = new Map<number, Uint8Array>();
  /** Oids in each page. */
  readonly #counts = new Map<number, number>();

  has(oid: Oid): boolean {
    const page = this.#pages.get(Math.floor(oid / PAGE_OIDS));
    const bit = oid % PAGE_OIDS;
    return page !== undefined && ((page[bit >> 3] as number) & (1 << (bit & 7))) !== 0;
  }

  /** Returns whether it is new. */
  add(oid: Oid): boolean {
    const number = Math.floor(oid / PAGE_OIDS);
    const bit = oid % PAGE_OIDS;
    let page = this.#pages.get(number);
    if (!page) {
      page = new Uint8Array(PAGE_OIDS / 8);
      this.#pages.set(number, page);
    }
    const mask = 1 << (bit & 7);
    const byte = page[bit >> 3] as number;
    if ((byte & mask) !== 0) return false;
    page[bit >> 3] = byte | mask;
    this.#counts.set(number, (this.#counts.get(number) ?? 0) + 1);
    return true;
  }

  /** Returns whether it was there. */
  delete(oid: Oid): boolean {
    const number = Math.floor(oid / PAGE_OIDS);
    const page = this.#pages.get(number);
    const bit = oid % PAGE_OIDS;
    const mask = 1 << (bit & 7);
    const byte = page?.[bit >> 3] ?? 0;
    if (!page || (byte & mask) === 0) return false;
    page[bit >> 3] = byte & ~mask;
    this.#counts.set(number, (this.#counts.get(number) as number) - 1);
    return true;
  }

  /** Takes out all oids of one page. */
  takePage(): Oid[] {
    for (const [number, page] of this.#pages) {
      this.#pages.delete(number);
      const count = this.#counts.get(number);
      this.#counts.delete(number);
      // All that was in it may have been deleted.
      if (count) return oidsOf(number, page);
    }
    return [];
  }

  /** The oids, a page at a time. */
  *[Symbol.iterator](): Generator<Oid> {
    for (const [number, page] of this.#pages) yield* oidsOf(number, page);
  }

  get size(): number {
    let size = 0;
    for (const count of this.#counts.values()) size += count;
    return size;
  }
}

function oidsOf(number: number, page: Uint8Array): Oid[] {
  const oids: Oid[] = [];
  for (const [index, byte] of page.entries()) {
    if (byte === 0) continue;
    for (let bit = 0; bit < 8; bit++) {
      if ((byte & (1 << bit)) !== 0) oids.push((number * PAGE_OIDS + index * 8 + bit) as Oid);
    }
  }
  return oids;
}
