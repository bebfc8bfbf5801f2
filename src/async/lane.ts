import { ManagedPersistent, MergeRefusedError, registerInternal } from '../odb/index.js';
import type { Job } from './job.js';

/** A job in line. */
export interface LaneEntry {
  readonly job: Job;
  /** Its place among those of other lanes, in ms since the epoch. */
  readonly atMs: number;
}

type ChunkState = readonly [jobs: readonly unknown[], times: readonly number[], next: unknown, closed: boolean];

/** A chunk takes so many jobs before the next one begins; one that is new in its transaction takes more, since it is written once. */
const CHUNK_COUNT_MAX = 64;
const NEW_CHUNK_COUNT_MAX = 64;

/**
 * Some jobs in line, and what comes after them.
 *
 * Puts and claims of different transactions merge: what either added or removed counts. Two claims of the same job do not.
 */
export class JobChunk extends ManagedPersistent {
  #jobs: Job[] = [];
  #times: number[] = [];
  #next: JobChunk | undefined = undefined;
  #closed = false;

  get count(): number {
    this.readable();
    return this.#jobs.length;
  }

  /** The chunk after this one. */
  get next(): JobChunk | undefined {
    this.readable();
    return this.#next;
  }

  set next(next: JobChunk | undefined) {
    this.writable();
    this.#next = next;
  }

  /** Whether it takes no more jobs, for ever. */
  get closed(): boolean {
    this.readable();
    return this.#closed;
  }

  close(): void {
    this.writable();
    this.#closed = true;
  }

  get isFull(): boolean {
    this.readable();
    const isNew = this._p_serial === 0;
    return this.#jobs.length >= (isNew ? NEW_CHUNK_COUNT_MAX : CHUNK_COUNT_MAX);
  }

  entry(index: number): LaneEntry | undefined {
    this.readable();
    const job = this.#jobs[index];
    return job && { job, atMs: this.#times[index] as number };
  }

  push(job: Job, atMs: number): void {
    this.writable();
    this.#jobs.push(job);
    this.#times.push(atMs);
  }

  /** Takes a job out; returns whether it was here. */
  remove(job: Job): boolean {
    this.readable();
    const index = this.#jobs.indexOf(job);
    if (index < 0) return false;
    this.writable();
    this.#jobs.splice(index, 1);
    this.#times.splice(index, 1);
    return true;
  }

  override getState(): ChunkState {
    this.readable();
    return [[...this.#jobs], [...this.#times], this.#next ?? null, this.#closed];
  }

  override setState(state: unknown): void {
    const [jobs, times, next, closed] = state as ChunkState;
    this.#jobs = jobs as Job[];
    this.#times = times as number[];
    this.#next = (next ?? undefined) as JobChunk | undefined;
    this.#closed = closed;
  }

  protected override clearState(): void {
    this.#jobs = [];
    this.#times = [];
    this.#next = undefined;
    this.#closed = false;
  }

  static resolveConflict(base: ChunkState, committed: ChunkState, mine: ChunkState): ChunkState {
    const before = new Set(base[0]);
    const ours = new Set(mine[0]);
    const theirs = new Set(committed[0]);
    const removed = new Set<unknown>();
    for (const job of before) {
      if (ours.has(job)) continue;
      if (!theirs.has(job)) throw new MergeRefusedError('both took the same job');
      removed.add(job);
    }
    const jobs: unknown[] = [];
    const times: number[] = [];
    committed[0].forEach((job, index) => {
      if (removed.has(job)) return;
      jobs.push(job);
      times.push(committed[1][index] as number);
    });
    mine[0].forEach((job, index) => {
      if (before.has(job)) return;
      if (theirs.has(job)) throw new MergeRefusedError('both put the same job');
      if (committed[3]) throw new MergeRefusedError('the line was closed meanwhile');
      jobs.push(job);
      times.push(mine[1][index] as number);
    });
    if (mine[3] && !base[3] && committed[0].length > 0)
      throw new MergeRefusedError('a job was put as the line was closed');
    const next = mine[2] === base[2] ? committed[2] : mine[2];
    if (mine[2] !== base[2] && committed[2] !== base[2]) throw new MergeRefusedError('both lengthened the line');
    return [jobs, times, next, mine[3] || committed[3]];
  }

  protected override inspectState(): Record<string, unknown> {
    return { count: this.#jobs.length, closed: this.#closed };
  }
}

type LaneState = readonly [head: unknown, tail: unknown];

/**
 * A line of jobs, first in first out, in chunks. One putter at a time lengthens it at its tail; whoever claims takes from its head. The
 * two write different chunks, or merge.
 */
export class Lane extends ManagedPersistent {
  #head: JobChunk | undefined = undefined;
  #tail: JobChunk | undefined = undefined;

  /** Whether it can be put to: it is not once it was closed. */
  get isOpen(): boolean {
    this.readable();
    return !this.#tail?.closed;
  }

  put(job: Job, atMs: number): void {
    this.readable();
    let tail = this.#tail;
    if (!tail || tail.isFull) {
      const next = new JobChunk();
      this.writable();
      if (tail) tail.next = next;
      else this.#head = next;
      this.#tail = next;
      tail = next;
    }
    tail.push(job, atMs);
  }

  /** Jobs in order. Chunks are loaded as they are come to. */
  *entries(): Generator<LaneEntry> {
    for (let chunk = this.head; chunk; chunk = chunk.next) {
      for (let i = 0; ; i++) {
        const entry = chunk.entry(i);
        if (!entry) break;
        yield entry;
      }
    }
  }

  /** The first chunk. */
  get head(): JobChunk | undefined {
    this.readable();
    return this.#head;
  }

  /** The last chunk: where jobs are put. */
  get tail(): JobChunk | undefined {
    this.readable();
    return this.#tail;
  }

  /** Number of jobs. Loads every chunk. */
  get count(): number {
    let count = 0;
    for (let chunk = this.head; chunk; chunk = chunk.next) count += chunk.count;
    return count;
  }

  get isEmpty(): boolean {
    for (let chunk = this.head; chunk; chunk = chunk.next) if (chunk.count > 0) return false;
    return true;
  }

  /** Takes a job out; returns whether it was here. Chunks at the head that have become empty are let go. */
  remove(job: Job): boolean {
    for (let chunk = this.head; chunk; chunk = chunk.next) {
      if (!chunk.remove(job)) continue;
      this.#dropEmpty();
      return true;
    }
    return false;
  }

  /** Takes out the first job. */
  shift(): LaneEntry | undefined {
    for (let chunk = this.head; chunk; chunk = chunk.next) {
      const entry = chunk.entry(0);
      if (!entry) continue;
      chunk.remove(entry.job);
      this.#dropEmpty();
      return entry;
    }
    return undefined;
  }

  /** The last chunk may be put to by a transaction that has not seen what we see: it is never let go of. */
  #dropEmpty(): void {
    let head = this.#head;
    while (head?.next && head.count === 0) head = head.next;
    if (head === this.#head) return;
    this.writable();
    this.#head = head;
  }

  /** Has it take no more jobs. A put that is under way fails, and is run again with another lane. */
  close(): void {
    this.readable();
    if (!this.#tail) {
      this.writable();
      this.#tail = new JobChunk();
      this.#head = this.#tail;
    }
    this.#tail.close();
  }

  /** When it was last put to or taken from, in ms since the epoch; 0 for a lane that is new. */
  get lastUsedMs(): number {
    this.readable();
    return this.#tail?._p_mtime?.getTime() ?? 0;
  }

  override getState(): LaneState {
    this.readable();
    return [this.#head ?? null, this.#tail ?? null];
  }

  override setState(state: unknown): void {
    const [head, tail] = state as LaneState;
    this.#head = (head ?? undefined) as JobChunk | undefined;
    this.#tail = (tail ?? undefined) as JobChunk | undefined;
  }

  protected override clearState(): void {
    this.#head = undefined;
    this.#tail = undefined;
  }

  /** The head is moved by those who claim, the tail by those who put. */
  static resolveConflict(base: LaneState, committed: LaneState, mine: LaneState): LaneState {
    const pick = (index: 0 | 1): unknown => {
      if (mine[index] === base[index]) return committed[index];
      if (committed[index] === base[index] || committed[index] === mine[index]) return mine[index];
      throw new MergeRefusedError(index === 0 ? 'both took the head of the line on' : 'both lengthened the line');
    };
    return [pick(0), pick(1)];
  }
}

registerInternal({ 'holdfast.JobChunk': JobChunk, 'holdfast.Lane': Lane });
