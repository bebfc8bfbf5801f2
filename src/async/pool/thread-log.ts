import { Logger, type LogLevel, type LogRecord, setLogLevel, setLogSink } from '../../base/index.js';

/** A line that a thread has logged, in a form that can be sent to another. */
export interface SentLogRecord {
  readonly logger: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly error?: SentError;
  readonly facts?: Readonly<Record<string, unknown>>;
}

/** What is sent of an error that is only to be printed. */
export interface SentError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: string | undefined;
  readonly cause: SentError | undefined;
}

const LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warning', 'error', 'critical'];
const CAUSES_MAX = 5;

/** The least severe level that this thread writes. */
export function currentLogLevel(): LogLevel {
  const probe = new Logger('');
  return LEVELS.find((level) => probe.isEnabled(level)) ?? 'critical';
}

/** Sends all lines of this thread through `send`: logs belong to whoever started it. */
export function redirectLogs(level: LogLevel, send: (record: SentLogRecord) => void): void {
  setLogLevel(level);
  setLogSink(({ logger, level, message, error, facts }: LogRecord) =>
    send({
      logger,
      level,
      message,
      ...(error === undefined ? {} : { error: toSentError(error) }),
      ...(facts === undefined ? {} : { facts: plainFacts(facts) }),
    }),
  );
}

/** Writes a line that another thread has sent. */
export function writeSentLog({ logger, level, message, error, facts }: SentLogRecord): void {
  new Logger(logger).log(level, message, {
    ...(error === undefined ? {} : { error: fromSentError(error) }),
    ...(facts === undefined ? {} : { facts }),
  });
}

/** An error, ready to be sent. */
export function toSentError(error: unknown, depth = 0): SentError {
  if (!(error instanceof Error)) {
    return { name: 'Error', message: String(error), stack: undefined, code: undefined, cause: undefined };
  }
  const { cause } = error;
  return {
    name: error.name,
    message: error.message,
    stack: error.stack,
    code: 'code' in error && typeof error.code === 'string' ? error.code : undefined,
    cause: cause === undefined || depth >= CAUSES_MAX ? undefined : toSentError(cause, depth + 1),
  };
}

/** An error like the one that was sent: for people, its class is not that of the original. */
export function fromSentError({ name, message, stack, code, cause }: SentError): Error {
  const error = new Error(message, cause === undefined ? undefined : { cause: fromSentError(cause) });
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true });
  if (stack !== undefined) Object.defineProperty(error, 'stack', { value: stack, configurable: true, writable: true });
  return code === undefined ? error : Object.assign(error, { code });
}

/** Facts may be anything; what could not be sent is written out. */
function plainFacts(facts: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(facts).map(([name, value]) => [
      name,
      value !== null && (typeof value === 'object' || typeof value === 'function' || typeof value === 'symbol')
        ? String(value)
        : value,
    ]),
  );
}
