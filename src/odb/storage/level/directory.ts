import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { LockFile, LockFileHeldError, thisMachine } from '../../../base/index.js';
import { FormatVersionError, NotADatabaseError, StorageError, StorageLockedError } from '../../errors.js';
import type { Disk, HeldDirectory, LevelOptions } from './disk.js';
import { MEMORY_BYTES_MAX, openLevel } from './level-reader.js';
import { openSmallFile } from './small-file.js';

/*
 * A database is a directory:
 *
 *     test.fs/holdfast.json   what this is, and in which version of the format
 *     test.fs/level/          LevelDB's files
 *     test.fs/blobs/          contents of blobs, once there are any: see blob-store.ts
 *     test.fs/last-commit     the last acknowledged transaction
 *     test.fs/oids            up to which oid they are reserved
 *     test.fs.lock            beside it, for as long as it is open: who has it
 */

const MARKER = 'holdfast.json';
const DRAFT = `${MARKER}.new`;
const LEVEL = 'level';
const BLOBS = 'blobs';
/** Name of the file that says which transaction was acknowledged last. */
export const LAST_COMMIT = 'last-commit';
/** Name of the file that says up to which oid they are reserved. */
export const OIDS = 'oids';
/** The version of the layout of keys and values. */
export const FORMAT_VERSION = 1;

/** The machine's disk. */
export const machineDisk: Disk = { hold: holdDirectory };

function holdDirectory(path: string, options: { readonly create: boolean }): HeldDirectory {
  try {
    return holdReal(path, options);
  } catch (error) {
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOTDIR') throw new NotADatabaseError(path, 'a folder on the way to it is a file');
    if (syscall === undefined) throw error;
    throw new StorageError(`${path} cannot be opened: ${message}`, { cause: error });
  }
}

function holdReal(path: string, options: { readonly create: boolean }): HeldDirectory {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) {
    if (!options.create) throw new NotADatabaseError(path, 'there is nothing at this path');
    makeFolder(path);
  } else if (!stat.isDirectory()) {
    throw new NotADatabaseError(path, 'it is a file, and a database is a directory; choose another path');
  }
  const real = realpathSync(path);
  const lock = takeLock(real);
  try {
    const isNew = !existsSync(join(real, MARKER));
    if (isNew) requireEmpty(real, options);
    else checkMarker(real);
    return new MachineDirectory(real, isNew, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Makes a folder, and those on the way to it. Node's own way of it never ends where the file system, as that of `/proc`, makes none. */
function makeFolder(path: string): void {
  const parent = dirname(path);
  if (!existsSync(parent)) makeFolder(parent);
  try {
    mkdirSync(path);
  } catch (error) {
    // Somebody else was faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

class MachineDirectory implements HeldDirectory {
  readonly memoryBytesMax = MEMORY_BYTES_MAX;
  readonly isShared = true;
  readonly levelFolder: string;
  readonly blobFolder: string;
  readonly #lock: LockFile;

  constructor(
    readonly path: string,
    readonly isNew: boolean,
    lock: LockFile,
  ) {
    this.levelFolder = join(path, LEVEL);
    this.blobFolder = join(path, BLOBS);
    this.#lock = lock;
  }

  openLevel(options: LevelOptions) {
    return openLevel(this.levelFolder, options);
  }

  openFile(name: string) {
    return openSmallFile(join(this.path, name));
  }

  mark(): void {
    makeMarker(this.path);
  }

  get levelBytes(): number {
    let bytes = 0;
    for (const name of readdirSync(this.levelFolder)) {
      // LevelDB removes files at any time.
      bytes += statSync(join(this.levelFolder, name), { throwIfNoEntry: false })?.size ?? 0;
    }
    return bytes;
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.levelFolder);
    return bavail * bsize;
  }

  get logNumber(): number {
    let newest = 0;
    for (const name of readdirSync(this.levelFolder)) {
      if (name.endsWith('.log')) newest = Math.max(newest, Number.parseInt(name, 10));
    }
    return newest;
  }

  release(): void {
    this.#lock.release();
  }
}

function takeLock(real: string): LockFile {
  const file = join(dirname(real), `${basename(real)}.lock`);
  try {
    return LockFile.acquire(file);
  } catch (error) {
    if (!(error instanceof LockFileHeldError)) {
      const why = (error as Error).message;
      throw new StorageError(`${real} cannot be locked, which takes a file beside it: ${why}`, { cause: error });
    }
    throw new StorageLockedError(real, error.holder, error.holder.host === thisMachine.host ? undefined : file);
  }
}

/** Crash: one who was making a database may have left all of it but the marker. Nothing was committed to it. */
const LEFT_OVER = new Set([DRAFT, LEVEL, LAST_COMMIT, OIDS]);

function requireEmpty(real: string, options: { readonly create: boolean }): void {
  const foreign = readdirSync(real).filter((name) => !LEFT_OVER.has(name));
  if (foreign.length > 0) {
    throw new NotADatabaseError(
      real,
      `it has no ${MARKER}, but contains ${foreign.slice(0, 3).join(', ')}${options.create ? '; choose an empty directory' : ''}`,
    );
  }
  if (!options.create) throw new NotADatabaseError(real, 'the directory is empty');
}

/** Ordering: the marker comes last, so that where it stands everything else has to be. */
function makeMarker(real: string): void {
  const draft = join(real, DRAFT);
  writeFileSync(draft, `${JSON.stringify({ format: 'holdfast', version: FORMAT_VERSION })}\n`, { flush: true });
  renameSync(draft, join(real, MARKER));
  syncDirectory(real);
  syncDirectory(dirname(real));
}

/** Makes the names in a directory durable. */
function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function checkMarker(real: string): void {
  let marker: { format?: unknown; version?: unknown };
  try {
    marker = JSON.parse(readFileSync(join(real, MARKER), 'utf8')) as typeof marker;
  } catch (error) {
    throw new NotADatabaseError(real, `its ${MARKER} cannot be read (${String(error)})`);
  }
  const version = marker?.version;
  if (marker?.format !== 'holdfast' || !Number.isSafeInteger(version) || (version as number) < 1) {
    throw new NotADatabaseError(real, `its ${MARKER} is not ours`);
  }
  if ((version as number) > FORMAT_VERSION) {
    throw new FormatVersionError(
      `${real} has format version ${version}, this holdfast reads ${FORMAT_VERSION}: use the version that wrote it, or a later one`,
    );
  }
}
