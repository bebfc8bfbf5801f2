import { constants } from 'node:fs';
import { chmod, copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { POSKeyError, StorageError } from '../../errors.js';
import type { Oid } from '../../ids.js';
import type { DataRecord, Storage } from '../storage.js';
import { measureFile, requireContent } from './blob-file.js';
import { BlobInfo, blobOf } from './blob-info.js';

/** A content of a blob, copied to be stored elsewhere. */
export interface ContentCopy {
  readonly oid: Oid;
  readonly info: BlobInfo;
  /** To be removed in the end; `undefined` when the content was packed away since its record was read. */
  readonly file: string | undefined;
}

/** From where to where contents are copied. */
export interface Copying {
  readonly source: Pick<Storage, 'loadBlob'>;
  /** The copies are made in its temporary directory. */
  readonly target: Pick<Storage, 'name' | 'temporaryDirectory'>;
  readonly signal: AbortSignal | undefined;
}

/**
 * Copies the contents of those records that are of blobs, and checks them.
 *
 * @throws CorruptionError. StorageError when the target has no blobs. ClientDisconnected. Errors of the file system. The reason of the
 * signal.
 */
export async function copyContents(copying: Copying, records: readonly DataRecord[]): Promise<ContentCopy[]> {
  const copies: ContentCopy[] = [];
  try {
    for (const { oid, data } of records) {
      const info = blobOf(data);
      if (info) copies.push({ oid, info, file: await copyContent(copying, oid, info) });
    }
  } catch (error) {
    for (const { file } of copies) if (file !== undefined) await rm(file, { force: true });
    throw error;
  }
  return copies;
}

async function copyContent({ source, target, signal }: Copying, oid: Oid, info: BlobInfo): Promise<string | undefined> {
  const { name, temporaryDirectory } = target;
  if (temporaryDirectory === undefined)
    throw new StorageError(`the storage ${name} does not support blobs; open one that does`);
  await mkdir(temporaryDirectory, { recursive: true });
  const file = join(temporaryDirectory, `${BlobInfo.of(0, 0).id}.copy`);
  try {
    await copyFile(await source.loadBlob(oid, info), file, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await chmod(file, 0o600);
    requireContent(oid, info, await measureFile(file, signal));
    return file;
  } catch (error) {
    await rm(file, { force: true });
    if (error instanceof POSKeyError) return undefined;
    throw error;
  }
}
