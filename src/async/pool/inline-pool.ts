import type { Clock } from '../../base/index.js';
import type { DB } from '../../odb/index.js';
import { performClaimed } from '../perform.js';
import type { ClaimedJob, JobListener, JobOutcome, SlotStatus, WorkerPool } from './worker-pool.js';

/** What an {@link InlinePool} needs. */
export interface InlinePoolOptions {
  readonly db: DB;
  readonly name: string;
  readonly size: number;
  readonly clock: Clock;
  readonly dispatcher?: object;
}

interface Running {
  readonly job: ClaimedJob;
  readonly startedMs: number;
  readonly abort: AbortController;
  readonly end: (outcome: JobOutcome) => void;
}

/** Runs jobs on the dispatcher's event loop, so many at a time: for work that waits more than it computes. */
export class InlinePool implements WorkerPool {
  readonly kind = 'inline';
  readonly #options: InlinePoolOptions;
  #size: number;
  readonly #running = new Map<number, Running>();
  readonly #waiting: { readonly job: ClaimedJob; readonly listener: JobListener }[] = [];
  #stopping: Promise<void> | undefined;
  #emptied: (() => void) | undefined;

  constructor(options: InlinePoolOptions) {
    this.#options = options;
    this.#size = options.size;
  }

  get size(): number {
    return this.#size;
  }

  get jobCount(): number {
    return this.#running.size + this.#waiting.length;
  }

  start(job: ClaimedJob, listener: JobListener): void {
    if (this.#stopping) {
      queueMicrotask(() => listener.ended({ kind: 'interrupted', reason: 'the pool was stopped' }));
      return;
    }
    this.#waiting.push({ job, listener });
    this.#fill();
  }

  resize(size: number): void {
    this.#size = size;
    this.#fill();
  }

  status(): readonly SlotStatus[] {
    const slots: SlotStatus[] = [];
    for (const [slot, { job, startedMs }] of this.#running) {
      const { oid, databaseName, call } = job;
      slots.push({
        name: `${this.#options.name}:${slot + 1}`,
        state: 'busy',
        job: { oid, databaseName, call, startedMs },
      });
    }
    for (let slot = 0; slots.length < this.#size; slot++) {
      if (!this.#running.has(slot)) slots.push({ name: `${this.#options.name}:${slot + 1}`, state: 'idle' });
    }
    return slots;
  }

  stop(options: { readonly graceMs: number }): Promise<void> {
    this.#stopping ??= this.#drain();
    this.#options.clock.schedule(options.graceMs, () => {
      for (const { abort, end } of [...this.#running.values()]) {
        abort.abort(new Error('the worker was stopped'));
        end({ kind: 'interrupted', reason: 'the worker was stopped' });
      }
    });
    return this.#stopping;
  }

  async #drain(): Promise<void> {
    for (const { listener } of this.#waiting.splice(0)) {
      listener.ended({ kind: 'interrupted', reason: 'the pool was stopped' });
    }
    if (this.#running.size > 0) {
      await new Promise<void>((resolve) => {
        this.#emptied = resolve;
      });
    }
  }

  #fill(): void {
    while (this.#running.size < this.#size && this.#waiting.length > 0) {
      const { job, listener } = this.#waiting.shift() as { job: ClaimedJob; listener: JobListener };
      let slot = 0;
      while (this.#running.has(slot)) slot++;
      this.#run(slot, job, listener);
    }
  }

  #run(slot: number, job: ClaimedJob, listener: JobListener): void {
    const { db, clock, dispatcher } = this.#options;
    const abort = new AbortController();
    let hasEnded = false;
    const end = (outcome: JobOutcome) => {
      if (hasEnded) return;
      hasEnded = true;
      this.#running.delete(slot);
      listener.ended(outcome);
      this.#fill();
      if (this.#running.size === 0) this.#emptied?.();
    };
    this.#running.set(slot, { job, startedMs: clock.now(), abort, end });
    void performClaimed(db, job, {
      clock,
      db,
      agentName: job.agentName,
      dispatcher,
      finishing: () => listener.finishing(),
      signal: abort.signal,
    }).then(end);
  }
}
