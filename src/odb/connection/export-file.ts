import { createWriteStream } from 'node:fs';
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { systemRandom, toHex } from '../../base/index.js';
import { StorageError } from '../errors.js';

const NEW_FILE_MODE = 0o666;

/**
 * Writes a file, which is there once it is whole and on the disk; what was there before stays until then. What is no file, but a device
 * or a pipe, is written to as it is.
 *
 * @throws StorageError. What `chunks` throw. The reason of `signal`.
 */
export async function writeExportFile(
  chunks: AsyncIterable<Buffer>,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const present = await told(path, stat(path).catch(undefinedWhereMissing));
  if (present?.isDirectory()) throw notWritten(path, 'it is a directory; name a file in it');
  if (present && !present.isFile()) return writeStream(chunks, createWriteStream(path), signal);
  // What a link leads to is replaced, not the link.
  const real = present ? await told(path, realpath(path)) : path;
  const part = `${real}.${toHex(systemRandom.bytes(4))}.part`;
  const file = await told(path, open(part, 'wx', present?.mode ?? NEW_FILE_MODE));
  try {
    try {
      for await (const chunk of chunks) await told(path, file.writeFile(chunk));
      await told(path, file.sync());
    } finally {
      await file.close();
    }
    await told(path, rename(part, real));
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/** Writes to a stream, and ends it. @throws What `chunks` and the stream throw. The reason of `signal`. */
export async function writeStream(
  chunks: AsyncIterable<Buffer>,
  destination: Writable,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await pipeline(chunks, destination, signal ? { signal } : {});
  } catch (error) {
    // Rather than the error of a pipeline that was stopped.
    signal?.throwIfAborted();
    throw error;
  }
}

async function told<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw notWritten(path, (error as Error).message, error);
  }
}

function notWritten(path: string, why: string, cause?: unknown): StorageError {
  return new StorageError(`the export file '${path}' cannot be written: ${why}`, { cause });
}

function undefinedWhereMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}
