import type { Oid, Tid } from '../../ids.js';
import type { PackBackend } from '../pack/pack.js';
import type { Level } from './disk.js';
import {
  bookkeepingKey,
  CURRENT_RANGE,
  currentKey,
  decodeRevision,
  encodeNumbers,
  oidOfKey,
  olderKey,
} from './keyspace.js';
import type { LevelReader } from './level-reader.js';
import type { LevelWriter } from './level-writer.js';
import type { Upkeep } from './upkeep.js';

/** Entries that one read takes from an iterator. */
const READ_COUNT = 1000;
/** Keys that one write drops, about. */
const DROPS_PER_WRITE = 2000;

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

  async *changedSince(since: Tid): AsyncGenerator<readonly Oid[]> {
    const iterator = this.#level.iterator(CURRENT_RANGE);
    try {
      for (
        let entries = await iterator.nextv(READ_COUNT);
        entries.length > 0;
        entries = await iterator.nextv(READ_COUNT)
      ) {
        const oids: Oid[] = [];
        for (const [key, value] of entries) {
          const oid = oidOfKey(key);
          if (decodeRevision(oid, value).tid >= since) oids.push(oid);
        }
        yield oids;
      }
    } finally {
      await iterator.close();
    }
  }

  *revisions(oid: Oid): Generator<Uint8Array> {
    const current = this.#reader.current(oid);
    if (!current) return;
    yield current.data;
    for (let n = current.n - 1; n >= 0; n--) {
      const value = this.#reader.olderValue(oid, n);
      if (value === undefined) return;
      yield decodeRevision(oid, value).data;
    }
  }

  async *sweep(before: Tid, decide: (oid: Oid) => boolean): AsyncGenerator<number> {
    // Ordering: before the first object is gone, so that it is not taken for lost.
    await this.#writer.writeBeside((batch) => batch.put(bookkeepingKey('packed'), encodeNumbers([before])));
    const iterator = this.#level.keys(CURRENT_RANGE);
    try {
      for (let keys = await iterator.nextv(READ_COUNT); keys.length > 0; keys = await iterator.nextv(READ_COUNT)) {
        const dropped: Buffer[] = [];
        for (const key of keys) {
          for (const each of this.#drops(oidOfKey(key), before, decide)) dropped.push(each);
          if (dropped.length >= DROPS_PER_WRITE) await this.#drop(dropped.splice(0));
        }
        await this.#drop(dropped);
        yield keys.length;
      }
    } finally {
      await iterator.close();
    }
  }

  /** The keys of an object that goes. */
  *#drops(oid: Oid, before: Tid, decide: (oid: Oid) => boolean): Generator<Buffer> {
    const current = this.#reader.current(oid);
    if (!current || current.tid >= before || !decide(oid)) return;
    yield currentKey(oid);
    for (let n = current.n - 1; n >= 0 && this.#reader.olderValue(oid, n) !== undefined; n--) yield olderKey(oid, n);
  }

  async #drop(keys: readonly Buffer[]): Promise<void> {
    if (keys.length === 0) return;
    await this.#writer.writeBeside((batch) => {
      for (const key of keys) batch.del(key);
    });
  }

  async tidy(before: Tid): Promise<void> {
    await this.#upkeep.dropEmptied(before);
    await this.#level.compactRange(Buffer.from([0]), Buffer.from([0xff]));
  }
}
