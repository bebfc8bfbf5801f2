import { type Clock, type Duration, delay, durationMs } from '../base/index.js';
import {
  CommitUncertainError,
  ConflictError,
  type Connection,
  type DB,
  type Oid,
  retryOf,
  SerializationError,
  TransactionManager,
  UnregisteredError,
} from '../odb/index.js';
import { AbortedError, BadStatusError, ReassignedError, TimeoutError } from './errors.js';
import { Failure } from './failure.js';
import { Job, provideOperations } from './job.js';
import { waitUntilDone } from './job-done.js';
import { eventLog, logResult, resultText, traceLog } from './job-log.js';
import { currentLocal, withLocal } from './local.js';
import { Method, method } from './method.js';
import type { ClaimedJob, JobOutcome } from './pool/worker-pool.js';
import { RetryAfter, type RetryAnswer, type RetryCache } from './retry-policy.js';
import { ACTIVE, ASSIGNED, CALLBACKS, COMPLETED, NEW, PENDING } from './status.js';

const STUBBORN_STEP_MS = 5000;
const STUBBORN_MAX_MS = 60_000;
const TEAR_DOWN_TRIES = 5;

/** Where and how jobs are run. */
export interface PerformContext {
  readonly clock: Clock;
  /** Where the database can be opened anew, for live annotations. */
  readonly db?: DB | undefined;
  readonly agentName?: string | undefined;
  readonly dispatcher?: object | undefined;
  /** The last commit of the job was handed to the storage. */
  readonly finishing?: (() => void) | undefined;
  /** Ends waits between tries: the worker is to stop. */
  readonly signal?: AbortSignal | undefined;
}

/** The run of one job, in one connection. Callbacks are runs of their own in the same one. */
class Run {
  readonly #job: Job;
  readonly #context: PerformContext;
  readonly #manager: TransactionManager;
  readonly #cache: RetryCache = {};
  /** Whether the last commit was waited for, so that telling of it frees a slot. */
  readonly #isOutermost: boolean;

  constructor(job: Job, context: PerformContext, isOutermost: boolean) {
    this.#job = job;
    this.#context = context;
    this.#manager = (job._p_jar as unknown as Connection).transactionManager;
    this.#isOutermost = isOutermost;
  }

  /**
   * Steps: prepare (unless the claim has), run, commit, call back.
   *
   * @param attempt which claim this is: the time of its `activeStart`; `undefined` for a job that was not claimed
   */
  async perform(extra: readonly unknown[], attempt: number | undefined): Promise<unknown> {
    const job = this.#job;
    if (attempt === undefined) await this.#prepare();
    const args = [...job.args, ...extra];
    for (;;) {
      const worked = await this.#work(args);
      let { value } = worked;
      if (worked.failure) {
        const { failure } = worked;
        const again = await this.#answer(
          await this.#ask((policy) => policy.jobError?.(failure, this.#cache), 'jobError'),
        );
        if (again === 'again') continue;
        if (again === 'rescheduled') return job;
        value = failure;
      }
      const stored = await this.#store(value, worked);
      if (stored === 'again') continue;
      return stored.value;
    }
  }

  /** ACTIVE is committed before the callable runs, however often that has to be tried. */
  async #prepare(): Promise<void> {
    const job = this.#job;
    const before = job.parent;
    let isFirst = true;
    await this.#stubbornly('to begin it', () => {
      // The first try takes along what the caller has changed so far.
      if (!isFirst && job.parent !== before) throw new ReassignedError(`${job} was taken by somebody else`);
      isFirst = false;
      job.begin(this.#context.clock.now());
    });
  }

  /** Runs the callable. A failure leaves nothing of what it changed. */
  async #work(args: readonly unknown[]): Promise<{ value: unknown; failure: Failure | undefined; info: unknown }> {
    const job = this.#job;
    let info: unknown;
    try {
      const { clock, db, agentName, dispatcher } = this.#context;
      const value = await withLocal({ job, clock, db, agentName, dispatcher }, async () => {
        info = await job.setUp();
        return call(job, args);
      });
      return { value, failure: undefined, info };
    } catch (error) {
      if (error instanceof ReassignedError) throw error;
      const failure = new Failure(error);
      this.#manager.begin();
      await this.#tearDown(info);
      return { value: undefined, failure, info };
    }
  }

  /** Commits the result together with what the callable changed. */
  async #store(
    value: unknown,
    worked: { readonly failure: Failure | undefined; readonly info: unknown },
  ): Promise<'again' | { readonly value: unknown }> {
    const job = this.#job;
    const claim = { parent: job.parent, start: job.activeStart?.getTime() };
    try {
      if (value instanceof Job && !worked.failure) return await this.#awaitInner(value as Job, worked.info);
      this.#finishWith(value);
      await this.#commitFinish();
      if (!worked.failure) await this.#tearDown(worked.info);
    } catch (error) {
      if (error instanceof CommitUncertainError && (await this.#outcome(error)) !== undefined) {
        this.#manager.begin();
        return this.#afterResult(value);
      }
      this.#manager.begin();
      if (!worked.failure) await this.#tearDown(worked.info);
      if (error instanceof ReassignedError) throw error;
      this.#requireStillOurs(claim, error);
      return this.#commitFailed(value, new Failure(error), error);
    }
    return this.#afterResult(value);
  }

  #finishWith(value: unknown): void {
    const job = this.#job;
    job.existingRetryPolicy?.updateData?.(this.#cache);
    job.finish(value, this.#context.clock.now());
  }

  async #commitFinish(): Promise<void> {
    const isLast = this.#job.status === COMPLETED && this.#isOutermost;
    const commit = this.#manager.commit();
    // What is claimed for the slot from now on joins the same flush, and fails with it.
    if (isLast) this.#context.finishing?.();
    await commit;
  }

  /** The callable returned a job: from now on it is never run again, and that job's end completes this one. */
  async #awaitInner(inner: Job, info: unknown): Promise<'again' | { readonly value: unknown }> {
    const job = this.#job;
    if (inner.status === COMPLETED) {
      this.#finishWith(inner.result);
      await this.#commitFinish();
      await this.#tearDown(info);
      return this.#afterResult(inner.result);
    }
    job.waitFor(inner);
    inner.addCallback(method(job as Job, 'takeInnerResult') as unknown as Method);
    await this.#manager.commit();
    await this.#tearDown(info);
    return { value: inner };
  }

  async #afterResult(value: unknown): Promise<{ readonly value: unknown }> {
    const job = this.#job;
    logResult(job, value);
    // A callback that another transaction added meanwhile was merged in: the status says so.
    if (job.status === CALLBACKS) await runCallbacks(job, this.#context, this.#isOutermost);
    return { value };
  }

  async #commitFailed(lost: unknown, failure: Failure, error: unknown): Promise<'again' | { readonly value: unknown }> {
    const job = this.#job;
    // Running again would give the same kind of value.
    const isFinal = error instanceof SerializationError || error instanceof UnregisteredError;
    if (!isFinal) {
      const answer = await this.#answer(
        await this.#ask((policy) => policy.commitError?.(failure, this.#cache), 'commitError'),
      );
      if (answer === 'again') return 'again';
      if (answer === 'rescheduled') return { value: job };
    }
    const level = lost instanceof Failure ? job.effectiveFailureLogLevel : 'info';
    eventLog.log(level, `${job}: its result could not be committed, and is lost:\n${resultText(lost)}`);
    await this.#stubbornly('to store why its commit failed', () => this.#finishWith(failure));
    return this.#afterResult(failure);
  }

  /** @throws ReassignedError when the conflict is that somebody else has the job by now. */
  #requireStillOurs(claim: { parent: unknown; start: number | undefined }, error: unknown): void {
    const job = this.#job;
    if (!(error instanceof ConflictError) || error.oid !== job._p_oid) return;
    if (job.status === ACTIVE && job.parent === claim.parent && job.activeStart?.getTime() === claim.start) return;
    throw new ReassignedError(`${job} belongs to somebody else by now; what was done here is dropped`, {
      cause: error,
    });
  }

  async #outcome(error: CommitUncertainError): Promise<number | undefined> {
    return error.outcome(this.#context.signal ? { signal: this.#context.signal } : {});
  }

  // ---------------------------------------------------------------- retrying

  /** Asks the policy. An answer that cannot be had must not lose the job: it is asked again. */
  async #ask(
    question: (policy: ReturnType<Job['getRetryPolicy']>) => RetryAnswer | undefined,
    name: string,
  ): Promise<RetryAnswer> {
    const job = this.#job;
    for (let tries = 1; ; tries++) {
      try {
        const answer = question(job.getRetryPolicy());
        if (answer === undefined) {
          eventLog.error(`${job}: its retry policy has no answer to ${name}: it is not run again`);
          return false;
        }
        return answer;
      } catch (error) {
        if (tries === 1 || tries % 10 === 0) {
          eventLog.critical(`${job}: its retry policy failed at ${name}; it is asked again (${tries})`, error);
        }
        await this.#wait(Math.min(tries * STUBBORN_STEP_MS, STUBBORN_MAX_MS));
      }
    }
  }

  async #answer(answer: RetryAnswer): Promise<'again' | 'rescheduled' | 'no'> {
    const job = this.#job;
    if (answer === false || isExpired(job, this.#context.clock.now())) return 'no';
    if (answer === true || answer instanceof RetryAfter) {
      if (answer instanceof RetryAfter) await this.#wait(answer.delayMs);
      this.#manager.begin();
      return 'again';
    }
    const agent = job.parent === job.agent ? job.agent : undefined;
    if (!agent) {
      eventLog.critical(`${job} cannot be put off: it is not directly in an agent; it fails instead`);
      return 'no';
    }
    const whenMs = rescheduledFor(answer, this.#context.clock.now());
    await this.#stubbornly('to put it off', () => {
      job.existingRetryPolicy?.updateData?.(this.#cache);
      job.agent?.letGo(job);
      job.queue?.putBack(job, whenMs);
    });
    return 'rescheduled';
  }

  /** Commits what `change` does, however often that has to be tried. */
  async #stubbornly(what: string, change: () => void): Promise<void> {
    const job = this.#job;
    for (let tries = 1; ; tries++) {
      try {
        if (tries > 1) this.#manager.begin();
        change();
        await this.#manager.commit();
        return;
      } catch (error) {
        if (error instanceof CommitUncertainError && (await this.#outcome(error)) !== undefined) {
          this.#manager.begin();
          return;
        }
        if (this.#manager.current) this.#manager.current.abort();
        if (error instanceof ReassignedError) throw error;
        if (error instanceof SerializationError || error instanceof UnregisteredError) throw error;
        if (retryOf(error) !== 'now') {
          if (tries === 1 || tries % 5 === 0)
            eventLog.warning(`${job}: a commit failed (${what}); it is tried again`, error);
          await this.#wait(Math.min(tries * STUBBORN_STEP_MS, STUBBORN_MAX_MS));
        }
      }
    }
  }

  #wait(delayMs: number): Promise<void> {
    const { clock, signal } = this.#context;
    return delay(clock, delayMs, signal ? { signal } : {});
  }

  async #tearDown(info: unknown): Promise<void> {
    const job = this.#job;
    for (let tries = 1; ; tries++) {
      try {
        await job.tearDown(info);
        return;
      } catch (error) {
        if (tries < TEAR_DOWN_TRIES && retryOf(error) === 'now') continue;
        eventLog.critical(`${job}: its tearDown failed; this changes nothing`, error);
        return;
      }
    }
  }
}

/** Calls what the job names. */
async function call(job: Job, args: readonly unknown[]): Promise<unknown> {
  const callable = job.callable as unknown;
  if (callable instanceof Job) return callable.run(...args);
  if (callable instanceof Method) return callable.resolve()(...args);
  if (typeof callable === 'function') return Reflect.apply(callable, undefined, args as unknown[]) as unknown;
  throw new UnregisteredError(`'${job.callableName}' names nothing in this process: import its module`, {
    persistentName: job.callableName,
  });
}

function isExpired(job: Job, nowMs: number): boolean {
  if (job.beginBy === undefined) return false;
  const fromMs = job.beginAfter?.getTime() ?? (job.isCallback ? (job.parent as Job).activeEnd?.getTime() : undefined);
  return fromMs !== undefined && nowMs > fromMs + job.beginBy;
}

function rescheduledFor(answer: Date | Duration, nowMs: number): number | undefined {
  const ms = answer instanceof Date ? answer.getTime() : nowMs + durationMs(answer);
  return ms <= nowMs ? undefined : ms;
}

/** Runs the callbacks that have not been run, those included that are added meanwhile; then the job is COMPLETED. */
async function runCallbacks(job: Job, context: PerformContext, isOutermost: boolean): Promise<void> {
  const { transactionManager: manager } = job._p_jar as unknown as Connection;
  for (;;) {
    const next = job.callbacks.find(({ status }) => status === NEW || status === ASSIGNED || status === PENDING);
    if (next) {
      await runCallback(next, job, context);
      continue;
    }
    try {
      manager.begin();
      // Somebody may have added one meanwhile.
      if (job.callbacks.some(({ status }) => status === NEW || status === ASSIGNED || status === PENDING)) continue;
      if (job.status === CALLBACKS) job.complete(context.clock.now());
      const commit = manager.commit();
      if (isOutermost) context.finishing?.();
      await commit;
      if (job.status === COMPLETED) return;
    } catch (error) {
      if (manager.current) manager.current.abort();
      if (error instanceof CommitUncertainError || retryOf(error) === 'now') continue;
      eventLog.warning(`${job}: its completion could not be committed; it is tried again`, error);
      await delay(context.clock, STUBBORN_STEP_MS, context.signal ? { signal: context.signal } : {});
    }
  }
}

async function runCallback(callback: Job, job: Job, context: PerformContext): Promise<void> {
  if (traceLog.isEnabled('debug')) traceLog.debug(`starting callback ${callback} to ${job}`);
  if (isExpired(callback, context.clock.now())) {
    await conclude(callback, new Failure(new TimeoutError()), context);
    await (callback._p_jar as unknown as Connection).transactionManager.commit();
    return;
  }
  await new Run(callback, context, false).perform([job.result], undefined);
}

/** Gives a job its result without running it, and runs its callbacks. Without any, the commit is left to the caller. */
async function conclude(job: Job, result: unknown, context: PerformContext): Promise<void> {
  const nowMs = context.clock.now();
  job.finish(result, nowMs);
  logResult(job, result);
  if (!job._p_jar || job.status !== CALLBACKS) return;
  await (job._p_jar as unknown as Connection).transactionManager.commit();
  await runCallbacks(job, context, false);
}

/** The surroundings of work that is done within another job, or by hand. */
function contextHere(job: Job): PerformContext {
  const here = currentLocal();
  if (here) return { clock: here.clock, db: here.db, agentName: here.agentName, dispatcher: here.dispatcher };
  const connection = job._p_jar as unknown as Connection | undefined;
  if (!connection)
    throw new BadStatusError(`${job} is in no database: put it in a queue, or add it to a connection, and commit`);
  return { clock: connection.storage.clock, db: connection.db };
}

/** What ends a job that another one acted for is filed by the agent that did it. */
function fileHere(job: Job, nowMs: number): void {
  const agent = currentLocal()?.job.agent;
  if (job.isCallback || job.status !== COMPLETED) return;
  if (job.agent?.holds(job)) return;
  if (!agent) return;
  job.moveTo(agent);
  job.filed(nowMs);
  agent.completed.add(job, nowMs);
}

provideOperations({
  async run(job, extra) {
    return new Run(job, contextHere(job), false).perform(extra, undefined);
  },

  async fail(job, failure) {
    if (!job._p_jar) {
      job.finish(failure, Date.now());
      return;
    }
    const context = contextHere(job);
    if (job.status === CALLBACKS) await runCallbacks(job, context, false);
    else await conclude(job, failure, context);
    fileHere(job, context.clock.now());
  },

  async handleInterrupt(job) {
    const context = contextHere(job);
    if (job.status === CALLBACKS) {
      await runCallbacks(job, context, false);
      fileHere(job, context.clock.now());
      return;
    }
    const answer = job.getRetryPolicy().interrupted?.() ?? false;
    const nowMs = context.clock.now();
    const { queue } = job;
    if (answer === false || isExpired(job, nowMs) || !queue) {
      await conclude(job, new Failure(new AbortedError()), context);
      fileHere(job, nowMs);
      return;
    }
    job.agent?.letGo(job);
    const whenMs =
      answer === true
        ? undefined
        : answer instanceof RetryAfter
          ? nowMs + answer.delayMs
          : rescheduledFor(answer as Date | Duration, nowMs);
    queue.putBack(job, whenMs);
  },

  async resumeCallbacks(job) {
    const context = contextHere(job);
    const manager = (job._p_jar as unknown as Connection).transactionManager;
    for (const callback of job.callbacks) {
      if (callback.status === CALLBACKS) await runCallbacks(callback, context, false);
      else if (callback.status === ACTIVE && callback.innerJob === undefined) {
        const again = callback.getRetryPolicy().interrupted?.() ?? false;
        if (again === false) await conclude(callback, new Failure(new AbortedError()), context);
        else {
          eventLog.error(`${callback} was interrupted; it is run again`);
          callback.unbegin();
        }
        await manager.commit();
      }
    }
    await runCallbacks(job, context, false);
    fileHere(job, context.clock.now());
  },

  async takeInnerResult(job, result) {
    const context = contextHere(job);
    await conclude(job, result, context);
  },

  done: waitUntilDone,

  async runLateCallbacks(db, oid) {
    const manager = new TransactionManager({ clock: db.storage.clock });
    await manager.enter(async () => {
      const connection = db.open();
      try {
        manager.begin();
        const job = connection.get(oid) as Job;
        if (job.status !== COMPLETED) return;
        const context: PerformContext = { clock: db.storage.clock, db };
        for (const callback of job.callbacks) {
          if (callback.status === NEW || callback.status === ASSIGNED) await runCallback(callback, job, context);
        }
      } finally {
        if (manager.current) manager.current.abort();
        connection.close();
      }
    });
  },
});

/**
 * Runs a claimed job to its end, under a connection and a transaction manager of its own: what a slot does.
 * Never rejects.
 */
export async function performClaimed(db: DB, claimed: ClaimedJob, context: PerformContext): Promise<JobOutcome> {
  const manager = new TransactionManager({ clock: context.clock });
  return manager.enter(async (): Promise<JobOutcome> => {
    let connection: Connection | undefined;
    try {
      connection = db.open();
      manager.begin();
      const job = connection.get(claimed.oid as Oid) as Job;
      const { status } = job;
      if (status === CALLBACKS) {
        eventLog.error(`${job} was handed to a worker in status ${status}: its callbacks are resumed`);
        await withLocal(
          { job, clock: context.clock, db, agentName: context.agentName, dispatcher: context.dispatcher },
          () => job.resumeCallbacks(),
        );
        return outcomeOf(job);
      }
      if (status === COMPLETED) {
        eventLog.error(`${job} was handed to a worker in status ${status}: there is nothing to do`);
        return outcomeOf(job);
      }
      if (status !== ACTIVE || job.activeStart?.getTime() !== claimed.attempt) {
        throw new ReassignedError(`${job} belongs to somebody else by now`);
      }
      await new Run(job, { ...context, db }, true).perform([], claimed.attempt);
      return outcomeOf(job);
    } catch (error) {
      if (error instanceof ReassignedError) {
        eventLog.error(error.message);
        return { kind: 'reassigned' };
      }
      if (context.signal?.aborted) return { kind: 'interrupted', reason: 'the worker was stopped' };
      eventLog.critical(`${claimed.call} could not be worked on`, error);
      return { kind: 'interrupted', reason: String(error) };
    } finally {
      try {
        if (manager.current && manager.current.status !== 'committing') manager.current.abort();
        connection?.close();
      } catch (error) {
        eventLog.error('a connection of a job could not be closed', error);
      }
    }
  });
}

function outcomeOf(job: Job): JobOutcome {
  switch (job.status) {
    case COMPLETED:
      return { kind: 'completed', failed: job.result instanceof Failure, result: resultText(job.result) };
    case ACTIVE:
      return { kind: 'waiting' };
    default:
      return { kind: 'rescheduled' };
  }
}
