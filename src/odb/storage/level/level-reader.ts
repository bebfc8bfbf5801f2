import { ClassicLevel } from 'classic-level';
import { asBuffer } from '../../../base/index.js';
import { POSKeyError } from '../../errors.js';
import type { Oid, Tid } from '../../ids.js';
import type { Revision } from '../storage.js';
import { currentKey, decodeRevision, olderKey, type StoredRevision, tidOfRevision } from './keyspace.js';

/** LevelDB with binary keys and values. */
export type Level = ClassicLevel<Buffer, Buffer>;

/** Opens the LevelDB of a storage. Several threads of one process may: the first to open has to be the last to close. */
export async function openLevel(folder: string, options: { createIfMissing: boolean }): Promise<Level> {
  const level: Level = new ClassicLevel(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    multithreading: true,
    // Pages of 8 KiB and a larger write buffer: fewer, larger files for many small records.
    blockSize: 8192,
    writeBufferSize: 16 * 1024 * 1024,
    cacheSize: 32 * 1024 * 1024,
    ...options,
  });
  await level.open();
  return level;
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

  /** The current revision; `undefined` when no object has this oid. @throws CorruptionError. */
  current(oid: Oid): StoredRevision | undefined {
    const value = this.#level.getSync(currentKey(oid, this.#currentKey));
    return value === undefined ? undefined : decodeRevision(oid, asBuffer(value));
  }

  /** The current revision as it is stored, checked. */
  currentValue(oid: Oid): { readonly n: number; readonly value: Buffer } | undefined {
    const value = this.#level.getSync(currentKey(oid, this.#currentKey));
    return value === undefined ? undefined : { n: decodeRevision(oid, asBuffer(value)).n, value: asBuffer(value) };
  }

  load(oid: Oid): Revision {
    const current = this.current(oid);
    if (!current) throw new POSKeyError(oid);
    return { data: current.data, tid: current.tid, endTid: undefined };
  }

  loadBefore(oid: Oid, before: Tid): Revision | undefined {
    const current = this.current(oid);
    if (!current) throw new POSKeyError(oid);
    if (current.tid < before) return { data: current.data, tid: current.tid, endTid: undefined };
    const found = this.#newestBefore(oid, before, current);
    return found && { data: found.data, tid: found.tid, endTid: this.#tidAt(oid, found.n + 1, current) };
  }

  loadSerial(oid: Oid, tid: Tid): Uint8Array {
    const current = this.current(oid);
    if (!current) throw new POSKeyError(oid);
    if (current.tid === tid) return current.data;
    const found = tid > current.tid ? undefined : this.#newestBefore(oid, (tid + 1) as Tid, current);
    if (found?.tid !== tid) throw new POSKeyError(oid, `it has no revision ${tid}, or it was trimmed`);
    return found.data;
  }

  /** The revision with this number; `undefined` when it was trimmed. @throws CorruptionError. */
  revision(oid: Oid, n: number): StoredRevision | undefined {
    const current = this.current(oid);
    if (!current || current.n === n) return current;
    const value = this.#older(oid, n);
    return value && decodeRevision(oid, value);
  }

  /**
   * The newest revision before a tid. Gallops down from the current one, doubling its step, then halves: near revisions, which nearly
   * all searches are for, cost one read. (J. L. Bentley, A. C. Yao, An almost optimal algorithm for unbounded searching, 1976.)
   */
  #newestBefore(oid: Oid, before: Tid, current: StoredRevision): StoredRevision | undefined {
    /** Known not to be before. */
    let high = current.n;
    let step = 1;
    /** To be looked at: before the tid, or trimmed, or it does not exist. */
    let low = high - 1;
    for (;;) {
      if (low < 0) {
        low = -1;
        break;
      }
      const value = this.#older(oid, low);
      if (value === undefined || tidOfRevision(value) < before) break;
      high = low;
      low -= step;
      step *= 2;
    }
    while (high - low > 1) {
      const middle = (high + low) >> 1;
      const value = this.#older(oid, middle);
      if (value === undefined || tidOfRevision(value) < before) low = middle;
      else high = middle;
    }
    if (low < 0) return undefined;
    const value = this.#older(oid, low);
    if (value === undefined) throw new POSKeyError(oid, 'its revision of that time was trimmed');
    return decodeRevision(oid, value);
  }

  #tidAt(oid: Oid, n: number, current: StoredRevision): Tid {
    if (n === current.n) return current.tid;
    const value = this.#older(oid, n);
    return value === undefined ? current.tid : tidOfRevision(value);
  }

  #older(oid: Oid, n: number): Buffer | undefined {
    const value = this.#level.getSync(olderKey(oid, n, this.#olderKey));
    return value === undefined ? undefined : asBuffer(value);
  }
}

/** For a thread that reads the directory of a storage that another thread owns. */
export interface AttachedReader extends Pick<LevelReader, 'load' | 'loadBefore' | 'loadSerial'> {
  close(): Promise<void>;
}

/** Opens a reader in another thread; `data` is what the storage gave. The owner has opened the directory, and closes it last. */
export async function openReader(data: unknown): Promise<AttachedReader> {
  const level = await openLevel((data as { folder: string }).folder, { createIfMissing: false });
  const reader = new LevelReader(level);
  return {
    load: (oid) => reader.load(oid),
    loadBefore: (oid, before) => reader.loadBefore(oid, before),
    loadSerial: (oid, tid) => reader.loadSerial(oid, tid),
    close: () => level.close(),
  };
}
