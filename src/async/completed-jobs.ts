import { ManagedPersistent, registerInternal } from '../odb/index.js';
import type { Job } from './job.js';

type PageState = readonly [jobs: readonly Job[], times: readonly number[], older: CompletedPage | null];

const PAGE_COUNT_MAX = 16;
/** A page that is new in its transaction takes more: it is written once. */
const NEW_PAGE_COUNT_MAX = 512;
const DAY_MS = 86_400_000;
/** Seven whole days are kept, and the present one. */
const DAYS_KEPT = 8;

/** Some completed jobs, and those before them. */
class CompletedPage extends ManagedPersistent {
  #jobs: Job[] = [];
  #times: number[] = [];
  #older: CompletedPage | undefined = undefined;

  static after(older: CompletedPage | undefined): CompletedPage {
    const page = new CompletedPage();
    page.#older = older;
    return page;
  }

  get isFull(): boolean {
    this.readable();
    return this.#jobs.length >= (this._p_serial === 0 ? NEW_PAGE_COUNT_MAX : PAGE_COUNT_MAX);
  }

  get older(): CompletedPage | undefined {
    this.readable();
    return this.#older;
  }

  push(job: Job, atMs: number): void {
    this.writable();
    this.#jobs.push(job);
    this.#times.push(atMs);
  }

  *newestFirst(): Generator<{ readonly job: Job; readonly atMs: number }> {
    this.readable();
    for (let i = this.#jobs.length - 1; i >= 0; i--) {
      yield { job: this.#jobs[i] as Job, atMs: this.#times[i] as number };
    }
  }

  get count(): number {
    this.readable();
    return this.#jobs.length;
  }

  override getState(): PageState {
    this.readable();
    return [[...this.#jobs], [...this.#times], this.#older ?? null];
  }

  override setState(state: unknown): void {
    const [jobs, times, older] = state as PageState;
    this.#jobs = jobs as Job[];
    this.#times = times as number[];
    this.#older = older ?? undefined;
  }

  protected override clearState(): void {
    this.#jobs = [];
    this.#times = [];
    this.#older = undefined;
  }
}

interface Day {
  /** Days since the epoch. */
  readonly day: number;
  readonly newest: CompletedPage;
}

/**
 * The jobs that an agent has completed, newest first, for seven to eight days. They are kept by the day; a day that is over is dropped
 * whole, at no cost per job.
 */
export class CompletedJobs extends ManagedPersistent {
  /** Newest first. */
  #days: Day[] = [];

  /** Takes in a job that is done, now. */
  add(job: Job, nowMs: number): void {
    this.readable();
    const day = Math.floor(nowMs / DAY_MS);
    const today = this.#days[0];
    if (today && today.day >= day && !today.newest.isFull) {
      today.newest.push(job, nowMs);
      return;
    }
    this.writable();
    const isToday = today !== undefined && today.day >= day;
    const page = CompletedPage.after(isToday ? today.newest : undefined);
    page.push(job, nowMs);
    const others = isToday ? this.#days.slice(1) : this.#days;
    this.#days = [
      { day: isToday ? today.day : day, newest: page },
      ...others.filter((each) => each.day > day - DAYS_KEPT),
    ];
  }

  /** Jobs newest first, from `start` (at or before it) back to `stop` (at or after it). */
  *iterate(start?: Date, stop?: Date): Generator<Job> {
    this.readable();
    const startMs = start?.getTime() ?? Infinity;
    const stopMs = stop?.getTime() ?? -Infinity;
    for (const { newest } of this.#days) {
      for (let page: CompletedPage | undefined = newest; page; page = page.older) {
        for (const { job, atMs } of page.newestFirst()) {
          if (atMs < stopMs) return;
          if (atMs <= startMs) yield job;
        }
      }
    }
  }

  [Symbol.iterator](): Generator<Job> {
    return this.iterate();
  }

  /** The newest job at or before `start`. @throws RangeError when there is none. */
  first(start?: Date): Job {
    for (const job of this.iterate(start)) return job;
    throw new RangeError('there is no completed job of that time');
  }

  /** The oldest job at or after `stop`. @throws RangeError when there is none. */
  last(stop?: Date): Job {
    let last: Job | undefined;
    for (const job of this.iterate(undefined, stop)) last = job;
    if (last) return last;
    throw new RangeError('there is no completed job of that time');
  }

  /** Number of jobs. Loads every page. */
  get length(): number {
    this.readable();
    let count = 0;
    for (const { newest } of this.#days) {
      for (let page: CompletedPage | undefined = newest; page; page = page.older) count += page.count;
    }
    return count;
  }

  override getState(): unknown {
    this.readable();
    return this.#days.map(({ day, newest }) => [day, newest]);
  }

  override setState(state: unknown): void {
    this.#days = (state as [number, CompletedPage][]).map(([day, newest]) => ({ day, newest }));
  }

  protected override clearState(): void {
    this.#days = [];
  }
}

registerInternal({ 'holdfast.CompletedJobs': CompletedJobs, 'holdfast.CompletedPage': CompletedPage });
