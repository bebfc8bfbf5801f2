import type { MessagePort } from 'node:worker_threads';
import type { LogLevel } from '../../base/index.js';
import type { StorageAttachment } from '../../odb/index.js';
import type { SentError, SentLogRecord } from './thread-log.js';
import type { ClaimedJob, JobOutcome } from './worker-pool.js';

/** What a job thread is started with. */
export interface ThreadStart {
  readonly attachment: Pick<StorageAttachment, 'module' | 'data'>;
  readonly databaseName: string;
  /** UUID of the dispatcher whose jobs the thread runs. */
  readonly uuid: string;
  /** URLs of the modules of its jobs. */
  readonly modules: readonly string[];
  readonly logLevel: LogLevel;
  /** For messages. Not the thread's `parentPort`, which its jobs may use as they like. */
  readonly port: MessagePort;
}

/** From the dispatcher's thread to a job thread. */
export type ToThread =
  /**
   * Run a job, after the one that the thread may have, which has said that it is finishing. `modules` are those that were registered
   * since the thread was started.
   */
  | { readonly kind: 'run'; readonly job: ClaimedJob; readonly modules: readonly string[] }
  /** Let go of the database; comes only while the thread has no job. */
  | { readonly kind: 'end' };

/** From a job thread to the dispatcher's thread. */
export type FromThread =
  /** It can take a job. */
  | { readonly kind: 'ready' }
  /** It cannot start; `module` is the module that is to blame, if one is. */
  | {
      readonly kind: 'failed';
      readonly module?: string;
      readonly isProgram?: boolean;
      readonly detail: string;
      readonly error: SentError;
    }
  | { readonly kind: 'log'; readonly record: SentLogRecord }
  /** The last commit of its job is on its way. */
  | { readonly kind: 'finishing' }
  /** Its job is over. */
  | { readonly kind: 'done'; readonly outcome: JobOutcome }
  /** It has let go of the database. */
  | { readonly kind: 'ended' };
