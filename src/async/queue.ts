import { randomUUID } from 'node:crypto';
import { argumentRangeError, argumentTypeError, type Duration, Logger, type LogLevel } from '../base/index.js';
import {
  type Connection,
  LookupError,
  Persistent,
  PersistentMapping,
  registerInternal,
  UnregisteredError,
} from '../odb/index.js';
import { Dispatchers } from './dispatcher-agents.js';
import { BadStatusError, NoQueueError, UnknownQuotaError } from './errors.js';
import { assignerUuid } from './instance-uuid.js';
import { type Callable, Job, timeOf } from './job.js';
import { JobChunk, Lane, type LaneEntry } from './lane.js';
import { method } from './method.js';
import { Quotas } from './quota.js';
import type { RetryPolicyFactory } from './retry-policy.js';
import { NEW } from './status.js';
import { systemJob } from './system-job.js';

const logger = new Logger('zc.async.events');

/** Options of {@link Queue.put}. What is not given leaves the job's own value. */
export interface PutOptions {
  readonly beginAfter?: Date;
  readonly beginBy?: Duration;
  readonly failureLogLevel?: LogLevel;
  readonly retryPolicyFactory?: RetryPolicyFactory;
}

/** Whether a job may be claimed: pure, and asked often. */
export type JobFilter = (job: Job) => boolean;

/** A lane that was not used for this long is let go of, if it is empty. */
const LANE_IDLE_MS = 60_000;

/** Which lane a connection puts to: one putter at a time lengthens a lane, so that puts do not meet. */
const laneOfConnection = new WeakMap<object, WeakMap<Queue, Lane>>();
/** Names of functions and classes that jobs want and this process does not have: warned of once. */
const warnedNames = new Set<string>();

/**
 * Jobs in line, and those who work on them.
 *
 * Pending jobs stand in three places, which are read in this order:
 *
 * - `putBack`: those that were interrupted; they come first.
 * - lanes: one for each connection that puts at a time, in chunks; and `scheduled`, ordered by `beginAfter`. What is due of both is
 *   merged by time.
 *
 * Concurrent puts write different lanes. A put and a claim write different chunks, or merge. Two claims of one job do not merge: exactly
 * one wins. No counter is written by every put.
 */
export class Queue extends Persistent {
  /** Under which it stands in the mapping of queues. */
  name = '';
  parent: Queues | undefined = undefined;
  readonly dispatchers: Dispatchers;
  readonly quotas: Quotas;
  private readonly _lanes = new PersistentMapping<Lane>();
  private readonly _putBack = new Lane();
  /** Ordered by time, in one chunk. */
  private readonly _scheduled = new JobChunk();

  constructor() {
    super();
    this.dispatchers = new Dispatchers(this);
    this.quotas = new Quotas(this);
  }

  get placeKind(): 'queue' {
    return 'queue';
  }

  // ---------------------------------------------------------------- putting

  /**
   * Puts a job in line; nobody sees it before the transaction commits. Returns the job.
   *
   * @param item a job, or what may be a job's callable
   * @throws BadStatusError when the job is not new. UnknownQuotaError. RangeError for an invalid date. Nothing is queued then.
   */
  put<C extends Callable>(item: C | Job<C>, options: PutOptions = {}): Job<C> {
    const job = item instanceof Job ? (item as Job<C>) : new Job<C>(item as C, ...([] as never));
    if (job.status !== NEW) {
      throw new BadStatusError(`${job.toString()} cannot be put in a queue: its status is ${job.status}, not ${NEW}`);
    }
    for (const name of job.quotaNames) if (!this.quotas.get(name)) throw new UnknownQuotaError(name);
    if (options.beginAfter !== undefined) timeOf(options.beginAfter, 'beginAfter');
    if (options.beginAfter !== undefined) job.beginAfter = options.beginAfter;
    if (options.beginBy !== undefined) job.beginBy = options.beginBy;
    if (options.failureLogLevel !== undefined) job.failureLogLevel = options.failureLogLevel;
    if (options.retryPolicyFactory !== undefined) job.retryPolicyFactory = options.retryPolicyFactory;
    const nowMs = this.nowMs;
    const beginMs = job.beginAfter?.getTime() ?? nowMs;
    const untyped = job as Job;
    job.moveTo(this, { beginAfterMs: beginMs, assignerUuid: job.assignerUuid ?? assignerUuid() });
    if (beginMs > nowMs) this._scheduled.insert(untyped, beginMs);
    else this._lane.put(untyped, nowMs);
    return job;
  }

  /** For agents: puts a job that was taken out back at the head of the line, or where its time belongs. */
  putBack(job: Job, beginAfterMs?: number): void {
    job.unbegin();
    if (beginAfterMs === undefined || beginAfterMs <= this.nowMs) {
      job.moveTo(this);
      this._putBack.put(job, this.nowMs);
    } else {
      job.moveTo(this, { beginAfterMs });
      this._scheduled.insert(job, beginAfterMs);
    }
  }

  /** Whether the job was put back after an interruption, and waits for its turn. */
  isPutBack(job: Job): boolean {
    for (const entry of this._putBack.entries()) if (entry.job === job) return true;
    return false;
  }

  /** The time that counts: the storage's. In ms since the epoch. */
  get nowMs(): number {
    return (this._p_jar as Connection | undefined)?.now() ?? Date.now();
  }

  private get _lane(): Lane {
    const connection = (this._p_jar ?? this) as object;
    let lanes = laneOfConnection.get(connection);
    if (!lanes) {
      lanes = new WeakMap();
      laneOfConnection.set(connection, lanes);
    }
    const known = lanes.get(this);
    // The transaction in which it was made may have been aborted, and it may have been let go of.
    if (
      known &&
      known._p_jar === this._p_jar &&
      known._p_oid !== undefined &&
      this._lanes.has(laneKey(known)) &&
      known.isOpen
    ) {
      return known;
    }
    const lane = new Lane();
    if (this._p_jar) (this._p_jar as Connection).add(lane);
    this._lanes.set(laneKey(lane), lane);
    lanes.set(this, lane);
    return lane;
  }

  /** For dispatchers: lets go of lanes that nobody puts to any more. */
  retireIdleLanes(): void {
    const before = this.nowMs - LANE_IDLE_MS;
    for (const [key, lane] of [...this._lanes]) {
      if (lane.lastUsedMs === 0 || lane.lastUsedMs > before || !lane.isEmpty) continue;
      lane.close();
      this._lanes.delete(key);
    }
  }

  // ---------------------------------------------------------------- looking

  /** Number of pending jobs. Sums the counts of all chunks. */
  get length(): number {
    let count = this._putBack.count + this._scheduled.count;
    for (const lane of this._lanes.values()) count += lane.count;
    return count;
  }

  /** Whether there is nothing to claim: looks at heads alone. */
  get isEmpty(): boolean {
    if (!this._putBack.isEmpty || this._scheduled.count > 0) return false;
    for (const lane of this._lanes.values()) if (!lane.isEmpty) return false;
    return true;
  }

  /** When the next job that is not due yet will be, in ms since the epoch. */
  get nextDueMs(): number | undefined {
    return this._scheduled.entry(0)?.atMs;
  }

  /** For dispatchers: records whose change may bring work. */
  *watchedOids(): Generator<number> {
    yield this._lanes._p_oid as number;
    yield this._scheduled._p_oid as number;
    for (const lane of [this._putBack, ...this._lanes.values()]) {
      yield lane._p_oid as number;
      const { tail } = lane;
      if (tail) yield tail._p_oid as number;
    }
  }

  /** Pending jobs in the order in which they would be offered. */
  *[Symbol.iterator](): Generator<Job> {
    for (const { job } of this._inOrder(this.nowMs, true)) yield job;
  }

  /** The pending job at a place; negative from the end. */
  at(index: number): Job | undefined {
    if (index < 0) return [...this].at(index);
    let i = 0;
    for (const job of this) if (i++ === index) return job;
    return undefined;
  }

  /** Put-back jobs; then lanes and due scheduled jobs merged by time, a scheduled one first on a tie; then, if wanted, what is not due. */
  private *_inOrder(nowMs: number, withFuture: boolean): Generator<LaneEntry> {
    yield* this._putBack.entries();
    const sources: Iterator<LaneEntry>[] = [this._due(nowMs)];
    for (const lane of this._lanes.values()) sources.push(lane.entries());
    const heads = sources.map((source) => source.next());
    for (;;) {
      let best = -1;
      for (let i = 0; i < heads.length; i++) {
        const head = heads[i] as IteratorResult<LaneEntry>;
        if (head.done) continue;
        if (best < 0 || head.value.atMs < ((heads[best] as IteratorResult<LaneEntry>).value as LaneEntry).atMs)
          best = i;
      }
      if (best < 0) break;
      yield (heads[best] as IteratorResult<LaneEntry>).value as LaneEntry;
      heads[best] = (sources[best] as Iterator<LaneEntry>).next();
    }
    if (!withFuture) return;
    for (let i = 0; ; i++) {
      const entry = this._scheduled.entry(i);
      if (!entry) return;
      if (entry.atMs > nowMs) yield entry;
    }
  }

  private *_due(nowMs: number): Generator<LaneEntry> {
    for (let i = 0; ; i++) {
      const entry = this._scheduled.entry(i);
      if (!entry || entry.atMs > nowMs) return;
      yield entry;
    }
  }

  // ---------------------------------------------------------------- taking

  /** Takes out the job at a place; it is new again. @throws RangeError when there is no such place. */
  pull(index = 0): Job {
    const job = this.at(index);
    if (!job) throw argumentRangeError('ARG_INDEX', `the queue has no job ${index}`);
    this.remove(job);
    return job;
  }

  /** Takes out a job; it is new again. @throws LookupError when it is not here. */
  remove(job: Job): void {
    if (!this._takeOut(job)) throw new LookupError(`${job.toString()} is not in the queue '${this.name}'`);
    job.moveTo(undefined, { assignerUuid: undefined });
  }

  /** For jobs that fail while they are pending: takes them out, and remembers the queue for their callbacks. */
  removeForFailure(job: Job): void {
    this._takeOut(job);
  }

  private _takeOut(job: Job): boolean {
    if (this._putBack.remove(job) || this._scheduled.remove(job)) return true;
    for (const lane of this._lanes.values()) if (lane.remove(job)) return true;
    return false;
  }

  /**
   * Takes out the first due job that passes; `fallback` when there is none. A due job that was not begun in time is replaced by one that
   * fails it. A job whose quota is full, or whose function is not known here, is stepped over.
   */
  claim(filter?: JobFilter, fallback?: Job): Job | undefined {
    const nowMs = this.nowMs;
    for (const { job } of this._inOrder(nowMs, false)) {
      if (!this._isKnown(job)) continue;
      const expired = job.beginBy !== undefined && nowMs > (job.beginAfter?.getTime() ?? nowMs) + job.beginBy;
      // The system's own jobs belong to the job that they act for.
      if (filter && !filter(job.actsFor ?? job)) continue;
      if (expired) {
        this._takeOut(job);
        return systemJob(method(job as Job, 'fail'), job, this);
      }
      if (!this._takeQuotas(job)) continue;
      this._takeOut(job);
      job.moveTo(undefined);
      return job;
    }
    return fallback;
  }

  private _isKnown(job: Job): boolean {
    let name: string;
    try {
      if (job.callable !== undefined) return true;
      name = job.callableName;
    } catch (error) {
      if (!(error instanceof UnregisteredError)) throw error;
      name = error.persistentName ?? error.message;
    }
    if (!warnedNames.has(name)) {
      warnedNames.add(name);
      logger.warning(
        `'${name}' is not registered in this process: jobs that need it are left to others; import its module`,
      );
    }
    return false;
  }

  /** Takes a place in every quota that the job names; takes none when one of them is full. */
  private _takeQuotas(job: Job): boolean {
    const { quotaNames } = job;
    if (quotaNames.length === 0) return true;
    const quotas = quotaNames.map((name) => this.quotas.get(name)).filter((quota) => quota !== undefined);
    for (const quota of quotas) {
      quota.clean();
      if (quota.filled && !quota.has(job)) return false;
    }
    for (const quota of quotas) quota.add(job);
    return true;
  }
}

let newLanes = 0;

function laneKey(lane: Lane): string {
  // A queue that is not stored yet has lanes without oids.
  return lane._p_oid === undefined ? `new-${process.pid}-${++newLanes}-${randomUUID()}` : String(lane._p_oid);
}

/** The queues of a database, by name; kept in its root under `zc.async`. */
export class Queues extends PersistentMapping<Queue> {
  /** Puts in a queue. @throws TypeError (`ARG_QUEUE`) for anything else. */
  override set(name: string, queue: Queue): this {
    if (!(queue instanceof Queue)) throw argumentTypeError('ARG_QUEUE', 'only queues can be put among the queues');
    queue.name = name;
    queue.parent = this;
    return super.set(name, queue);
  }

  override delete(name: string): boolean {
    const queue = this.get(name);
    if (!queue) return false;
    queue.name = '';
    queue.parent = undefined;
    return super.delete(name);
  }
}

registerInternal({ 'holdfast.Queue': Queue, 'holdfast.Queues': Queues });

/** Where the queues stand in the root. */
export const QUEUES_KEY = 'zc.async';

/** The queues that a connection, or any stored object, leads to; `undefined` when none were installed. */
export function queuesOf(source: Connection | Persistent): Queues | undefined {
  const connection = source instanceof Persistent ? (source._p_jar as unknown as Connection | undefined) : source;
  return connection?.root.get(QUEUES_KEY) as Queues | undefined;
}

/**
 * The main queue.
 *
 * @param source a connection, or any object that is stored in the database
 * @throws NoQueueError when none was installed.
 */
export function getDefaultQueue(source: Connection | Connection<never> | Persistent): Queue {
  return getQueue(source, '');
}

/** The queue of that name. @throws NoQueueError when there is none. */
export function getQueue(source: Connection | Connection<never> | Persistent, name: string): Queue {
  const queue = queuesOf(source as Connection | Persistent)?.get(name);
  if (queue) return queue;
  throw new NoQueueError(
    `the database has no queue '${name}': call await installQueues(db) once, or start a worker, and begin a new transaction`,
  );
}
