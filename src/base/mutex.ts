import { type Deferred, deferred } from './deferred.js';

/** Mutual exclusion between asynchronous tasks of one thread; waiters are served in order. */
export class Mutex {
  #held = false;
  readonly #waiters: Deferred<void>[] = [];

  /** Whether somebody holds it. */
  get held(): boolean {
    return this.#held;
  }

  /** Number of tasks that wait. */
  get waiterCount(): number {
    return this.#waiters.length;
  }

  /**
   * Resolves, with the function that releases, when the caller holds the mutex. Releasing twice does nothing.
   * Rejects with the signal's reason when `signal` aborts while waiting.
   */
  async acquire(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#held) {
      const waiter = deferred();
      this.#waiters.push(waiter);
      const onAbort = () => {
        const index = this.#waiters.indexOf(waiter);
        if (index < 0) return;
        this.#waiters.splice(index, 1);
        waiter.reject(signal?.reason);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        await waiter.promise;
      } finally {
        signal?.removeEventListener('abort', onAbort);
      }
    }
    this.#held = true;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const next = this.#waiters.shift();
      // Ordering: `held` stays true while the lock passes on, so that nobody slips in between.
      if (next) next.resolve();
      else this.#held = false;
    };
  }

  /** Runs `fn` while holding the mutex. */
  async run<T>(fn: () => T | Promise<T>): Promise<T> {
    const release = await this.acquire();
    try {
      return await fn();
    } finally {
      release();
    }
  }
}
