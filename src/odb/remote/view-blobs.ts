import { open } from 'node:fs/promises';
import { type Clock, crc32 } from '../../base/index.js';
import { StorageError } from '../errors.js';
import type { Oid } from '../ids.js';
import { requireContent } from '../storage/blob/blob-file.js';
import type { BlobInfo } from '../storage/blob/blob-info.js';
import { BlobCache, type BlobCachePlace } from './blob-cache.js';
import {
  BLOB_CHUNK_BYTES,
  BLOB_CHUNKS_UNDER_WAY,
  blobChunkPacket,
  blobFilePacket,
  blobPathPacket,
  dropBlobsPacket,
  readBlobPacket,
} from './blob-messages.js';
import { readValue } from './codec.js';
import { HEADER_BYTES } from './messages.js';
import type { ViewChannel } from './view-channel.js';

/** Where the contents of blobs are, for a view: in a cache, or with who serves it, in the same process. */
export type ViewBlobsPlace =
  | { readonly kind: 'cache'; readonly cache: BlobCachePlace }
  | { readonly kind: 'local'; readonly temporaryDirectory: string };

/** A content that a view stores. */
export interface ViewContent {
  readonly info: BlobInfo;
  readonly file: string;
}

/** Sends the contents of blobs, and gets them. */
export class ViewBlobs {
  readonly #name: string;
  readonly #channel: ViewChannel;
  readonly #place: ViewBlobsPlace | undefined;
  readonly #cache: BlobCache | undefined;

  constructor(name: string, channel: ViewChannel, place: ViewBlobsPlace | undefined, clock: Clock) {
    this.#name = name;
    this.#channel = channel;
    this.#place = place;
    this.#cache = place?.kind === 'cache' ? new BlobCache(place.cache, clock) : undefined;
  }

  get temporaryDirectory(): string | undefined {
    if (!this.#channel.hub.supports.blobs) return undefined;
    return this.#place?.kind === 'local' ? this.#place.temporaryDirectory : this.#place?.cache.temporaryDirectory;
  }

  /** @throws StorageError where there are no blobs. */
  require(what: string): void {
    if (this.temporaryDirectory !== undefined) return;
    throw new StorageError(`${what}: the storage ${this.#name} does not support blobs; open one that does`);
  }

  /** As `Storage.loadBlob`. */
  async load(oid: Oid, info: BlobInfo): Promise<string> {
    this.require('loadBlob');
    if (this.#cache) return this.#cache.get(info, (path) => this.#fetch(oid, info, path));
    return this.#channel.request(
      (id) => blobPathPacket(id, oid, info),
      (packet) => readValue(packet) as string,
    );
  }

  /** Gets a content in parts: some of them are under way at a time, the others wait. */
  async #fetch(oid: Oid, info: BlobInfo, path: string): Promise<void> {
    const file = await open(path, 'w', 0o600);
    try {
      const underWay: Promise<Uint8Array>[] = [];
      let asked = 0;
      let size = 0;
      let crc = 0;
      do {
        while (underWay.length < BLOB_CHUNKS_UNDER_WAY && (asked < info.size || asked === 0)) {
          underWay.push(this.#part(oid, info, asked));
          asked += BLOB_CHUNK_BYTES;
        }
        const chunk = await (underWay.shift() as Promise<Uint8Array>);
        await file.write(chunk, 0, chunk.length, size);
        size += chunk.length;
        crc = crc32(chunk, crc);
      } while (underWay.length > 0);
      requireContent(oid, info, { size, crc });
    } finally {
      await file.close();
    }
  }

  #part(oid: Oid, info: BlobInfo, offset: number): Promise<Uint8Array> {
    const part = this.#channel.request(
      (id) => readBlobPacket(id, oid, info, offset, BLOB_CHUNK_BYTES),
      (packet) => packet.subarray(HEADER_BYTES),
    );
    // Nobody waits for it when one before it fails.
    part.catch(() => undefined);
    return part;
  }

  /** Sends the contents of a transaction, ahead of its commit. @throws ClientDisconnected. What the server refuses with. */
  async send(contents: readonly ViewContent[]): Promise<void> {
    for (const { info, file } of contents) {
      if (this.#place?.kind === 'local') this.#channel.post(blobFilePacket(info.id, file));
      else await this.#upload(info, file);
    }
  }

  async #upload(info: BlobInfo, path: string): Promise<void> {
    const file = await open(path);
    // A packet has a copy of its part.
    const buffer = Buffer.allocUnsafeSlow(BLOB_CHUNK_BYTES);
    try {
      const underWay: Promise<void>[] = [];
      let offset = 0;
      do {
        const { bytesRead } = await file.read(buffer, 0, BLOB_CHUNK_BYTES, offset);
        const chunk = buffer.subarray(0, bytesRead);
        underWay.push(this.#sendPart(info, offset, chunk));
        offset += chunk.length;
        if (chunk.length === 0) break;
        if (underWay.length >= BLOB_CHUNKS_UNDER_WAY) await underWay.shift();
      } while (offset < info.size);
      await Promise.all(underWay);
    } finally {
      await file.close();
    }
  }

  #sendPart(info: BlobInfo, offset: number, chunk: Uint8Array): Promise<void> {
    const sent = this.#channel.request(
      (id) => blobChunkPacket(id, info.id, offset, chunk),
      () => undefined,
    );
    sent.catch(() => undefined);
    return sent;
  }

  /** These contents were sent, and are not going to be stored. */
  drop(contents: readonly ViewContent[]): void {
    if (contents.length > 0) this.#channel.post(dropBlobsPacket(contents.map(({ info }) => info.id)));
  }

  /** These contents are committed: who wants them next need not fetch them. */
  async keep(contents: readonly ViewContent[]): Promise<void> {
    if (this.#cache) for (const { info, file } of contents) await this.#cache.keep(info, file);
  }

  /** Resolves when the cache is left alone. */
  async settled(): Promise<void> {
    await this.#cache?.settled();
  }
}
