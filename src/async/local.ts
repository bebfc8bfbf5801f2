import { AsyncLocalStorage } from 'node:async_hooks';
import { argumentTypeError, type Clock, type Duration, delay, durationMs } from '../base/index.js';
import { type Connection, type DB, type Oid, Persistent } from '../odb/index.js';
import { BadStatusError } from './errors.js';
import type { Job } from './job.js';
import type { Queue } from './queue.js';

/** What the job that runs here can know of its surroundings. */
export interface LocalContext {
  readonly job: Job;
  /** Where the job's database can be opened anew. */
  readonly db: DB | undefined;
  readonly clock: Clock;
  readonly agentName: string | undefined;
  /** The dispatcher of this process, where the job runs in its thread. */
  readonly dispatcher: object | undefined;
}

const context = new AsyncLocalStorage<LocalContext>();

/** For the job layer: runs `fn` with `local` answering for a job. */
export function withLocal<T>(local: LocalContext, fn: () => T): T {
  return context.run(local, fn);
}

/** For the job layer. */
export function currentLocal(): LocalContext | undefined {
  return context.getStore();
}

/** Options of {@link local.getLiveAnnotation}. */
export interface LiveAnnotationOptions<T> {
  /** The answer while there is no such annotation. */
  readonly default?: T;
  /** How long to wait for it. Default: not at all. */
  readonly timeout?: Duration;
  /** How often to look meanwhile. Default: 1 s. */
  readonly poll?: Duration;
  /** Whose annotation. Default: the job that runs here. */
  readonly job?: Job;
}

const POLL_MS = 1000;

/** What a function can ask about the job that it runs in. Outside of one the answers are `undefined`. */
export const local = {
  /** The job that runs here; in a callback, the callback. */
  getJob: (): Job | undefined => context.getStore()?.job,
  /** The queue that the job was claimed from: to put more jobs. */
  getQueue: (): Queue | undefined => context.getStore()?.job.queue,
  /** The dispatcher, where the job runs in its thread. */
  getDispatcher: (): object | undefined => context.getStore()?.dispatcher,
  /** The clock that the job layer lives by. */
  getReactor: (): Clock | undefined => context.getStore()?.clock,
  getAgentName: (): string | undefined => context.getStore()?.agentName,

  /**
   * Commits an annotation now, in a transaction of its own: others see it while the job runs on.
   *
   * @throws BadStatusError outside a job. TypeError (`ARG_ANNOTATION`) for a value that is, or contains, a persistent object.
   */
  async setLiveAnnotation(name: string, value: unknown, job?: Job): Promise<void> {
    const { db, oid } = target('setLiveAnnotation', job);
    requirePlain(value);
    await db.transaction((connection) => void (connection.get(oid) as Job).annotations.set(name, value), {
      retries: 20,
    });
  },

  /**
   * The newest committed value of an annotation, whatever the job's own snapshot shows. Waits for it if asked to.
   *
   * @throws BadStatusError outside a job.
   */
  async getLiveAnnotation<T = unknown>(name: string, options: LiveAnnotationOptions<T> = {}): Promise<T | undefined> {
    const { db, oid, clock } = target('getLiveAnnotation', options.job);
    const endMs = clock.now() + durationMs(options.timeout ?? 0);
    const pollMs = durationMs(options.poll ?? POLL_MS);
    for (;;) {
      const found = await db.transaction((connection) => {
        const annotations = (connection.get(oid) as Job).existingAnnotations;
        return annotations?.has(name) ? { value: annotations.get(name) as T } : undefined;
      });
      if (found) return found.value;
      const leftMs = endMs - clock.now();
      if (leftMs <= 0) return options.default;
      await delay(clock, Math.min(pollMs, leftMs));
    }
  },
} as const;

function target(what: string, job: Job | undefined): { db: DB; oid: Oid; clock: Clock } {
  const here = context.getStore();
  if (!here) throw new BadStatusError(`local.${what} can only be used in a job`);
  const wanted = (job ?? here.job) as Job;
  const db = here.db ?? (wanted._p_jar as unknown as Connection | undefined)?.db;
  if (!db || wanted._p_oid === undefined) throw new BadStatusError(`local.${what}: the job is in no database`);
  return { db, oid: wanted._p_oid, clock: here.clock };
}

function requirePlain(value: unknown, seen = new Set<unknown>()): void {
  if (value instanceof Persistent) {
    throw argumentTypeError(
      'ARG_ANNOTATION',
      'a live annotation cannot be, or contain, a persistent object: use plain values',
    );
  }
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  seen.add(value);
  const inner =
    value instanceof Map ? [...value.keys(), ...value.values()] : value instanceof Set ? value : Object.values(value);
  for (const each of inner) requirePlain(each, seen);
}
