import { inspect } from 'node:util';
import { nameOf, type Retry, registerInternal, retryOf } from '../odb/index.js';

const PROPERTY_CHARS_MAX = 1000;
const CAUSE_DEPTH_MAX = 10;

/** How much a traceback tells. */
export type TracebackDetail = 'brief' | 'default' | 'verbose';

/** A record of an error that can be stored: what a job that failed has for its result. */
export class Failure {
  /** Name of the error's class: the persistent one, where it has one. */
  readonly errorName: string;
  readonly message: string;
  readonly stack: string;
  readonly code: string | undefined;
  /** Whether running again may help, as the error said: `'now'` for conflicts, `'later'` for lost connections. */
  readonly retry: Retry;
  readonly cause: Failure | undefined;
  /** The error's own fields, as far as they are plain values; text of the others. */
  readonly properties: Readonly<Record<string, unknown>>;
  /** Names of all classes of the error, the most special one first. */
  readonly classNames: readonly string[];

  constructor(error: unknown, depth = 0) {
    const proper = error instanceof Error ? error : undefined;
    this.classNames = proper ? classNamesOf(proper) : [typeof error];
    this.errorName = this.classNames[0] ?? 'Error';
    this.message = wellFormed(proper ? proper.message : inspect(error));
    this.stack = wellFormed(proper?.stack ?? `${this.errorName}: ${this.message}`);
    const code = (proper as { code?: unknown } | undefined)?.code;
    this.code = typeof code === 'string' ? code : undefined;
    this.retry = retryOf(error);
    this.cause =
      proper?.cause !== undefined && depth < CAUSE_DEPTH_MAX ? new Failure(proper.cause, depth + 1) : undefined;
    this.properties = proper ? propertiesOf(proper) : {};
  }

  /** Whether the error is of one of these classes (or of a class below one), given themselves or by name. */
  check(...classes: (string | (new (...args: never[]) => unknown))[]): boolean {
    return classes.some((cls) => this.classNames.includes(typeof cls === 'string' ? cls : (nameOf(cls) ?? cls.name)));
  }

  /** The error as text: one line, its stack, or its stack with causes and fields. */
  getTraceback(detail: TracebackDetail = 'default'): string {
    if (detail === 'brief') return `${this.errorName}: ${this.message}`;
    if (detail === 'default') return this.stack;
    const fields = Object.entries(this.properties).map(([name, value]) => `    ${name}: ${inspect(value)}`);
    const cause = this.cause ? [`caused by: ${this.cause.getTraceback('verbose')}`] : [];
    return [this.stack, ...fields, ...cause].join('\n');
  }

  toString(): string {
    return `[Failure ${this.errorName}: ${this.message}]`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

registerInternal({ 'holdfast.Failure': Failure });

function classNamesOf(error: Error): string[] {
  const names: string[] = [];
  for (
    let at = Object.getPrototypeOf(error) as object | null;
    at && at !== Object.prototype;
    at = Object.getPrototypeOf(at)
  ) {
    const { constructor: cls } = at as { constructor: { name: string } & (new () => unknown) };
    const persistent = nameOf(cls);
    for (const name of [persistent, cls.name]) if (name && !names.includes(name)) names.push(name);
  }
  // People look for the plain name first.
  if (error.name && names[0] !== error.name) return [error.name, ...names.filter((name) => name !== error.name)];
  return names;
}

function propertiesOf(error: Error): Record<string, unknown> {
  const properties: Record<string, unknown> = {};
  for (const key of Object.keys(error)) {
    const value = (error as unknown as Record<string, unknown>)[key];
    properties[key] =
      value === null || ['number', 'boolean', 'undefined', 'bigint'].includes(typeof value)
        ? value
        : wellFormed(typeof value === 'string' ? value : inspect(value, { depth: 1 })).slice(0, PROPERTY_CHARS_MAX);
  }
  return properties;
}

function wellFormed(text: string): string {
  return text.toWellFormed();
}
