import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { SeedOutcome } from './seed-thread.js';
import { type SimulationReport, simulate } from './simulation.js';

/** How often it is told how far it is. */
const TELL_MS = 5000;
/** A seed that takes longer is named: it may never end. */
const SLOW_MS = 30_000;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '10000' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string', default: '1000' },
    threads: { type: 'string', default: String(availableParallelism()) },
    verbose: { type: 'boolean', default: false },
  },
});

const steps = numberOf('steps', values.steps);
if (values.seed === undefined) await runMany(numberOf('from', values.from), numberOf('seeds', values.seeds));
else await runOne(numberOf('seed', values.seed));

async function runOne(seed: number): Promise<void> {
  try {
    console.log(`seed ${seed}:`, await simulate(seed, { steps, isPrinted: values.verbose }));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}

/** Runs the seeds on all cores. What fails is told at once; how far it is, now and then. */
async function runMany(first: number, count: number): Promise<void> {
  const totals: Record<string, number> = {};
  const failed: number[] = [];
  const running = new Map<Worker, { readonly seed: number; readonly sinceMs: number }>();
  const beginMs = performance.now();
  let next = first;
  let done = 0;

  const give = (worker: Worker) => {
    running.delete(worker);
    // What it has made goes with it, in order.
    if (next >= first + count) return worker.postMessage('end');
    running.set(worker, { seed: next, sinceMs: performance.now() });
    worker.postMessage(next++);
  };
  const take = ({ seed, report, failure }: SeedOutcome) => {
    done++;
    if (report) add(totals, report);
    else {
      failed.push(seed);
      console.error(`${failure}\nnpm run sim -- --seed ${seed} --steps ${steps}\n`);
    }
  };
  const tell = () => {
    const nowMs = performance.now();
    const rate = (done / ((nowMs - beginMs) / 1000)).toFixed(1);
    const told = Object.entries(totals).map(([name, total]) => `${total} ${name}`);
    console.error(`${done} of ${count} seeds, ${rate} a second, ${failed.length} failed; ${told.join(', ')}`);
    for (const { seed, sinceMs } of running.values()) {
      if (nowMs - sinceMs > SLOW_MS) console.error(`seed ${seed} has not ended yet`);
    }
  };
  const telling = setInterval(tell, TELL_MS);

  const threads = Math.min(Math.max(1, numberOf('threads', values.threads)), Math.max(1, count));
  const ends = Array.from({ length: threads }, () => {
    const worker = new Worker(new URL('./seed-thread.js', import.meta.url), { workerData: { steps } });
    worker.on('message', (outcome: SeedOutcome) => {
      take(outcome);
      give(worker);
    });
    give(worker);
    return new Promise<void>((resolve, reject) => {
      worker.on('error', (error) => {
        console.error(`seed ${running.get(worker)?.seed} has ended its thread`);
        reject(error);
      });
      worker.on('exit', () => resolve());
    });
  });
  try {
    await Promise.all(ends);
  } finally {
    clearInterval(telling);
    tell();
  }
  if (failed.length === 0) return;
  console.error(`failed: ${failed.sort((a, b) => a - b).join(' ')}`);
  process.exitCode = 1;
}

function add(totals: Record<string, number>, report: SimulationReport): void {
  for (const [name, value] of Object.entries(report)) {
    if (typeof value === 'number') totals[name] = (totals[name] ?? 0) + value;
  }
}

function numberOf(name: string, text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  console.error(`--${name} takes a number, not '${text}'`);
  process.exit(2);
}
