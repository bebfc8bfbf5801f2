import { randomUUID } from 'node:crypto';
import { argumentRangeError, argumentTypeError, type Duration, Logger, type LogLevel } from '../base/index.js';
import {
  BTree,
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
import { beginByMs, type Callable, Job, timeOf } from './job.js';
import { Lane, type LaneEntry } from './lane.js';
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

/** So many scheduled jobs are put in order by one transaction; the rest follows with the next. */
const FILED_COUNT_MAX = 1000;

/** Which lanes a connection puts to: one putter at a time lengthens a lane, so that puts do not meet. */
const lanesOfConnection = new WeakMap<object, WeakMap<PersistentMapping<Lane>, Lane>>();
/** Names of functions and classes that jobs want and this process does not have: warned of once. */
const warnedNames = new Set<string>();

/**
 * Jobs in line, and those who work on them.
 *
 * Pending jobs stand in these places, which are read in this order:
 *
 * - `putBack`: those that were interrupted; they come first.
 * - lanes: one for each connection that puts at a time, in chunks; and `scheduled`, ordered by `beginAfter`. What is due of both is
 *   merged by time.
 * - inboxes: lanes for scheduled jobs. Whoever claims moves them to their place in `scheduled` first.
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
  private readonly _inboxes = new PersistentMapping<Lane>();
  /** By time, and then by oid. */
  private readonly _scheduled = new BTree<ScheduleKey, Job>();

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
    if (options.beginBy !== undefined) beginByMs(options.beginBy);
    if (options.beginAfter !== undefined) job.beginAfter = options.beginAfter;
    if (options.beginBy !== undefined) job.beginBy = options.beginBy;
    if (options.failureLogLevel !== undefined) job.failureLogLevel = options.failureLogLevel;
    if (options.retryPolicyFactory !== undefined) job.retryPolicyFactory = options.retryPolicyFactory;
    const nowMs = this.nowMs;
    const beginMs = job.beginAfter?.getTime() ?? nowMs;
    if (this._p_jar && !job._p_jar) (this._p_jar as unknown as Connection).add(job);
    job.moveTo(this, { beginAfterMs: beginMs, assignerUuid: job.assignerUuid ?? assignerUuid() });
    if (beginMs > nowMs) this._laneOf(this._inboxes).put(job, beginMs);
    else this._laneOf(this._lanes).put(job, nowMs);
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
      this._laneOf(this._inboxes).put(job, beginAfterMs);
    }
  }

  /** Whether the job was put back after an interruption, and waits for its turn. */
  isPutBack(job: Job): boolean {
    for (const entry of this._putBack.entries()) if (entry.job === job) return true;
    return false;
  }

  /** The time that counts: the storage's. In ms since the epoch. */
  get nowMs(): number {
    return Math.floor((this._p_jar as Connection | undefined)?.now() ?? Date.now());
  }

  private _laneOf(lanes: PersistentMapping<Lane>): Lane {
    const connection = (this._p_jar ?? this) as object;
    let known = lanesOfConnection.get(connection);
    if (!known) {
      known = new WeakMap();
      lanesOfConnection.set(connection, known);
    }
    const own = known.get(lanes);
    // The transaction in which it was made may have been aborted, and it may have been let go of.
    const isUsable =
      own && own._p_jar === this._p_jar && own._p_oid !== undefined && lanes.has(laneKey(own)) && own.isOpen;
    if (isUsable) return own;
    const lane = new Lane();
    if (this._p_jar) (this._p_jar as unknown as Connection).add(lane);
    lanes.set(laneKey(lane), lane);
    known.set(lanes, lane);
    return lane;
  }

  /** For dispatchers: lets go of lanes that nobody puts to any more. */
  retireIdleLanes(): void {
    const before = this.nowMs - LANE_IDLE_MS;
    for (const lanes of [this._lanes, this._inboxes]) {
      for (const [key, lane] of [...lanes]) {
        if (lane.lastUsedMs === 0 || lane.lastUsedMs > before || !lane.isEmpty) continue;
        lane.close();
        lanes.delete(key);
      }
    }
  }

  /** Puts scheduled jobs in order: some of them, if they are many. Concurrent puts go on meanwhile, since they write inboxes alone. */
  private _fileScheduled(): void {
    let left = FILED_COUNT_MAX;
    for (const inbox of this._inboxes.values()) {
      for (; left > 0; left--) {
        const entry = inbox.shift();
        if (!entry) break;
        this._scheduled.set([entry.atMs, entry.job._p_oid as number], entry.job);
      }
    }
  }

  // ---------------------------------------------------------------- looking

  /** Number of pending jobs. Sums the counts of all chunks. */
  get length(): number {
    let count = this._scheduled.size;
    for (const lane of this._allLanes()) count += lane.count;
    return count;
  }

  /** Whether nothing is pending: looks at heads alone. */
  get isEmpty(): boolean {
    if (!this._scheduled.isEmpty) return false;
    for (const lane of this._allLanes()) if (!lane.isEmpty) return false;
    return true;
  }

  /** When the next job that is not due yet will be, in ms since the epoch. */
  get nextDueMs(): number | undefined {
    let nextMs = Infinity;
    for (const [atMs] of this._scheduled.keys()) {
      nextMs = atMs;
      break;
    }
    for (const inbox of this._inboxes.values()) for (const { atMs } of inbox.entries()) nextMs = Math.min(nextMs, atMs);
    return nextMs === Infinity ? undefined : nextMs;
  }

  /** For dispatchers: records whose change may bring work. */
  *watchedOids(): Generator<number> {
    yield this._lanes._p_oid as number;
    yield this._inboxes._p_oid as number;
    for (const lane of this._allLanes()) {
      yield lane._p_oid as number;
      const { tail } = lane;
      if (tail) yield tail._p_oid as number;
    }
  }

  /** For dispatchers: the first due jobs, as many as there are up to `count`. They are not loaded. */
  firstDueOids(count: number): number[] {
    const oids: number[] = [];
    if (count === 0) return oids;
    for (const { job } of this._dueInOrder(this.nowMs, [])) {
      oids.push(job._p_oid as number);
      if (oids.length === count) break;
    }
    return oids;
  }

  private *_allLanes(): Generator<Lane> {
    yield this._putBack;
    yield* this._lanes.values();
    yield* this._inboxes.values();
  }

  /** Pending jobs in the order in which they would be offered. */
  *[Symbol.iterator](): Generator<Job> {
    const nowMs = this.nowMs;
    const unfiled: LaneEntry[] = [];
    for (const inbox of this._inboxes.values()) unfiled.push(...inbox.entries());
    unfiled.sort((a, b) => a.atMs - b.atMs || (a.job._p_oid ?? Infinity) - (b.job._p_oid ?? Infinity));
    const dueCount = unfiled.filter(({ atMs }) => atMs <= nowMs).length;
    for (const { job } of this._dueInOrder(nowMs, unfiled.slice(0, dueCount))) yield job;
    const future = merged([this._scheduledFrom(nowMs), place('unfiled', unfiled.slice(dueCount))]);
    for (const { job } of future) yield job;
  }

  /** The pending job at a place; negative from the end. */
  at(index: number): Job | undefined {
    if (index < 0) return [...this].at(index);
    let i = 0;
    for (const job of this) if (i++ === index) return job;
    return undefined;
  }

  /** Put-back jobs; then lanes and due scheduled jobs merged by time, a scheduled one first on a tie. */
  private *_dueInOrder(nowMs: number, unfiled: readonly LaneEntry[]): Generator<PlacedEntry> {
    yield* place(this._putBack, this._putBack.entries());
    const sources = [this._scheduledUntil(nowMs), place('unfiled', unfiled)];
    for (const lane of this._lanes.values()) sources.push(place(lane, lane.entries()));
    yield* merged(sources);
  }

  private *_scheduledUntil(nowMs: number): Generator<PlacedEntry> {
    for (const [[atMs], job] of this._scheduled) {
      if (atMs > nowMs) return;
      yield { job, atMs, place: 'scheduled' };
    }
  }

  private *_scheduledFrom(nowMs: number): Generator<PlacedEntry> {
    for (const [[atMs], job] of this._scheduled.entries({ min: [nowMs, Infinity] }))
      yield { job, atMs, place: 'scheduled' };
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
    if (this._unschedule(job)) return true;
    for (const lane of this._allLanes()) if (lane.remove(job)) return true;
    return false;
  }

  private _unschedule(job: Job): boolean {
    if (!job.beginAfter || job._p_oid === undefined) return false;
    return this._scheduled.delete([job.beginAfter.getTime(), job._p_oid]);
  }

  private _takeFrom({ job, place }: PlacedEntry): void {
    if (place instanceof Lane) place.remove(job);
    else this._unschedule(job);
  }

  /**
   * Takes out the first due job that passes; `fallback` when there is none. A due job that was not begun in time is replaced by one that
   * fails it. A job whose quota is full, or whose function is not known here, is stepped over.
   */
  claim(filter?: JobFilter, fallback?: Job): Job | undefined {
    const nowMs = this.nowMs;
    this._fileScheduled();
    for (const entry of this._dueInOrder(nowMs, [])) {
      const { job } = entry;
      if (!this._isKnown(job)) continue;
      const expired = job.beginBy !== undefined && nowMs > (job.beginAfter?.getTime() ?? nowMs) + job.beginBy;
      // The system's own jobs belong to the job that they act for.
      if (filter && !filter(job.actsFor ?? job)) continue;
      if (expired) {
        this._takeFrom(entry);
        return systemJob(method(job as Job, 'fail'), job, this);
      }
      if (!this._takeQuotas(job)) continue;
      this._takeFrom(entry);
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

type ScheduleKey = readonly [atMs: number, oid: number];

/** A job in line, and where it stands. */
interface PlacedEntry extends LaneEntry {
  readonly place: Lane | 'scheduled' | 'unfiled';
}

function* place(at: PlacedEntry['place'], entries: Iterable<LaneEntry>): Generator<PlacedEntry> {
  for (const { job, atMs } of entries) yield { job, atMs, place: at };
}

/** Merges entries that are each in order by time; of those with the same time, those of an earlier source come first. */
function* merged(sources: readonly Iterator<PlacedEntry>[]): Generator<PlacedEntry> {
  const heads = sources.map((source) => source.next());
  for (;;) {
    let best = -1;
    let bestMs = Infinity;
    for (let i = 0; i < heads.length; i++) {
      const head = heads[i] as IteratorResult<PlacedEntry, undefined>;
      if (head.done || (best >= 0 && head.value.atMs >= bestMs)) continue;
      best = i;
      bestMs = head.value.atMs;
    }
    if (best < 0) return;
    yield heads[best]?.value as PlacedEntry;
    heads[best] = (sources[best] as Iterator<PlacedEntry>).next();
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
export function getDefaultQueue<Root extends object>(source: Connection<Root> | Persistent): Queue {
  return getQueue(source, '');
}

/** The queue of that name. @throws NoQueueError when there is none. */
export function getQueue<Root extends object>(source: Connection<Root> | Persistent, name: string): Queue {
  const queue = queuesOf(source as unknown as Connection | Persistent)?.get(name);
  if (queue) return queue;
  throw new NoQueueError(
    `the database has no queue '${name}': call await installQueues(db) once, or start a worker, and begin a new transaction`,
  );
}
