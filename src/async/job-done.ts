import { systemClock } from '../base/index.js';
import { type Connection, TransactionManager } from '../odb/index.js';
import type { Job } from './job.js';
import { COMPLETED } from './status.js';

/** How often a job that is waited for is looked at, for what a lost connection may have missed, in ms. */
const LOOK_INTERVAL_MS = 1000;

/** Resolves to the result of a job once it is completed, in whatever process. */
export async function waitUntilDone(job: Job, options: { readonly signal?: AbortSignal }): Promise<unknown> {
  const { signal } = options;
  const { db, storage } = job._p_jar as unknown as Connection;
  const oid = job._p_oid as number;
  signal?.throwIfAborted();
  /** The result, in an array of one, if there is one. */
  const look = (): readonly [unknown] | undefined => {
    const manager = new TransactionManager();
    return manager.enter(() => {
      const connection = db.open();
      try {
        manager.begin();
        const seen = connection.get(oid) as Job;
        return seen.status === COMPLETED ? ([seen.result] as const) : undefined;
      } finally {
        manager.abort();
        connection.close();
      }
    });
  };
  return new Promise((resolve, reject) => {
    let timer: { cancel(): void } | undefined;
    let isOver = false;
    const end = () => {
      isOver = true;
      unsubscribe();
      timer?.cancel();
      signal?.removeEventListener('abort', aborted);
    };
    const aborted = () => {
      end();
      reject(signal?.reason);
    };
    let isScheduled = false;
    const check = () => {
      isScheduled = false;
      if (isOver) return;
      try {
        const found = look();
        if (!found) return;
        end();
        resolve(found[0]);
      } catch (error) {
        // Disconnected: the next look may succeed.
        if ((error as { retry?: string }).retry === 'later') return;
        end();
        reject(error);
      }
    };
    // Ordering: not within the listener, which is called in the middle of a publication.
    const schedule = () => {
      if (isScheduled) return;
      isScheduled = true;
      setImmediate(check);
    };
    const unsubscribe = storage.subscribe({
      invalidate: (_tid, oids) => {
        if (oids.includes(oid as never)) schedule();
      },
      invalidateAll: schedule,
    });
    signal?.addEventListener('abort', aborted, { once: true });
    // Keeps the process alive: somebody waits.
    const tick = () => {
      check();
      if (!isOver) timer = systemClock.schedule(LOOK_INTERVAL_MS, tick, { ref: true });
    };
    timer = systemClock.schedule(LOOK_INTERVAL_MS, tick, { ref: true });
    check();
  });
}
