import type { Oid, Tid } from '../../ids.js';
import type { PackBackend, WalkedObject } from '../pack/pack.js';
import type { Level } from './disk.js';
import {
  bookkeepingKey,
  CURRENT_RANGE,
  decodeRevision,
  encodeNumbers,
  numberOfRevision,
  oidOfKey,
  olderKey,
  type StoredRevision,
  tidOfRevision,
} from './keyspace.js';
import type { LevelReader } from './level-reader.js';
import type { LevelWriter } from './level-writer.js';
import type { Upkeep } from './upkeep.js';

/** What one read takes from an iterator at most. It is dealt with in one turn of the event loop, for which others wait. */
const READ_COUNT = 100;
const READ_BYTES = 64 * 1024;
/** Keys that one write drops, about. */
const DROPS_PER_WRITE = 500;

/** Packs a database on the disk. */
export class LevelPack implements PackBackend {
  readonly #level: Level;
  readonly #reader: LevelReader;
  readonly #writer: LevelWriter;
  readonly #upkeep: Upkeep;

  constructor(options: {
    readonly level: Level;
    readonly reader: LevelReader;
    readonly writer: LevelWriter;
    readonly upkeep: Upkeep;
  }) {
    this.#level = options.level;
    this.#reader = options.reader;
    this.#writer = options.writer;
    this.#upkeep = options.upkeep;
  }

  trim(before: Tid, signal: AbortSignal | undefined): Promise<void> {
    return this.#upkeep.trimBefore(before, signal);
  }

  async *walk(): AsyncGenerator<readonly WalkedObject[]> {
    for await (const entries of this.#entries()) {
      yield entries.map(([key, value]) => {
        const oid = oidOfKey(key);
        return {
          oid,
          tid: tidOfRevision(value),
          revisions: () => this.#revisionsFrom(oid, decodeRevision(oid, value)),
        };
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
    const mark = () =>
      this.#writer.writeBeside((batch) => batch.put(bookkeepingKey('packed'), encodeNumbers([packed])));
    // Ordering: before the first object is gone, so that it is not taken for lost.
    await mark();
    const dropped: Buffer[] = [];
    try {
      for await (const entries of this.#entries()) {
        for (const [key, value] of entries) {
          const oid = oidOfKey(key);
          if (tidOfRevision(value) >= before || !decide(oid)) continue;
          // What was written since it was read is not to go: so this is what there is of it.
          dropped.push(key);
          for (let n = numberOfRevision(value) - 1; n >= 0 && this.#reader.olderValue(oid, n) !== undefined; n--) {
            dropped.push(olderKey(oid, n));
            if (dropped.length >= DROPS_PER_WRITE) await this.#drop(dropped.splice(0), isDropped);
          }
        }
        // Each write waits for the commit that is being written: few of them, of a size for which the next commit does not wait long.
        if (dropped.length >= DROPS_PER_WRITE) await this.#drop(dropped.splice(0), isDropped);
        yield entries.length;
      }
    } finally {
      // Also where it is stopped: what was decided is decided.
      await this.#drop(dropped, isDropped);
    }
    // Crash: what is gone stays gone from here on. Contents of blobs are removed only after that.
    await mark();
  }

  async #drop(keys: readonly Buffer[], isDropped: (oid: Oid) => boolean): Promise<void> {
    if (keys.length === 0) return;
    await this.#writer.writeBeside(
      (batch) => {
        // Ordering: asked once nothing else is being written. An object that was restored since has a revision that has to stay.
        for (const key of keys) if (isDropped(oidOfKey(key))) batch.del(key);
      },
      { isSynced: false },
    );
  }

  async tidy(before: Tid): Promise<void> {
    await this.#upkeep.dropEmptied(before);
    await this.#writer.compact();
  }
}
