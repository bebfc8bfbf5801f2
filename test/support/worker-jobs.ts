import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread, threadId } from 'node:worker_threads';
import { type Length, persistable } from 'holdfast/odb';

/** Where a job has run. */
export interface Place {
  readonly pid: number;
  readonly thread: number;
  readonly isMainThread: boolean;
}

/** Says where it runs. */
export function whereAmI(): Place {
  return { pid: process.pid, thread: threadId, isMainThread };
}

export function add(a: number, b: number): number {
  return a + b;
}

/** Leaves its mark, and ends once its partner has left another: two of them end only if they run at the same time. */
export async function meet(folder: string, me: string, partner: string): Promise<Place> {
  writeFileSync(join(folder, me), '');
  while (!existsSync(join(folder, partner))) await new Promise((resolve) => setTimeout(resolve, 5));
  return whereAmI();
}

/** Ends its thread the first time that it is run, the way that is named; then answers. */
export function diesOnce(folder: string, way: 'exit' | 'uncaught' | 'rejection' | 'memory'): string | Promise<never> {
  const mark = join(folder, `died-of-${way}`);
  if (existsSync(mark)) return `survived ${way}`;
  writeFileSync(mark, '');
  switch (way) {
    case 'exit':
      return process.exit(7);
    case 'uncaught':
      setImmediate(() => {
        throw new Error('nobody catches this');
      });
      break;
    case 'rejection':
      void Promise.reject(new Error('nobody handles this'));
      break;
    case 'memory': {
      // In small pieces: a large one beyond the limit would end the process, and not the thread alone.
      let kept: object = {};
      for (;;) kept = { kept, numbers: [1, 2, 3] };
    }
  }
  return new Promise(() => {});
}

/** Answers, and ends its thread while the answer is being committed. */
export function lastWords(): string {
  setImmediate(() => process.exit(7));
  return 'said';
}

/** Runs for ever the first time, having said where; answers the second time. */
export function staysOnce(folder: string, name: string): Place | Promise<never> {
  const mark = join(folder, name);
  if (existsSync(mark)) return whereAmI();
  writeFileSync(mark, JSON.stringify(whereAmI()));
  return new Promise(() => {});
}

/** Never lets its thread breathe, the first time. */
export function burnsOnce(folder: string, name: string): Place {
  const mark = join(folder, name);
  if (!existsSync(mark)) {
    writeFileSync(mark, JSON.stringify(whereAmI()));
    for (;;);
  }
  return whereAmI();
}

export function throwing(): never {
  throw new RangeError('out of luck');
}

/** Returns what cannot be stored. */
export function unstorable(): unknown {
  return { deep: { callback: () => {} } };
}

export function logs(text: string): void {
  console.log(text);
}

/** Counts itself in the database: the count tells how often such jobs took effect. */
export function countMe(length: Length): void {
  length.change(1);
}

persistable('workerJobs', import.meta, {
  countMe,
  whereAmI,
  add,
  meet,
  diesOnce,
  lastWords,
  staysOnce,
  burnsOnce,
  throwing,
  unstorable,
  logs,
});
