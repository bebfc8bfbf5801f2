import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom, toHex } from '../../base/index.js';
import { StorageError } from '../errors.js';

/** What is appended is written in pieces of this size; nothing below it makes a file. */
const TAIL_BYTES = 256 * 1024;
/** Read ahead where reads follow each other. */
const AHEAD_BYTES = 64 * 1024;

/**
 * A temporary file for what does not fit in memory. It has a name only for the instant in which it is made: whatever becomes of the process,
 * nothing of it stays. (Where an open file cannot be unlinked, it is when it is closed.)
 */
export class SpillFile {
  readonly #directory: string;
  #path = '';
  #fd: number | undefined;
  #isNamed = false;
  /** Bytes that are in the file. */
  #written = 0;
  /** What was appended after them. */
  readonly #tail = Buffer.allocUnsafeSlow(TAIL_BYTES);
  #tailBytes = 0;
  #ahead: Buffer | undefined;
  #aheadAt = 0;
  #aheadBytes = 0;
  /** Where the last read ended. */
  #lastEnd = -1;

  constructor(directory = tmpdir()) {
    this.#directory = directory;
  }

  /** Bytes that were appended. */
  get size(): number {
    return this.#written + this.#tailBytes;
  }

  /** Appends bytes; returns where. @throws StorageError when they cannot be written: nothing was appended then. */
  append(bytes: Uint8Array): number {
    if (this.#tailBytes + bytes.length > TAIL_BYTES) {
      this.#write(this.#tail.subarray(0, this.#tailBytes));
      this.#tailBytes = 0;
    }
    const position = this.size;
    if (bytes.length > TAIL_BYTES) this.#write(bytes);
    else {
      this.#tail.set(bytes, this.#tailBytes);
      this.#tailBytes += bytes.length;
    }
    return position;
  }

  #write(bytes: Uint8Array): void {
    try {
      this.#fd ??= this.#open();
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(this.#fd, bytes, done, bytes.length - done, this.#written + done);
      }
    } catch (error) {
      throw new StorageError(
        `a temporary file in ${this.#directory} cannot be written (${(error as Error).message}): ` +
          'make room there, or have TMPDIR name another folder',
        { cause: error },
      );
    }
    this.#written += bytes.length;
  }

  #open(): number {
    this.#path = join(this.#directory, `holdfast-${toHex(systemRandom.bytes(8))}.tmp`);
    const fd = openSync(this.#path, 'wx+', 0o600);
    this.#isNamed = true;
    this.#unlink();
    return fd;
  }

  /** What was appended in one piece. @throws StorageError when it is not there. */
  read(position: number, length: number): Uint8Array {
    const bytes = Buffer.allocUnsafe(length);
    if (length === 0) return bytes;
    if (position >= this.#written) {
      const start = position - this.#written;
      bytes.set(this.#tail.subarray(start, start + length));
      return bytes;
    }
    const isNext = position === this.#lastEnd;
    this.#lastEnd = position + length;
    if (!this.#holds(position, length)) {
      if (!isNext || length > AHEAD_BYTES) {
        this.#fill(bytes, position);
        return bytes;
      }
      this.#ahead ??= Buffer.allocUnsafeSlow(AHEAD_BYTES);
      this.#aheadBytes = 0;
      const count = Math.min(AHEAD_BYTES, this.#written - position);
      this.#fill(this.#ahead.subarray(0, count), position);
      this.#aheadAt = position;
      this.#aheadBytes = count;
    }
    const start = position - this.#aheadAt;
    bytes.set((this.#ahead as Buffer).subarray(start, start + length));
    return bytes;
  }

  #holds(position: number, length: number): boolean {
    return position >= this.#aheadAt && position + length <= this.#aheadAt + this.#aheadBytes;
  }

  #fill(bytes: Buffer, position: number): void {
    for (let done = 0; done < bytes.length; ) {
      const count = readSync(this.#fd as number, bytes, done, bytes.length - done, position + done);
      if (count === 0) throw new StorageError('a temporary file was cut short: the transaction has to be aborted');
      done += count;
    }
  }

  /** Closing twice does nothing. */
  close(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
    this.#unlink();
  }

  #unlink(): void {
    if (!this.#isNamed) return;
    try {
      unlinkSync(this.#path);
      this.#isNamed = false;
    } catch {
      // It is tried again at close.
    }
  }
}
