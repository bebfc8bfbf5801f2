import { CommanderError } from 'commander';

/** Exit codes of every command. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

const CAUSES_MAX = 5;

/** A mistake in the command line itself: what is wrong, and what to write instead. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Prints a line on standard output. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Prints what went wrong, as one line on standard error, and returns the exit code for it. */
export function report(program: string, error: unknown): number {
  if (error instanceof CommanderError) {
    // Help and version were asked for, and have been printed.
    if (error.exitCode === 0) return EXIT.ok;
    complain(program, error.message.replace(/^error: /, ''));
    return EXIT.usage;
  }
  complain(program, explain(error));
  return error instanceof UsageError ? EXIT.usage : EXIT.failed;
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
