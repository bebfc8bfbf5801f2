import { crc32, Logger, readUint32, readUint64, writeUint32, writeUint64 } from '../../../base/index.js';
import type { Tid } from '../../ids.js';
import type { SmallFile } from './disk.js';

const logger = new Logger('holdfast.storage');

const BYTES = 20;

/** A place in the chain of transactions. */
export interface ChainPlace {
  readonly sequence: number;
  readonly tid: Tid;
}

/**
 * Says, outside LevelDB, which transaction was the last to be acknowledged: a chain does not know by itself that its end is missing,
 * and LevelDB passes over a damaged end of its log in silence.
 *
 *     sequence(8) tid(8) crc(4)
 *
 * It is written after each flush and never synced: what it says may be older than the truth, never ahead of it. That holds only while
 * the flushes are durable, so without that it is kept empty.
 */
export class LastCommitFile {
  readonly #file: SmallFile;
  readonly #bytes = Buffer.alloc(BYTES);
  #isWarned = false;

  constructor(file: SmallFile) {
    this.#file = file;
  }

  /** What was written last; `undefined` when there is nothing, or nothing sound. */
  read(): ChainPlace | undefined {
    const bytes = this.#file.read(BYTES);
    if (!bytes || crc32(bytes.subarray(0, 16)) !== readUint32(bytes, 16)) return undefined;
    return { sequence: readUint64(bytes, 0), tid: readUint64(bytes, 8) as Tid };
  }

  /** Notes an acknowledged transaction. It guards, nothing depends on it: a failure is logged, once. */
  write({ sequence, tid }: ChainPlace): void {
    const bytes = this.#bytes;
    writeUint64(bytes, 0, sequence);
    writeUint64(bytes, 8, tid);
    writeUint32(bytes, 16, crc32(bytes.subarray(0, 16)));
    try {
      this.#file.write(bytes);
    } catch (error) {
      if (!this.#isWarned) logger.warning('the mark of the last commit could not be written', error);
      this.#isWarned = true;
    }
  }

  /** Empties it. */
  clear(): void {
    this.#file.clear();
  }

  close(): void {
    this.#file.close();
  }
}
