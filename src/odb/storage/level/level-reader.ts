import { ClassicLevel } from 'classic-level';
import { asBuffer } from '../../../base/index.js';
import { CorruptionError, POSKeyError, StorageError } from '../../errors.js';
import { type Oid, type Tid, ZERO_TID } from '../../ids.js';
import type { Revision } from '../storage.js';
import { present, trimmedAway } from '../undo.js';
import type { Level, LevelOptions } from './disk.js';
import {
  bookkeepingKey,
  currentKey,
  decodeNumbers,
  decodeRevision,
  numberOfRevision,
  olderKey,
  type StoredRevision,
  tidOfRevision,
} from './keyspace.js';

/** Bytes of entries that LevelDB keeps in memory. */
export const MEMORY_BYTES_MAX = 16 * 1024 * 1024;
const CACHE_BYTES = 32 * 1024 * 1024;

/** Opens the LevelDB of a storage. Several threads of one process may: the first to open has to be the last to close. */
export async function openLevel(folder: string, options: LevelOptions): Promise<Level> {
  const level = new ClassicLevel<Buffer, Buffer>(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    multithreading: true,
    // Pages of 8 KiB and a larger write buffer: fewer, larger files for many small records.
    blockSize: 8192,
    writeBufferSize: MEMORY_BYTES_MAX,
    cacheSize: options.cacheSize ?? CACHE_BYTES,
    createIfMissing: options.createIfMissing,
  });
  await level.open();
  return level;
}

/** Where an old revision was looked for. */
interface Place {
  readonly found: StoredRevision | undefined;
  /** The revision after it. */
  readonly next: StoredRevision;
}

/** Finds revisions: what the storage and the threads that read its directory have in common. */
export class LevelReader {
  readonly #level: Level;
  /** Keys are written into the same bytes each time: a read is done before the next one begins. */
  readonly #currentKey = Buffer.allocUnsafe(9);
  readonly #olderKey = Buffer.allocUnsafe(13);

  constructor(level: Level) {
    this.#level = level;
  }

  /**
   * The current revision; `undefined` when no object has this oid.
   *
   * LevelDB still has what was overwritten, and finds it where a flipped bit hides what took its place: a sound value, of a revision that
   * was superseded. That one then stands under the key of older ones too.
   *
   * @throws CorruptionError.
   */
  current(oid: Oid): StoredRevision | undefined {
    let value = this.currentValue(oid);
    while (value !== undefined) {
      const revision = decodeRevision(oid, value);
      if (this.olderValue(oid, revision.n) === undefined) return revision;
      // A commit may have come between the two reads.
      value = this.currentValue(oid);
      if (value && numberOfRevision(value) === revision.n) throw lostCurrent(oid);
    }
    return undefined;
  }

  /** The current revision as it is stored, unchecked. */
  currentValue(oid: Oid): Buffer | undefined {
    return this.#get(currentKey(oid, this.#currentKey), oid);
  }

  /**
   * The revision that was current just before `before`.
   * @throws POSKeyError. CorruptionError. ReadConflictError when it was trimmed.
   */
  loadBefore(oid: Oid, before: Tid): Revision | undefined {
    const current = this.#mustExist(oid);
    if (current.tid < before) return present(oid, { data: current.data, tid: current.tid, endTid: undefined });
    const { found, next } = this.#search(oid, before, current);
    if (found) return present(oid, { data: found.data, tid: found.tid, endTid: next.tid });
    if (next.n === 0) return undefined;
    throw trimmedAway(oid, before, next.tid);
  }

  /** The bytes that a transaction wrote for an object. @throws POSKeyError. CorruptionError. */
  loadSerial(oid: Oid, tid: Tid): Uint8Array {
    const current = this.#mustExist(oid);
    if (current.tid === tid) return present(oid, current).data;
    const found = tid > current.tid ? undefined : this.#search(oid, (tid + 1) as Tid, current).found;
    if (found?.tid !== tid) throw new POSKeyError(oid, `it has no revision ${tid}, or it was trimmed`);
    return present(oid, found).data;
  }

  /**
   * The revision with this number, which the transaction `tid` wrote or superseded; `undefined` when it was trimmed or packed.
   *
   * @throws CorruptionError.
   */
  revision(oid: Oid, n: number, tid: Tid): StoredRevision | undefined {
    const current = this.current(oid);
    if (!current) {
      if (tid >= this.packedTid) throw lost(oid, n);
      return undefined;
    }
    const found = n < current.n ? this.#older(oid, n, current) : current;
    if (found === undefined || (found.n === n && found.tid <= tid)) return found;
    // One that was packed away and came back, as when it is copied anew, has other numbers since.
    if (found.tid <= tid || tid >= this.packedTid) throw lost(oid, n);
    return undefined;
  }

  #older(oid: Oid, n: number, current: StoredRevision): StoredRevision | undefined {
    const value = this.olderValue(oid, n);
    if (value !== undefined) return decodeOlder(oid, n, value);
    this.#requireTrimmed(oid, n, this.#oldestAfter(oid, n, current));
    return undefined;
  }

  /** An older revision as it is stored, unchecked. */
  olderValue(oid: Oid, n: number): Buffer | undefined {
    return this.#get(olderKey(oid, n, this.#olderKey), oid);
  }

  #get(key: Buffer, oid: Oid): Buffer | undefined {
    try {
      const value = this.#level.getSync(key);
      return value === undefined ? undefined : asBuffer(value);
    } catch (error) {
      throw levelError(error, `oid ${oid}`, { oid });
    }
  }

  #mustExist(oid: Oid): StoredRevision {
    const current = this.current(oid);
    if (current) return current;
    // Superseded, but by nothing.
    if (this.olderValue(oid, 0) !== undefined) throw lostCurrent(oid);
    throw new POSKeyError(oid);
  }

  /**
   * The newest revision before a tid. Gallops down from the current one, doubling its step, then halves: near revisions, which nearly
   * all searches are for, cost one read. (J. L. Bentley, A. C. Yao, An almost optimal algorithm for unbounded searching, 1976.)
   *
   * The tids on the way are not checked. Where the search ends, both neighbours are: if they are sound, and the tid lies between them,
   * then no damage on the way can have led it astray.
   */
  #search(oid: Oid, before: Tid, current: StoredRevision): Place {
    /** Known not to be before. */
    let high = current.n;
    let highValue: Buffer | undefined;
    /** Before the tid, or not there. */
    let low = high - 1;
    let lowValue: Buffer | undefined;
    const isLow = (n: number) => {
      const value = this.olderValue(oid, n);
      if (value === undefined || tidOfRevision(value) < before) {
        low = n;
        lowValue = value;
        return true;
      }
      high = n;
      highValue = value;
      return false;
    };
    for (let step = 1; low >= 0 && !isLow(low); step *= 2) low = high - step;
    if (low < 0) {
      low = -1;
      lowValue = undefined;
    }
    while (high - low > 1) isLow((high + low) >> 1);
    const next = highValue === undefined ? current : decodeOlder(oid, high, highValue);
    const found = lowValue === undefined ? undefined : decodeOlder(oid, low, lowValue);
    if (next.tid < before || (found && found.tid >= before)) throw lost(oid, low);
    if (!found && low >= 0) this.#requireTrimmed(oid, low, next);
    return { found, next };
  }

  /** The oldest revision that is there, after one that is not. */
  #oldestAfter(oid: Oid, n: number, current: StoredRevision): StoredRevision {
    let low = n;
    let high = current.n;
    let oldest = current;
    while (high - low > 1) {
      const middle = (high + low) >> 1;
      const value = this.olderValue(oid, middle);
      if (value === undefined) low = middle;
      else {
        high = middle;
        oldest = decodeOlder(oid, middle, value);
      }
    }
    return oldest;
  }

  /** What transactions up to this one superseded was trimmed from history. @throws CorruptionError. */
  get trimmedTid(): Tid {
    return this.#bookkept('trimmed');
  }

  /** What no transaction from this one on has written may have been packed away. @throws CorruptionError. */
  get packedTid(): Tid {
    return this.#bookkept('packed');
  }

  #bookkept(name: 'trimmed' | 'packed'): Tid {
    const mark = this.#level.getSync(bookkeepingKey(name));
    return (mark === undefined ? ZERO_TID : decodeNumbers(`the mark of ${name} history`, mark)[0]) as Tid;
  }

  /** What is not there was trimmed, or it was lost. @throws CorruptionError when it was lost. */
  #requireTrimmed(oid: Oid, n: number, next: StoredRevision): void {
    if (next.tid > this.trimmedTid) throw lost(oid, n);
  }
}

function decodeOlder(oid: Oid, n: number, value: Buffer): StoredRevision {
  const revision = decodeRevision(oid, value);
  // A sound value in the place of another.
  if (revision.n !== n) throw lost(oid, n);
  return revision;
}

function lost(oid: Oid, n: number): CorruptionError {
  return new CorruptionError(`revision ${n} of oid ${oid} is lost; restore the database from a copy`, { oid });
}

function lostCurrent(oid: Oid): CorruptionError {
  return new CorruptionError(`the current revision of oid ${oid} is lost; restore the database from a copy`, { oid });
}

/** An error of LevelDB as one of ours, which names `what` could not be read; any other error as it is. */
export function levelError(
  error: unknown,
  what: string,
  facts: { readonly oid?: Oid; readonly tid?: Tid } = {},
): unknown {
  // It was told of below, with what it means.
  if (error instanceof StorageError) return error;
  const codes = [error, (error as { cause?: unknown }).cause].map(
    (each) => (each as { code?: unknown } | undefined)?.code,
  );
  if (codes.includes('LEVEL_CORRUPTION')) {
    return new CorruptionError(
      `the files of ${what} are damaged (${String(error)}); restore the database from a copy`,
      {
        ...facts,
        cause: error,
      },
    );
  }
  // What LevelDB says of a synchronous read that fails otherwise comes without a code.
  const isLevels = codes.some((code) => typeof code === 'string' && code.startsWith('LEVEL_'));
  if (!isLevels && !/^(IO error|Invalid argument|Not implemented): /.test((error as Error).message)) return error;
  return new StorageError(`${what} cannot be read (${String(error)})`, { cause: error });
}

/** For a thread that reads the directory of a storage that another thread owns. */
export interface AttachedReader {
  loadBefore(oid: Oid, before: Tid): Revision | undefined;
  loadSerial(oid: Oid, tid: Tid): Uint8Array;
  close(): Promise<void>;
}

/** Opens a reader in another thread; `data` is what the storage gave. The owner has opened the directory, and closes it last. */
export async function openReader(data: unknown): Promise<AttachedReader> {
  const level = await openLevel((data as { folder: string }).folder, { createIfMissing: false });
  const reader = new LevelReader(level);
  return {
    loadBefore: (oid, before) => reader.loadBefore(oid, before),
    loadSerial: (oid, tid) => reader.loadSerial(oid, tid),
    close: () => level.close(),
  };
}
