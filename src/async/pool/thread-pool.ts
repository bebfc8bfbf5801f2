import { totalmem } from 'node:os';
import { type Clock, delay, Logger, systemClock, type Timer } from '../../base/index.js';
import { type DB, persistableModules } from '../../odb/index.js';
import { refuseEntryModule } from '../job-modules.js';
import { JobThread, type ThreadEnd } from './job-thread.js';
import type { FromThread } from './thread-messages.js';
import type { ClaimedJob, JobListener, JobOutcome, SlotStatus, WorkerPool } from './worker-pool.js';

const events = new Logger('zc.async.events');

/** Pauses before a thread that could not start is started again: the first, and the longest. */
const RESTART_FIRST_MS = 1000;
const RESTART_MAX_MS = 60_000;
/** Memory of one thread's objects, unless the machine has little: a quarter of it. */
const HEAP_MEGABYTES_MAX = 2048;
const HEAP_MEGABYTES_MIN = 256;

/** Options of a {@link ThreadPool}. */
export interface ThreadPoolOptions {
  /** Name of the agent, for the names of the slots. */
  readonly name: string;
  readonly size: number;
  /** The database of the jobs; its storage is attached to from each thread. */
  readonly db: DB;
  /** UUID of the dispatcher, for which the threads speak. */
  readonly uuid: string;
  /** Most memory that the objects of one thread may take, in MB. Default: a quarter of the machine's, 2048 at most. */
  readonly heapMegabytesMax?: number;
  readonly clock?: Clock;
}

interface Work {
  readonly job: ClaimedJob;
  readonly listener: JobListener;
}

/**
 * A place for one job at a time.
 *
 * - starting: its thread imports the modules of its jobs and opens its view of the database.
 * - idle: ready for a job, its cache warm from the last one.
 * - busy: has a job.
 * - ending: gets no further job.
 */
interface Slot {
  readonly name: string;
  readonly thread: JobThread;
  state: 'starting' | 'idle' | 'busy' | 'ending';
  work: (Work & { readonly startedMs: number }) | undefined;
  /** Whether the last commit of its job is on its way, so that it may be given the next one: it need not be woken once more for that. */
  isFinishing: boolean;
  /** What it begins when its job is over. */
  next: Work | undefined;
  /** How many of the registered modules the thread has. */
  moduleCount: number;
}

/**
 * Runs the jobs of an agent in worker threads, each with its own connection and cache.
 *
 * Threads are started when there is work for them, side by side, and stay. A job that burns the processor, or blocks, or
 * ends its thread costs nothing but its own slot: the dispatcher's thread goes on, the job ends as `interrupted`, and
 * another thread takes the place.
 *
 * A thread that cannot be started (a module fails there, the database cannot be opened) is tried again, with growing pauses
 * and CRITICAL lines in the log; the jobs wait for it.
 */
export class ThreadPool implements WorkerPool {
  readonly kind = 'threads';
  readonly #options: ThreadPoolOptions;
  readonly #clock: Clock;
  readonly #heapMegabytesMax: number;
  readonly #slots = new Set<Slot>();
  readonly #waiting: Work[] = [];
  #size: number;
  #failedStarts = 0;
  #restart: Timer | undefined;
  #stopping = false;

  /** @throws EntryModuleError when job functions stand in the module that the program starts with. */
  constructor(options: ThreadPoolOptions) {
    refuseEntryModule(persistableModules());
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#size = options.size;
    this.#heapMegabytesMax = options.heapMegabytesMax ?? defaultHeapMegabytes();
  }

  get size(): number {
    return this.#size;
  }

  get jobCount(): number {
    let count = this.#waiting.length;
    for (const { work, next } of this.#slots) count += (work ? 1 : 0) + (next ? 1 : 0);
    return count;
  }

  start(job: ClaimedJob, listener: JobListener): void {
    if (this.#stopping) {
      queueMicrotask(() => listener.ended({ kind: 'interrupted', reason: 'the pool was stopped' }));
      return;
    }
    this.#waiting.push({ job, listener });
    this.#assign();
  }

  resize(size: number): void {
    this.#size = size;
    let surplus = [...this.#slots].filter(({ state }) => state !== 'ending').length - size;
    // Those that have nothing to lose go first.
    for (const state of ['starting', 'idle', 'busy'] as const) {
      for (const slot of this.#slots) {
        if (surplus <= 0) break;
        if (slot.state !== state) continue;
        surplus--;
        this.#retire(slot);
      }
    }
    this.#assign();
  }

  status(): readonly SlotStatus[] {
    return [...this.#slots].map(({ name, state, work }) => ({
      name,
      state,
      ...(work && {
        job: {
          oid: work.job.oid,
          databaseName: work.job.databaseName,
          call: work.job.call,
          startedMs: work.startedMs,
        },
      }),
    }));
  }

  async stop({ graceMs }: { readonly graceMs: number }): Promise<void> {
    this.#stopping = true;
    this.#restart?.cancel();
    for (const { listener } of this.#waiting.splice(0)) {
      listener.ended({ kind: 'interrupted', reason: 'the pool was stopped before the job was begun' });
    }
    const gone = Promise.all([...this.#slots].map((slot) => this.#retire(slot)));
    if (graceMs > 0) {
      const patience = new AbortController();
      await Promise.race([gone, delay(this.#clock, graceMs, { signal: patience.signal }).catch(() => {})]);
      patience.abort();
    }
    for (const slot of this.#slots) this.#kill(slot, 'the pool was stopped');
    await gone;
  }

  /** Gives waiting jobs to idle slots, and starts slots for those that are left. */
  #assign(): void {
    if (this.#stopping) return;
    let starting = 0;
    let live = 0;
    for (const slot of this.#slots) {
      if (slot.state !== 'ending') live++;
      if (slot.state === 'starting') starting++;
      if (slot.state === 'idle' && slot.thread.isReady) this.#give(slot);
    }
    for (const slot of this.#slots) {
      if (slot.state === 'busy' && slot.isFinishing && !slot.next && slot.thread.isReady) this.#giveNext(slot);
    }
    // After a failed start one thread tries alone.
    const wanted = Math.min(
      this.#waiting.length - starting,
      this.#size - live,
      this.#failedStarts > 0 ? 1 - starting : Infinity,
    );
    if (this.#restart) return;
    for (let i = 0; i < wanted; i++) this.#startSlot();
  }

  #give(slot: Slot): void {
    const work = this.#waiting.shift();
    if (!work) {
      // Whether an idle dispatcher keeps the process alive is not for its threads to decide.
      slot.thread.keepsAlive(false);
      return;
    }
    slot.thread.keepsAlive(true);
    slot.state = 'busy';
    this.#begin(slot, work);
    this.#send(slot, work);
  }

  #giveNext(slot: Slot): void {
    slot.next = this.#waiting.shift();
    if (slot.next) this.#send(slot, slot.next);
  }

  #begin(slot: Slot, work: Work): void {
    slot.work = { ...work, startedMs: this.#clock.now() };
    slot.isFinishing = false;
  }

  #send(slot: Slot, { job }: Work): void {
    const modules = persistableModules();
    slot.thread.post({ kind: 'run', job, modules: modules.slice(slot.moduleCount) });
    slot.moduleCount = modules.length;
  }

  #startSlot(): void {
    const { db, uuid } = this.#options;
    const name = `${this.#options.name}:${this.#freeNumber()}`;
    const modules = persistableModules();
    let thread: JobThread;
    try {
      thread = new JobThread({
        name,
        attachment: db.storage.attach(),
        start: { databaseName: db.databaseName, uuid, modules },
        heapMegabytesMax: this.#heapMegabytesMax,
        clock: this.#clock,
        onMessage: (message) => this.#receive(slot, message),
        onEnd: (end) => this.#ended(slot, end),
      });
    } catch (error) {
      this.#startFailed(name, error);
      return;
    }
    const slot: Slot = {
      name,
      thread,
      state: 'starting',
      work: undefined,
      isFinishing: false,
      next: undefined,
      moduleCount: modules.length,
    };
    this.#slots.add(slot);
    thread.ready.then(
      () => {
        this.#failedStarts = 0;
        if (slot.state !== 'starting') return;
        slot.state = 'idle';
        this.#assign();
      },
      (error) => {
        if (slot.state !== 'starting') return;
        slot.state = 'ending';
        this.#startFailed(name, error);
        void thread.kill();
      },
    );
  }

  #startFailed(name: string, error: unknown): void {
    this.#failedStarts++;
    const pauseMs = Math.min(RESTART_FIRST_MS * 2 ** (this.#failedStarts - 1), RESTART_MAX_MS);
    events.critical(
      `the worker thread ${name} does not start; its jobs wait, and it is tried again in ${pauseMs / 1000} s`,
      error,
    );
    this.#restart ??= this.#clock.schedule(pauseMs, () => {
      this.#restart = undefined;
      this.#assign();
    });
  }

  #freeNumber(): number {
    const taken = new Set([...this.#slots].map(({ name }) => name));
    for (let number = 1; ; number++) if (!taken.has(`${this.#options.name}:${number}`)) return number;
  }

  #receive(slot: Slot, message: Extract<FromThread, { kind: 'finishing' | 'done' }>): void {
    const { work } = slot;
    // The last words of a thread that was told to end in the middle of its job.
    if (!work) return;
    if (message.kind === 'finishing') {
      slot.isFinishing = true;
      work.listener.finishing();
    } else this.#jobEnded(slot, message.outcome);
  }

  #jobEnded(slot: Slot, outcome: JobOutcome): void {
    const { work, next } = slot;
    slot.work = undefined;
    slot.next = undefined;
    if (next) this.#begin(slot, next);
    else if (slot.state === 'busy') slot.state = 'idle';
    else if (slot.thread.isReady) void slot.thread.end();
    work?.listener.ended(outcome);
    this.#assign();
  }

  /** Has a slot end after the job that it may have; resolves once its thread is gone. */
  #retire(slot: Slot): Promise<void> {
    const { state, thread, work } = slot;
    slot.state = 'ending';
    if (!work && state !== 'ending') void thread.end();
    return thread.ended;
  }

  #kill(slot: Slot, reason: string): void {
    slot.state = 'ending';
    void slot.thread.kill();
    // It does nothing any more, though a blocking system call may keep it from being gone.
    while (slot.work) this.#jobEnded(slot, { kind: 'interrupted', reason });
  }

  #ended(slot: Slot, { error, exitCode }: ThreadEnd): void {
    this.#slots.delete(slot);
    const { work, next, state } = slot;
    slot.state = 'ending';
    slot.next = undefined;
    if (next && this.#stopping) next.listener.ended({ kind: 'interrupted', reason: 'the pool was stopped' });
    // It had not begun: threads run their jobs in order, and say so.
    else if (next) this.#waiting.unshift(next);
    if (work) {
      const reason = `its worker thread ${slot.name} ${error ? `died: ${error.message}` : `exited with code ${exitCode}`}`;
      events.error(`\`\`${work.job.call}\`\` is interrupted: ${reason}`, error);
      this.#jobEnded(slot, { kind: 'interrupted', reason });
    } else if (state === 'starting') {
      // Ordering: before the next one is started, so that one that cannot start is not tried again at once, for ever.
      this.#startFailed(
        slot.name,
        error ?? new Error(`the worker thread ended with exit code ${exitCode} while it started`),
      );
    } else if (state === 'idle') {
      events.error(`the worker thread ${slot.name} ended while it had no job`, error);
    }
    this.#assign();
  }
}

function defaultHeapMegabytes(): number {
  const quarter = Math.floor(totalmem() / 4 / 1024 ** 2);
  return Math.min(Math.max(quarter, HEAP_MEGABYTES_MIN), HEAP_MEGABYTES_MAX);
}
