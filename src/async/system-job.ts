import { Job } from './job.js';
import type { Method } from './method.js';
import type { Queue } from './queue.js';
import { RetryCommonForever } from './retry-policy.js';

/** A job of the system's own, which fails, interrupts or resumes another one. It is in no line yet. */
export function systemJob(callable: Method, actsFor: Job, queue: Queue): Job {
  const job = new Job(callable) as Job;
  job.actFor(actsFor);
  job.retryPolicyFactory = RetryCommonForever;
  job.failureLogLevel = 'critical';
  job.moveTo(undefined, { beginAfterMs: queue.nowMs });
  return job;
}
