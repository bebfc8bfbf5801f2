import { type Clock, type Duration, delay, durationMs, retryOf, systemClock, type Timer } from '../base/index.js';
import { type Connection, type DB, type Oid, ROOT_OID, type Tid, TransactionManager } from '../odb/index.js';
import type { Agent } from './agent.js';
import { AgentSlots } from './agent-slots.js';
import type { DispatcherAgents } from './dispatcher-agents.js';
import {
  type AgentPoll,
  DispatcherRecords,
  type JobInfo,
  type PollFilter,
  type PollInfo,
  type Statistics,
} from './dispatcher-records.js';
import { AlreadyRegisteredError } from './errors.js';
import { Failure } from './failure.js';
import { instanceUuid } from './instance-uuid.js';
import type { Job } from './job.js';
import { eventLog, traceLog } from './job-log.js';
import { type Queue, queuesOf } from './queue.js';
import { ReadAhead } from './read-ahead.js';
import { SiblingWatch } from './sibling-watch.js';

/** Options of {@link Dispatcher}. */
export interface DispatcherOptions {
  /** What gives it its heartbeat. Default: the machine's clock. */
  readonly reactor?: Clock;
  /** How often it polls; commits to a queue wake it at once. Default: 5 s. */
  readonly pollInterval?: Duration;
  /** Default: that of this software instance. */
  readonly uuid?: string;
  /** How many jobs are remembered. Default: 200. */
  readonly jobsSize?: number;
  /** How many polls are remembered. Default: 400. */
  readonly pollsSize?: number;
  /** How long jobs have to finish when it is deactivated. Default: 5 s. */
  readonly grace?: Duration;
}

/** How a dispatcher is. */
export interface DispatcherStatus {
  readonly status: 'STARTING' | 'RUNNING' | 'STUCK' | 'STOPPED';
  /** In ms, as are all that follow. */
  readonly pollInterval: number;
  readonly timeSinceLastPoll: number | undefined;
  readonly uptime: number | undefined;
  readonly uuid: string;
}

const CLAIM_TRIES = 5;
/** How long a completed job may wait to be filed, where nothing is claimed meanwhile. */
const FILE_DELAY_MS = 50;
/** How long the database has for each of the last things that a dispatcher does in it. */
const LEAVE_LIMIT_MS = 3000;
const RECONNECT_FIRST_MS = 500;
const RECONNECT_MAX_MS = 10_000;
const CLAIM_LOCK_WAIT_MS = 1000;

/** Dispatchers of this process, by UUID. */
const dispatchers = new Map<string, Dispatcher>();

/**
 * The engine of one process: it polls the queues, claims jobs for its agents, and has them run in the agents' pools.
 *
 * Work is done in *refills*, one at a time: a transaction that files what was finished, claims for all free slots and marks these jobs
 * active. What becomes free meanwhile goes into the next one. A refill is made when a job ends, when a commit to the queue is published,
 * when a scheduled job becomes due, and at every poll.
 *
 * - stopped: before `activate` and after `deactivate`.
 * - running: polls and refills.
 * - stopping: claims nothing; its pools come to their end, then its agents are cleaned up.
 */
export class Dispatcher {
  readonly db: DB;
  readonly uuid: string;
  readonly reactor: Clock;
  readonly #pollIntervalMs: number;
  readonly #graceMs: number;
  readonly #manager: TransactionManager;
  readonly #records: DispatcherRecords;
  /** Slots of each agent, by queue and agent. */
  readonly #slots = new Map<string, AgentSlots>();
  readonly #readAhead = new ReadAhead();
  #connection: Connection | undefined;
  #state: 'stopped' | 'running' | 'stopping' = 'stopped';
  #pollTimer: Timer | undefined;
  #dueTimer: Timer | undefined;
  #fileTimer: Timer | undefined;
  #unsubscribe: (() => void) | undefined;
  #siblings: SiblingWatch | undefined;
  /** Records whose change may bring work, and those that say who serves it, as of the last refill. */
  #watched = new Set<number>();
  #watchedSetup = new Set<number>();
  #activatedMs: number | undefined;
  #lastPollMs: number | undefined;
  #reconnectTries = 0;
  /** What is to be done, and whether somebody does it. */
  #wanted: 'nothing' | 'refill' | 'poll' = 'nothing';
  #cycle: Promise<void> | undefined;
  readonly #pollWaiters: (() => void)[] = [];
  #lastLogged = '';
  #deactivation: Promise<void> | undefined;
  readonly #deactivatedListeners: (() => void)[] = [];

  /** @throws AlreadyRegisteredError when this process has a dispatcher of that UUID. */
  constructor(db: DB, options: DispatcherOptions = {}) {
    this.db = db;
    this.uuid = options.uuid ?? instanceUuid();
    this.reactor = options.reactor ?? systemClock;
    this.#pollIntervalMs = durationMs(options.pollInterval ?? { seconds: 5 });
    this.#graceMs = durationMs(options.grace ?? { seconds: 5 });
    this.#records = new DispatcherRecords(options.jobsSize ?? 200, options.pollsSize ?? 400);
    this.#manager = new TransactionManager({ clock: this.reactor });
    if (dispatchers.has(this.uuid)) {
      throw new AlreadyRegisteredError(`this process has a dispatcher ${this.uuid} already`);
    }
    dispatchers.set(this.uuid, this);
  }

  /** The dispatcher of that UUID in this process; without one, that of this software instance, or the only one. */
  static get(uuid?: string): Dispatcher | undefined {
    if (uuid !== undefined) return dispatchers.get(uuid);
    if (dispatchers.size === 1) return dispatchers.values().next().value;
    return dispatchers.get(instanceUuid());
  }

  /** In ms. */
  get pollInterval(): number {
    return this.#pollIntervalMs;
  }

  // ---------------------------------------------------------------- life

  /** Begins to poll. Resolves once the first poll is over, in which it registers with the queues that there are. */
  async activate(): Promise<void> {
    if (this.#state !== 'stopped') throw new AlreadyRegisteredError(`the dispatcher ${this.uuid} is active already`);
    this.#state = 'running';
    this.#deactivation = undefined;
    this.#records.clear();
    this.#activatedMs = this.reactor.now();
    this.#lastPollMs = undefined;
    this.db.poolSize += 1;
    this.#connection = this.#manager.enter(() => this.db.open());
    const { storage } = this.db;
    this.#unsubscribe = storage.subscribe({
      invalidate: (_tid: Tid, oids: readonly Oid[]) => {
        if (this.#wanted === 'poll') return;
        if (oids.some((oid) => this.#watchedSetup.has(oid))) this.#want('poll');
        else if (this.#wanted === 'nothing' && oids.some((oid) => this.#watched.has(oid))) this.#want('refill');
      },
      invalidateAll: () => this.#want('poll'),
    });
    if (storage.locks) {
      this.#siblings = new SiblingWatch({
        locks: storage.locks,
        uuid: this.uuid,
        clock: this.reactor,
        bury: (uuid) => this.#bury(uuid),
      });
    }
    eventLog.info(`dispatcher ${this.uuid}: activated`);
    await this.#polled();
  }

  /**
   * Ends: claims nothing more, lets jobs finish for a while, and cleans up its agents; what was not finished is put back. May be called
   * again.
   */
  deactivate(): Promise<void> {
    if (this.#state === 'stopped') return this.#deactivation ?? Promise.resolve();
    this.#deactivation ??= this.#deactivate();
    return this.#deactivation;
  }

  /** Has `fn` called once, when the dispatcher has come to its end. */
  onDeactivated(fn: () => void): void {
    this.#deactivatedListeners.push(fn);
  }

  async #deactivate(): Promise<void> {
    this.#state = 'stopping';
    this.#pollTimer?.cancel();
    this.#dueTimer?.cancel();
    this.#fileTimer?.cancel();
    this.#unsubscribe?.();
    // A database that cannot be reached must not keep the process from its end: what is left is then cleaned up by siblings, or by the
    // next start.
    if (this.#cycle) await this.#patiently(this.#cycle, 'its last poll is not over');
    await Promise.all([...this.#slots.values()].map((slots) => slots.stop(this.#graceMs)));
    await this.#patiently(this.#leaveQueues(), 'its agents could not be cleaned up; siblings will, or its next start');
    if (this.#siblings) await this.#patiently(this.#siblings.close(), 'its lock could not be given back');
    for (const slots of this.#slots.values()) this.db.poolSize -= slots.size;
    this.#slots.clear();
    const { current } = this.#manager;
    if (current?.status !== 'committing') {
      current?.abort();
      this.#connection?.close();
    }
    this.#connection = undefined;
    this.db.poolSize -= 1;
    this.#state = 'stopped';
    dispatchers.delete(this.uuid);
    for (const fn of this.#deactivatedListeners.splice(0)) fn();
    eventLog.info(`dispatcher ${this.uuid}: deactivated`);
    for (const done of this.#pollWaiters.splice(0)) done();
  }

  /** Waits for a part of the end, but not for ever; what goes wrong is logged, and no more. */
  async #patiently(work: Promise<void>, otherwise: string): Promise<void> {
    const patience = new AbortController();
    const late = delay(this.reactor, LEAVE_LIMIT_MS, { signal: patience.signal }).then(() => {
      throw new Error(`the database did not answer within ${LEAVE_LIMIT_MS} ms`);
    });
    late.catch(() => {});
    work.catch(() => {});
    try {
      await Promise.race([work, late]);
    } catch (error) {
      eventLog.error(`dispatcher ${this.uuid}: ${otherwise}`, error);
    } finally {
      patience.abort();
    }
  }

  async #leaveQueues(): Promise<void> {
    await this.#manager.run(
      () => {
        for (const [name, queue] of queuesOf(this.#connection as Connection) ?? []) {
          const agents = queue.dispatchers.get(this.uuid);
          if (agents?.activated === undefined) continue;
          this.#file(name, agents);
          agents.deactivate();
        }
      },
      { retries: CLAIM_TRIES },
    );
  }

  async #bury(uuid: string): Promise<boolean> {
    return this.db.transaction(
      (connection) => {
        let wasActive = false;
        for (const [, queue] of queuesOf(connection) ?? []) {
          const agents = queue.dispatchers.get(uuid);
          if (agents?.activated === undefined) continue;
          agents.deactivate();
          wasActive = true;
        }
        return wasActive;
      },
      { retries: CLAIM_TRIES },
    );
  }

  // ---------------------------------------------------------------- the cycle

  /** Has a refill, or a poll, made: now, or as soon as the one that is under way is over. */
  #want(what: 'refill' | 'poll'): void {
    if (this.#state !== 'running') return;
    if (this.#wanted !== 'poll') this.#wanted = what;
    // Ordering: who is told of a commit cannot read it before everybody was told.
    this.#cycle ??= Promise.resolve().then(() => this.#run());
  }

  /** Has a refill made in a while, unless there is one before: what is to be filed then goes with what it claims. */
  #wantSoon(): void {
    this.#fileTimer ??= this.reactor.schedule(FILE_DELAY_MS, () => this.#want('refill'), { ref: true });
  }

  /** Resolves when a poll that begins now, or later, is over. */
  #polled(): Promise<void> {
    const done = new Promise<void>((resolve) => this.#pollWaiters.push(resolve));
    this.#want('poll');
    return done;
  }

  async #run(): Promise<void> {
    await this.#manager.enter(async () => {
      while (this.#wanted !== 'nothing' && this.#state === 'running') {
        const isPoll = this.#wanted === 'poll';
        this.#wanted = 'nothing';
        try {
          if (isPoll) await this.#poll();
          else await this.#refillAll();
          this.#reconnectTries = 0;
        } catch (error) {
          this.#failed(error);
          break;
        }
      }
    });
    this.#cycle = undefined;
    // Somebody may have asked between the last look and here.
    if (this.#wanted !== 'nothing') this.#want(this.#wanted);
  }

  /** The database cannot be reached, or worse: polls again after a pause, for ever. */
  #failed(error: unknown): void {
    this.#wanted = 'nothing';
    if (this.#manager.current && this.#manager.current.status !== 'committing') this.#manager.current.abort();
    const tries = ++this.#reconnectTries;
    const delayMs = Math.min(RECONNECT_FIRST_MS * 2 ** (tries - 1), RECONNECT_MAX_MS);
    if (tries === 1 || tries % 10 === 0) {
      const level = retryOf(error) === 'later' ? 'warning' : 'critical';
      eventLog.log(level, `dispatcher ${this.uuid}: a poll failed; it is tried again in ${delayMs} ms`, { error });
    }
    this.#pollTimer?.cancel();
    this.#pollTimer = this.reactor.schedule(delayMs, () => this.#want('poll'), { ref: true });
  }

  async #poll(): Promise<void> {
    this.#pollTimer?.cancel();
    const queues: Record<string, Record<string, AgentPoll> | null> = {};
    this.#manager.begin();
    const names = [...(queuesOf(this.#connection as Connection)?.keys() ?? [])];
    for (const name of names) {
      if (!(await this.#serve(name))) {
        queues[name] = null;
        continue;
      }
      queues[name] = {};
      const polled = await this.#refill(name, true);
      Object.assign(queues[name] as Record<string, AgentPoll>, polled);
    }
    this.#watch();
    this.#followSiblings(names);
    const nowMs = this.reactor.now();
    this.#lastPollMs = nowMs;
    const poll = this.#records.addPoll(nowMs, queues);
    this.#logPoll(poll);
    this.#pollTimer = this.reactor.schedule(this.#pollIntervalMs, () => this.#want('poll'), { ref: true });
    for (const done of this.#pollWaiters.splice(0)) done();
  }

  #logPoll(poll: PollInfo): void {
    if (!traceLog.isEnabled('debug')) return;
    const text = JSON.stringify(poll.queues);
    if (text !== this.#lastLogged) traceLog.debug(`poll ${poll.key}: ${text}`);
    this.#lastLogged = text;
  }

  /** Registers with a queue, activates there, pings; returns whether the queue can be served. */
  async #serve(name: string): Promise<boolean> {
    const ownLock = this.#siblings ? await this.#siblings.takeOwnLock() : undefined;
    return this.#manager
      .run(
        () => {
          const queue = queuesOf(this.#connection as Connection)?.get(name);
          if (!queue) return false;
          const agents = queue.dispatchers.get(this.uuid) ?? queue.dispatchers.register(this.uuid);
          if (!this.#hasServed.has(name)) {
            if (agents.activated !== undefined) {
              // Our lock is ours: whoever was active under our name is gone.
              if (ownLock !== true && !agents.dead) {
                this.#warnOfTwin(name);
                return false;
              }
              agents.deactivate();
            } else if (ownLock === false) {
              this.#warnOfTwin(name);
              return false;
            }
            agents.activate();
            eventLog.info(`dispatcher ${this.uuid}: activated in queue '${name}'`);
          }
          queue.dispatchers.ping(this.uuid);
          queue.retireIdleLanes();
          return true;
        },
        { retries: CLAIM_TRIES },
      )
      .then((isServed) => {
        if (isServed) this.#hasServed.add(name);
        return isServed;
      });
  }

  readonly #hasServed = new Set<string>();

  #warnOfTwin(name: string): void {
    eventLog.error(
      `dispatcher ${this.uuid}: another process is active in queue '${name}' under this UUID, and is not dead. ` +
        'Stop it, or give one of the two another UUID file (ZC_ASYNC_UUID, --uuid-file); until then this one leaves the queue alone',
    );
  }

  #followSiblings(names: readonly string[]): void {
    if (!this.#siblings) return;
    const active = new Set<string>();
    for (const name of names) {
      for (const [uuid, agents] of this.#queue(name)?.dispatchers ?? [])
        if (agents.activated !== undefined) active.add(uuid);
    }
    this.#siblings.follow(active);
  }

  #queue(name: string): Queue | undefined {
    return queuesOf(this.#connection as Connection)?.get(name);
  }

  async #refillAll(): Promise<void> {
    for (const name of this.#hasServed) await this.#refill(name, false);
    this.#watch();
  }

  /** Files, claims and starts, for all agents of a queue. */
  async #refill(name: string, isPoll: boolean): Promise<Record<string, AgentPoll>> {
    for (let tries = 1; ; tries++) {
      let unlock: (() => Promise<void>) | undefined;
      try {
        this.#manager.begin();
        const agents = this.#queue(name)?.dispatchers.get(this.uuid);
        if (!agents || agents.activated === undefined) return {};
        if (isPoll) this.#syncSlots(name, agents);
        const freeCount = this.#freeCount(name);
        if (freeCount > 0) {
          unlock = await this.#claimLock(name, agents);
          await this.#readAhead.prepare(this.#queue(name) as Queue, freeCount);
        }
        this.#fileTimer?.cancel();
        this.#fileTimer = undefined;
        const filed = this.#file(name, agents);
        const polled: Record<string, AgentPoll> = {};
        const claimed = new Map<AgentSlots, Job[]>();
        for (const [agentName, agent] of agents) {
          const slots = this.#slots.get(slotsKey(name, agentName));
          if (!slots) continue;
          const jobs = this.#claim(agent, slots);
          claimed.set(slots, jobs);
          if (isPoll || jobs.length > 0) polled[agentName] = pollOf(agent, jobs, this.db.databaseName, isPoll);
        }
        await this.#manager.commit();
        filed();
        const queue = this.#queue(name) as Queue;
        for (const [slots, jobs] of claimed) for (const job of jobs) slots.start(job, queue.nowMs);
        if (!isPoll && Object.keys(polled).length > 0) this.#records.addPoll(this.reactor.now(), { [name]: polled });
        return polled;
      } catch (error) {
        if (this.#manager.current) this.#manager.current.abort();
        if (retryOf(error) === 'now' && tries < CLAIM_TRIES) continue;
        if (retryOf(error) === 'later') throw error;
        eventLog.critical(
          `dispatcher ${this.uuid}: claiming from queue '${name}' failed; the next poll tries again`,
          error,
        );
        await this.#keepFailure(name, error);
        return {};
      } finally {
        await unlock?.();
      }
    }
  }

  #freeCount(queueName: string): number {
    let count = 0;
    for (const [key, slots] of this.#slots) if (key.startsWith(slotsKey(queueName, ''))) count += slots.freeCount;
    return count;
  }

  #claim(agent: Agent, slots: AgentSlots): Job[] {
    const jobs: Job[] = [];
    slots.resize(agent.size);
    for (let free = slots.freeCount; free > 0; free--) {
      const job = agent.claimAnother();
      if (!job) break;
      job.begin(agent.queue.nowMs);
      jobs.push(job);
    }
    if (agent.failure !== undefined) agent.failure = undefined;
    return jobs;
  }

  /** Where others claim too, one claims at a time, so that they do not meet at the head of the line. Nothing depends on it. */
  async #claimLock(name: string, agents: DispatcherAgents): Promise<(() => Promise<void>) | undefined> {
    const { locks } = this.db.storage;
    if (!locks) return undefined;
    let active = 0;
    for (const [, each] of agents.parent?.dispatchers ?? []) if (each.activated !== undefined) active++;
    if (active < 2) return undefined;
    const lockName = `claim:${name}`;
    const patience = new AbortController();
    const timer = this.reactor.schedule(CLAIM_LOCK_WAIT_MS, () => patience.abort(new Error('waited long enough')));
    try {
      await locks.lock(lockName, { signal: patience.signal });
    } catch {
      return undefined;
    } finally {
      timer.cancel();
    }
    // What the one before us has claimed is published by now.
    this.#manager.begin();
    return () => locks.unlock(lockName).catch(() => {});
  }

  /** Moves what was finished from the agents to their `completed`; returns what is to be called once that is committed. */
  #file(name: string, agents: DispatcherAgents): () => void {
    const done: (() => void)[] = [];
    for (const [agentName, agent] of agents) {
      const slots = this.#slots.get(slotsKey(name, agentName));
      if (slots) done.push(slots.file(agent));
    }
    return () => {
      for (const fn of done) fn();
    };
  }

  async #keepFailure(name: string, error: unknown): Promise<void> {
    try {
      await this.#manager.run(() => {
        for (const [, agent] of this.#queue(name)?.dispatchers.get(this.uuid) ?? []) agent.failure = new Failure(error);
      });
    } catch (second) {
      eventLog.error(`dispatcher ${this.uuid}: the failure could not be kept on the agent either`, second);
    }
  }

  /** Agents may have been added, removed or resized: pools follow. */
  #syncSlots(name: string, agents: DispatcherAgents): void {
    const seen = new Set<string>();
    for (const [agentName, agent] of agents) {
      const key = slotsKey(name, agentName);
      seen.add(key);
      let slots = this.#slots.get(key);
      if (slots && slots.poolKind !== agent.pool && slots.isIdle) {
        void slots.stop(0);
        this.db.poolSize -= slots.size;
        slots = undefined;
      }
      if (!slots) {
        slots = new AgentSlots({
          db: this.db,
          uuid: this.uuid,
          dispatcher: this,
          reactor: this.reactor,
          records: this.#records,
          queueName: name,
          agentName,
          size: agent.size,
          poolKind: agent.pool,
          free: () => this.#want('refill'),
          toFile: () => this.#wantSoon(),
        });
        this.#slots.set(key, slots);
        this.db.poolSize += agent.size;
      }
      slots.noticeHeld(agent);
    }
    for (const [key, slots] of this.#slots) {
      if (!key.startsWith(`${name}\0`) || seen.has(key)) continue;
      this.#slots.delete(key);
      this.db.poolSize -= slots.size;
      void slots.stop(this.#graceMs);
    }
  }

  /** Notes which records may bring work when they change, and when the next scheduled job is due. */
  #watch(): void {
    const watched = new Set<number>();
    const setup = new Set<number>();
    let dueMs = Infinity;
    const queues = queuesOf(this.#connection as Connection);
    // Until there is a queue, its coming is what to wait for.
    setup.add((queues?._p_oid ?? ROOT_OID) as number);
    for (const name of this.#hasServed) {
      const queue = queues?.get(name);
      if (!queue) continue;
      for (const oid of queue.watchedOids()) watched.add(oid);
      for (const oid of queue.dispatchers.watchedOids()) setup.add(oid);
      for (const oid of queue.dispatchers.get(this.uuid)?.watchedOids() ?? []) setup.add(oid);
      dueMs = Math.min(dueMs, queue.nextDueMs ?? Infinity);
      for (const slots of this.#slots.values()) for (const oid of slots.waitingOids) watched.add(oid);
    }
    this.#watched = watched;
    this.#watchedSetup = setup;
    this.#dueTimer?.cancel();
    if (dueMs < Infinity) {
      this.#dueTimer = this.reactor.schedule(Math.max(dueMs - this.db.storage.clock.now(), 0) + 1, () =>
        this.#want('refill'),
      );
    }
  }

  // ---------------------------------------------------------------- looking

  getStatusInfo(): DispatcherStatus {
    const nowMs = this.reactor.now();
    const sinceMs = this.#lastPollMs ?? this.#activatedMs ?? nowMs;
    const isOverdue = nowMs - sinceMs > this.#pollIntervalMs * 2 + 1000;
    const isStopped = this.#state === 'stopped';
    return {
      status: isStopped ? 'STOPPED' : isOverdue ? 'STUCK' : this.#lastPollMs === undefined ? 'STARTING' : 'RUNNING',
      pollInterval: this.#pollIntervalMs,
      timeSinceLastPoll: isStopped || this.#lastPollMs === undefined ? undefined : nowMs - this.#lastPollMs,
      uptime: isStopped || this.#activatedMs === undefined ? undefined : nowMs - this.#activatedMs,
      uuid: this.uuid,
    };
  }

  /** Jobs that run at this instant, newest first. */
  getActiveJobIds(
    filter: { readonly queue?: string; readonly agent?: string } = {},
  ): { oid: Oid; databaseName: string }[] {
    return this.#records.active(filter).map(({ oid, databaseName }) => ({ oid, databaseName }));
  }

  /** What is known of a job that ran here. @throws LookupError when it is not known. */
  getJobInfo(oid: number, databaseName?: string): JobInfo {
    return this.#records.jobInfo(oid, databaseName);
  }

  /** The last poll, or the one of that time. @throws LookupError when there is none. */
  getPollInfo(filter: Pick<PollFilter, 'at' | 'before'> = {}): PollInfo {
    return this.#records.poll(filter, this.reactor.now());
  }

  /** Polls from the newest to the oldest. */
  iterPolls(filter: PollFilter = {}): Generator<PollInfo> {
    return this.#records.polls(filter, this.reactor.now());
  }

  getStatistics(filter: PollFilter = {}): Statistics {
    return this.#records.statistics(filter, this.reactor.now());
  }
}

function slotsKey(queueName: string, agentName: string): string {
  return `${queueName}\0${agentName}`;
}

function pollOf(agent: Agent, jobs: readonly Job[], databaseName: string, isPoll: boolean): AgentPoll {
  const id = (job: Job) => ({ oid: job._p_oid as Oid, databaseName });
  return {
    size: agent.size,
    length: isPoll ? agent.length : jobs.length,
    activeJobs: isPoll ? [...agent].filter((job) => !jobs.includes(job)).map(id) : [],
    newJobs: jobs.map(id),
    error: agent.failure?.getTraceback('brief'),
  };
}
