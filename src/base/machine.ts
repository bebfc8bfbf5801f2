import { readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';

/** This machine, as far as one process of it has to be told from another. */
export interface Machine {
  readonly host: string;
  /** Identity of the present boot: pids begin anew with each. */
  readonly bootId: string;
  /** That of this process. */
  readonly pid: number;
  /**
   * When a process started, in the system's own unit: pids are used again. `undefined` when there is no such process, or no more than what
   * its parent has yet to ask for; `'unknown'` where the system does not tell.
   */
  startTimeOf(pid: number): string | undefined;
}

let bootId: string | undefined;

/** The one that this process runs on. */
export const thisMachine: Machine = {
  get host() {
    return hostname();
  },
  get bootId() {
    bootId ??= readBootId();
    return bootId;
  },
  pid: process.pid,
  startTimeOf,
};

function readBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    // Elsewhere than on Linux: a boot is told by nothing better than the kernel's start, which nobody offers. Pids must do.
    return 'unknown';
  }
}

function startTimeOf(pid: number): string | undefined {
  try {
    // The name of the command, in parentheses, may contain anything. After it come the state, and as the 20th field the start time.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie holds nothing, and may stay for ever where nobody waits for it.
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    if (statSync('/proc/self', { throwIfNoEntry: false })) return undefined;
  }
  try {
    process.kill(pid, 0);
    return 'unknown';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'unknown' : undefined;
  }
}
