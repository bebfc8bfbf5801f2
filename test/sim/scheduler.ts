import { type Clock, type Random, seededRandom, type Timer } from '#src/base/index.js';

/** Where simulated time begins. */
const START_MS = 1_700_000_000_000;
/** Lines of the trace that are kept for a report. */
const LINES_KEPT = 120;

interface Task {
  readonly label: string;
  readonly run: () => void;
}

interface PendingTimer {
  readonly atMs: number;
  readonly fn: () => void;
}

/** What happened, in order: the last lines of it, and a hash of all. */
export class Trace {
  readonly #lines: string[] = [];
  #hash = 0x811c9dc5;

  constructor(readonly isPrinted: boolean) {}

  note(line: string): void {
    // FNV-1a: cheap, and any difference between two runs shows.
    let hash = this.#hash;
    for (let i = 0; i < line.length; i++) hash = Math.imul(hash ^ line.charCodeAt(i), 0x01000193);
    this.#hash = hash;
    if (this.#lines.push(line) >= 2 * LINES_KEPT) this.#lines.splice(0, LINES_KEPT);
    if (this.isPrinted) console.log(line);
  }

  /** Of everything that was noted. */
  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  /** The last lines. */
  get tail(): string {
    return this.#lines.slice(-LINES_KEPT).join('\n');
  }
}

/**
 * Decides, from one seed, what happens next: everything in a simulation that waits, waits for a task here, and one task is run at a time,
 * until all promises that it settled have been dealt with.
 */
export class Scheduler implements Clock {
  readonly random: Random;
  readonly trace: Trace;
  #tasks: Task[] = [];
  readonly #timers = new Set<PendingTimer>();
  #elapsedMs = START_MS;
  #skewMs = 0;
  #latestMs = START_MS;
  #steps = 0;
  #count = 0;
  readonly #outside = new Set<Promise<unknown>>();

  constructor(seed: number, options: { readonly isPrinted?: boolean } = {}) {
    this.random = seededRandom(seed);
    this.trace = new Trace(options.isPrinted ?? false);
  }

  // ---------------------------------------------------------------- time

  /** The time as the clock on the wall shows it; it may step back. */
  now(): number {
    return this.#elapsedMs + this.#skewMs;
  }

  /** The latest time that the clock has ever shown. */
  get latestMs(): number {
    return this.#latestMs;
  }

  schedule(delayMs: number, fn: () => void): Timer {
    const timer = { atMs: this.#elapsedMs + Math.max(delayMs, 0), fn };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  turn(fn: () => void): void {
    this.defer('turn', fn);
  }

  /** Lets time pass at once. */
  pass(ms: number): void {
    this.#elapsedMs += ms;
    this.#latestMs = Math.max(this.#latestMs, this.now());
  }

  /** Sets the clock on the wall forth or back; timers do not notice. */
  adjust(ms: number): void {
    this.#skewMs += ms;
    this.#latestMs = Math.max(this.#latestMs, this.now());
  }

  // ---------------------------------------------------------------- choices

  chance(probability: number): boolean {
    return this.random.next() < probability;
  }

  /** A whole number from 0, below `count`. */
  below(count: number): number {
    return Math.floor(this.random.next() * count);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** Counts up, so that names differ. */
  count(): number {
    return ++this.#count;
  }

  // ---------------------------------------------------------------- tasks

  /** Runs `run` some time. */
  defer(label: string, run: () => void): void {
    this.#tasks.push({ label, run });
  }

  /** Resolves some time. */
  pause(label: string): Promise<void> {
    return new Promise((resolve) => this.defer(label, resolve));
  }

  /** What waits for the machine, and not for a task: the step in which it begins ends after it. */
  async outside<T>(work: Promise<T>): Promise<T> {
    this.#outside.add(work);
    try {
      return await work;
    } finally {
      this.#outside.delete(work);
    }
  }

  get steps(): number {
    return this.#steps;
  }

  note(line: string): void {
    this.trace.note(`${this.#steps} ${line}`);
  }

  /** Takes one step; resolves to whether there was one to take. */
  async step(): Promise<boolean> {
    const task = this.#next();
    if (!task) return false;
    this.#steps++;
    this.note(task.label);
    this.pass(this.chance(0.2) ? this.random.next() * 2 : 0.01);
    task.run();
    // Every promise that can settle without a further task has, once the event loop comes round.
    do {
      await Promise.allSettled(this.#outside);
      await new Promise((resolve) => setImmediate(resolve));
    } while (this.#outside.size > 0);
    return true;
  }

  #next(): Task | undefined {
    let earliest: PendingTimer | undefined;
    for (const timer of this.#timers) if (!earliest || timer.atMs < earliest.atMs) earliest = timer;
    if (earliest && (earliest.atMs <= this.#elapsedMs || this.#tasks.length === 0)) {
      this.#timers.delete(earliest);
      this.pass(Math.max(0, earliest.atMs - this.#elapsedMs));
      this.defer('timer', earliest.fn);
    }
    if (this.#tasks.length === 0) return undefined;
    // What is chosen gives its place to the last one: their order means nothing.
    const index = this.below(this.#tasks.length);
    const task = this.#tasks[index] as Task;
    const last = this.#tasks.pop() as Task;
    if (last !== task) this.#tasks[index] = last;
    return task;
  }

  /** A crash: nothing that waits will ever go on. */
  forget(): void {
    this.#tasks = [];
    this.#timers.clear();
  }
}
