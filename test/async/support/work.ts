// Functions that the tests of dispatchers put in queues.

import { Failure, Job, local, parallel } from 'holdfast/async';
import { ConflictError, type Connection, type Oid, Persistent, persistable } from 'holdfast/odb';

/** What was called, in order. Inline pools run in the thread of the test. */
export const calls: string[] = [];

const gates = new Map<string, { readonly opened: Promise<void>; open(): void }>();

function gate(name: string): { readonly opened: Promise<void>; open(): void } {
  let found = gates.get(name);
  if (!found) {
    let open!: () => void;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    found = { opened, open };
    gates.set(name, found);
  }
  return found;
}

/** Lets a job that is `heldUp` go on. */
export function open(name: string): void {
  gate(name).open();
}

/** Before each test. */
export function forget(): void {
  calls.length = 0;
  gates.clear();
}

export class Tally extends Persistent {
  total = 0;
  names: string[] = [];
}

export function note(name: string): string {
  calls.push(name);
  return name;
}

export async function heldUp(name: string): Promise<string> {
  calls.push(`${name} begins`);
  await gate(name).opened;
  calls.push(`${name} ends`);
  return name;
}

export function addTo(tally: Tally, amount: number): number {
  tally.total += amount;
  return tally.total;
}

export async function addSlowly(tally: Tally, amount: number, name: string): Promise<number> {
  tally.total += amount;
  calls.push(`${name} begins`);
  await gate(name).opened;
  return amount;
}

export function addAndFail(tally: Tally, amount: number): never {
  tally.total += amount;
  throw new RangeError('after the change');
}

export function addAndReturnPromiseInside(tally: Tally, amount: number): unknown {
  tally.total += amount;
  return { deep: [{ pending: Promise.resolve() }] };
}

/** Conflicts until it has been called so often. */
export function conflictUntil(name: string, times: number): number {
  calls.push(name);
  const count = calls.filter((each) => each === name).length;
  if (count < times) throw new ConflictError({ oid: 1 as Oid, baseSerial: 1 as never, committedSerial: 2 as never });
  return count;
}

export function returnJob(name: string): Job {
  const inner = new Job(note, name);
  local.getQueue()?.put(inner);
  return inner;
}

export function returnNested(name: string, depth: number): unknown {
  calls.push(`${name} ${depth}`);
  if (depth === 0) return name;
  const inner = new Job(returnNested, name, depth - 1);
  local.getQueue()?.put(inner);
  return inner;
}

export function returnParallel(): Job {
  const inner = parallel(new Job(note, 'a'), new Job(note, 'b'), { postprocess: namesOf });
  local.getQueue()?.put(inner);
  return inner;
}

export function namesOf(...jobs: Job[]): string[] {
  return jobs.map(({ result }) => (result instanceof Failure ? `failed: ${result.message}` : String(result)));
}

export function statusesOf(...jobs: Job[]): string[] {
  return jobs.map(({ result }) => typeof result);
}

export function explode(message: string): never {
  calls.push(`explode ${message}`);
  throw new Error(message);
}

export function describe(prefix: string, result: unknown): string {
  const text = `${prefix}: ${result instanceof Failure ? `Failure ${result.message}` : String(result)}`;
  calls.push(text);
  return text;
}

export async function annotate(): Promise<unknown> {
  await local.setLiveAnnotation('progress', 50);
  return local.getLiveAnnotation('answer', { timeout: 5000, poll: 10 });
}

export function nameOfJob(): string {
  return `${local.getAgentName()} ${local.getJob()?.callableName} ${local.getQueue()?.name}`;
}

/** Grows the job that it belongs to by another part. */
export function growing(name: string, _result: unknown): void {
  const callback = local.getJob() as Job;
  const part = callback.parent as Job;
  const main = part.callbacks
    .map((each) => each.args.at(0))
    .find((each) => each instanceof Job && each.args.length > 0);
  (main as Job).args.push(new Job(note, name));
}

export function useConnection(tally: Tally): boolean {
  const connection = tally._p_jar as unknown as Connection;
  return connection.root.get('tally') === tally;
}

persistable('work', import.meta, {
  Tally,
  note,
  heldUp,
  addTo,
  addSlowly,
  addAndFail,
  addAndReturnPromiseInside,
  conflictUntil,
  returnJob,
  returnNested,
  returnParallel,
  namesOf,
  statusesOf,
  explode,
  describe,
  annotate,
  nameOfJob,
  growing,
  useConnection,
});
