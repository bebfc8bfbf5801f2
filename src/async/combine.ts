import { argumentTypeError } from '../base/index.js';
import { registerInternal } from '../odb/index.js';
import { type Callable, Job, type JobFunction } from './job.js';
import { local } from './local.js';
import { RetryCommonForever } from './retry-policy.js';
import { NEW } from './status.js';

/** Options of {@link serial} and {@link parallel}, after the jobs. */
export interface CombineOptions<P extends Callable = Callable> {
  /** Called with the completed jobs (not their results: each may be a Failure). Its result is that of the whole. */
  readonly postprocess?: P | Job<P>;
}

type Part = Callable | CombineOptions;

/** Several jobs that are run as one: see {@link serial} and {@link parallel}. */
export class CombinedJob<R = unknown> extends Job<(...parts: Job[]) => R> {
  /** The job that puts the parts together. */
  postprocess: Job | undefined = undefined;

  constructor(run: JobFunction, parts: readonly Callable[], postprocess: Callable | undefined) {
    super(run as never);
    for (const part of parts) this.args.push(jobOf(part));
    if (postprocess !== undefined) this.postprocess = jobOf(postprocess);
  }

  /** The parts; may grow until the last of them is done. */
  get parts(): Job[] {
    return this.args.map((part) => part as Job);
  }

  /** Text without the parts' own. */
  override toString(): string {
    const place = this._p_oid === undefined ? 'oid ?' : `oid ${this._p_oid}`;
    return `<CombinedJob (${place}) \`\`${this.callableName}(${this.args.length} parts)\`\`>`;
  }
}

function jobOf(part: unknown): Job {
  return (part instanceof Job ? part : new Job(part as JobFunction)) as Job;
}

/** Runs parts one after the other. It begins anew after an interruption, and does not repeat what is done. */
function runSerial(...args: unknown[]): unknown {
  return advance(args, true);
}

/** Runs parts all together. */
function runParallel(...args: unknown[]): unknown {
  return advance(args, false);
}

registerInternal({
  'holdfast.CombinedJob': CombinedJob,
  'holdfast.serial': runSerial,
  'holdfast.parallel': runParallel,
  'holdfast.partDone': partDone,
  'holdfast.gather': gather,
});

/** The job whose parts are run: the one that calls. */
function advance(parts: readonly unknown[], isSerial: boolean): unknown {
  const main = currentMain();
  for (const part of parts) if (!(part instanceof Job)) main.args.set(main.args.indexOf(part), jobOf(part));
  const gathering = new Job(gather, main, isSerial) as Job;
  gathering.retryPolicyFactory = RetryCommonForever;
  queueParts(main, gathering, isSerial);
  return gathering;
}

/**
 * Queues what is to run next: all parts that are new, or the first one. Once all are done, the job that gathers them is queued.
 * Part of the transaction of whoever calls.
 *
 * Of two parts that end together each may see the other one done: both put the gathering job then, and the later one to commit meets a
 * conflict and looks again. Neither can miss the other, since a part counts as done from the commit of its result, which comes before
 * its callback reads anything.
 */
function queueParts(main: CombinedJob, gathering: Job, isSerial: boolean): void {
  const { queue } = main;
  if (!queue) {
    throw argumentTypeError(
      'ARG_COMBINE',
      `${main} is in no queue: serial and parallel need one to put their parts in`,
    );
  }
  let unfinished = 0;
  for (const part of main.parts) {
    if (hasResult(part)) continue;
    unfinished++;
    if (part.status === NEW) queue.put(part);
    if (!part.callbacks.some((callback) => isPartDone(callback, main))) {
      part.addCallback(new Job(partDone, main as never, gathering as never, isSerial as never));
    }
    if (isSerial) break;
  }
  if (unfinished === 0 && gathering.status === NEW) queue.put(gathering);
}

function hasResult(part: Job): boolean {
  return part.activeEnd !== undefined;
}

function isPartDone(callback: Job, main: CombinedJob): boolean {
  return callback.callableName === 'holdfast.partDone' && callback.args.at(0) === main;
}

/** A part is done: goes on with the next, or gathers. */
function partDone(main: CombinedJob, gathering: Job, isSerial: boolean, _result: unknown): void {
  queueParts(main, gathering, isSerial);
}

/** All parts are done: gives them to `postprocess`, or as they are. */
function gather(main: CombinedJob, isSerial: boolean): unknown {
  const { parts, postprocess } = main;
  if (!parts.every(hasResult)) {
    // One was added in the last moment.
    const again = new Job(gather, main as never, isSerial as never) as Job;
    again.retryPolicyFactory = RetryCommonForever;
    queueParts(main, again, isSerial);
    return again;
  }
  if (!postprocess) return parts;
  if (postprocess.status === NEW) {
    for (const part of parts) postprocess.args.push(part);
    main.queue?.put(postprocess);
  }
  return postprocess;
}

function currentMain(): CombinedJob {
  const job: unknown = local.getJob();
  if (!(job instanceof CombinedJob)) {
    throw argumentTypeError(
      'ARG_COMBINE',
      'serial and parallel make jobs; their functions are not to be called by others',
    );
  }
  return job;
}

function combine(run: JobFunction, items: readonly Part[]): CombinedJob {
  const last = items.at(-1);
  let options: CombineOptions = {};
  let parts = items as readonly Callable[];
  if (typeof last === 'object' && !(last instanceof Job) && Object.getPrototypeOf(last) === Object.prototype) {
    options = last as CombineOptions;
    parts = items.slice(0, -1) as Callable[];
    for (const name of Object.keys(options)) {
      if (name !== 'postprocess') {
        throw argumentTypeError('ARG_COMBINE', `'${name}' is no option here: there is only postprocess`);
      }
    }
  }
  return new CombinedJob(run, parts, options.postprocess as Callable | undefined);
}

/**
 * A job that runs the given ones (or functions) one after the other, and results in what `postprocess` makes of them; without it,
 * in the jobs themselves. A part that fails does not stop the rest.
 */
export function serial(...parts: Part[]): CombinedJob {
  return combine(runSerial, parts);
}

/** Like {@link serial}, with all parts queued together. */
export function parallel(...parts: Part[]): CombinedJob {
  return combine(runParallel, parts);
}
