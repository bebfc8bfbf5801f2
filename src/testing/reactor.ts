import { setMaxListeners } from 'node:events';
import { type Clock, type Duration, durationMs, type Timer } from '../base/index.js';
import { type AnyJob, describeJobs } from './describe.js';

/** How long, of real time, jobs have while virtual time passes. */
const REAL_LIMIT_MS = 10_000;
/** How far virtual time moves at once while jobs are waited for. */
const STEP_MS = 100;
/** Turns of the event loop in which what a timer started comes to rest. */
const SETTLE_TURNS = 3;

interface VirtualTimer {
  readonly atMs: number;
  readonly order: number;
  readonly fn: () => void;
}

/**
 * A heartbeat whose clock the test moves: give it to the storage as `clock` and to the dispatcher as `reactor`, and nothing happens by
 * time unless `timeFlies` or `waitFor` lets it.
 */
export class Reactor implements Clock {
  #nowMs: number;
  #lastOrder = 0;
  readonly #timers = new Set<VirtualTimer>();

  /** @param start where the clock begins. Default: now. */
  constructor(start: Date | number = Date.now()) {
    this.#nowMs = start instanceof Date ? start.getTime() : start;
  }

  now(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, fn: () => void): Timer {
    const timer = { atMs: this.#nowMs + Math.max(delayMs, 0), order: ++this.#lastOrder, fn };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** Calls that are scheduled. */
  get pendingCount(): number {
    return this.#timers.size;
  }

  /** Sets the clock, forth or back, and calls nothing. */
  setNow(now: Date | number): void {
    this.#nowMs = now instanceof Date ? now.getTime() : now;
  }

  /** Moves the clock on, and calls what becomes due on the way, in order. */
  async timeFlies(duration: Duration): Promise<void> {
    const endMs = this.#nowMs + durationMs(duration);
    for (let timer = this.#next(endMs); timer; timer = this.#next(endMs)) {
      this.#timers.delete(timer);
      this.#nowMs = Math.max(this.#nowMs, timer.atMs);
      timer.fn();
      await settled();
    }
    this.#nowMs = Math.max(this.#nowMs, endMs);
    await settled();
  }

  /**
   * Lets time pass until the jobs are completed.
   *
   * @throws Error that names the jobs and their status when this takes more than 10 s of real time.
   */
  async waitFor(...jobs: readonly AnyJob[]): Promise<void> {
    const patience = new AbortController();
    setMaxListeners(0, patience.signal);
    let isDone = false;
    const done = Promise.all(jobs.map((job) => job.done({ signal: patience.signal }))).then(() => {
      isDone = true;
    });
    done.catch(() => {});
    const endMs = performance.now() + REAL_LIMIT_MS;
    while (!isDone) {
      await this.timeFlies(STEP_MS);
      if (isDone) break;
      if (performance.now() > endMs) {
        patience.abort();
        throw new Error(`not completed after ${REAL_LIMIT_MS / 1000} s: ${describeJobs(jobs)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await done;
  }

  #next(endMs: number): VirtualTimer | undefined {
    let next: VirtualTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs > endMs) continue;
      if (!next || timer.atMs < next.atMs || (timer.atMs === next.atMs && timer.order < next.order)) next = timer;
    }
    return next;
  }
}

async function settled(): Promise<void> {
  for (let i = 0; i < SETTLE_TURNS; i++) await new Promise((resolve) => setImmediate(resolve));
}
