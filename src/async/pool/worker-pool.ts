import type { Oid } from '../../odb/index.js';

/** The kinds of pools there are. */
export const POOL_KINDS = ['threads', 'inline'] as const;
/** Where an agent's jobs run. */
export type PoolKind = (typeof POOL_KINDS)[number];

/**
 * A job that was claimed for a slot: it is in its agent and ACTIVE, and the transaction that says so is committed.
 * Structured-cloneable, so that it can be sent to a thread as it is.
 */
export interface ClaimedJob {
  readonly oid: Oid;
  readonly databaseName: string;
  /** Which claim of the job this is. A job that was taken from its worker meanwhile has another number. */
  readonly attempt: number;
  readonly queueName: string;
  readonly agentName: string;
  /** The call as text, for logs and for `SlotStatus`. */
  readonly call: string;
  /** The job's record as it was claimed, where that saves the worker a read; never needed. */
  readonly record?: Uint8Array;
  /** Under a test reactor: its time at the claim, which a thread takes for its own. */
  readonly virtualNowMs?: number;
}

/**
 * How the work on a claimed job ended. Structured-cloneable.
 *
 * - `completed`: its last commit is done. `result` is its text, cut to a length.
 * - `waiting`: it returned a job, and waits for it without a slot.
 * - `rescheduled`: it went back to its queue.
 * - `reassigned`: it is no longer this worker's; nothing was committed.
 * - `interrupted`: the worker was stopped, or died, in the middle of it. The dispatcher treats the job as interrupted.
 */
export type JobOutcome =
  | { readonly kind: 'completed'; readonly failed: boolean; readonly result: string }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'rescheduled' }
  | { readonly kind: 'reassigned' }
  | { readonly kind: 'interrupted'; readonly reason: string };

/** What a pool tells of one job. */
export interface JobListener {
  /**
   * The last commit of the job was handed to the storage: its slot may be claimed for, while the answer is awaited. Called at
   * most once, and not at all for a job that ends otherwise. Should that commit fail, the job goes on in its slot, and what
   * was claimed for it waits.
   */
  finishing(): void;
  /** The work is over and the slot is free. Called exactly once for each job that was started. */
  ended(outcome: JobOutcome): void;
}

/** What runs in one slot, for status reports. */
export interface SlotStatus {
  /** Name of the slot, for logs: `main:1`. */
  readonly name: string;
  readonly state: 'starting' | 'idle' | 'busy' | 'ending';
  readonly job?: {
    readonly oid: Oid;
    readonly databaseName: string;
    readonly call: string;
    readonly startedMs: number;
  };
}

/**
 * The slots in which one agent's jobs run.
 *
 * An observer may rely on this:
 *
 * 1. `start` never throws and never waits; each started job gets exactly one `ended`, whatever becomes of its slot.
 * 2. A job that is started while all slots are taken waits in the pool, in order, for the next free one.
 * 3. A slot that dies is replaced; its job ends as `interrupted`.
 * 4. After `stop` resolved nothing of the pool runs any more, and every job has ended.
 */
export interface WorkerPool {
  readonly kind: PoolKind;
  /** Number of slots that the pool is to have. */
  readonly size: number;
  /** Jobs that were started and have not ended, those waiting for a slot included. */
  readonly jobCount: number;
  /** Runs a job in a free slot. */
  start(job: ClaimedJob, listener: JobListener): void;
  /** Changes the number of slots. Surplus ones end after their job; new ones start at once or on demand. */
  resize(size: number): void;
  /** What each slot does at this instant. */
  status(): readonly SlotStatus[];
  /**
   * Ends the pool: jobs have `graceMs` to finish; what is left then ends as `interrupted`. No job is started any more. May be
   * called again, with less grace.
   */
  stop(options: { readonly graceMs: number }): Promise<void>;
}
