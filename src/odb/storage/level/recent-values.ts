import type { Oid, Tid } from '../../ids.js';
import { tidOfRevision } from './keyspace.js';

/** Bytes of values that one generation holds. */
const GENERATION_BYTES = 2 * 1024 * 1024;
/** What a value costs in memory besides its bytes, about. */
const VALUE_OVERHEAD_BYTES = 150;
/** Larger values are read from the disk again: that takes not much longer than to write them. */
const VALUE_BYTES_MAX = 4096;

/**
 * Current revisions that were written of late, as they stand on the disk: whoever changes an object tends to change it again, and the
 * commit that supersedes a revision has to store it under its other key.
 *
 * Two generations, of which the older is dropped whole.
 */
export class RecentValues {
  #young = new Map<Oid, Buffer>();
  #old = new Map<Oid, Buffer>();
  #youngBytes = 0;

  /** The value of the revision `tid`, if that is the last one that was kept. */
  get(oid: Oid, tid: Tid): Buffer | undefined {
    const value = this.#young.get(oid) ?? this.#old.get(oid);
    return value && tidOfRevision(value) === tid ? value : undefined;
  }

  /** Keeps a value, which must not be changed from now on. */
  keep(oid: Oid, value: Buffer): void {
    if (value.length > VALUE_BYTES_MAX) {
      this.#young.delete(oid);
      this.#old.delete(oid);
      return;
    }
    this.#young.set(oid, value);
    this.#youngBytes += value.length + VALUE_OVERHEAD_BYTES;
    if (this.#youngBytes < GENERATION_BYTES) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngBytes = 0;
  }

  /** Forgets all: what was kept may not stand on the disk. */
  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#youngBytes = 0;
  }
}
