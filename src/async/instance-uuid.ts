import { closeSync, fsyncSync, linkSync, openSync, readFileSync, realpathSync, unlinkSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { v1 as uuidV1, validate } from 'uuid';
import { LockFile, LockFileHeldError } from '../base/index.js';
import { UuidFileError, UuidInUseError } from './process-errors.js';

/** Environment variable that names the file. */
export const UUID_FILE_VARIABLE = 'ZC_ASYNC_UUID';

const UUID_FILE_NAME = 'uuid.txt';
/** No more of the first line is looked at. */
const FIRST_LINE_LENGTH_MAX = 80;

const EXPLANATION = `\
------------------------------------------------------------------------
The value above (and this file) is made and used by the job layer of
holdfast. It tells this software instance from all others when it runs a
dispatcher, so that several dispatchers, each in a process of its own,
can work on one database. No two processes may share it: the file is
locked while a dispatcher uses it.

Where this file is looked for, and made when it is not there:
the option --uuid-file of 'holdfast worker', else the file named by the
environment variable ZC_ASYNC_UUID, else uuid.txt in the working
directory.

To give this instance a new identity, end its process, delete this file
and start the process again. Jobs that the old identity still holds are
then picked up by the other dispatchers.
`;

/** Where to find the identity of this process. */
export interface InstanceUuidOptions {
  /** The file. Default: the one that the environment variable `ZC_ASYNC_UUID` names, else `uuid.txt` in the working directory. */
  readonly file?: string;
}

/** An identity that this process uses, and that no other process can use meanwhile. */
export interface HeldInstanceUuid {
  readonly uuid: string;
  /** The file, as an absolute path. */
  readonly file: string;
  /** Lets other processes use it. Releasing twice does nothing. */
  release(): void;
}

interface Hold {
  readonly uuid: string;
  readonly lock: LockFile;
  users: number;
}

/** Files that this process holds, by absolute path. */
const holds = new Map<string, Hold>();
/** The identity that a thread got from the dispatcher whose jobs it runs. */
let assumedUuid: string | undefined;
let processUuid: string | undefined;

/**
 * The UUID of this software instance: read from its file, which is made when it is not there.
 *
 * Reading does not lock the file; who runs a dispatcher takes it with {@link holdInstanceUuid}.
 *
 * @throws UuidFileError when the file holds no UUID, or cannot be read or made.
 */
export function instanceUuid(options: InstanceUuidOptions = {}): string {
  if (assumedUuid !== undefined && options.file === undefined) return assumedUuid;
  const file = locate(options);
  return holds.get(file)?.uuid ?? readOrMake(file);
}

/**
 * Takes the UUID of this software instance for this process alone, until it is released or the process ends. Taking it
 * again in the same process succeeds.
 *
 * @throws UuidInUseError when another process holds it. UuidFileError as {@link instanceUuid}.
 */
export function holdInstanceUuid(options: InstanceUuidOptions = {}): HeldInstanceUuid {
  const file = locate(options);
  let hold = holds.get(file);
  if (!hold) {
    const lock = takeLock(file);
    try {
      hold = { uuid: readOrMake(file), lock, users: 0 };
    } catch (error) {
      lock.release();
      throw error;
    }
    holds.set(file, hold);
  }
  const held = hold;
  held.users++;
  let released = false;
  return {
    uuid: held.uuid,
    file,
    release() {
      if (released) return;
      released = true;
      if (--held.users > 0) return;
      holds.delete(file);
      held.lock.release();
    },
  };
}

/**
 * Who puts a job, for its `assignerUuid`: the identity that this process holds; else the one in its file, if there is
 * such a file; else one of the process's own, made for as long as it lives. Never makes a file, never fails: a client
 * that only puts jobs may have no place to write.
 */
export function assignerUuid(): string {
  if (assumedUuid !== undefined) return assumedUuid;
  for (const { uuid } of holds.values()) return uuid;
  if (processUuid === undefined) {
    try {
      processUuid = read(locate({}));
    } catch {
      processUuid = uuidV1();
    }
  }
  return processUuid;
}

/** For a worker thread: the thread speaks for the dispatcher whose jobs it runs. */
export function assumeInstanceUuid(uuid: string): void {
  assumedUuid = uuid;
}

/** The absolute path, with links resolved where it exists, so that two spellings are one file. */
function locate({ file }: InstanceUuidOptions): string {
  const named = resolve(file || process.env[UUID_FILE_VARIABLE] || UUID_FILE_NAME);
  try {
    return realpathSync(named);
  } catch {
    try {
      return join(realpathSync(dirname(named)), basename(named));
    } catch {
      // The directory is not there: making the file fails, and says so.
      return named;
    }
  }
}

function takeLock(file: string): LockFile {
  try {
    return LockFile.acquire(`${file}.lock`);
  } catch (error) {
    if (error instanceof LockFileHeldError) {
      const { pid, host } = error.holder;
      throw new UuidInUseError({ file, pid, ...(host === hostname() ? {} : { host }) }, { cause: error });
    }
    throw new UuidFileError(file, `it cannot be locked (${messageOf(error)})`, { cause: error });
  }
}

function readOrMake(file: string): string {
  try {
    return read(file);
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error;
  }
  const uuid = uuidV1();
  // Crash: the file appears whole or not at all, since it is linked to its name after it was written.
  const draft = join(dirname(file), `.${basename(file)}.${process.pid}.${uuid.slice(0, 8)}`);
  try {
    const descriptor = openSync(draft, 'wx', 0o644);
    try {
      writeSync(descriptor, `${uuid}\n${EXPLANATION}`);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    try {
      linkSync(draft, file);
      return uuid;
    } catch (error) {
      // Another process was faster: its identity counts.
      if (isCode(error, 'EEXIST')) return read(file);
      throw error;
    } finally {
      unlinkSync(draft);
    }
  } catch (error) {
    if (error instanceof UuidFileError) throw error;
    throw new UuidFileError(file, `it cannot be made (${messageOf(error)})`, { cause: error });
  }
}

function read(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (isCode(error, 'ENOENT')) throw error;
    throw new UuidFileError(file, `it cannot be read (${messageOf(error)})`, { cause: error });
  }
  const [firstLine = ''] = text.split('\n', 1);
  const uuid = firstLine.slice(0, FIRST_LINE_LENGTH_MAX).trim().toLowerCase();
  if (!validate(uuid)) throw new UuidFileError(file, 'its first line is no UUID');
  return uuid;
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
