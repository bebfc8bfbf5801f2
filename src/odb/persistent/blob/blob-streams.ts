import { constants } from 'node:fs';
import { chmod, copyFile, type FileHandle, open, rm } from 'node:fs/promises';
import { Readable, Writable } from 'node:stream';
import { crc32 } from '../../../base/index.js';
import type { Oid } from '../../ids.js';
import { requireContent } from '../../storage/blob/blob-file.js';
import type { BlobInfo } from '../../storage/blob/blob-info.js';

/** What a {@link BlobReader} reads. */
export interface BlobSource {
  readonly oid: Oid | undefined;
  /** What it has to be; `undefined` where there is nothing. */
  readonly info: BlobInfo | undefined;
  open(): Promise<FileHandle>;
}

type Done = (error?: Error | null) => void;

/** Reads a content. Who reads to the end knows that it is what was stored: else the stream fails with `CorruptionError`. */
export class BlobReader extends Readable {
  readonly #source: BlobSource;
  readonly #released: () => void;
  #file: FileHandle | undefined;
  #size = 0;
  #crc = 0;

  /** @param released called when nothing more is read */
  constructor(source: BlobSource, released: () => void) {
    super();
    this.#source = source;
    this.#released = released;
  }

  override _construct(done: Done): void {
    const { info, open } = this.#source;
    const opened = info ? open() : Promise.resolve(undefined);
    opened.then(
      (file) => {
        this.#file = file;
        done();
      },
      (error: Error) => done(this.destroyed ? undefined : error),
    );
  }

  /** Ordering: at once, and not when all is cleaned up: who destroyed it may go on with the blob. */
  override destroy(error?: Error): this {
    this.#released();
    return super.destroy(error);
  }

  override _read(size: number): void {
    this.#next(size).then(
      (chunk) => {
        if (chunk === null) this.#released();
        this.push(chunk);
      },
      (error: Error) => this.destroy(error),
    );
  }

  async #next(size: number): Promise<Buffer | null> {
    if (!this.#file) return null;
    const chunk = Buffer.allocUnsafeSlow(size);
    const { bytesRead } = await this.#file.read(chunk, 0, size, this.#size);
    if (bytesRead === 0) {
      const { oid, info } = this.#source;
      requireContent(oid, info as BlobInfo, { size: this.#size, crc: this.#crc });
      return null;
    }
    const read = bytesRead === size ? chunk : chunk.subarray(0, bytesRead);
    this.#size += bytesRead;
    this.#crc = crc32(read, this.#crc);
    return read;
  }

  override _destroy(error: Error | null, done: Done): void {
    const file = this.#file;
    this.#file = undefined;
    if (!file) done(error);
    else file.close().then(() => done(error), done);
  }
}

/** What a {@link BlobWriter} does. */
export interface BlobSink {
  /** Where the new content is made. */
  readonly path: string;
  /** What it begins with: a file, of which size and checksum are known. */
  start(): Promise<{ readonly file: string; readonly info: BlobInfo } | undefined>;
  /** It is whole, and in its file. */
  finished(content: { readonly size: number; readonly crc: number }): void;
  /** Nothing more is written. */
  released(): void;
}

/** Writes a content. It becomes that of the blob once the stream is finished; one that fails, or is destroyed, leaves the former one. */
export class BlobWriter extends Writable {
  readonly #sink: BlobSink;
  #file: FileHandle | undefined;
  #size = 0;
  #crc = 0;
  #isFinished = false;

  constructor(sink: BlobSink) {
    super();
    this.#sink = sink;
  }

  override _construct(done: Done): void {
    this.#begin().then(
      () => done(),
      (error: Error) => done(this.destroyed ? undefined : error),
    );
  }

  /** Ordering: at once, and not when all is cleaned up: who destroyed it may go on with the blob. */
  override destroy(error?: Error): this {
    this.#sink.released();
    return super.destroy(error);
  }

  async #begin(): Promise<void> {
    const { path } = this.#sink;
    const start = await this.#sink.start();
    if (start) {
      await copyFile(start.file, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      // The copy can only be read, if what it was made from can.
      const { size, crc } = start.info;
      await chmod(path, 0o600);
      this.#file = await open(path, 'r+');
      requireContent(undefined, start.info, { size: (await this.#file.stat()).size });
      this.#size = size;
      this.#crc = crc;
    } else {
      this.#file = await open(path, 'wx', 0o600);
    }
  }

  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    this.#put(chunk).then(() => done(), done);
  }

  async #put(chunk: Buffer): Promise<void> {
    const file = this.#file as FileHandle;
    for (let at = 0; at < chunk.length; ) {
      const { bytesWritten } = await file.write(chunk, at, chunk.length - at, this.#size + at);
      at += bytesWritten;
    }
    this.#size += chunk.length;
    this.#crc = crc32(chunk, this.#crc);
  }

  override _final(done: Done): void {
    const file = this.#file as FileHandle;
    this.#file = undefined;
    file.close().then(() => {
      if (!this.destroyed) {
        this.#isFinished = true;
        this.#sink.finished({ size: this.#size, crc: this.#crc });
        this.#sink.released();
      }
      done();
    }, done);
  }

  override _destroy(error: Error | null, done: Done): void {
    const file = this.#file;
    this.#file = undefined;
    const end = async () => {
      await file?.close();
      if (!this.#isFinished) await rm(this.#sink.path, { force: true });
    };
    end().then(() => done(error), done);
  }
}
