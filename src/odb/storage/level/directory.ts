import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { LockFile, LockFileHeldError } from '../../../base/index.js';
import { FormatVersionError, NotADatabaseError, StorageLockedError } from '../../errors.js';

/*
 * A database is a directory:
 *
 *     test.fs/holdfast.json   what this is, and in which version of the format
 *     test.fs/level/          LevelDB's files
 *     test.fs.lock            beside it, for as long as it is open: who has it
 */

const MARKER = 'holdfast.json';
/** The version of the layout of keys and values. */
export const FORMAT_VERSION = 1;

/** A directory that this process holds. */
export interface HeldDirectory {
  /** With all links resolved. */
  readonly path: string;
  /** Where LevelDB keeps its files. */
  readonly levelFolder: string;
  readonly lock: LockFile;
  readonly isNew: boolean;
}

/**
 * Takes the directory of a database for this process; makes it where it is missing.
 *
 * @throws NotADatabaseError. FormatVersionError. StorageLockedError. Errors of the file system.
 */
export function holdDirectory(path: string, options: { create: boolean; readOnly: boolean }): HeldDirectory {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) {
    if (!options.create || options.readOnly) throw new NotADatabaseError(path, 'there is nothing at this path');
    mkdirSync(path, { recursive: true });
  } else if (!stat.isDirectory()) {
    throw new NotADatabaseError(path, 'it is a file, and a database is a directory; choose another path');
  }
  const real = realpathSync(path);
  const lock = takeLock(real);
  try {
    const isNew = !existsSync(join(real, MARKER));
    if (isNew) makeMarker(real, options);
    else checkMarker(real);
    return { path: real, levelFolder: join(real, 'level'), lock, isNew };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function takeLock(real: string): LockFile {
  const file = join(dirname(real), `${basename(real)}.lock`);
  try {
    return LockFile.acquire(file);
  } catch (error) {
    if (error instanceof LockFileHeldError) throw new StorageLockedError(real, error.holder);
    throw error;
  }
}

function makeMarker(real: string, options: { create: boolean; readOnly: boolean }): void {
  const foreign = readdirSync(real).filter((name) => !name.startsWith(`${MARKER}.`));
  if (foreign.length > 0) {
    throw new NotADatabaseError(
      real,
      `it has no ${MARKER}, but contains ${foreign.slice(0, 3).join(', ')}; choose an empty directory`,
    );
  }
  if (!options.create || options.readOnly) throw new NotADatabaseError(real, 'the directory is empty');
  const draft = join(real, `${MARKER}.new`);
  writeFileSync(draft, `${JSON.stringify({ format: 'holdfast', version: FORMAT_VERSION })}\n`, { flush: true });
  renameSync(draft, join(real, MARKER));
}

function checkMarker(real: string): void {
  let marker: { format?: unknown; version?: unknown };
  try {
    marker = JSON.parse(readFileSync(join(real, MARKER), 'utf8')) as typeof marker;
  } catch (error) {
    throw new NotADatabaseError(real, `its ${MARKER} cannot be read (${String(error)})`);
  }
  if (marker?.format !== 'holdfast' || typeof marker.version !== 'number') {
    throw new NotADatabaseError(real, `its ${MARKER} is not ours`);
  }
  if (marker.version > FORMAT_VERSION) {
    throw new FormatVersionError(
      `${real} has format version ${marker.version}, this holdfast reads ${FORMAT_VERSION}: use the version that wrote it, or a later one`,
    );
  }
}
