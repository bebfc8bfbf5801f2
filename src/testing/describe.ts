import type { Job } from '../async/index.js';
import type { Connection } from '../odb/index.js';

/** Any job. */
export type AnyJob = Job;

/** Jobs and their status in the newest view, for messages. */
export function describeJobs(jobs: readonly AnyJob[]): string {
  return jobs
    .map((job) => {
      newestView(job);
      return `${String(job)} (${job.status})`;
    })
    .join(', ');
}

/** Gives the connection of an object the newest view. */
export function newestView(object: { readonly _p_jar: unknown }): void {
  (object._p_jar as Connection | undefined)?.transactionManager.begin();
}
