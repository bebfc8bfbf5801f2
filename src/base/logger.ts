import { pino } from 'pino';

/** Severity; CRITICAL means that someone has to act. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warning' | 'error' | 'critical';

/** One line of a log. */
export interface LogRecord {
  /** ms since the epoch. */
  readonly time: number;
  /** The logger's name, such as `zc.async.events`. */
  readonly logger: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly error?: unknown;
  /** Facts of this line, by name. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

/** Where the lines of all loggers go. */
export type LogSink = (record: LogRecord) => void;

const RANK: Record<LogLevel, number> = { trace: 10, debug: 20, info: 30, warning: 40, error: 50, critical: 60 };
const PINO_LEVEL = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  warning: 'warn',
  error: 'error',
  critical: 'fatal',
} as const;

let threshold: LogLevel = (process.env['HOLDFAST_LOG'] as LogLevel | undefined) ?? 'warning';
if (!(threshold in RANK)) threshold = 'warning';

let pinoLogger: ReturnType<typeof pino> | undefined;

/** JSON lines on standard error. */
const pinoSink: LogSink = ({ logger, level, message, error, facts }) => {
  pinoLogger ??= pino({ level: 'trace', base: { pid: process.pid } }, pino.destination({ dest: 2, sync: true }));
  pinoLogger[PINO_LEVEL[level]]({ logger, ...facts, ...(error === undefined ? {} : { err: error }) }, message);
};

let sink: LogSink = pinoSink;

/** Sends all lines to `next` instead; returns the former sink. Without an argument: JSON lines on standard error. */
export function setLogSink(next: LogSink = pinoSink): LogSink {
  const former = sink;
  sink = next;
  return former;
}

/** Sets the least severe level that is written (environment variable `HOLDFAST_LOG`, else `warning`); returns the former one. */
export function setLogLevel(level: LogLevel): LogLevel {
  const former = threshold;
  threshold = level;
  return former;
}

/** A named source of log lines. */
export class Logger {
  constructor(readonly name: string) {}

  /** Whether a line of this level would be written: ask before composing a costly message. */
  isEnabled(level: LogLevel): boolean {
    return RANK[level] >= RANK[threshold];
  }

  /** Writes a line. `extra.error` is printed with its stack and its cause. */
  log(
    level: LogLevel,
    message: string,
    extra: { error?: unknown; facts?: Readonly<Record<string, unknown>> } = {},
  ): void {
    if (!this.isEnabled(level)) return;
    sink({ time: Date.now(), logger: this.name, level, message, ...extra });
  }

  debug(message: string, facts?: Readonly<Record<string, unknown>>): void {
    this.log('debug', message, facts ? { facts } : {});
  }

  info(message: string, facts?: Readonly<Record<string, unknown>>): void {
    this.log('info', message, facts ? { facts } : {});
  }

  warning(message: string, error?: unknown): void {
    this.log('warning', message, error === undefined ? {} : { error });
  }

  error(message: string, error?: unknown): void {
    this.log('error', message, error === undefined ? {} : { error });
  }

  critical(message: string, error?: unknown): void {
    this.log('critical', message, error === undefined ? {} : { error });
  }
}
