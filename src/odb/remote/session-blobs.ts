import { mkdirSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32, Logger, systemRandom, toHex } from '../../base/index.js';
import { ClientDisconnected, ProtocolError, StorageError } from '../errors.js';
import type { Oid } from '../ids.js';
import { openBlobFile, requireContent } from '../storage/blob/blob-file.js';
import type { BlobInfo } from '../storage/blob/blob-info.js';
import type { Storage } from '../storage/storage.js';
import { BLOB_CHUNK_BYTES } from './blob-messages.js';

const log = new Logger('holdfast.session');

/** Bytes of a client that wait to be written, at most: one that does not wait for answers is no client of ours. */
const WAITING_BYTES_MAX = 64 * BLOB_CHUNK_BYTES;

/** A content that a client sends. */
interface Upload {
  readonly path: string;
  file: Promise<FileHandle> | undefined;
  size: number;
  crc: number;
  /** Resolves when all that came so far is written. */
  written: Promise<void>;
}

/** Contents of blobs that one client stores and reads. What it has sent and not committed goes with it. */
export class SessionBlobs {
  readonly #storage: Storage;
  readonly #uploads = new Map<string, Upload>();
  /** Paths that a client of the same process has named. */
  readonly #files = new Map<string, string>();
  #waitingBytes = 0;
  #isClosed = false;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /**
   * Takes the next part of a content.
   *
   * @throws ClientDisconnected when what came before it was lost with a former connection. ProtocolError.
   */
  async write(contentId: string, offset: number, chunk: Uint8Array): Promise<void> {
    if (this.#isClosed) throw new ClientDisconnected('the client is gone');
    let upload = this.#uploads.get(contentId);
    if (!upload) {
      if (offset > 0)
        throw new ClientDisconnected('the connection was lost while the content of a blob was being sent');
      upload = this.#begin();
      this.#uploads.set(contentId, upload);
    }
    if (offset !== upload.size) throw new ProtocolError('the parts of the content of a blob came out of order');
    this.#waitingBytes += chunk.length;
    if (this.#waitingBytes > WAITING_BYTES_MAX) {
      throw new ProtocolError('a client sends the content of a blob without waiting for answers');
    }
    const { file } = upload;
    upload.size += chunk.length;
    upload.crc = crc32(chunk, upload.crc);
    const writing = upload.written.then(async () => {
      await (await (file as Promise<FileHandle>)).write(chunk, 0, chunk.length, offset);
    });
    upload.written = writing;
    try {
      await writing;
    } finally {
      this.#waitingBytes -= chunk.length;
    }
  }

  #begin(): Upload {
    const { temporaryDirectory, name } = this.#storage;
    if (temporaryDirectory === undefined) throw new StorageError(`the storage ${name} does not support blobs`);
    mkdirSync(temporaryDirectory, { recursive: true });
    const path = join(temporaryDirectory, `${toHex(systemRandom.bytes(16))}.sent`);
    const file = open(path, 'wx', 0o600);
    return { path, file, size: 0, crc: 0, written: file.then(() => undefined) };
  }

  /** A client of this process has the content in a file. */
  name(contentId: string, path: string): void {
    this.#files.set(contentId, path);
  }

  /** The file with a content that came; `undefined` where none came. @throws CorruptionError when it is not what its record says. */
  async take(oid: Oid, info: BlobInfo): Promise<string | undefined> {
    const upload = this.#uploads.get(info.id);
    if (!upload) return this.#files.get(info.id);
    await upload.written;
    const file = upload.file;
    upload.file = undefined;
    await (await file)?.close();
    requireContent(oid, info, upload);
    return upload.path;
  }

  /** A part of a content. @throws as `Storage.loadBlob`. */
  async read(oid: Oid, info: BlobInfo, offset: number, length: number): Promise<Uint8Array> {
    const file = await openBlobFile(this.#storage, oid, info);
    try {
      const chunk = Buffer.allocUnsafeSlow(Math.max(0, Math.min(length, info.size - offset)));
      const { bytesRead } = await file.read(chunk, 0, chunk.length, offset);
      return chunk.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }

  /** Contents that are stored by now, or are not going to be. */
  drop(contentIds: readonly string[]): void {
    for (const contentId of contentIds) {
      this.#files.delete(contentId);
      const upload = this.#uploads.get(contentId);
      if (!upload) continue;
      this.#uploads.delete(contentId);
      this.#remove(upload).catch((error: unknown) =>
        log.warning('a content that was sent could not be removed', error),
      );
    }
  }

  async #remove({ path, file, written }: Upload): Promise<void> {
    await written.catch(() => undefined);
    await (await file?.catch(() => undefined))?.close();
    await rm(path, { force: true });
  }

  /** The client is gone. */
  close(): void {
    this.#isClosed = true;
    this.drop([...this.#uploads.keys(), ...this.#files.keys()]);
  }
}
