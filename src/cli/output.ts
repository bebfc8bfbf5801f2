import { once } from 'node:events';
import { constants } from 'node:os';
import { CommanderError } from 'commander';
import { ShutdownRequested } from './shutdown.js';

/** Exit codes of every command; one that was told to end before its work was done has `signalled` and the number of the signal. */
export const EXIT = { ok: 0, failed: 1, usage: 2, signalled: 128 } as const;

const CAUSES_MAX = 5;

/** A mistake in the command line itself: what is wrong, and what to write instead. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * Prints a line on standard output; resolves once there is room for more.
 *
 * @param signal ends the wait for a reader that takes nothing. @throws its reason
 */
export async function say(line: string, signal?: AbortSignal): Promise<void> {
  if (process.stdout.write(`${line}\n`) || !isRead()) return;
  try {
    await once(process.stdout, 'drain', signal ? { signal } : {});
  } catch {
    // Without the signal, the reader has gone away.
    signal?.throwIfAborted();
  }
}

/** Prints what a tool found, or did: as JSON where that is asked for, in words elsewhere. */
export function sayResult({ json }: { readonly json?: true }, facts: object, words: string): Promise<void> {
  return say(json ? JSON.stringify(facts) : words);
}

/** Whether standard output is still read. */
export function isRead(): boolean {
  return !process.stdout.destroyed && process.stdout.writable;
}

/** Resolves once everything that was said has been taken: the process ends with what is left. */
export async function allSaid(): Promise<void> {
  await Promise.all(
    [process.stdout, process.stderr].map(
      (stream) => stream.writableLength > 0 && new Promise<void>((resolve) => stream.write('', () => resolve())),
    ),
  );
}

/** Prints what went wrong, as one line on standard error, and returns the exit code for it. */
export function report(program: string, error: unknown): number {
  if (error instanceof CommanderError) {
    // Help and version were asked for, and have been printed.
    if (error.exitCode === 0) return EXIT.ok;
    if (error.code === 'commander.help') {
      complain(program, `there is no such command; ${program} --help tells more`);
      return EXIT.usage;
    }
    const message = error.message.replace(/^error: /, '').replace(/\.$/, '');
    complain(program, `${message}; ${program} --help tells more`);
    return EXIT.usage;
  }
  complain(program, explain(error));
  if (error instanceof ShutdownRequested) return exitCodeOf(error.signalName);
  return error instanceof UsageError || isWrongPlace(error) ? EXIT.usage : EXIT.failed;
}

/** The exit code of a process that ended because of a signal, as shells have it. */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return EXIT.signalled + constants.signals[signal];
}

/** Whether a database was named in a way that cannot be: which is found only where it is opened. */
function isWrongPlace(error: unknown): boolean {
  return ['ARG_ADDRESS', 'ARG_SCHEME'].includes((error as { code?: string } | undefined)?.code ?? '');
}

/** Prints a line on standard error. */
export function complain(program: string, message: string): void {
  process.stderr.write(`${program}: ${oneLine(message)}\n`);
}

/** An error as one line for people: its message, and those of its causes where they add something. */
export function explain(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  // Bounded, since an error may be its own cause.
  for (let depth = 0; depth < CAUSES_MAX && current !== undefined && current !== null; depth++) {
    const message = messageOf(current);
    if (message !== '' && !parts.some((part) => part.includes(message))) parts.push(message);
    current = current instanceof Error ? current.cause : undefined;
  }
  return oneLine(parts.join(': ') || 'failed for an unknown reason');
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join(', ');
  return oneLine(error instanceof Error ? error.message : String(error));
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim();
}
