/**
 * What a caller should do about an error.
 *
 * - `'now'`: run the transaction again.
 * - `'later'`: wait for the connection, or the lock, then run it again.
 * - `'never'`: running it again would give the same error.
 */
export type Retry = 'now' | 'later' | 'never';

/** The facts of an error, as they travel over the wire. */
export interface ErrorFacts {
  readonly [name: string]: unknown;
}

/**
 * Root of all errors that holdfast throws.
 *
 * `code` is stable and is what callers match on. The facts are fields of the error; the message repeats
 * them for people and is never parsed.
 */
export abstract class BaseError extends Error {
  /** Stable and unique to the class, such as `ODB_CONFLICT`. */
  abstract readonly code: string;

  /** What the caller should do. */
  get retry(): Retry {
    return 'never';
  }

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    Object.defineProperty(this, 'name', { value: new.target.name, configurable: true, writable: true });
  }
}

/** Whether `error` says that the same transaction may succeed when it is run again, and when. */
export function retryOf(error: unknown): Retry {
  return error instanceof BaseError ? error.retry : 'never';
}

/** A `TypeError` with a stable code, for a wrong argument. */
export function argumentTypeError(code: string, message: string): TypeError & { code: string } {
  return Object.assign(new TypeError(message), { code });
}

/** A `RangeError` with a stable code, for an argument out of its range. */
export function argumentRangeError(code: string, message: string): RangeError & { code: string } {
  return Object.assign(new RangeError(message), { code });
}
