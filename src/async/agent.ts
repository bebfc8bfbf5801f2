import { argumentRangeError, argumentTypeError } from '../base/index.js';
import { Persistent, PersistentMapping, registerInternal } from '../odb/index.js';
import { CompletedJobs } from './completed-jobs.js';
import type { DispatcherAgents } from './dispatcher-agents.js';
import type { Failure } from './failure.js';
import type { Job } from './job.js';
import { POOL_KINDS, type PoolKind } from './pool/worker-pool.js';
import type { JobFilter, Queue } from './queue.js';
import { CALLBACKS, COMPLETED } from './status.js';

/** Claims a job from the agent's queue as it likes. */
export type JobChooser = (agent: Agent) => Job | undefined;

/** Options of {@link Agent}. */
export interface AgentOptions {
  /** How many jobs it holds at once. Default: 3. */
  readonly size?: number;
  /** Where they run: in worker threads, or on the dispatcher's event loop. Default: `'threads'`. */
  readonly pool?: PoolKind;
  /** Which jobs it takes; named by `persistable`. Not together with `chooser`. */
  readonly filter?: JobFilter | undefined;
  /** Claims the jobs itself; named by `persistable`. Not together with `filter`. */
  readonly chooser?: JobChooser | undefined;
}

/** Picks jobs for one dispatcher, and holds those that are worked on. */
export class Agent extends Persistent {
  name = '';
  parent: DispatcherAgents | undefined = undefined;
  private _size: number;
  private _pool: PoolKind;
  /** The error of the last claim, if it failed. */
  failure: Failure | undefined = undefined;
  /** The jobs that were completed lately, newest first. */
  readonly completed = new CompletedJobs();
  private _filter: JobFilter | undefined;
  private _chooser: JobChooser | undefined;
  /** Jobs that are assigned, active, in callbacks, or done and not yet filed; by oid. Written by this agent's dispatcher alone. */
  private readonly _held = new PersistentMapping<Job>();

  constructor(options: AgentOptions = {}) {
    super();
    const { size = 3, pool = 'threads', filter, chooser } = options;
    if (filter && chooser) throw bothSet();
    this._size = checkedSize(size);
    this._pool = checkedPool(pool);
    this._filter = filter;
    this._chooser = chooser;
  }

  get placeKind(): 'agent' {
    return 'agent';
  }

  get queue(): Queue {
    return (this.parent as DispatcherAgents).parent as Queue;
  }

  /** How many jobs it holds at once; 0 for none. @throws RangeError (`ARG_SIZE`) */
  get size(): number {
    return this._size;
  }

  set size(size: number) {
    this._size = checkedSize(size);
  }

  /** Where its jobs run. A change takes effect once none of them runs. @throws TypeError (`ARG_POOL`) */
  get pool(): PoolKind {
    return this._pool;
  }

  set pool(pool: PoolKind) {
    this._pool = checkedPool(pool);
  }

  /** Which jobs it takes. @throws Error (`ARG_FILTER`) while there is a chooser. */
  get filter(): JobFilter | undefined {
    return this._filter;
  }

  set filter(filter: JobFilter | undefined) {
    if (filter && this._chooser) throw bothSet();
    this._filter = filter;
  }

  /** What claims the jobs. @throws Error (`ARG_FILTER`) while there is a filter. */
  get chooser(): JobChooser | undefined {
    return this._chooser;
  }

  set chooser(chooser: JobChooser | undefined) {
    if (chooser && this._filter) throw bothSet();
    this._chooser = chooser;
  }

  /** Number of jobs that it holds and that are not completed. */
  get length(): number {
    let count = 0;
    for (const job of this._held.values()) if (job.status !== COMPLETED) count++;
    return count;
  }

  /** Whether it holds anything at all. */
  get isIdle(): boolean {
    return this._held.size === 0;
  }

  [Symbol.iterator](): MapIterator<Job> {
    return this._held.values();
  }

  at(index: number): Job | undefined {
    return [...this._held.values()].at(index);
  }

  /** The place of a job. @throws RangeError when it is not here. */
  index(job: Job): number {
    const index = [...this._held.values()].indexOf(job);
    if (index < 0) throw new RangeError(`${job.toString()} is not held by the agent '${this.name}'`);
    return index;
  }

  /** The job with this oid, if it is here; it is not loaded. */
  held(oid: number): Job | undefined {
    return this._held.get(String(oid));
  }

  holds(job: Job): boolean {
    return this._held.has(String(job._p_oid));
  }

  /** Lets go of a job. @throws RangeError when it is not here. */
  remove(job: Job): void {
    if (!this._held.delete(String(job._p_oid))) {
      throw new RangeError(`${job.toString()} is not held by the agent '${this.name}'`);
    }
    job.moveTo(undefined);
  }

  /** Lets go of the job at a place, and returns it. @throws RangeError when there is none. */
  pull(index = 0): Job {
    const job = this.at(index);
    if (!job) throw new RangeError(`the agent '${this.name}' holds no job ${index}`);
    this.remove(job);
    return job;
  }

  /**
   * Claims the next job for this agent; `undefined` when there is none, when it holds as many as it may, or when its dispatcher is not
   * active or dead. The commit fails if the dispatcher is buried meanwhile.
   */
  claimJob(): Job | undefined {
    const dispatcher = this.parent as DispatcherAgents;
    if (dispatcher.activated === undefined || dispatcher.dead) return undefined;
    if (this.workingCount >= this.size) return undefined;
    return this.claimAnother();
  }

  /** Number of jobs that take a place: those that wait for another job do not. */
  get workingCount(): number {
    let count = 0;
    for (const job of this._held.values()) {
      if (job.status !== COMPLETED && job.innerJob === undefined) count++;
    }
    return count;
  }

  /** For dispatchers, which know of free slots before the database does: claims whatever the agent's size. */
  claimAnother(): Job | undefined {
    const dispatcher = this.parent as DispatcherAgents;
    dispatcher.requireCurrent();
    const job = this.choose();
    if (!job) return undefined;
    job.moveTo(this);
    if (job._p_jar === undefined && this._p_jar) (this._p_jar as unknown as { add(object: Persistent): void }).add(job);
    this._held.set(String(job._p_oid), job);
    return job;
  }

  /** For subclasses: takes a job out of the queue. */
  protected choose(): Job | undefined {
    return (this._chooser ? this._chooser(this) : this.queue.claim(this._filter)) as Job | undefined;
  }

  /** A job is done: it moves to `completed`. */
  jobCompleted(job: Job, nowMs: number = this.queue.nowMs): void {
    this._held.delete(String(job._p_oid));
    job.filed(nowMs);
    this.completed.add(job, nowMs);
  }

  /** For dispatchers: files a job without touching its own record, which may be too new to be seen. */
  file(job: Job, nowMs: number): void {
    if (this._held.delete(String(job._p_oid))) this.completed.add(job, nowMs);
  }

  /** For jobs that are put back: it is held here no more. */
  letGo(job: Job): void {
    this._held.delete(String(job._p_oid));
  }

  /** Whether the agent would take this pending job; `undefined` where a chooser decides, which cannot be asked. */
  wouldTake(job: Job): boolean | undefined {
    if (this._chooser) return undefined;
    return this._filter ? this._filter(job.actsFor ?? job) : true;
  }

  /** For burials: what is held, and in what state, once the dispatcher is gone. */
  *unfinished(): Generator<{ readonly job: Job; readonly isDone: boolean; readonly isInCallbacks: boolean }> {
    for (const job of [...this._held.values()]) {
      yield { job, isDone: job.status === COMPLETED, isInCallbacks: job.status === CALLBACKS };
    }
  }
}

function checkedSize(size: number): number {
  if (Number.isSafeInteger(size) && size >= 0) return size;
  throw argumentRangeError(
    'ARG_SIZE',
    `the size of an agent is ${String(size)}: give a whole number of jobs, such as 3`,
  );
}

function checkedPool(pool: PoolKind): PoolKind {
  if (POOL_KINDS.includes(pool)) return pool;
  throw argumentTypeError('ARG_POOL', `'${String(pool)}' is no pool: give one of ${POOL_KINDS.join(', ')}`);
}

function bothSet(): Error {
  return argumentTypeError(
    'ARG_FILTER',
    'an agent has a filter or a chooser, not both: clear the one before you set the other',
  );
}

registerInternal({ 'holdfast.Agent': Agent });
