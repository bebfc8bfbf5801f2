import { persistable } from 'holdfast/odb';

/** The job of the benchmark: asynchronous, with about 100 bytes of arguments and a small result. */
export async function work(index: number, _text: string): Promise<number> {
  return index;
}

/** For measuring when a job begins, by the monotonic clock of the machine. */
export async function now(): Promise<string> {
  return String(process.hrtime.bigint());
}

export const TEXT = 'x'.repeat(90);

persistable('bench.jobs', import.meta, { work, now });
