import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom, toHex } from '../../base/index.js';
import { StorageError } from '../errors.js';

/**
 * A temporary file for what does not fit in memory. It has a name only for the instant in which it is made: whatever becomes of the process,
 * nothing of it stays. (Where an open file cannot be unlinked, it is when it is closed.)
 */
export class SpillFile {
  readonly #path: string;
  readonly #fd: number;
  #isNamed = true;
  #end = 0;

  /** @throws Errors of the file system. */
  constructor(directory = tmpdir()) {
    this.#path = join(directory, `holdfast-${toHex(systemRandom.bytes(8))}.tmp`);
    this.#fd = openSync(this.#path, 'wx+', 0o600);
    this.#unlink();
  }

  /** Bytes that were written. */
  get size(): number {
    return this.#end;
  }

  /** Appends bytes; returns where. @throws Errors of the file system. */
  append(bytes: Uint8Array): number {
    const position = this.#end;
    for (let written = 0; written < bytes.length; ) {
      written += writeSync(this.#fd, bytes, written, bytes.length - written, position + written);
    }
    this.#end += bytes.length;
    return position;
  }

  /** @throws StorageError when they are not there. */
  read(position: number, length: number): Uint8Array {
    const bytes = Buffer.allocUnsafe(length);
    for (let read = 0; read < length; ) {
      const count = readSync(this.#fd, bytes, read, length - read, position + read);
      if (count === 0) throw new StorageError('a temporary file was cut short: the transaction has to be aborted');
      read += count;
    }
    return bytes;
  }

  close(): void {
    closeSync(this.#fd);
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
