import { ACTIVE, CALLBACKS, COMPLETED, type Dispatcher, type DispatcherAgents, type PollInfo } from '../async/index.js';
import { type Duration, durationMs } from '../base/index.js';
import { type AnyJob, describeJobs, newestView } from './describe.js';

/** Options of all that waits. */
export interface WaitOptions {
  /** How long, of real time, before the wait fails. Default: 10 s. */
  readonly timeout?: Duration;
}

const TIMEOUT_MS = 10_000;
const LOOK_INTERVAL_MS = 5;

/** Resolves to the first answer that is not `undefined`. @throws Error with `message()` when there is none in time. */
export async function until<T>(
  look: () => T | undefined,
  message: () => string,
  { timeout }: WaitOptions = {},
): Promise<T> {
  const limitMs = timeout === undefined ? TIMEOUT_MS : durationMs(timeout);
  const endMs = performance.now() + limitMs;
  for (;;) {
    const answer = look();
    if (answer !== undefined) return answer;
    if (performance.now() > endMs) throw new Error(`${message()} (waited ${limitMs} ms)`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL_MS));
  }
}

/** Resolves to the first poll after the present one, or after `key`. */
export function getPoll(
  dispatcher: Dispatcher,
  options: WaitOptions & { readonly after?: number } = {},
): Promise<PollInfo> {
  const newest = () => {
    for (const poll of dispatcher.iterPolls({ count: 1 })) return poll;
    return undefined;
  };
  const after = options.after ?? newest()?.key ?? 0;
  return until(
    () => {
      const poll = newest();
      return poll && poll.key > after ? poll : undefined;
    },
    () => `the dispatcher ${dispatcher.uuid} has not polled`,
    options,
  );
}

/** Resolves once the work on a job has begun. */
export async function waitForStart(job: AnyJob, options: WaitOptions = {}): Promise<void> {
  await until(
    () => {
      newestView(job);
      return [ACTIVE, CALLBACKS, COMPLETED].includes(job.status as never) ? true : undefined;
    },
    () => `not started: ${describeJobs([job])}`,
    options,
  );
}

/** Resolves to a job's result once it is completed; the view of its connection is the newest then. */
export async function waitForResult(job: AnyJob, options: WaitOptions = {}): Promise<unknown> {
  await until(
    () => {
      newestView(job);
      return job.status === COMPLETED ? true : undefined;
    },
    () => `not completed: ${describeJobs([job])}`,
    options,
  );
  return job.result;
}

/** Resolves to an annotation of a job once it is there. */
export async function waitForAnnotation(job: AnyJob, name: string, options: WaitOptions = {}): Promise<unknown> {
  const found = await until(
    () => {
      newestView(job);
      const annotations = job.existingAnnotations;
      return annotations?.has(name) ? { value: annotations.get(name) } : undefined;
    },
    () => `there is no annotation '${name}': ${describeJobs([job])}`,
    options,
  );
  return found.value;
}

/** Resolves once a dispatcher does not serve its queue any more. */
export async function waitForDeactivation(agents: DispatcherAgents, options: WaitOptions = {}): Promise<void> {
  await until(
    () => {
      newestView(agents);
      return agents.activated === undefined ? true : undefined;
    },
    () => `the dispatcher ${agents.uuid} is still active`,
    options,
  );
}

/** Resolves once a dispatcher counts as dead: no ping for longer than its `pingDeathInterval`. */
export async function waitForDeath(agents: DispatcherAgents, options: WaitOptions = {}): Promise<void> {
  await until(
    () => {
      newestView(agents);
      return agents.dead ? true : undefined;
    },
    () => `the dispatcher ${agents.uuid} is still heard of`,
    options,
  );
}
