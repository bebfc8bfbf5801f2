import type { Oid, Tid } from '../../ids.js';
import { OidSet } from '../pack/oid-set.js';
import type { PackBackend, WalkedObject } from '../pack/pack.js';
import type { Level } from './disk.js';
import {
  bookkeepingKey,
  CURRENT_RANGE,
  currentKey,
  decodeRevision,
  encodeNumbers,
  oidOfKey,
  type StoredRevision,
  tidOfRevision,
} from './keyspace.js';
import type { LevelReader } from './level-reader.js';
import type { LevelWriter } from './level-writer.js';
import type { Upkeep } from './upkeep.js';

/** What one read takes from an iterator at most. It is dealt with in one turn of the event loop, for which others wait. */
const READ_COUNT = 25;
const READ_BYTES = 64 * 1024;
/** Objects of which it is decided in one turn whether they go. */
const DECISIONS_PER_TURN = 250;
/** Objects that one write drops: a commit that goes with them takes that much longer. */
const DROPS_PER_WRITE = 250;

/** Packs a database on the disk, once. Each object is read once. */
export class LevelPack implements PackBackend {
  readonly #level: Level;
  readonly #reader: LevelReader;
  readonly #writer: LevelWriter;
  readonly #upkeep: Upkeep;
  readonly #turn: () => Promise<void>;
  /** What the walk came by that was written before the time. */
  readonly #candidates = new OidSet();
  readonly #key = Buffer.allocUnsafe(9);

  constructor(options: {
    readonly level: Level;
    readonly reader: LevelReader;
    readonly writer: LevelWriter;
    readonly upkeep: Upkeep;
    /** Lets others have their turn. */
    readonly turn: () => Promise<void>;
  }) {
    this.#level = options.level;
    this.#reader = options.reader;
    this.#writer = options.writer;
    this.#upkeep = options.upkeep;
    this.#turn = options.turn;
  }

  trim(before: Tid, signal: AbortSignal | undefined): Promise<void> {
    return this.#upkeep.trimBefore(before, signal);
  }

  async *walk(since: Tid): AsyncGenerator<readonly WalkedObject[]> {
    for await (const entries of this.#entries()) {
      yield entries.map(([key, value]) => {
        const oid = oidOfKey(key);
        const tid = tidOfRevision(value);
        if (tid < since) this.#candidates.add(oid);
        return { oid, tid, revisions: () => this.#revisionsFrom(oid, decodeRevision(oid, value)) };
      });
    }
  }

  /** Current revisions as they were when this began, a few at a time. */
  async *#entries(): AsyncGenerator<readonly [Buffer, Buffer][]> {
    const iterator = this.#level.iterator({ ...CURRENT_RANGE, highWaterMarkBytes: READ_BYTES });
    const read = () => {
      const reading = iterator.nextv(READ_COUNT);
      // Whoever stops in between asks for it no more.
      reading.catch(() => {});
      return reading;
    };
    try {
      let reading = read();
      for (;;) {
        const entries = await reading;
        if (entries.length === 0) return;
        // The next ones are read while these are dealt with.
        reading = read();
        await this.#turn();
        yield entries;
      }
    } finally {
      await iterator.close();
    }
  }

  *revisions(oid: Oid): Generator<Uint8Array> {
    const current = this.#reader.current(oid);
    if (current) yield* this.#revisionsFrom(oid, current);
  }

  *#revisionsFrom(oid: Oid, current: StoredRevision): Generator<Uint8Array> {
    yield current.data;
    for (let n = current.n - 1; n >= 0; n--) {
      const value = this.#reader.olderValue(oid, n);
      if (value === undefined) return;
      yield decodeRevision(oid, value).data;
    }
  }

  async *sweep(before: Tid, decide: (oid: Oid) => boolean, isDropped: (oid: Oid) => boolean): AsyncGenerator<number> {
    // What a former pack has dropped may be younger.
    const packed = Math.max(before, this.#reader.packedTid);
    // Ordering: before the first object is gone, so that it is not taken for lost.
    await this.#writer.writeBeside((batch) => batch.put(bookkeepingKey('packed'), encodeNumbers([packed])));
    let looked = 0;
    const dropped: Oid[] = [];
    try {
      for (const oid of this.#candidates) {
        looked++;
        // Invariant: it has no older revisions. What superseded them came before the time too: they were trimmed.
        if (decide(oid)) dropped.push(oid);
        const isFull = dropped.length >= DROPS_PER_WRITE;
        if (isFull) await this.#drop(dropped.splice(0), isDropped);
        if (!isFull && looked % DECISIONS_PER_TURN > 0) continue;
        await this.#turn();
        yield looked;
        looked = 0;
      }
    } finally {
      // Also where it is stopped: what was decided is decided.
      await this.#drop(dropped, isDropped);
    }
    yield looked;
  }

  async #drop(oids: readonly Oid[], isDropped: (oid: Oid) => boolean): Promise<void> {
    if (oids.length === 0) return;
    // Crash: what is gone stays gone. The contents of blobs, and transactions of which nothing is left, are removed only after that.
    await this.#writer.writeWithNext((batch) => {
      // Ordering: asked when all that was accepted before is written, or is in this batch. What was restored since has to stay.
      for (const oid of oids) if (isDropped(oid)) batch.del(currentKey(oid, this.#key));
    });
  }

  async tidy(before: Tid): Promise<void> {
    await this.#upkeep.dropEmptied(before);
    await this.#writer.compact();
  }
}
