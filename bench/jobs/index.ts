import type { Bench } from '../harness.js';
import { budget } from './budget.js';
import { latency } from './latency.js';
import { pending } from './pending.js';
import { puts } from './puts.js';
import { served } from './served.js';
import { throughput } from './throughput.js';

/** The job layer: an async job that returns a small value, with 100 bytes of arguments; durable, `history: 'none'`. */
export async function jobs(bench: Bench): Promise<void> {
  await throughput(bench);
  await served(bench);
  await puts(bench);
  await latency(bench);
  await pending(bench);
  await budget(bench);
}
