// The quickstart, run for you: a storage server and two workers, each a process of its own, and this process as their
// client. It estimates pi in two jobs that run in parallel, then once more in a single job, and compares the times.

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DB, getDefaultQueue, installQueues, Job, parallel, transaction } from 'holdfast';
import { generateSample, processSamples } from './pi.js';

const DARTS = 100_000_000;
const PROGRESS_MS = 100;
const END_MS = 15_000;

const manifest = fileURLToPath(import.meta.resolve('holdfast/package.json'));
const bins = JSON.parse(readFileSync(manifest, 'utf8')).bin;
const piModule = fileURLToPath(new URL('./pi.js', import.meta.url));
const data = mkdtempSync(join(tmpdir(), 'holdfast-quickstart-'));

/** The processes that we have started, in order. */
const started = [];
/** Rejects when this program is told to end. */
const interrupted = new Promise((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => reject(new Error(`ended by ${signal}`)));
});
interrupted.catch(() => {});

/** Starts one of holdfast's programs in a directory; resolves to the line that it prints when it is ready. */
async function start(bin, args, cwd) {
  const child = spawn(process.execPath, [join(dirname(manifest), bins[bin]), ...args], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  started.push({ child, exited });
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaints += text;
  });
  const firstLine = new Promise((resolve) => {
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      if (output.includes('\n')) resolve(output.split('\n', 1)[0]);
    });
  });
  const failed = exited.then((code) => {
    throw new Error(`${bin} ${args[0]} ended with exit code ${code}: ${complaints.trim()}`);
  });
  failed.catch(() => {});
  return await orInterrupt(Promise.race([firstLine, failed]));
}

/** Ends what was started, the last one first, by process id. */
async function endAll() {
  for (const { child, exited } of started.reverse()) {
    child.kill('SIGTERM');
    const patience = new AbortController();
    const inTime = sleep(END_MS, 'late', { signal: patience.signal }).catch(() => {});
    if ((await Promise.race([exited, inTime])) === 'late') child.kill('SIGKILL');
    patience.abort();
    await exited;
  }
}

/** Resolves as `promise` does, unless this program is interrupted first. */
const orInterrupt = (promise) => Promise.race([promise, interrupted]);

/** Puts a job, waits for its result, and shows meanwhile how far it is. */
async function estimate(queue, title, parts) {
  const job = queue.put(parallel(...parts, { postprocess: processSamples }));
  await transaction.commit();
  const began = performance.now();
  const done = job.done();
  for (let ended = false; !ended; ) {
    ended = await orInterrupt(Promise.race([done.then(() => true), sleep(PROGRESS_MS, false)]));
    transaction.begin();
    if (!process.stdout.isTTY) continue;
    const complete = parts.filter((part) => part.status === 'completed-status').length;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    process.stdout.write(`\r  ${title}: ${complete} of ${parts.length} parts done, ${seconds} s \x1b[K`);
  }
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
  if (typeof job.result !== 'number') throw new Error(`${title}: the job failed: ${job.result}`);
  const seconds = (job.activeEnd - job.activeStart) / 1000;
  const workers = new Set(parts.map((part) => part.agent.parent.uuid)).size;
  console.log(`  ${title}: ${job.result.toFixed(6)} in ${seconds.toFixed(1)} s (workers: ${workers})`);
  return seconds;
}

async function main() {
  console.log(`Starting a storage server and two workers; their data are in ${data}`);
  const ready = await start('runzeo', ['-a', '127.0.0.1:0', '-f', join(data, 'test.fs')], data);
  const [address] = /127\.0\.0\.1:\d+/.exec(ready);
  console.log(`  ${ready}`);
  for (const name of ['worker1', 'worker2']) {
    // Each worker has its own directory, and so its own uuid.txt.
    const directory = join(data, name);
    mkdirSync(directory);
    const agents = ['--agent', 'main=3,chooser=pi.chooseAnother', '--agent', 'pi=1,chooser=pi.chooseSample'];
    console.log(`  ${await start('holdfast', ['worker', '--zeo', address, ...agents, piModule], directory)}`);
  }

  const db = await orInterrupt(DB.open(`zeo://${address}`));
  try {
    await installQueues(db);
    const queue = getDefaultQueue(db.open());
    console.log(`Estimating pi with ${DARTS.toLocaleString('en')} darts`);
    const half = DARTS / 2;
    const parallelSeconds = await estimate(queue, 'two jobs in parallel', [
      new Job(generateSample, half),
      new Job(generateSample, half),
    ]);
    const singleSeconds = await estimate(queue, 'one job', [new Job(generateSample, DARTS)]);
    console.log(`In parallel it took ${Math.round((100 * parallelSeconds) / singleSeconds)} % of the time.`);
  } finally {
    transaction.abort();
    await db.close();
  }
}

try {
  await main();
} catch (error) {
  process.exitCode = 1;
  console.error(`quickstart: ${error.message}`);
} finally {
  await endAll();
}
if (!process.exitCode) console.log(`Everything has ended. The data are still in ${data}`);
