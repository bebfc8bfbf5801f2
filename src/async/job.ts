import { inspect } from 'node:util';
import { argumentRangeError, argumentTypeError, type Duration, durationMs, type LogLevel } from '../base/index.js';
import {
  type Connection,
  type DB,
  nameOf,
  type Oid,
  Persistent,
  PersistentMapping,
  registerInternal,
  resolveName,
  transaction,
} from '../odb/index.js';
import type { Agent } from './agent.js';
import { ArgumentList } from './argument-list.js';
import { BadStatusError, TimeoutError, UnknownQuotaError } from './errors.js';
import { Failure } from './failure.js';
import { FIELD_SET, FIELDS, INDEX, type StoredJob } from './job-fields.js';
import { mergeJobs } from './job-merge.js';
import { Method } from './method.js';
import type { JobPlace } from './place.js';
import type { Queue } from './queue.js';
import { makeRetryPolicy, type RetryPolicy, type RetryPolicyFactory } from './retry-policy.js';
import {
  ACTIVE,
  ASSIGNED,
  CALLBACKS,
  COMPLETED,
  type JobStatus,
  NEW,
  PENDING,
  STORED_STATUSES,
  type StoredStatus,
} from './status.js';

/** A function that a job may call. */
export type JobFunction = (...args: never[]) => unknown;
/** What a job may call: a function named by `persistable`, a method of a persistent object, or another job. */
export type Callable = JobFunction | Method | Job<Callable>;

// A job of which nothing is known calls any function; looking into it further would never end.
type FunctionOf<C> = [Callable] extends [C] ? JobFunction : KnownFunctionOf<C>;
type KnownFunctionOf<C> =
  C extends Method<infer T, infer Name>
    ? T[Name & keyof T] extends JobFunction
      ? T[Name & keyof T]
      : JobFunction
    : C extends Job<infer Inner>
      ? FunctionOf<Inner>
      : C;
type AnswerOf<T> = T extends Job<infer Inner> ? ([Callable] extends [Inner] ? unknown : ResultOf<Inner>) : T;

/** What arguments a callable takes; fewer may be bound, since a job may be called with more. */
export type ArgumentsOf<C> = [Callable] extends [C]
  ? unknown[]
  : FunctionOf<C> extends (...args: infer Args) => unknown
    ? Partial<Args>
    : unknown[];
/** What a callable results in: what its promise resolves to, and what the job that it returns results in. */
export type ResultOf<C> = FunctionOf<C> extends (...args: never[]) => infer R ? AnswerOf<Awaited<R>> : unknown;

/** Options of a callback. */
export interface CallbackOptions {
  readonly failureLogLevel?: LogLevel;
  readonly retryPolicyFactory?: RetryPolicyFactory;
}

/** A callable as it is stored: by name, so that a job can be looked at where its function is not known. */
type StoredCallable = readonly ['f', string] | readonly ['m', Persistent, string] | readonly ['j', Job];

/**
 * A callable with its arguments, its state and, later, its result.
 *
 * One record holds all of it (but for callbacks, which are jobs of their own, and annotations, which others write while the job
 * runs). What the callable changes and the completion of the job are one transaction.
 */
export class Job<
  /** @ts-expect-error a job of a special function is a job of any function: the result type is too deep for the compiler to see it */
  out C extends Callable = Callable,
> extends Persistent {
  // Stored by name; see FIELDS. An unknown function leaves only its name.
  private _callable: C | { readonly unknownName: string };
  private _args: unknown[];
  private _status: StoredStatus = NEW;
  private _parent: JobPlace | Job | undefined = undefined;
  private _beginAfter: number | undefined = undefined;
  private _activeStart: number | undefined = undefined;
  private _activeEnd: number | undefined = undefined;
  /** In an array of one, since `undefined` and `null` are results too. */
  private _result: readonly [unknown] | undefined = undefined;
  private _callbacks: Job[] | undefined = undefined;
  private _beginBy: number | undefined = undefined;
  private _quotaNames: readonly string[] | undefined = undefined;
  private _innerJob: Job | undefined = undefined;
  private _annotations: PersistentMapping | undefined = undefined;
  private _assignerUuid: string | undefined = undefined;
  private _failureLogLevel: LogLevel | undefined = undefined;
  private _retryPolicyFactory: RetryPolicyFactory | undefined = undefined;
  private _retryPolicy: RetryPolicy | undefined = undefined;
  private _initialCallbacksEnd: number | undefined = undefined;
  private _actsFor: Job | undefined = undefined;

  constructor(callable: C, ...args: ArgumentsOf<C>) {
    super();
    requireCallable(callable);
    this._callable = callable;
    this._args = [...(args as unknown[])];
    adoptCallable(this, callable);
  }

  /** Like the constructor, with the job itself for its first argument. */
  static override bind<C extends Callable>(this: unknown, callable: C, ...args: unknown[]): Job<C> {
    const job = new Job<C>(callable, ...(args as never));
    job._args.unshift(job);
    return job;
  }

  // ---------------------------------------------------------------- callable and arguments

  /** What is called; `undefined` where its name belongs to nothing in this process. Settable while the job is new. */
  get callable(): C | undefined {
    const callable = this._callable;
    return typeof callable === 'object' && 'unknownName' in callable ? undefined : (callable as C);
  }

  set callable(callable: C) {
    this._requireStatus([NEW], 'callable can be set');
    requireCallable(callable);
    this._callable = callable;
    adoptCallable(this, callable);
  }

  /** The persistent name of the function, `Class:method` for a method; known where the function itself is not. */
  get callableName(): string {
    const callable = this._callable;
    if (typeof callable === 'function') return nameOf(callable) ?? (callable.name || '(anonymous)');
    if (callable instanceof Method) return `${classNameOf(callable.object)}:${callable.methodName}`;
    if (callable instanceof Job) return callable.callableName;
    return (callable as { unknownName: string }).unknownName;
  }

  /** The arguments, in order. May be changed; they are read once, when the job begins. */
  get args(): ArgumentList {
    return new ArgumentList(this._args, () => {
      this._p_changed = true;
    });
  }

  // ---------------------------------------------------------------- status and place

  get status(): JobStatus {
    const status = this._status;
    if (status !== NEW) return status;
    let at: unknown = this._parent;
    while (at instanceof Job) at = at.parent;
    switch ((at as JobPlace | undefined)?.placeKind) {
      case 'queue':
        return PENDING;
      case 'agent':
        return ASSIGNED;
      default:
        return NEW;
    }
  }

  /** The queue or agent that the job is in, or the job that it belongs to. */
  get parent(): JobPlace | Job | undefined {
    return this._parent;
  }

  set parent(parent: JobPlace | Job | undefined) {
    this._parent = parent;
  }

  /** The agent that claimed it, or the job that it belongs to. Kept after completion. */
  get agent(): Agent | undefined {
    let at: unknown = this._parent;
    while (at instanceof Job) at = at.parent;
    return (at as JobPlace | undefined)?.placeKind === 'agent' ? (at as Agent) : undefined;
  }

  /** The queue that it is in, or was claimed from. */
  get queue(): Queue | undefined {
    let at: unknown = this._parent;
    while (at instanceof Job) at = at.parent;
    const place = at as JobPlace | undefined;
    return place?.placeKind === 'agent' ? (place as Agent).queue : (place as Queue | undefined);
  }

  /** `undefined` until the work is done; then the value, or a {@link Failure}. */
  get result(): ResultOf<C> | Failure | undefined {
    return this._result?.[0] as ResultOf<C> | Failure | undefined;
  }

  /** The job that the callable returned, whose result becomes this one's. */
  get innerJob(): Job | undefined {
    return this._innerJob;
  }

  /** The job that this one fails, interrupts or resumes, where the system made it for that. */
  get actsFor(): Job | undefined {
    return this._actsFor;
  }

  // ---------------------------------------------------------------- when, and how

  /** Not to be begun before. Settable while the job is new. */
  get beginAfter(): Date | undefined {
    return dateOf(this._beginAfter);
  }

  set beginAfter(date: Date | undefined) {
    this._requireStatus([NEW], 'beginAfter can be set');
    this._beginAfter = date === undefined ? undefined : timeOf(date, 'beginAfter');
  }

  /** How long after `beginAfter` it may still be begun, in ms. Settable while the job is new or pending. */
  get beginBy(): number | undefined {
    return this._beginBy;
  }

  set beginBy(duration: Duration | undefined) {
    this._requireStatus([NEW, PENDING], 'beginBy can be set');
    this._beginBy = duration === undefined ? undefined : beginByMs(duration);
  }

  /** Names of the quotas of its queue that limit it. Settable while the job is new or pending. */
  get quotaNames(): readonly string[] {
    return this._quotaNames ?? [];
  }

  set quotaNames(names: Iterable<string>) {
    if (typeof names === 'string' || typeof names?.[Symbol.iterator] !== 'function') {
      throw argumentTypeError('ARG_QUOTA_NAMES', `quotaNames is ${inspect(names)}: give an array of names`);
    }
    this._requireStatus([NEW, PENDING], 'quotaNames can be set');
    const list = [...names];
    for (const name of list) {
      if (typeof name !== 'string')
        throw argumentTypeError('ARG_QUOTA_NAMES', `${inspect(name)} is no name of a quota`);
    }
    if (this.status === PENDING) this._requireQuotas(list);
    this._quotaNames = Object.freeze(list) as readonly string[];
    // A frozen array is stored as a plain one.
    this._quotaNames = [...list];
  }

  private _requireQuotas(names: readonly string[]): void {
    const { quotas } = this.queue as Queue;
    for (const name of names) if (!quotas.get(name)) throw new UnknownQuotaError(name);
  }

  /** When its work began; an immediate retry keeps it, rescheduling clears it. */
  get activeStart(): Date | undefined {
    return dateOf(this._activeStart);
  }

  /** When its result was stored. */
  get activeEnd(): Date | undefined {
    return dateOf(this._activeEnd);
  }

  /** When it entered its agent's `completed`. */
  get initialCallbacksEnd(): Date | undefined {
    return dateOf(this._initialCallbacksEnd);
  }

  /** UUID of the instance that put it. */
  get assignerUuid(): string | undefined {
    return this._assignerUuid;
  }

  /** How loudly a failure is logged; `undefined` means ERROR for a job in a queue, CRITICAL for a callback. */
  get failureLogLevel(): LogLevel | undefined {
    return this._failureLogLevel;
  }

  set failureLogLevel(level: LogLevel | undefined) {
    this._failureLogLevel = level;
  }

  /** The level that counts. */
  get effectiveFailureLogLevel(): LogLevel {
    return this._failureLogLevel ?? (this.isCallback ? 'critical' : 'error');
  }

  /** A class or function named by `persistable`, or the name of a registered policy; `undefined` means the default for its kind. */
  get retryPolicyFactory(): RetryPolicyFactory | undefined {
    return this._retryPolicyFactory;
  }

  set retryPolicyFactory(factory: RetryPolicyFactory | undefined) {
    this._retryPolicyFactory = factory;
  }

  /** The policy, made on first use; it is stored with the job, and a factory that is set later changes nothing. */
  getRetryPolicy(): RetryPolicy {
    if (!this._retryPolicy) this._retryPolicy = makeRetryPolicy(this as Job);
    return this._retryPolicy;
  }

  /** Whether it belongs to another job, to run when that is done. */
  get isCallback(): boolean {
    return this._parent instanceof Job;
  }

  /** Anybody's notes on this job; stored beside it, since others write them while it runs. */
  get annotations(): PersistentMapping {
    if (!this._annotations) this._annotations = new PersistentMapping();
    return this._annotations;
  }

  /** The notes, if there are any yet. */
  get existingAnnotations(): PersistentMapping | undefined {
    return this._annotations;
  }

  /** For subclasses: runs before each attempt; what it returns is given to `tearDown`. */
  setUp(): unknown {
    return undefined;
  }

  /** For subclasses: runs after each attempt, once it was committed or aborted. */
  tearDown(_info: unknown): void | Promise<void> {}

  // ---------------------------------------------------------------- callbacks

  /** The callbacks, in order. */
  get callbacks(): readonly Job[] {
    return this._callbacks ?? [];
  }

  /**
   * Has `callback` called with the result, when there is one. Returns the callback's job.
   *
   * Added to a job that is completed, it starts when the present transaction is committed.
   */
  addCallback<D extends Callable>(callback: D | Job<D>, options: CallbackOptions = {}): Job<D> {
    const job = callback instanceof Job ? (callback as Job<D>) : new Job<D>(callback as D, ...([] as never));
    if (job._failureLogLevel === undefined && options.failureLogLevel !== undefined) {
      job.failureLogLevel = options.failureLogLevel;
    }
    if (job._retryPolicyFactory === undefined && options.retryPolicyFactory !== undefined) {
      job.retryPolicyFactory = options.retryPolicyFactory;
    }
    this.addCallbackJob(job as Job);
    return job;
  }

  /**
   * Has one of two callbacks called, depending on whether the result is a {@link Failure}; a branch that is missing passes the result on.
   * Returns a job that stands for the one that is chosen: callbacks added to it are called with what that one results in.
   */
  addCallbacks(
    branches: { readonly success?: Callable; readonly failure?: Callable },
    options: CallbackOptions = {},
  ): CallbackProxy {
    const proxy = new CallbackProxy(branches.success, branches.failure, options);
    this.addCallbackJob(proxy as Job);
    return proxy;
  }

  /** For the job layer: adds a callback that is a job already. */
  addCallbackJob(callback: Job): void {
    callback._parent = this as Job;
    this._callbacks = [...(this._callbacks ?? []), callback];
    if (this._p_jar) lateCallbacks(this as Job);
  }

  // ---------------------------------------------------------------- failing, interrupting, resuming

  /** For the job layer. */
  begin(nowMs: number): void {
    this._status = ACTIVE;
    this._activeStart = nowMs;
  }

  /** For the job layer: stores the result; completes, unless there are callbacks to run first. */
  finish(result: unknown, nowMs: number): void {
    this._result = [result];
    this._activeEnd = nowMs;
    this._innerJob = undefined;
    if (this.callbacks.length > 0) this._status = CALLBACKS;
    else this.complete(nowMs);
  }

  /** For the job layer: all callbacks have run. */
  complete(nowMs: number): void {
    this._status = COMPLETED;
    if (!this.isCallback && this.agent) this._initialCallbacksEnd ??= nowMs;
  }

  /** For the job layer: the job that it waited for is done. */
  takeInnerResult(result: unknown): Promise<void> {
    return operations.takeInnerResult(this as Job, result);
  }

  /** The policy, if it was made already. */
  get existingRetryPolicy(): RetryPolicy | undefined {
    return this._retryPolicy;
  }

  /** For the job layer: it waits for another job's result. */
  waitFor(inner: Job): void {
    this._innerJob = inner;
  }

  /** For agents: the job enters their `completed`. */
  filed(nowMs: number): void {
    if (this._initialCallbacksEnd === undefined) this._initialCallbacksEnd = nowMs;
  }

  /** For queues and agents: the job is taken up at another place. */
  moveTo(place: JobPlace | undefined, change: { beginAfterMs?: number; assignerUuid?: string | undefined } = {}): void {
    this._parent = place;
    if (change.beginAfterMs !== undefined) this._beginAfter = change.beginAfterMs;
    if ('assignerUuid' in change) this._assignerUuid = change.assignerUuid;
  }

  /** For the job layer: back to the state of a job that was not begun. */
  unbegin(): void {
    this._status = NEW;
    this._activeStart = undefined;
  }

  /** For the job layer: says for which job this one acts. */
  actFor(job: Job): this {
    this._actsFor = job;
    return this;
  }

  /**
   * Ends the job with a failure, and runs its callbacks. A pending job leaves its queue. In CALLBACKS it only finishes the callbacks.
   *
   * @throws BadStatusError from ACTIVE and COMPLETED.
   */
  async fail(error: unknown = new TimeoutError()): Promise<void> {
    const { status } = this;
    switch (status) {
      case ACTIVE:
      case COMPLETED:
        throw new BadStatusError(`${this.toString()} cannot be failed: its status is ${status}`);
      case CALLBACKS:
        break;
      case PENDING:
        if (!this.isCallback) this.queue?.removeForFailure(this as Job);
        break;
      default:
    }
    await operations.fail(this as Job, error instanceof Failure ? error : new Failure(error));
  }

  /**
   * The dispatcher that ran this job is gone: asks its retry policy, and puts it back at the head of its queue, or fails it.
   *
   * @throws BadStatusError unless it is ACTIVE or in CALLBACKS.
   */
  async handleInterrupt(): Promise<void> {
    this._requireStatus([ACTIVE, CALLBACKS], 'it can be interrupted');
    await operations.handleInterrupt(this as Job);
  }

  /**
   * Goes on with the callbacks where they were interrupted: those that are completed are not run again.
   *
   * @throws BadStatusError unless it is in CALLBACKS.
   */
  async resumeCallbacks(): Promise<void> {
    this._requireStatus([CALLBACKS], 'its callbacks can be resumed');
    await operations.resumeCallbacks(this as Job);
  }

  /**
   * Runs the job here and now, in its own connection, and commits. Resolves to the result, to the Failure, to the inner job, or to
   * the job itself when it was rescheduled; it does not reject for what the callable throws.
   *
   * @throws BadStatusError unless it is NEW or ASSIGNED.
   */
  async run(...extra: unknown[]): Promise<unknown> {
    this._requireStatus([NEW, ASSIGNED], 'it can be run');
    return operations.run(this as Job, extra);
  }

  /**
   * Resolves to the result once the job is completed, in whatever process. A Failure does not reject. The snapshot of the caller does
   * not move: call `transaction.begin()` before reading `job.result`. Persistent objects within the result have to be read from there.
   *
   * @throws BadStatusError when the job was never committed.
   */
  done(options: { readonly signal?: AbortSignal } = {}): Promise<ResultOf<C> | Failure | undefined> {
    if (this._p_oid === undefined || !this._p_jar) {
      throw new BadStatusError(`${this.toString()} is in no database: put it in a queue and commit, then wait for it`);
    }
    return operations.done(this as Job, options) as Promise<ResultOf<C> | Failure | undefined>;
  }

  private _requireStatus(allowed: readonly JobStatus[], what: string): void {
    const { status } = this;
    if (!allowed.includes(status)) {
      throw new BadStatusError(`${this.toString()} has status ${status}: ${what} only in ${allowed.join(' or ')}`);
    }
  }

  // ---------------------------------------------------------------- stored form

  override getState(): unknown {
    const fields = super.getState() as Record<string, unknown>;
    const stored: unknown[] = FIELDS.map((name) => fields[name] ?? null);
    stored[INDEX._callable] = storedCallable(fields['_callable'] as Callable | { unknownName: string });
    stored[INDEX._status] = STORED_STATUSES.indexOf(fields['_status'] as StoredStatus);
    while (stored.length > 0 && stored.at(-1) === null) stored.pop();
    // Fields of subclasses follow by name.
    let more: Record<string, unknown> | undefined;
    for (const key of Object.keys(fields)) {
      if (FIELD_SET.has(key)) continue;
      more ??= {};
      more[key] = fields[key];
    }
    return more ? [stored, more] : [stored];
  }

  /** `result.deep`, rather than where that stands in the stored form. */
  override statePath([part, index, ...rest]: readonly (string | number)[]): readonly (string | number)[] {
    if (part !== 0 || typeof index !== 'number') return index === undefined ? [] : [index, ...rest];
    // A result stands in an array of one.
    return [(FIELDS[index] as string).slice(1), ...(index === INDEX._result ? rest.slice(1) : rest)];
  }

  override setState(state: unknown): void {
    const [stored, more] = state as [unknown[], Record<string, unknown>?];
    const fields: Record<string, unknown> = {};
    for (let i = 0; i < FIELDS.length; i++) fields[FIELDS[i] as string] = stored[i] ?? undefined;
    fields['_callable'] = callableOf(stored[INDEX._callable] as StoredCallable);
    fields['_status'] = STORED_STATUSES[stored[INDEX._status] as number];
    super.setState(more ? Object.assign(fields, more) : fields);
  }

  /**
   * Two transactions that change different fields merge. A callback that one of them adds while the other one completes the job joins:
   * where the completion commits last, its committer sees the callback and runs it; else the adder does.
   */
  static resolveConflict(base: StoredJob, committed: StoredJob, mine: StoredJob): StoredJob {
    return mergeJobs(base, committed, mine);
  }

  // ---------------------------------------------------------------- text

  override toString(): string {
    try {
      return `<${this.constructor.name} ${placeText(this)} \`\`${callText(this._callable, this._args)}\`\`>`;
    } catch {
      return `<${this.constructor.name} ${placeText(this)}>`;
    }
  }

  override [inspect.custom](): string {
    return this.toString();
  }
}

registerInternal({ 'holdfast.Job': Job });

/** Chooses between two callbacks once the result is there. */
async function chooseCallback(proxy: CallbackProxy, result: unknown): Promise<unknown> {
  return proxy.choose(result);
}

/** Stands for one of two callbacks, of which one is chosen when the result is there. */
export class CallbackProxy extends Job<typeof chooseCallback> {
  /** What is called with a result that is no failure. */
  readonly success: Job | undefined;
  /** What is called with a failure. */
  readonly failure: Job | undefined;
  /** The one that was chosen; `undefined` before. */
  job: Job | undefined = undefined;

  constructor(success: Callable | undefined, failure: Callable | undefined, options: CallbackOptions) {
    super(chooseCallback);
    const branch = (callable: Callable | undefined): Job | undefined => {
      if (callable === undefined) return undefined;
      const job = (callable instanceof Job ? callable : new Job(callable as JobFunction)) as Job;
      if (job.failureLogLevel === undefined) job.failureLogLevel = options.failureLogLevel;
      if (job.retryPolicyFactory === undefined) job.retryPolicyFactory = options.retryPolicyFactory;
      job.parent = this as Job;
      return job;
    };
    this.success = branch(success);
    this.failure = branch(failure);
    this.args.push(this);
  }

  /** For the job layer: runs the branch, and gives its result. */
  async choose(result: unknown): Promise<unknown> {
    const chosen = result instanceof Failure ? this.failure : this.success;
    if (!chosen) return result;
    this.job = chosen;
    return chosen.status === COMPLETED ? chosen.result : chosen.run(result);
  }
}

registerInternal({ 'holdfast.CallbackProxy': CallbackProxy, 'holdfast.chooseCallback': chooseCallback });

/** What jobs do that needs the machinery above them: given by `perform.ts`. */
export interface JobOperations {
  run(job: Job, extra: readonly unknown[]): Promise<unknown>;
  fail(job: Job, failure: Failure): Promise<void>;
  handleInterrupt(job: Job): Promise<void>;
  resumeCallbacks(job: Job): Promise<void>;
  done(job: Job, options: { readonly signal?: AbortSignal }): Promise<unknown>;
  takeInnerResult(job: Job, result: unknown): Promise<void>;
  /** Runs those callbacks of a completed job that have not been run. */
  runLateCallbacks(db: DB, oid: Oid): Promise<void>;
}

let operations: JobOperations;

/** For `perform.ts`. */
export function provideOperations(given: JobOperations): void {
  operations = given;
}

/** Callbacks that come after the completion are run once the transaction that adds them is committed. */
function lateCallbacks(job: Job): void {
  const { db } = job._p_jar as unknown as Connection;
  const oid = job._p_oid as Oid;
  transaction.addAfterCommitHook((success: boolean) => (success ? operations.runLateCallbacks(db, oid) : undefined));
}

// ---------------------------------------------------------------- pieces

function requireCallable(callable: unknown): void {
  if (typeof callable === 'function' || callable instanceof Method || callable instanceof Job) return;
  throw argumentTypeError(
    'ARG_CALLABLE',
    `${inspect(callable, { depth: 0 })} cannot be the callable of a job: give a function, method(object, 'name'), or a job`,
  );
}

/** A job that is called by another one, or whose method is, belongs to that one; but not to itself. */
function adoptCallable(outer: Job, callable: Callable): void {
  const inner = callable instanceof Method ? callable.object : callable;
  if (!(inner instanceof Job) || (inner as unknown) === outer || inner.parent !== undefined) return;
  inner.parent = outer as Job;
}

function storedCallable(callable: Callable | { unknownName: string }): unknown {
  if (typeof callable === 'function') {
    const name = nameOf(callable);
    // The function itself is refused by the writer, which knows how to say so.
    return name === undefined ? ['f', callable] : ['f', name];
  }
  if (callable instanceof Method) return ['m', callable.object, callable.methodName];
  if (callable instanceof Job) return ['j', callable];
  return ['f', callable.unknownName];
}

function callableOf(stored: StoredCallable): Callable | { unknownName: string } {
  switch (stored[0]) {
    case 'f':
      return (resolveName(stored[1]) as JobFunction | undefined) ?? { unknownName: stored[1] };
    case 'm':
      return new Method(stored[1], stored[2]);
    case 'j':
      return stored[1];
  }
}

function dateOf(ms: number | undefined): Date | undefined {
  return ms === undefined ? undefined : new Date(ms);
}

/** @throws RangeError (`ARG_DATE`) for what is no valid date. */
export function timeOf(date: Date, what: string): number {
  const ms = date instanceof Date ? date.getTime() : Number.NaN;
  if (Number.isNaN(ms)) throw argumentRangeError('ARG_DATE', `${what} is ${inspect(date)}: give a valid Date`);
  return ms;
}

/** @throws RangeError (`ARG_BEGIN_BY`) for a negative duration. */
export function beginByMs(duration: Duration): number {
  const ms = durationMs(duration);
  if (ms < 0) throw argumentRangeError('ARG_BEGIN_BY', `beginBy is ${ms} ms: it cannot be negative`);
  return ms;
}

function classNameOf(object: Persistent): string {
  return (Object.getPrototypeOf(object) as { constructor: { name: string } }).constructor.name;
}

/** `(oid 30, db 'unnamed')`. */
function placeText(object: Persistent): string {
  return object._p_oid === undefined || !object._p_jar
    ? '(oid ?, db ?)'
    : `(oid ${object._p_oid}, db '${object._p_jar.databaseName}')`;
}

const TEXT_CHARS_MAX = 200;

function valueText(value: unknown): string {
  if (value instanceof Job) return value.toString();
  if (value instanceof Persistent) return `<${classNameOf(value)} ${placeText(value)}>`;
  const text =
    typeof value === 'function' ? (nameOf(value) ?? value.name) : inspect(value, { depth: 2, breakLength: Infinity });
  return text.length > TEXT_CHARS_MAX ? `${text.slice(0, TEXT_CHARS_MAX)}…` : text;
}

function callText(callable: unknown, args: readonly unknown[]): string {
  const called =
    callable instanceof Method
      ? `${valueText(callable.object)}:${callable.methodName}`
      : callable instanceof Job
        ? callable.toString()
        : typeof callable === 'function'
          ? valueText(callable)
          : (callable as { unknownName: string }).unknownName;
  return `${called}(${args.map(valueText).join(', ')})`;
}
