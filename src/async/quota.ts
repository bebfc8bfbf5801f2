import { argumentRangeError } from '../base/index.js';
import { Persistent, PersistentMapping, registerInternal } from '../odb/index.js';
import { AlreadyRegisteredError, UnknownQuotaError } from './errors.js';
import type { Job } from './job.js';
import type { Queue } from './queue.js';
import { ACTIVE, ASSIGNED, PENDING } from './status.js';

/**
 * A limit on how many jobs that name it are worked on at once, over all workers. It has no conflict resolution, so that the limit is a
 * strict one.
 */
export class Quota extends Persistent {
  readonly name: string;
  readonly parent: Queue;
  private _size: number;
  private _jobs: Job[] = [];

  constructor(name: string, parent: Queue, size: number) {
    super();
    this.name = name;
    this.parent = parent;
    this._size = checkedSize(size);
  }

  /** How many jobs it lets be worked on. Shrinking it does not touch those that are. */
  get size(): number {
    return this._size;
  }

  set size(size: number) {
    this._size = checkedSize(size);
  }

  /** Number of jobs that it holds. */
  get length(): number {
    return this._jobs.length;
  }

  /** Whether no further job may be claimed. */
  get filled(): boolean {
    return this._jobs.length >= this._size;
  }

  has(job: Job): boolean {
    return this._jobs.includes(job);
  }

  /** Takes in a job that is claimed. @throws UnknownQuotaError when the job does not name it. RangeError when it is full. */
  add(job: Job): void {
    if (this.has(job)) return;
    if (!job.quotaNames.includes(this.name)) throw new UnknownQuotaError(this.name);
    if (this.filled) throw argumentRangeError('ARG_QUOTA_FULL', `the quota '${this.name}' is full (${this._size})`);
    this._jobs = [...this._jobs, job];
  }

  /** Lets go of jobs that are not worked on any more: in callbacks, completed, waiting for another, pulled, or put off. */
  clean(): void {
    const kept = this._jobs.filter((job) => {
      const { status } = job;
      if (status === ASSIGNED || (status === ACTIVE && job.innerJob === undefined)) return true;
      // Put back after an interruption, it keeps its place, and so its turn.
      return status === PENDING && this.parent.isPutBack(job);
    });
    if (kept.length < this._jobs.length) this._jobs = kept;
  }

  [Symbol.iterator](): ArrayIterator<Job> {
    return this._jobs.values();
  }
}

/** The quotas of a queue, by name. */
export class Quotas extends Persistent {
  readonly parent: Queue;
  private readonly _quotas = new PersistentMapping<Quota>();

  constructor(parent: Queue) {
    super();
    this.parent = parent;
  }

  /** Makes a quota. @throws AlreadyRegisteredError when there is one of that name. RangeError for a size below 0. */
  create(name: string, { size = 1 }: { readonly size?: number } = {}): Quota {
    if (this._quotas.has(name)) throw new AlreadyRegisteredError(`the queue has a quota '${name}' already`);
    const quota = new Quota(name, this.parent, size);
    this._quotas.set(name, quota);
    return quota;
  }

  /** Removes a quota; jobs that name it are not limited by it any more. @throws UnknownQuotaError. */
  remove(name: string): void {
    if (!this._quotas.delete(name)) throw new UnknownQuotaError(name);
  }

  get(name: string): Quota | undefined {
    return this._quotas.get(name);
  }

  get size(): number {
    return this._quotas.size;
  }

  keys(): Iterable<string> {
    return this._quotas.keys();
  }

  values(): Iterable<Quota> {
    return this._quotas.values();
  }

  /** Iterates the names. */
  [Symbol.iterator](): MapIterator<string> {
    return this._quotas.keys();
  }
}

function checkedSize(size: number): number {
  if (!Number.isInteger(size) || size < 0) throw argumentRangeError('ARG_QUOTA_SIZE', `${size} is no size of a quota`);
  return size;
}

registerInternal({ 'holdfast.Quota': Quota, 'holdfast.Quotas': Quotas });
