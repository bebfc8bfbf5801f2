import { argumentTypeError, type Duration, durationMs } from '../base/index.js';
import { LookupError, type Oid } from '../odb/index.js';
import type { ClaimedJob, JobOutcome } from './pool/worker-pool.js';

/** What one agent did at a poll. */
export interface AgentPoll {
  readonly size: number;
  /** Jobs that it held after the poll. */
  readonly length: number;
  readonly activeJobs: readonly JobId[];
  readonly newJobs: readonly JobId[];
  /** Why its claim failed, if it did. */
  readonly error: string | undefined;
}

/** A job, wherever it is. */
export interface JobId {
  readonly oid: Oid;
  readonly databaseName: string;
}

/** What a dispatcher did at a poll; `null` for a queue that could not be activated. */
export interface PollInfo {
  /** Its time in microseconds: unique, and rising. */
  readonly key: number;
  readonly time: Date;
  readonly queues: { readonly [queue: string]: { readonly [agent: string]: AgentPoll } | null };
}

/** What a dispatcher knows of a job that it ran. */
export interface JobInfo {
  readonly oid: Oid;
  readonly databaseName: string;
  readonly call: string;
  readonly queue: string;
  readonly agent: string;
  readonly quotaNames: readonly string[];
  /** The poll with which it came. */
  readonly pollId: number | undefined;
  readonly thread: string | undefined;
  readonly started: Date;
  readonly completed: Date | undefined;
  /** Text of its result, cut to a length. */
  readonly result: string | undefined;
  readonly failed: boolean;
  readonly reassigned: boolean;
}

/** Sums over the jobs of some polls. */
export interface Statistics {
  readonly started: number;
  readonly successful: number;
  readonly failed: number;
  /** Jobs whose records have rolled off. */
  readonly unknown: number;
  readonly longestActive: JobId | undefined;
  readonly shortestActive: JobId | undefined;
  readonly longestSuccessful: JobId | undefined;
  readonly shortestSuccessful: JobId | undefined;
  readonly longestFailed: JobId | undefined;
  readonly shortestFailed: JobId | undefined;
  /** The oldest poll that was considered. */
  readonly start: Date | undefined;
  /** The newest one. */
  readonly end: Date | undefined;
}

/** A point in time: the key of a poll, a date, or so long ago. */
export type When = number | Date | Exclude<Duration, number>;

/** Which polls are meant. */
export interface PollFilter {
  /** Then or before; not together with `before`. */
  readonly at?: When;
  readonly before?: When;
  /** Inclusive. */
  readonly since?: When;
  readonly count?: number;
  readonly queue?: string;
  readonly agent?: string;
}

type MutableJobInfo = { -readonly [K in keyof JobInfo]: JobInfo[K] };

/** The last polls and jobs of a dispatcher, so many of each. */
export class DispatcherRecords {
  readonly #jobsMax: number;
  readonly #pollsMax: number;
  readonly #jobs = new Map<string, MutableJobInfo>();
  /** Oldest first. */
  #polls: PollInfo[] = [];
  #lastKey = 0;

  constructor(jobsMax: number, pollsMax: number) {
    this.#jobsMax = jobsMax;
    this.#pollsMax = pollsMax;
  }

  clear(): void {
    this.#jobs.clear();
    this.#polls = [];
  }

  // ---------------------------------------------------------------- writing

  /** Records a poll; returns its key. */
  addPoll(nowMs: number, queues: PollInfo['queues']): PollInfo {
    this.#lastKey = Math.max(this.#lastKey + 1, Math.floor(nowMs * 1000));
    const poll: PollInfo = { key: this.#lastKey, time: new Date(nowMs), queues };
    this.#polls.push(poll);
    if (this.#polls.length > this.#pollsMax) this.#polls.shift();
    return poll;
  }

  /** The key that the next poll will have, at least. */
  get lastKey(): number {
    return this.#lastKey;
  }

  jobStarted(job: ClaimedJob, nowMs: number, quotaNames: readonly string[]): void {
    const key = keyOf(job.oid, job.databaseName);
    this.#jobs.delete(key);
    this.#jobs.set(key, {
      oid: job.oid,
      databaseName: job.databaseName,
      call: job.call,
      queue: job.queueName,
      agent: job.agentName,
      quotaNames,
      pollId: this.#lastKey || undefined,
      thread: undefined,
      started: new Date(nowMs),
      completed: undefined,
      result: undefined,
      failed: false,
      reassigned: false,
    });
    if (this.#jobs.size > this.#jobsMax) {
      const [oldest] = this.#jobs.keys();
      this.#jobs.delete(oldest as string);
    }
  }

  jobEnded(job: ClaimedJob, outcome: JobOutcome, nowMs: number): void {
    const info = this.#jobs.get(keyOf(job.oid, job.databaseName));
    if (!info) return;
    info.completed = new Date(nowMs);
    if (outcome.kind === 'completed') {
      info.result = outcome.result;
      info.failed = outcome.failed;
    } else info.result = outcome.kind;
    info.reassigned = outcome.kind === 'reassigned';
  }

  // ---------------------------------------------------------------- reading

  /** @throws LookupError for a job that is not known, or known in several databases where none was named. */
  jobInfo(oid: number, databaseName: string | undefined): JobInfo {
    const found = [...this.#jobs.values()].filter(
      (info) => info.oid === oid && (databaseName === undefined || info.databaseName === databaseName),
    );
    if (found.length === 1) return found[0] as JobInfo;
    throw new LookupError(
      found.length === 0
        ? `this dispatcher knows of no job with oid ${oid}`
        : `jobs with oid ${oid} are known in several databases: name one`,
    );
  }

  /** Jobs that run at this instant, newest first. */
  active(filter: { readonly queue?: string; readonly agent?: string }): JobInfo[] {
    return [...this.#jobs.values()]
      .filter(({ completed }) => completed === undefined)
      .filter(({ queue, agent }) => (filter.queue ?? queue) === queue && (filter.agent ?? agent) === agent)
      .reverse();
  }

  /** The poll at a time, or the last. @throws LookupError when there is none. */
  poll(filter: Pick<PollFilter, 'at' | 'before'>, nowMs: number): PollInfo {
    for (const poll of this.polls(filter, nowMs)) return poll;
    throw new LookupError('there was no poll at that time');
  }

  /** Polls from the newest to the oldest. */
  *polls(filter: PollFilter, nowMs: number): Generator<PollInfo> {
    if (filter.at !== undefined && filter.before !== undefined) {
      throw argumentTypeError('ARG_POLL', 'give `at` or `before`, not both');
    }
    const last =
      filter.at !== undefined
        ? keyAt(filter.at, nowMs)
        : filter.before !== undefined
          ? keyAt(filter.before, nowMs) - 1
          : Infinity;
    const first = filter.since === undefined ? -Infinity : keyAt(filter.since, nowMs);
    let left = filter.count ?? Infinity;
    for (let i = this.#polls.length - 1; i >= 0 && left > 0; i--) {
      const poll = this.#polls[i] as PollInfo;
      if (poll.key > last) continue;
      if (poll.key < first) return;
      left--;
      yield poll;
    }
  }

  statistics(filter: PollFilter, nowMs: number): Statistics {
    const jobs: JobInfo[] = [];
    let unknown = 0;
    let start: Date | undefined;
    let end: Date | undefined;
    for (const poll of this.polls(filter, nowMs)) {
      end ??= poll.time;
      start = poll.time;
      for (const [queue, agents] of Object.entries(poll.queues)) {
        if (!agents || (filter.queue ?? queue) !== queue) continue;
        for (const [agent, { newJobs }] of Object.entries(agents)) {
          if ((filter.agent ?? agent) !== agent) continue;
          for (const { oid, databaseName } of newJobs) {
            const info = this.#jobs.get(keyOf(oid, databaseName));
            if (info) jobs.push(info);
            else unknown++;
          }
        }
      }
    }
    const active = extremes(
      jobs.filter(({ completed }) => !completed),
      nowMs,
    );
    const successful = extremes(
      jobs.filter(({ completed, failed }) => completed && !failed),
      nowMs,
    );
    const failed = extremes(
      jobs.filter(({ failed: hasFailed }) => hasFailed),
      nowMs,
    );
    return {
      started: jobs.length + unknown,
      successful: successful.count,
      failed: failed.count,
      unknown,
      longestActive: active.longest,
      shortestActive: active.shortest,
      longestSuccessful: successful.longest,
      shortestSuccessful: successful.shortest,
      longestFailed: failed.longest,
      shortestFailed: failed.shortest,
      start,
      end,
    };
  }
}

function extremes(
  jobs: readonly JobInfo[],
  nowMs: number,
): { count: number; longest: JobId | undefined; shortest: JobId | undefined } {
  const elapsedMs = ({ started, completed }: JobInfo) => (completed?.getTime() ?? nowMs) - started.getTime();
  const sorted = [...jobs].sort((a, b) => elapsedMs(a) - elapsedMs(b));
  const id = (job: JobInfo | undefined): JobId | undefined => job && { oid: job.oid, databaseName: job.databaseName };
  return { count: jobs.length, longest: id(sorted.at(-1)), shortest: id(sorted[0]) };
}

function keyAt(when: When, nowMs: number): number {
  if (typeof when === 'number') return when;
  return (when instanceof Date ? when.getTime() : nowMs - durationMs(when)) * 1000;
}

function keyOf(oid: number, databaseName: string): string {
  return `${oid}@${databaseName}`;
}
