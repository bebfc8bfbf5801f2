import { type Agent, Failure, Job } from 'holdfast/async';
import { Persistent, persistable } from 'holdfast/odb';

/** What jobs of these tests left behind outside the database, in order. */
export const calls: string[] = [];

/** Returns what it is given, and leaves a mark. */
export function echo(value?: unknown): unknown {
  calls.push(`echo(${String(value)})`);
  return value;
}

export function add(a: number, b: number): number {
  return a + b;
}

export function fortyTwo(): number {
  return 42;
}

/** Throws an error of the user's own. */
export function explode(message = 'no'): never {
  throw Object.assign(new RangeError(message), { sector: 7 });
}

/** Returns a Failure instead of throwing. */
export function returnFailure(): Failure {
  return new Failure(new TypeError('returned'));
}

/** Returns what cannot be stored. */
export function returnPromiseHolder(): unknown {
  return { deep: { handler: () => 1 } };
}

export async function later(value: unknown): Promise<unknown> {
  await Promise.resolve();
  return value;
}

export function isFailure(value: unknown): boolean {
  return value instanceof Failure;
}

export function resultOf(...jobs: Job[]): unknown[] {
  return jobs.map((job) => job.result);
}

export function sum(...jobs: Job[]): number {
  return jobs.reduce((total, job) => total + (job.result as number), 0);
}

/** A filter. */
export function onlyEcho(job: Job): boolean {
  return job.callableName === 'tests.echo';
}

/** A chooser. */
export function chooseAdd(agent: Agent): Job | undefined {
  return agent.queue?.claim((job) => job.callableName === 'tests.add') as Job | undefined;
}

/** A persistent object whose methods are jobs. */
export class Account extends Persistent {
  balance = 0;

  deposit(amount: number): number {
    this.balance += amount;
    return this.balance;
  }

  depositAndFail(amount: number): never {
    this.balance += amount;
    throw new Error('after the deposit');
  }

  depositAndReturnFailure(amount: number): Failure {
    this.balance += amount;
    return new Failure(new Error('on purpose'));
  }
}

export function both(first: unknown, second: unknown): unknown[] {
  return [first, second];
}

/** A job that knows who made it. */
export class SignedJob extends Job {
  author = 'nobody';
  stage: string[] = [];

  constructor(author: string, callable: typeof echo, ...args: unknown[]) {
    super(callable, ...args);
    this.author = author;
  }

  override setUp(): string {
    calls.push('setUp');
    return `for ${this.author}`;
  }

  override tearDown(info: unknown): void {
    calls.push(`tearDown ${String(info)}`);
  }
}

persistable('tests', import.meta, {
  echo,
  both,
  add,
  fortyTwo,
  explode,
  returnFailure,
  returnPromiseHolder,
  later,
  isFailure,
  resultOf,
  sum,
  onlyEcho,
  chooseAdd,
  Account,
  SignedJob,
});
