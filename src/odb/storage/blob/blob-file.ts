import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from '../../../base/index.js';
import { CorruptionError } from '../../errors.js';
import type { Oid } from '../../ids.js';
import type { Storage } from '../storage.js';
import type { BlobInfo } from './blob-info.js';

/** Bytes that are read from a file at a time. */
const CHUNK_BYTES = 256 * 1024;

/** Size and checksum of a file. Reads it in pieces. @throws Errors of the file system. The reason of `signal`. */
export async function measureFile(
  path: string,
  signal?: AbortSignal,
): Promise<{ readonly size: number; readonly crc: number }> {
  let size = 0;
  let crc = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES }) as AsyncIterable<Buffer>) {
    signal?.throwIfAborted();
    size += chunk.length;
    crc = crc32(chunk, crc);
  }
  return { size, crc };
}

/** @throws CorruptionError when a content is not the one that its record speaks of. */
export function requireContent(
  oid: Oid | undefined,
  info: BlobInfo,
  found: { readonly size: number; readonly crc?: number },
): void {
  const what = `the content of blob oid ${oid}`;
  const facts = oid === undefined ? {} : { oid };
  if (found.size !== info.size) {
    throw new CorruptionError(
      `${what} has ${found.size} bytes, and was stored with ${info.size}; restore the database from a copy`,
      facts,
    );
  }
  if (found.crc !== undefined && found.crc !== info.crc) {
    throw new CorruptionError(
      `${what} is damaged: its checksum does not match; restore the database from a copy`,
      facts,
    );
  }
}

/**
 * Opens the content of a blob of a storage for reading.
 *
 * @throws as `Storage.loadBlob`.
 */
export async function openBlobFile(storage: Pick<Storage, 'loadBlob'>, oid: Oid, info: BlobInfo): Promise<FileHandle> {
  for (let tries = 0; ; tries++) {
    const path = await storage.loadBlob(oid, info);
    try {
      return await open(path);
    } catch (error) {
      // A cache may have dropped the file between the two lines above.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || tries >= 3) throw error;
    }
  }
}
