import { argumentTypeError, type Duration, Logger } from '../base/index.js';
import { registerInternal, resolveName } from '../odb/index.js';
import type { Failure } from './failure.js';
import type { Job } from './job.js';

const logger = new Logger('zc.async.events');
const trace = new Logger('zc.async.trace');

/**
 * What becomes of a job that met with trouble: run it again at once (`true`), let the trouble be its result (`false`), or put it
 * back in its queue, to be begun at a date or after a duration. A duration of 0 means the head of the queue.
 */
export type RetryAnswer = boolean | Date | Duration | RetryAfter;

/** Wait, then run it again where it is: the job keeps its slot meanwhile. */
export class RetryAfter {
  constructor(readonly delayMs: number) {}
}

/** Plain data that lives for one run of a job. */
export type RetryCache = Record<string, unknown>;

/** Decides what becomes of a job that met with trouble. A method that is missing means no. */
export interface RetryPolicy {
  /** The callable threw. */
  jobError?(failure: Failure, cache: RetryCache): RetryAnswer;
  /** The commit of its work failed. */
  commitError?(failure: Failure, cache: RetryCache): RetryAnswer;
  /** The dispatcher that ran it is gone. */
  interrupted?(): RetryAnswer;
  /** Takes into the stored policy what of the cache is to be kept. Called just before a result is committed. */
  updateData?(cache: RetryCache): void;
}

/** A class or function named by `persistable`, which is given the job; or the name of a registered policy. */
export type RetryPolicyFactory = string | (new (job: Job) => RetryPolicy) | ((job: Job) => RetryPolicy);

/** The stored data of the common policies. */
export interface RetryData {
  interruptions?: number;
  firstActive?: number | undefined;
  disconnected?: number;
  transactionError?: number;
  other?: number;
  lastDisconnected?: string;
  lastTransactionError?: string;
  lastOther?: string;
}

type Kind = 'disconnected' | 'transactionError' | 'other';

const LAST = {
  disconnected: 'lastDisconnected',
  transactionError: 'lastTransactionError',
  other: 'lastOther',
} as const;

const DISCONNECTED_STEP_MS = 5000;
const OTHER_STEP_MS = 1000;
const WAIT_MAX_MS = 60_000;

/** What the common policies share: counts by kind of trouble, waits, logs. */
abstract class CommonPolicy implements RetryPolicy {
  data: RetryData = {};
  /** The job; a reference to it is part of its own record. */
  readonly parent: Job;

  constructor(job: Job) {
    this.parent = job;
  }

  protected abstract maximum(kind: Kind | 'interruptions', isCommit: boolean): number;

  jobError(failure: Failure, cache: RetryCache): RetryAnswer {
    return this.#ask(failure, cache, false);
  }

  commitError(failure: Failure, cache: RetryCache): RetryAnswer {
    return this.#ask(failure, cache, true);
  }

  interrupted(): RetryAnswer {
    const count = (this.data.interruptions ?? 0) + 1;
    this.data = { ...this.data, interruptions: count };
    const again = count <= this.maximum('interruptions', false);
    trace.info(`${this.parent}: interrupted ${count} times; ${again ? 'it is run again' : 'it is not run again'}`);
    return again;
  }

  updateData(cache: RetryCache): void {
    const data: RetryData = { ...this.data };
    for (const kind of ['disconnected', 'transactionError', 'other'] as const) {
      if (cache[kind] === undefined) continue;
      data[kind] = cache[kind] as number;
      data[LAST[kind]] = cache[LAST[kind]] as string;
    }
    data.firstActive ??= this.parent.activeStart?.getTime();
    this.data = data;
  }

  #ask(failure: Failure, cache: RetryCache, isCommit: boolean): RetryAnswer {
    const kind: Kind =
      failure.retry === 'later' ? 'disconnected' : failure.retry === 'now' ? 'transactionError' : 'other';
    const count = ((cache[kind] as number | undefined) ?? this.data[kind] ?? 0) + 1;
    cache[kind] = count;
    cache[LAST[kind]] = failure.getTraceback('brief');
    const again = count <= this.maximum(kind, isCommit);
    if (count === 1 || count % 5 === 0) {
      const line = `${this.parent}: ${kind} number ${count}${again ? ', it is run again' : ''}: ${failure.getTraceback('brief')}`;
      if (kind === 'other' && isCommit && again) logger.critical(line);
      else if (again) trace.warning(line);
    }
    if (!again) return false;
    switch (kind) {
      case 'disconnected':
        return waiting(Math.min(count * DISCONNECTED_STEP_MS, WAIT_MAX_MS));
      case 'other':
        return waiting(Math.min((count - 1) * OTHER_STEP_MS, WAIT_MAX_MS));
      case 'transactionError':
        return true;
    }
  }
}

/** The runner waits, then runs the job again: not a rescheduling, for which a plain duration stands. */
function waiting(delayMs: number): RetryAnswer {
  return delayMs === 0 ? true : new RetryAfter(delayMs);
}

/**
 * The default for jobs. Conflicts: four retries at once. Lost connections: for ever, after 5 s, 10 s, … 60 s. Interruptions: nine.
 * Nothing else is retried.
 */
export class RetryCommonFourTimes extends CommonPolicy {
  protected override maximum(kind: Kind | 'interruptions'): number {
    return { disconnected: Infinity, transactionError: 4, interruptions: 9, other: 0 }[kind];
  }
}

/**
 * The default for callbacks and for the system's own jobs. Conflicts, lost connections and interruptions: for ever. Any other error of a
 * commit too, after 0 s, 1 s, … 60 s; other errors of the callable are not retried.
 */
export class RetryCommonForever extends CommonPolicy {
  protected override maximum(kind: Kind | 'interruptions', isCommit: boolean): number {
    return kind === 'other' && !isCommit ? 0 : Infinity;
  }
}

/** No to everything: what the job does is done at most once. */
export class NeverRetry implements RetryPolicy {
  jobError(): boolean {
    return false;
  }

  commitError(): boolean {
    return false;
  }

  interrupted(): boolean {
    return false;
  }

  updateData(): void {}
}

registerInternal({
  'holdfast.RetryCommonFourTimes': RetryCommonFourTimes,
  'holdfast.RetryCommonForever': RetryCommonForever,
  'holdfast.NeverRetry': NeverRetry,
});

const registered = new Map<string, RetryPolicyFactory>();

/**
 * Registers a policy under a name that jobs may give for their `retryPolicyFactory`: `''` replaces the default for jobs, `'callback'`
 * the one for callbacks. `undefined` takes the registration back.
 */
export function registerRetryPolicy(name: string, factory: RetryPolicyFactory | undefined): void {
  if (factory === undefined) registered.delete(name);
  else registered.set(name, factory);
}

/** Makes the policy of a job. @throws TypeError (`ARG_RETRY_POLICY`) for an unknown name: the question is asked again then. */
export function makeRetryPolicy(job: Job): RetryPolicy {
  const asked = job.retryPolicyFactory;
  const { isCallback } = job;
  let factory =
    asked ?? registered.get(isCallback ? 'callback' : '') ?? (isCallback ? RetryCommonForever : RetryCommonFourTimes);
  if (typeof factory === 'string') {
    const named = registered.get(factory) ?? (resolveName(factory) as Exclude<RetryPolicyFactory, string> | undefined);
    if (!named || typeof named === 'string') {
      throw argumentTypeError(
        'ARG_RETRY_POLICY',
        `no retry policy is registered as '${factory}': use registerRetryPolicy`,
      );
    }
    factory = named;
  }
  return isClass(factory)
    ? new (factory as new (job: Job) => RetryPolicy)(job as Job)
    : (factory as (job: Job) => RetryPolicy)(job as Job);
}

function isClass(factory: Exclude<RetryPolicyFactory, string>): boolean {
  return /^class\b/.test(Function.prototype.toString.call(factory));
}
