import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { complain, EXIT, exitCodeOf } from './output.js';

/** In the environment of a process that another one watches over. */
const WATCHED = 'HOLDFAST_WATCHED';
const FORWARDED = ['SIGINT', 'SIGTERM'] as const;
/** How a process ends in which something went wrong that is no error of the language. */
const FAULTS = new Set<NodeJS.Signals>(['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP']);

/** Whether another process tells how this one ended. */
export function isWatched(): boolean {
  return process.env[WATCHED] !== undefined;
}

/** To be called in a process that is watched over: it ends with the one that watches. */
export function endWithWatcher(): void {
  if (process.channel) process.once('disconnect', () => process.exit(EXIT.failed));
  process.channel?.unref();
}

/**
 * Runs a program in a process of its own, whose end is told where it is no orderly one: LevelDB answers some damage of its files by the
 * end of the process. Resolves to the exit code.
 *
 * @param options.program who says so
 * @param options.reads what the program reads
 */
export async function runWatched(options: {
  readonly file: string;
  readonly args: readonly string[];
  readonly program: string;
  readonly reads: string;
}): Promise<number> {
  const { file, args, program, reads } = options;
  const child = spawn(process.execPath, [...process.execArgv, file, ...args], {
    // Out of the reach of the terminal, whose signals come through this process: one each.
    detached: true,
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [WATCHED]: '1' },
  });
  const forward = (signal: NodeJS.Signals) => void child.kill(signal);
  for (const signal of FORWARDED) process.on(signal, forward);
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    if (signal === null) return code ?? EXIT.failed;
    complain(
      program,
      FAULTS.has(signal)
        ? `${reads} is damaged: the process that read it was ended by ${signal}, as LevelDB does where its files contradict themselves; restore the database from a copy`
        : `ended by ${signal}`,
    );
    return FAULTS.has(signal) ? EXIT.failed : exitCodeOf(signal);
  } finally {
    for (const signal of FORWARDED) process.off(signal, forward);
  }
}
