import { type Clock, Logger } from '../base/index.js';
import type { DB, Oid } from '../odb/index.js';
import type { Agent } from './agent.js';
import type { DispatcherRecords } from './dispatcher-records.js';
import type { Job } from './job.js';
import { traceLog } from './job-log.js';
import { method } from './method.js';
import { InlinePool } from './pool/inline-pool.js';
import { ThreadPool } from './pool/thread-pool.js';
import type { ClaimedJob, JobOutcome, PoolKind, WorkerPool } from './pool/worker-pool.js';
import { COMPLETED } from './status.js';
import { systemJob } from './system-job.js';

const logger = new Logger('zc.async.events');

/** What {@link AgentSlots} need. */
export interface AgentSlotsOptions {
  readonly db: DB;
  readonly uuid: string;
  readonly dispatcher: object;
  readonly reactor: Clock;
  readonly records: DispatcherRecords;
  readonly queueName: string;
  readonly agentName: string;
  readonly size: number;
  readonly poolKind: PoolKind;
  /** A slot is free. */
  free(): void;
  /** There is something to file, which does not press. */
  toFile(): void;
}

/** How often one value is left in a bounded text. */
const ARGUMENT_CHARS_MAX = 60;

/**
 * The slots of one agent, as its dispatcher sees them: what runs, what is free, and what is to be filed with the next refill.
 *
 * A slot counts as free as soon as the last commit of its job was handed to the storage. The job is filed once that commit is known to
 * have succeeded.
 */
export class AgentSlots {
  readonly #options: AgentSlotsOptions;
  readonly #pool: WorkerPool;
  /** Jobs that take a slot. */
  #busyCount = 0;
  readonly #running = new Set<Oid>();
  /** Completed jobs that the agent still holds. */
  #toFile = new Set<Oid>();
  /** Jobs whose worker died. */
  #toInterrupt = new Set<Oid>();
  /** Jobs that wait for another, without a slot. */
  readonly #waiting = new Set<Oid>();

  constructor(options: AgentSlotsOptions) {
    this.#options = options;
    const { db, size, agentName: name, reactor: clock, uuid, dispatcher } = options;
    this.#pool =
      options.poolKind === 'inline'
        ? new InlinePool({ db, name, size, clock, dispatcher })
        : new ThreadPool({ db, name, size, clock, uuid });
  }

  get poolKind(): PoolKind {
    return this.#options.poolKind;
  }

  get size(): number {
    return this.#pool.size;
  }

  get freeCount(): number {
    return this.#pool.size - this.#busyCount;
  }

  get isIdle(): boolean {
    return this.#pool.jobCount === 0;
  }

  /** Jobs whose completion, wherever it happens, is to be filed here. */
  get waitingOids(): Iterable<Oid> {
    return this.#waiting;
  }

  resize(size: number): void {
    if (size === this.#pool.size) return;
    this.#options.db.poolSize += size - this.#pool.size;
    this.#pool.resize(size);
  }

  /** Runs a job that was claimed and marked active, now that this is committed. */
  start(job: Job, nowMs: number): void {
    const { db, queueName, agentName, records } = this.#options;
    const claimed: ClaimedJob = {
      oid: job._p_oid as Oid,
      databaseName: db.databaseName,
      attempt: job.activeStart?.getTime() as number,
      queueName,
      agentName,
      call: callText(job),
    };
    records.jobStarted(claimed, nowMs, job.quotaNames);
    if (traceLog.isEnabled('info')) traceLog.info(`${job} is started for agent '${agentName}'`);
    this.#busyCount++;
    this.#running.add(claimed.oid);
    let isFree = false;
    this.#pool.start(claimed, {
      finishing: () => {
        isFree = true;
        this.#busyCount--;
        this.#options.free();
      },
      ended: (outcome) => {
        if (!isFree) this.#busyCount--;
        this.#ended(claimed, outcome);
        // Ordering: what was told of when the slot became free would be too early to be filed with that refill.
        if (isFree && outcome.kind === 'completed') this.#options.toFile();
        else this.#options.free();
      },
    });
  }

  #ended(claimed: ClaimedJob, outcome: JobOutcome): void {
    const { oid } = claimed;
    this.#running.delete(oid);
    this.#options.records.jobEnded(claimed, outcome, this.#options.db.storage.clock.now());
    if (traceLog.isEnabled('info')) traceLog.info(`${claimed.call} (oid ${oid}) ended: ${outcome.kind}`);
    switch (outcome.kind) {
      case 'completed':
        this.#toFile.add(oid);
        break;
      case 'waiting':
        this.#waiting.add(oid);
        break;
      case 'interrupted':
        logger.warning(`${claimed.call} (oid ${oid}) was interrupted: ${outcome.reason}`);
        this.#toInterrupt.add(oid);
        break;
      case 'rescheduled':
      case 'reassigned':
        break;
    }
  }

  /**
   * Files what was completed and hands on what was interrupted, in the present transaction; returns what is to be called once that is
   * committed.
   */
  file(agent: Agent): () => void {
    const { queue } = agent;
    const nowMs = queue.nowMs;
    const filed: Oid[] = [];
    const interrupted = [...this.#toInterrupt];
    for (const oid of this.#toFile) {
      const job = agent.held(oid);
      if (job) agent.file(job, nowMs);
      filed.push(oid);
    }
    for (const oid of this.#waiting) {
      const job = agent.held(oid);
      if (job && job.status !== COMPLETED) continue;
      if (job) agent.file(job, nowMs);
      filed.push(oid);
    }
    for (const oid of interrupted) {
      const job = agent.held(oid);
      if (!job) continue;
      agent.letGo(job);
      job.moveTo(queue);
      queue.put(systemJob(method(job as never, 'handleInterrupt' as never), job, queue));
    }
    return () => {
      for (const oid of filed) {
        this.#toFile.delete(oid);
        this.#waiting.delete(oid);
      }
      for (const oid of interrupted) this.#toInterrupt.delete(oid);
    };
  }

  /** Finds, at a poll, what the agent holds and nobody here works on. */
  noticeHeld(agent: Agent): void {
    for (const job of agent) {
      const oid = job._p_oid as Oid;
      if (this.#running.has(oid) || this.#waiting.has(oid) || this.#toFile.has(oid) || this.#toInterrupt.has(oid))
        continue;
      if (job.status === COMPLETED) this.#toFile.add(oid);
      else if (job.innerJob !== undefined) this.#waiting.add(oid);
    }
  }

  /** Ends the pool; jobs that do not finish in time end as interrupted. */
  stop(graceMs: number): Promise<void> {
    return this.#pool.stop({ graceMs });
  }
}

/** The call as short text: made for each job, so it looks at plain values alone. */
function callText(job: Job): string {
  const args = job.args.map((arg) => {
    if (typeof arg === 'string') return JSON.stringify(arg.slice(0, ARGUMENT_CHARS_MAX));
    return typeof arg === 'object' || typeof arg === 'function' ? '…' : String(arg);
  });
  return `${job.callableName}(${args.join(', ')})`;
}
