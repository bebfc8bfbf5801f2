import { ClientDisconnected } from '../errors.js';
import type { Oid, Tid } from '../ids.js';

/**
 * Published transactions in shared memory: one thread writes, any number of others read, each at its own pace, none
 * waits for another.
 *
 * An entry is a tid, a count, and that many oids; the count {@link ALL} stands for "anything may have changed". A
 * reader that was overtaken by the writer is told "anything" too, so a slow one costs nobody anything.
 *
 * How a reader knows that what it copied was not being overwritten: the writer first moves `RESERVED` past the entry,
 * then writes it, then moves `HEAD`. Whatever lies more than the capacity behind `RESERVED` may be torn. Both sides
 * touch `RESERVED` with a read-modify-write, since that alone keeps plain reads and writes on their side of it on
 * every processor.
 */
const HEAD = 0;
const RESERVED = 1;
const CONTROL_BYTES = 16;
/** In the first cell, the newest tid; it is consistent while `HEAD` equals `RESERVED`. */
const LAST_TID_BYTES = 8;
const CELLS_OFFSET = CONTROL_BYTES + LAST_TID_BYTES;

const ALL = -1;

/** Cells of a ring: 512 KiB, some 20,000 transactions of a record each. */
const CAPACITY_CELLS = 65_536;

/** Tries to read a consistent state without a pause, and then with one of a millisecond each, before the writer is taken for dead in the middle of an entry. */
const QUICK_TRIES = 1000;
const TRIES_MAX = 6000;

/** Nobody ever wakes a waiter on it: a place to sleep. */
const pause = new Int32Array(new SharedArrayBuffer(4));

/** Shared memory of a ring whose newest transaction is `lastTid`. */
export function createRing(lastTid: Tid, capacityCells = CAPACITY_CELLS): SharedArrayBuffer {
  if ((capacityCells & (capacityCells - 1)) !== 0) throw new RangeError('the capacity of a ring is a power of two');
  const memory = new SharedArrayBuffer(CELLS_OFFSET + capacityCells * 8);
  new Float64Array(memory, CONTROL_BYTES, 1)[0] = lastTid;
  return memory;
}

/** The one writer of a ring. */
export class RingWriter {
  readonly #control: Int32Array;
  readonly #lastTid: Float64Array;
  readonly #cells: Float64Array;

  constructor(memory: SharedArrayBuffer) {
    this.#control = new Int32Array(memory, 0, 2);
    this.#lastTid = new Float64Array(memory, CONTROL_BYTES, 1);
    this.#cells = new Float64Array(memory, CELLS_OFFSET);
  }

  /** The newest tid that was published. */
  get lastTid(): Tid {
    return this.#lastTid[0] as Tid;
  }

  /** Publishes a transaction and what it changed. Returns whether readers should read on now, lest they be overtaken. */
  publish(tid: Tid, oids: readonly Oid[]): boolean {
    const head = Atomics.load(this.#control, HEAD);
    // One transaction must not push most others out.
    if (oids.length > this.#cells.length / 4) this.#write(tid, ALL, []);
    else this.#write(tid, oids.length, oids);
    return ((head ^ Atomics.load(this.#control, HEAD)) & (this.#cells.length / 4)) !== 0;
  }

  /** Publishes that anything may have changed up to `tid`. */
  publishAll(tid: Tid): void {
    this.#write(tid, ALL, []);
  }

  #write(tid: Tid, count: number, oids: readonly Oid[]): void {
    const mask = this.#cells.length - 1;
    const length = 2 + oids.length;
    const head = Atomics.load(this.#control, HEAD);
    Atomics.add(this.#control, RESERVED, length);
    this.#lastTid[0] = tid;
    this.#cells[head & mask] = tid;
    this.#cells[(head + 1) & mask] = count;
    for (let i = 0; i < oids.length; i++) this.#cells[(head + 2 + i) & mask] = oids[i] as Oid;
    // Ordering: the entry is whole before readers may see it.
    Atomics.store(this.#control, HEAD, (head + length) | 0);
  }
}

/** A reader's place in a ring. It begins at the newest transaction. */
export class RingReader {
  readonly #control: Int32Array;
  readonly #lastTidCell: Float64Array;
  readonly #cells: Float64Array;
  #cursor = 0;
  #lastTid = 0 as Tid;

  constructor(memory: SharedArrayBuffer) {
    this.#control = new Int32Array(memory, 0, 2);
    this.#lastTidCell = new Float64Array(memory, CONTROL_BYTES, 1);
    this.#cells = new Float64Array(memory, CELLS_OFFSET);
    this.#jump();
  }

  /** The newest transaction that was read. */
  get lastTid(): Tid {
    return this.#lastTid;
  }

  /** Whether there is nothing to read. */
  get isCurrent(): boolean {
    return Atomics.load(this.#control, HEAD) === this.#cursor;
  }

  /**
   * Reads the next entry: its tid, and its oids or `'all'`. `undefined` when there is none.
   *
   * @throws ClientDisconnected when the writer ended in the middle of an entry.
   */
  next(): { readonly tid: Tid; readonly oids: readonly Oid[] | 'all' } | undefined {
    const head = Atomics.load(this.#control, HEAD);
    if (head === this.#cursor) return undefined;
    const mask = this.#cells.length - 1;
    const tid = this.#cells[this.#cursor & mask] as Tid;
    const count = this.#cells[(this.#cursor + 1) & mask] as number;
    const available = (head - this.#cursor) >>> 0;
    const oids: Oid[] = [];
    if (count > 0 && count <= available - 2) {
      for (let i = 0; i < count; i++) oids.push(this.#cells[(this.#cursor + 2 + i) & mask] as Oid);
    }
    const reserved = Atomics.add(this.#control, RESERVED, 0);
    if ((reserved - this.#cursor) >>> 0 > this.#cells.length) {
      this.#jump();
      return { tid: this.#lastTid, oids: 'all' };
    }
    this.#cursor = (this.#cursor + 2 + oids.length) | 0;
    this.#lastTid = tid;
    return { tid, oids: count === ALL ? 'all' : oids };
  }

  /** Goes on from the newest transaction. */
  #jump(): void {
    for (let i = 0; i < TRIES_MAX; i++) {
      const head = Atomics.load(this.#control, HEAD);
      const tid = this.#lastTidCell[0] as Tid;
      if (Atomics.add(this.#control, RESERVED, 0) === head) {
        this.#cursor = head;
        this.#lastTid = tid;
        return;
      }
      if (i >= QUICK_TRIES) Atomics.wait(pause, 0, 0, 1);
    }
    throw new ClientDisconnected('the thread that publishes transactions ended in the middle of one');
  }
}
