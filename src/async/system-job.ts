import { Job } from './job.js';
import type { Method } from './method.js';
import type { Queue } from './queue.js';
import { RetryCommonForever } from './retry-policy.js';

/** A job of the system's own, which fails, interrupts or resumes another one. It is in no line yet. */
export function systemJob(callable: Method, actsFor: Job<never>, queue: Queue): Job<never> {
  const job = new Job(callable) as unknown as Job<never>;
  job.actFor(actsFor);
  job.retryPolicyFactory = RetryCommonForever;
  job.failureLogLevel = 'critical';
  job.moveTo(undefined, { beginAfterMs: queue.nowMs });
  return job;
}
