import type { Batch } from './disk.js';

/** What an entry takes besides its key and its value, at most: its lengths, a number, and its node in a skip list, of up to twelve levels. */
const ENTRY_BYTES = 180;
/** Of each 4 KiB that LevelDB takes at a time, up to a quarter stays unused. */
const UNUSED_FACTOR = 4 / 3;

/** A batch that knows what it takes in LevelDB's memory, at most. */
export class MeasuredBatch implements Batch {
  readonly #batch: Batch;
  memoryBytes = 0;

  constructor(batch: Batch) {
    this.#batch = batch;
  }

  get length(): number {
    return this.#batch.length;
  }

  put(key: Buffer, value: Buffer): void {
    this.memoryBytes += ENTRY_BYTES + UNUSED_FACTOR * (key.length + value.length);
    this.#batch.put(key, value);
  }

  del(key: Buffer): void {
    this.memoryBytes += ENTRY_BYTES + UNUSED_FACTOR * key.length;
    this.#batch.del(key);
  }

  write(options: { readonly sync: boolean }): Promise<void> {
    return this.#batch.write(options);
  }

  close(): Promise<void> {
    return this.#batch.close();
  }
}
