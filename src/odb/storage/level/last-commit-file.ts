import {
  type Clock,
  crc32,
  Logger,
  readUint32,
  readUint64,
  type Timer,
  writeUint32,
  writeUint64,
} from '../../../base/index.js';
import type { Tid } from '../../ids.js';
import type { SmallFile } from './disk.js';

const logger = new Logger('holdfast.storage');

const BYTES = 20;
/** A commit need not wait for the mark, which takes some 10 µs and makes the next sync longer. */
const DELAY_MS = 5;

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
 * It is written soon after a flush, once for all flushes of some milliseconds, and never synced: what it says may be older than the
 * truth, never ahead of it. That holds only while the flushes are durable, so without that it is kept empty.
 */
export class LastCommitFile {
  readonly #file: SmallFile;
  readonly #clock: Clock;
  readonly #bytes = Buffer.alloc(BYTES);
  #noted: ChainPlace | undefined;
  #timer: Timer | undefined;
  #isWarned = false;

  constructor(file: SmallFile, clock: Clock) {
    this.#file = file;
    this.#clock = clock;
  }

  /** What was written last; `undefined` when there is nothing, or nothing sound. */
  read(): ChainPlace | undefined {
    const bytes = this.#file.read(BYTES);
    if (!bytes || crc32(bytes.subarray(0, 16)) !== readUint32(bytes, 16)) return undefined;
    return { sequence: readUint64(bytes, 0), tid: readUint64(bytes, 8) as Tid };
  }

  /** Notes an acknowledged transaction, to be written soon. */
  note(place: ChainPlace): void {
    this.#noted = place;
    this.#timer ??= this.#clock.schedule(DELAY_MS, () => this.#write());
  }

  /** It guards, nothing depends on it: a failure is logged, once. */
  #write(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (!this.#noted) return;
    const bytes = this.#bytes;
    writeUint64(bytes, 0, this.#noted.sequence);
    writeUint64(bytes, 8, this.#noted.tid);
    writeUint32(bytes, 16, crc32(bytes.subarray(0, 16)));
    this.#noted = undefined;
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

  /** Writes what was noted. */
  close(): void {
    this.#write();
    this.#file.close();
  }
}
