import { BaseError } from '../base/index.js';

/** A module of jobs did not load; `cause` is why. */
export class JobModuleError extends BaseError {
  readonly code = 'ASYNC_JOB_MODULE';
  /** The module: its path, or its URL where it is no file. */
  readonly module: string;
  /** What is wrong, besides the cause. */
  readonly detail: string;

  constructor(module: string, detail: string, options?: { cause?: unknown }) {
    const cause = options?.cause;
    const reason = cause instanceof Error ? cause.message : cause === undefined ? '' : String(cause);
    super(
      `the job module ${module} does not load: ${[detail, reason].filter((part) => part !== '').join(': ')}`,
      options && 'cause' in options ? { cause } : undefined,
    );
    this.module = module;
    this.detail = detail;
  }
}

/** Job functions stand in a module that is a program of its own; each worker thread would run it again. */
export class EntryModuleError extends BaseError {
  readonly code = 'ASYNC_ENTRY_MODULE';
  /** The module: its path, or its URL where it is no file. */
  readonly module: string;
  /** Why it is no job module. */
  readonly detail: string;

  constructor(module: string, detail: string) {
    super(
      `${module} cannot be a job module: ${detail}, and worker threads import the modules of their jobs; ` +
        "put jobs in a module of their own, or use the pool 'inline'",
    );
    this.module = module;
    this.detail = detail;
  }
}

/** The file that should hold this instance's UUID holds none, or cannot be used. */
export class UuidFileError extends BaseError {
  readonly code = 'ASYNC_UUID_FILE';
  readonly file: string;

  constructor(file: string, detail: string, options?: { cause?: unknown }) {
    super(`${file} gives this instance no UUID: ${detail}; delete the file to get a new one, or name another`, options);
    this.file = file;
  }
}

/** Another process runs a dispatcher under the same UUID. */
export class UuidInUseError extends BaseError {
  readonly code = 'ASYNC_UUID_IN_USE';
  /** The file, where the UUID comes from one. */
  readonly file: string | undefined;
  readonly pid: number | undefined;

  constructor(facts: { file?: string; uuid?: string; pid?: number; host?: string }, options?: { cause?: unknown }) {
    const what = facts.file === undefined ? `the UUID ${facts.uuid}` : `the instance UUID in ${facts.file}`;
    const who = facts.pid === undefined ? 'another process' : `process ${facts.pid}`;
    const where = facts.host === undefined ? '' : ` on ${facts.host}`;
    super(
      `${what} is in use by ${who}${where}: each worker needs its own; ` +
        'start this one in another directory, or give it a file of its own with --uuid-file (or ZC_ASYNC_UUID)',
      options,
    );
    this.file = facts.file;
    this.pid = facts.pid;
  }
}
