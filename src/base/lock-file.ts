import { linkSync, readFileSync, realpathSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { BaseError, type Retry } from './error.js';
import { type Machine, thisMachine } from './machine.js';

/** Who holds a lock file. */
export interface LockHolder {
  readonly host: string;
  /** Identity of the boot of that host: pids begin anew with each. */
  readonly bootId: string;
  readonly pid: number;
  /** When the process started, in the system's own unit: pids are used again. */
  readonly startTime: string;
}

/** Somebody else holds the lock file. */
export class LockFileHeldError extends BaseError {
  readonly code = 'BASE_LOCK_FILE_HELD';

  override get retry(): Retry {
    return 'later';
  }

  constructor(
    readonly path: string,
    readonly holder: LockHolder,
  ) {
    super(`${path} is held by process ${holder.pid} on ${holder.host}`);
  }
}

/**
 * A lock between processes: a file that exists beside what it guards, for as long as it is held.
 *
 * It is made exclusively and says who holds it. It is stale only if that process of that boot is gone; a stopped process is not. A
 * stale one is taken over by an atomic rename. (Node has no `flock`, and the lock of POSIX falls when any descriptor of the file
 * is closed.) A lock of another host is never taken for stale: nobody here can tell.
 */
export class LockFile {
  readonly #text: string;
  #held = true;

  private constructor(
    readonly path: string,
    text: string,
  ) {
    this.#text = text;
  }

  /**
   * Takes the lock at `path`, whose folder must exist. Does not wait.
   *
   * @throws LockFileHeldError when another process, or this one, holds it. Errors of the file system.
   */
  static acquire(path: string, machine: Machine = thisMachine): LockFile {
    // Two spellings of one path are one lock.
    const real = join(realpathSync(dirname(path)), basename(path));
    const mine = holderOn(machine);
    const text = `${JSON.stringify(mine)}\n`;
    // What is written has to be there at once: a reader must never see half of it.
    const draft = `${real}.${mine.pid}.${Math.random().toString(36).slice(2)}`;
    writeFileSync(draft, text, { flag: 'wx' });
    try {
      for (;;) {
        try {
          linkSync(draft, real);
          return new LockFile(real, text);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        }
        const found = readText(real);
        if (found === undefined) continue;
        const holder = parseHolder(found);
        if (holder && !isStale(holder, machine)) throw new LockFileHeldError(real, holder);
        takeAway(real, found);
      }
    } finally {
      rmSync(draft, { force: true });
    }
  }

  /** Who holds the lock at `path`; `undefined` when nobody does. */
  static holder(path: string, machine: Machine = thisMachine): LockHolder | undefined {
    const text = readText(path);
    const holder = text === undefined ? undefined : parseHolder(text);
    return holder && !isStale(holder, machine) ? holder : undefined;
  }

  /** Gives the lock up. Doing so twice does nothing. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    // Another one may have taken it over, if it believed us dead.
    if (readText(this.path) === this.#text) rmSync(this.path, { force: true });
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function parseHolder(text: string): LockHolder | undefined {
  try {
    const { host, bootId, pid, startTime } = JSON.parse(text) as Partial<LockHolder>;
    if (typeof host !== 'string' || typeof bootId !== 'string' || typeof startTime !== 'string') return undefined;
    return typeof pid === 'number' ? { host, bootId, pid, startTime } : undefined;
  } catch {
    // A crash of the machine may leave an empty file behind.
    return undefined;
  }
}

/**
 * Removes a stale lock file, unless somebody else was faster and holds it by now: it is moved aside first, and what was moved is
 * looked at.
 */
function takeAway(path: string, expected: string): void {
  const aside = `${path}.stale.${process.pid}.${Math.random().toString(36).slice(2)}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (readText(aside) !== expected) {
    // We took the lock of one who had just taken it over: put it back, unless the place is taken by now.
    try {
      linkSync(aside, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  unlinkSync(aside);
}

function isStale(holder: LockHolder, machine: Machine): boolean {
  if (holder.host !== machine.host) return false;
  if (holder.bootId !== machine.bootId) return true;
  return machine.startTimeOf(holder.pid) !== holder.startTime;
}

function holderOn(machine: Machine): LockHolder {
  const { host, bootId, pid } = machine;
  return { host, bootId, pid, startTime: machine.startTimeOf(pid) ?? 'unknown' };
}
