import { inspect } from 'node:util';
import { Logger } from '../base/index.js';
import { Failure } from './failure.js';
import type { Job } from './job.js';

/** Start, stop and errors: someone may have to act. */
export const eventLog = new Logger('zc.async.events');
/** Every detail. */
export const traceLog = new Logger('zc.async.trace');

const RESULT_CHARS_MAX = 10_000;

/** Text of a result, cut to a length, for logs and records. */
export function resultText(result: unknown): string {
  const text = result instanceof Failure ? result.getTraceback('verbose') : inspect(result, { depth: 3 });
  return text.length > RESULT_CHARS_MAX
    ? `${text.slice(0, RESULT_CHARS_MAX)}\n[… ${text.length - RESULT_CHARS_MAX} characters more]`
    : text;
}

/** Says how a job ended, before its callbacks run. */
export function logResult(job: Job, result: unknown): void {
  if (result instanceof Failure) {
    const level = job.effectiveFailureLogLevel;
    if (eventLog.isEnabled(level)) eventLog.log(level, `${job} failed with:\n${resultText(result)}`);
  } else if (traceLog.isEnabled('info')) traceLog.info(`${job} succeeded with result:\n${resultText(result)}`);
}
