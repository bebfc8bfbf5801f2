import { argumentTypeError, type Duration, durationMs, Logger } from '../base/index.js';
import { type Connection, ManagedPersistent, Persistent, PersistentMapping, registerInternal } from '../odb/index.js';
import { Agent } from './agent.js';
import { AlreadyRegisteredError, BadStatusError, NotActivatedError } from './errors.js';
import { events } from './events.js';
import type { Job } from './job.js';
import { method } from './method.js';
import type { Queue } from './queue.js';
import { ACTIVE, ASSIGNED, CALLBACKS, COMPLETED } from './status.js';
import { systemJob } from './system-job.js';

const logger = new Logger('zc.async.events');

const PING_INTERVAL_MS = 30_000;
const PING_DEATH_INTERVAL_MS = 60_000;

/** When a dispatcher was last heard of. A record of its own, so that a ping rewrites nothing else; the later of two pings counts. */
export class LastPing extends ManagedPersistent {
  #atMs: number | undefined = undefined;

  get atMs(): number | undefined {
    this.readable();
    return this.#atMs;
  }

  set atMs(atMs: number | undefined) {
    this.writable();
    this.#atMs = atMs;
  }

  override getState(): number | null {
    return this.atMs ?? null;
  }

  override setState(state: unknown): void {
    this.#atMs = (state as number | null) ?? undefined;
  }

  protected override clearState(): void {
    this.#atMs = undefined;
  }

  static resolveConflict(_base: number | null, committed: number | null, mine: number | null): number | null {
    return committed === null ? mine : mine === null ? committed : Math.max(committed, mine);
  }
}

/** When a dispatcher began to serve a queue; `undefined` while it does not. Whoever claims reads it as current. */
class Activation extends ManagedPersistent {
  #atMs: number | undefined = undefined;

  get atMs(): number | undefined {
    this.readable();
    return this.#atMs;
  }

  set atMs(atMs: number | undefined) {
    this.writable();
    this.#atMs = atMs;
  }

  override getState(): number | null {
    return this.atMs ?? null;
  }

  override setState(state: unknown): void {
    this.#atMs = (state as number | null) ?? undefined;
  }

  protected override clearState(): void {
    this.#atMs = undefined;
  }
}

/** The agents of one dispatcher in one queue, by name. */
export class DispatcherAgents extends Persistent {
  readonly uuid: string;
  parent: Queue | undefined;
  private _pingIntervalMs = PING_INTERVAL_MS;
  private _pingDeathIntervalMs = PING_DEATH_INTERVAL_MS;
  private readonly _agents = new PersistentMapping<Agent>();
  private readonly _activation = new Activation();
  private readonly _lastPing = new LastPing();

  constructor(uuid: string, queue: Queue) {
    super();
    this.uuid = uuid;
    this.parent = queue;
  }

  // ---------------------------------------------------------------- agents

  /** Puts in an agent. @throws TypeError (`ARG_AGENT`) for what is none. BadStatusError when it, or the one that it replaces, holds jobs. */
  set(name: string, agent: Agent): this {
    if (!(agent instanceof Agent)) throw argumentTypeError('ARG_AGENT', 'only agents can be put here');
    requireIdle(agent, 'added');
    const former = this._agents.get(name);
    if (former) requireIdle(former, 'replaced');
    agent.name = name;
    agent.parent = this;
    this._agents.set(name, agent);
    return this;
  }

  /** Takes an agent out. @throws BadStatusError when it holds jobs. */
  delete(name: string): boolean {
    const agent = this._agents.get(name);
    if (!agent) return false;
    requireIdle(agent, 'removed');
    agent.name = '';
    agent.parent = undefined;
    return this._agents.delete(name);
  }

  get(name: string): Agent | undefined {
    return this._agents.get(name);
  }

  has(name: string): boolean {
    return this._agents.has(name);
  }

  get size(): number {
    return this._agents.size;
  }

  keys(): MapIterator<string> {
    return this._agents.keys();
  }

  values(): MapIterator<Agent> {
    return this._agents.values();
  }

  entries(): MapIterator<[string, Agent]> {
    return this._agents.entries();
  }

  [Symbol.iterator](): MapIterator<[string, Agent]> {
    return this._agents.entries();
  }

  /** For dispatchers: the record that says whether it is active. */
  get activationOid(): number {
    return this._activation._p_oid as number;
  }

  /** For dispatchers: records whose change adds, removes or alters agents. */
  *watchedOids(): Generator<number> {
    yield this._agents._p_oid as number;
    for (const agent of this._agents.values()) yield agent._p_oid as number;
  }

  // ---------------------------------------------------------------- life

  /** Since when the dispatcher serves the queue; `undefined` when it does not. */
  get activated(): Date | undefined {
    const { atMs } = this._activation;
    return atMs === undefined ? undefined : new Date(atMs);
  }

  get lastPing(): Date | undefined {
    const { atMs } = this._lastPing;
    return atMs === undefined ? undefined : new Date(atMs);
  }

  /** How often its ping is written, in ms. */
  get pingInterval(): number {
    return this._pingIntervalMs;
  }

  set pingInterval(interval: Duration) {
    this._pingIntervalMs = durationMs(interval);
  }

  /** Without a ping for longer than this, in ms, it is believed dead. */
  get pingDeathInterval(): number {
    return this._pingDeathIntervalMs;
  }

  set pingDeathInterval(interval: Duration) {
    this._pingDeathIntervalMs = durationMs(interval);
  }

  /** Whether it was neither activated nor heard of for too long; false when it never was. */
  get dead(): boolean {
    const lastMs = Math.max(this._activation.atMs ?? -Infinity, this._lastPing.atMs ?? -Infinity);
    return lastMs > -Infinity && lastMs + this._pingDeathIntervalMs < this._nowMs;
  }

  /** Makes the commit of a claim fail when the dispatcher is buried meanwhile: its jobs would sit where nobody looks. */
  requireCurrent(): void {
    (this._p_jar as unknown as Connection | undefined)?.readCurrent(this._activation);
  }

  /** Begins to serve the queue; jobs that were left here are cleaned up first. @throws AlreadyRegisteredError when it does already. */
  activate(): void {
    if (this._activation.atMs !== undefined) {
      throw new AlreadyRegisteredError(
        `the dispatcher ${this.uuid} is active in the queue '${this.parent?.name}' already`,
      );
    }
    this.clean();
    this._activation.atMs = this._nowMs;
    events.emit('DispatcherActivated', { object: this });
  }

  /** Ends its service; its jobs are cleaned up. @throws NotActivatedError when it does not serve. */
  deactivate(): void {
    if (this._activation.atMs === undefined) {
      throw new NotActivatedError(`the dispatcher ${this.uuid} is not active in the queue '${this.parent?.name}'`);
    }
    this._activation.atMs = undefined;
    this.clean();
    events.emit('DispatcherDeactivated', { object: this });
  }

  /** Goes on after it was buried by mistake. */
  reactivate(): void {
    this._activation.atMs = this._nowMs;
    events.emit('DispatcherReactivated', { object: this });
  }

  /** The dispatcher is alive. Written once in each ping interval. */
  ping(): void {
    const nowMs = this._nowMs;
    if (this._activation.atMs === undefined) {
      logger.critical(
        `the dispatcher ${this.uuid} was deactivated, and still pings: it is activated again. ` +
          'Are the clocks out of step, or commits too slow?',
      );
      this.reactivate();
    }
    const { atMs } = this._lastPing;
    if (atMs === undefined || atMs + this._pingIntervalMs <= nowMs) this._lastPing.atMs = nowMs;
  }

  /** Whether any agent holds jobs. */
  get isIdle(): boolean {
    for (const agent of this._agents.values()) if (!agent.isIdle) return false;
    return true;
  }

  /**
   * Empties the agents. Assigned jobs go back to the head of the queue; active ones and those in callbacks are handed to a job of the
   * system's own; completed ones are filed.
   */
  clean(): void {
    const queue = this.parent as Queue;
    for (const agent of this._agents.values()) {
      for (const { job } of agent.unfinished()) {
        const { status } = job;
        switch (status) {
          case ASSIGNED:
            agent.letGo(job);
            queue.putBack(job);
            break;
          case ACTIVE:
            // It waits for another job, whose end completes it in whatever process that is.
            if (job.innerJob !== undefined) break;
            agent.letGo(job);
            // Its worker, should it be alive after all, finds the job changed and cannot finish it.
            job.moveTo(queue);
            queue.put(systemJob(method(job as unknown as Job, 'handleInterrupt'), job, queue));
            break;
          case CALLBACKS:
            agent.letGo(job);
            job.moveTo(queue);
            queue.put(systemJob(method(job as unknown as Job, 'resumeCallbacks'), job, queue));
            break;
          case COMPLETED:
            agent.jobCompleted(job);
            break;
          default:
            agent.letGo(job);
        }
      }
    }
  }

  private get _nowMs(): number {
    return (this.parent as Queue).nowMs;
  }
}

/** The dispatchers that have served a queue, by UUID. */
export class Dispatchers extends Persistent {
  readonly parent: Queue;
  private readonly _dispatchers = new PersistentMapping<DispatcherAgents>();

  constructor(queue: Queue) {
    super();
    this.parent = queue;
  }

  /** Makes a dispatcher known. @throws AlreadyRegisteredError when it is. */
  register(uuid: string): DispatcherAgents {
    if (this._dispatchers.has(uuid)) throw new AlreadyRegisteredError(`the dispatcher ${uuid} is registered already`);
    const agents = new DispatcherAgents(uuid, this.parent);
    this._dispatchers.set(uuid, agents);
    events.emit('DispatcherRegistered', { object: agents });
    return agents;
  }

  /** Takes a dispatcher out, and returns it. @throws BadStatusError while it is active. RangeError when it is not known. */
  unregister(uuid: string): DispatcherAgents {
    const agents = this._dispatchers.get(uuid);
    if (!agents) throw new RangeError(`no dispatcher ${uuid} is registered`);
    if (agents.activated !== undefined)
      throw new BadStatusError(`the dispatcher ${uuid} is active: deactivate it first`);
    agents.clean();
    this._dispatchers.delete(uuid);
    agents.parent = undefined;
    events.emit('DispatcherUnregistered', { object: agents, parent: this });
    return agents;
  }

  /**
   * A dispatcher is alive; it also looks at its next sibling, and buries it if it is dead, and cleans up after those that are inactive
   * but still hold jobs.
   */
  ping(uuid: string): void {
    const agents = this._dispatchers.get(uuid);
    if (!agents) throw new RangeError(`no dispatcher ${uuid} is registered`);
    agents.ping();
    const sibling = this._nextActive(uuid);
    if (sibling?.dead) {
      logger.error(
        `the dispatcher ${sibling.uuid} has not been heard of since ${sibling.lastPing?.toISOString()}: it is buried`,
      );
      sibling.deactivate();
    }
    for (const other of this._dispatchers.values()) if (other.activated === undefined && !other.isIdle) other.clean();
  }

  /** For dispatchers: records that say which of them are active. */
  *watchedOids(): Generator<number> {
    yield this._dispatchers._p_oid as number;
    for (const agents of this._dispatchers.values()) yield agents.activationOid;
  }

  private _nextActive(uuid: string): DispatcherAgents | undefined {
    const active = [...this._dispatchers.values()].filter((each) => each.activated !== undefined && each.uuid !== uuid);
    active.sort((a, b) => (a.uuid < b.uuid ? -1 : 1));
    return active.find((each) => each.uuid > uuid) ?? active[0];
  }

  get(uuid: string): DispatcherAgents | undefined {
    return this._dispatchers.get(uuid);
  }

  has(uuid: string): boolean {
    return this._dispatchers.has(uuid);
  }

  get size(): number {
    return this._dispatchers.size;
  }

  values(): DispatcherAgents[] {
    return [...this].map(([, agents]) => agents);
  }

  keys(): string[] {
    return [...this._dispatchers.keys()].sort();
  }

  /** By UUID. */
  [Symbol.iterator](): ArrayIterator<[string, DispatcherAgents]> {
    return [...this._dispatchers].sort(([a], [b]) => (a < b ? -1 : 1)).values();
  }
}

function requireIdle(agent: Agent, what: string): void {
  if (!agent.isIdle) throw new BadStatusError(`the agent '${agent.name}' holds jobs: it cannot be ${what}`);
}

registerInternal({
  'holdfast.DispatcherAgents': DispatcherAgents,
  'holdfast.Dispatchers': Dispatchers,
  'holdfast.Activation': Activation,
  'holdfast.LastPing': LastPing,
});
