import { Logger } from '../../../base/index.js';
import type { Oid, Tid } from '../../ids.js';
import { OidSet } from '../pack/oid-set.js';
import type { PackBackend, WalkedObject } from '../pack/pack.js';
import type { Level } from './disk.js';
import {
  bookkeepingKey,
  currentKey,
  decodeRevision,
  encodeNumbers,
  type StoredRevision,
  tidOfRevision,
} from './keyspace.js';
import type { LevelReader } from './level-reader.js';
import type { LevelWriter } from './level-writer.js';
import type { RevisionBlock } from './revision-block.js';
import { scan } from './scan.js';
import { scanInThread } from './scan-thread.js';
import type { Upkeep } from './upkeep.js';

const logger = new Logger('holdfast.storage');

/** What one read takes at most, in the thread of the storage: others wait until it is dealt with. */
const READ_COUNT = 25;
const READ_BYTES = 64 * 1024;
/** After so many objects, a thread of its own reads the others. */
const READ_HERE_MAX = 10_000;
/** Objects that are looked at in one turn of the event loop. */
const OBJECTS_PER_TURN = 50;
/** Objects of which it is decided in one turn whether they go. */
const DECISIONS_PER_TURN = 250;
/** Objects that one write drops: a commit that goes with them takes that much longer. */
const DROPS_PER_WRITE = 500;

/** Packs a database on the disk, once. Each object is read once. */
export class LevelPack implements PackBackend {
  readonly #level: Level;
  readonly #reader: LevelReader;
  readonly #writer: LevelWriter;
  readonly #upkeep: Upkeep;
  readonly #turn: () => Promise<void>;
  readonly #folder: string | undefined;
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
    /** Where LevelDB keeps its files, if other threads can open it there. */
    readonly folder: string | undefined;
  }) {
    this.#level = options.level;
    this.#reader = options.reader;
    this.#writer = options.writer;
    this.#upkeep = options.upkeep;
    this.#turn = options.turn;
    this.#folder = options.folder;
  }

  trim(before: Tid, signal: AbortSignal | undefined): Promise<void> {
    return this.#upkeep.trimBefore(before, signal);
  }

  async *walk(since: Tid): AsyncGenerator<readonly WalkedObject[]> {
    for await (const block of this.#blocks()) {
      for (let begin = 0; begin < block.count; begin += OBJECTS_PER_TURN) {
        await this.#turn();
        yield this.#objectsOf(block, begin, Math.min(begin + OBJECTS_PER_TURN, block.count), since);
      }
    }
  }

  #objectsOf(block: RevisionBlock, begin: number, end: number, since: Tid): readonly WalkedObject[] {
    const objects: WalkedObject[] = [];
    for (let i = begin; i < end; i++) {
      const oid = block.oid(i);
      const value = block.value(i);
      const tid = tidOfRevision(value);
      if (tid < since) this.#candidates.add(oid);
      objects.push({ oid, tid, revisions: () => this.#revisionsFrom(oid, decodeRevision(oid, value)) });
    }
    return objects;
  }

  /** Current revisions: the first ones as they were when this began, the others as they were a little later. */
  async *#blocks(): AsyncGenerator<RevisionBlock> {
    let after: Oid | undefined;
    const noted = (block: RevisionBlock) => {
      after = block.oid(block.count - 1);
      return block;
    };
    let leftHere = this.#folder === undefined ? Number.POSITIVE_INFINITY : READ_HERE_MAX;
    for await (const block of this.#scanHere(after)) {
      yield noted(block);
      leftHere -= block.count;
      if (leftHere <= 0) break;
    }
    if (leftHere > 0) return;
    try {
      for await (const block of scanInThread({ folder: this.#folder as string, after })) yield noted(block);
    } catch (error) {
      // Whatever it was: if it is in the way here too, it shows.
      logger.warning('the thread that reads for the pack has failed; the pack goes on without it', error);
      yield* this.#scanHere(after);
    }
  }

  #scanHere(after: Oid | undefined): AsyncGenerator<RevisionBlock> {
    return scan(this.#level, { after, readCount: READ_COUNT, readBytes: READ_BYTES });
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
    let decided: Oid[] = [];
    // What was decided is dropped while the next ones are decided.
    let dropping: Promise<void> | undefined;
    const drop = async () => {
      await dropping;
      dropping = this.#drop(decided, isDropped);
      dropping.catch(() => {});
      decided = [];
    };
    try {
      for (const oid of this.#candidates) {
        looked++;
        // Invariant: it has no older revisions. What superseded them came before the time too: they were trimmed.
        if (decide(oid)) decided.push(oid);
        const isFull = decided.length >= DROPS_PER_WRITE;
        if (isFull) await drop();
        if (!isFull && looked % DECISIONS_PER_TURN > 0) continue;
        await this.#turn();
        yield looked;
        looked = 0;
      }
    } finally {
      // Also where it is stopped: what was decided is decided.
      await drop();
      await dropping;
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

  async tidy(before: Tid, isDropped: (oid: Oid) => boolean): Promise<void> {
    await this.#upkeep.dropEmptied(before, isDropped);
    await this.#writer.compact();
  }
}
