import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';
import { threadId } from 'node:worker_threads';
import { DB } from 'holdfast/odb';
import { Agent } from '#src/async/agent.js';
import { installQueues } from '#src/async/installers.js';
import { type Callable, Job } from '#src/async/job.js';
import { ThreadPool } from '#src/async/pool/thread-pool.js';
import type { ClaimedJob, JobOutcome, WorkerPool } from '#src/async/pool/worker-pool.js';
import { getDefaultQueue } from '#src/async/queue.js';
import { deferred, type LogRecord, setLogSink } from '#src/base/index.js';
import * as jobs from '../support/worker-jobs.js';

/** A module stays registered, and has to stay where it is, until all tests are done. */
const modulesFolder = mkdtempSync(join(tmpdir(), 'holdfast-modules-'));
after(() => rmSync(modulesFolder, { recursive: true, force: true }));

const UUID = 'afd1e0d0-52e1-11dd-879b-0017f2c49bdd';

let folder: string;
let db: DB;
let pool: ThreadPool;
let lines: LogRecord[];
let formerSink: ReturnType<typeof setLogSink>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-pool-'));
  lines = [];
  formerSink = setLogSink((record) => lines.push(record));
  db = await DB.open(join(folder, 'test.fs'));
  await installQueues(db);
  await db.transaction((connection) => {
    const agents = getDefaultQueue(connection).dispatchers.register(UUID);
    agents.activate();
    agents.set('main', new Agent({ size: 1000 }));
  });
  pool = new ThreadPool({ name: 'main', size: 2, db, uuid: UUID, heapMegabytesMax: 64 });
});

afterEach(async () => {
  await pool.stop({ graceMs: 0 });
  await db.close();
  setLogSink(formerSink);
  rmSync(folder, { recursive: true, force: true });
});

/** Puts a job, and claims it as a dispatcher does. */
function claim<C extends Callable>(callable: C, ...args: unknown[]): Promise<ClaimedJob> {
  return db.transaction((connection) => {
    const queue = getDefaultQueue(connection);
    const job = queue.put(new Job(callable, ...(args as never)));
    const agent = queue.dispatchers.get(UUID)?.get('main');
    assert.equal(agent?.claimJob(), job);
    const nowMs = db.storage.clock.now();
    job.begin(nowMs);
    return {
      oid: job._p_oid as number as ClaimedJob['oid'],
      databaseName: db.databaseName,
      attempt: job.activeStart?.getTime() as number,
      queueName: '',
      agentName: 'main',
      call: job.callableName,
    };
  });
}

/** Runs a claimed job in a pool; resolves to how it ended, and to whether the pool said before that it was finishing. */
function work(job: ClaimedJob, where: WorkerPool = pool): Promise<{ outcome: JobOutcome; finishing: number }> {
  const { promise, resolve } = deferred<{ outcome: JobOutcome; finishing: number }>();
  let finishing = 0;
  let ended = 0;
  where.start(job, {
    finishing: () => {
      assert.equal(ended, 0);
      finishing++;
    },
    ended: (outcome) => {
      assert.equal(++ended, 1, 'a job ends once');
      resolve({ outcome, finishing });
    },
  });
  return promise;
}

function resultOf(job: ClaimedJob): Promise<unknown> {
  return db.transaction((connection) => (connection.get(job.oid) as unknown as Job).result);
}

test('a job runs in a thread of its own, which stays warm for the next one', async () => {
  const first = await claim(jobs.whereAmI);
  const { outcome, finishing } = await work(first);
  assert.equal(outcome.kind, 'completed');
  assert.equal(finishing, 1);
  const place = (await resultOf(first)) as jobs.Place;
  assert.equal(place.pid, process.pid);
  assert.equal(place.isMainThread, false);
  assert.notEqual(place.thread, threadId);
  const second = await claim(jobs.whereAmI);
  await work(second);
  assert.deepEqual(await resultOf(second), place);
  assert.deepEqual(pool.status(), [{ name: 'main:1', state: 'idle' }], 'one thread was enough');
});

test('two jobs run at the same time, a third one waits for its turn', async () => {
  const started = performance.now();
  const [a, b] = [await claim(jobs.meet, folder, 'a', 'b'), await claim(jobs.meet, folder, 'b', 'a')];
  const ends = [work(a), work(b), work(await claim(jobs.add, 1, 2))];
  assert.equal(pool.jobCount, 3);
  assert.equal(pool.status().length, 2);
  for (const end of ends) assert.equal((await end).outcome.kind, 'completed');
  assert.equal(pool.jobCount, 0);
  const [placeA, placeB] = [await resultOf(a), await resultOf(b)] as jobs.Place[];
  assert.notEqual(placeA?.thread, placeB?.thread);
  assert.ok(performance.now() - started < 20_000);
});

test('an error of the job is its result', async () => {
  const job = await claim(jobs.throwing);
  const { outcome } = await work(job);
  assert.ok(outcome.kind === 'completed' && outcome.failed && outcome.result.includes('out of luck'));
});

test('a result that cannot be stored is a failure that names the path', async () => {
  const job = await claim(jobs.unstorable);
  const { outcome } = await work(job);
  assert.ok(outcome.kind === 'completed' && outcome.failed, JSON.stringify(outcome));
  assert.match(outcome.result, /deep\.callback/);
});

for (const way of ['exit', 'uncaught', 'rejection', 'memory'] as const) {
  test(`a thread that dies (${way}) costs its own job alone, and is replaced`, { timeout: 60_000 }, async () => {
    const bystander = work(await claim(jobs.meet, folder, 'bystander', 'go'));
    const job = await claim(jobs.diesOnce, folder, way);
    const { outcome } = await work(job);
    assert.equal(outcome.kind, 'interrupted');
    const line = lines.find(({ level, message }) => level === 'error' && message.includes('workerJobs.diesOnce'));
    assert.match(line?.message ?? '', /is interrupted: its worker thread main:\d/);
    // Whoever is told of it has the job run again; here by hand.
    const again = await work(job);
    assert.ok(again.outcome.kind === 'completed' && !again.outcome.failed, JSON.stringify(again.outcome));
    assert.equal(await resultOf(job), `survived ${way}`);
    writeFileSync(join(folder, 'go'), '');
    assert.equal((await bystander).outcome.kind, 'completed');
  });
}

test('a job that was given to a thread while another was finishing there runs elsewhere if the thread dies', async () => {
  pool.resize(1);
  const [first, second] = [await claim(jobs.lastWords), await claim(jobs.add, 1, 2)];
  const { promise: given, resolve } = deferred<Promise<{ outcome: JobOutcome }>>();
  const { promise: ended, resolve: end } = deferred<JobOutcome>();
  pool.start(first, {
    finishing: () => {
      resolve(work(second));
      assert.equal(pool.jobCount, 2);
    },
    ended: end,
  });
  assert.equal((await await given).outcome.kind, 'completed');
  assert.equal((await ended).kind, 'interrupted');
  assert.deepEqual([await resultOf(first), await resultOf(second)], ['said', 3]);
});

test('stopping lets a job finish within the grace, and starts no other', async () => {
  const running = work(await claim(jobs.meet, folder, 'here', 'go'));
  const alsoRunning = work(await claim(jobs.meet, folder, 'here too', 'go'));
  const waiting = work(await claim(jobs.add, 1, 2));
  await waitFor('here');
  await waitFor('here too');
  const stopped = pool.stop({ graceMs: 20_000 });
  assert.deepEqual((await waiting).outcome.kind, 'interrupted');
  assert.equal((await work(await claim(jobs.add, 1, 2))).outcome.kind, 'interrupted');
  writeFileSync(join(folder, 'go'), '');
  await stopped;
  for (const end of [running, alsoRunning]) assert.equal((await end).outcome.kind, 'completed');
  assert.deepEqual(pool.status(), []);
});

test('what is left when the grace is over is interrupted, even where it never lets its thread breathe', async () => {
  const burning = work(await claim(jobs.burnsOnce, folder, 'burning'));
  const idling = work(await claim(jobs.staysOnce, folder, 'idling'));
  await waitFor('burning');
  await waitFor('idling');
  const started = performance.now();
  await pool.stop({ graceMs: 50 });
  assert.ok(performance.now() - started < 10_000);
  for (const end of [burning, idling]) {
    assert.deepEqual((await end).outcome, { kind: 'interrupted', reason: 'the pool was stopped' });
  }
  await pool.stop({ graceMs: 50 });
});

test('a smaller size ends surplus threads after their job, a larger one starts more', async () => {
  const ends = ['a', 'b'].map(async (name) => work(await claim(jobs.meet, folder, name, `go ${name}`)));
  await waitFor('a');
  await waitFor('b');
  pool.resize(1);
  assert.equal(pool.status().filter(({ state }) => state === 'ending').length, 1);
  const third = work(await claim(jobs.add, 1, 2));
  writeFileSync(join(folder, 'go a'), '');
  writeFileSync(join(folder, 'go b'), '');
  for (const end of ends) assert.equal((await end).outcome.kind, 'completed');
  assert.equal((await third).outcome.kind, 'completed');
  pool.resize(3);
  const three = ['c', 'd', 'e'];
  const meeting = [];
  for (const [i, name] of three.entries()) {
    meeting.push(work(await claim(jobs.meet, folder, name, three[(i + 1) % 3] as string)));
  }
  for (const end of meeting) assert.equal((await end).outcome.kind, 'completed');
  pool.resize(0);
  const held = work(await claim(jobs.add, 1, 2));
  assert.equal(pool.jobCount, 1);
  pool.resize(1);
  assert.equal((await held).outcome.kind, 'completed');
});

test('a module that is registered after a thread was started is imported there before it is needed', async () => {
  await work(await claim(jobs.add, 1, 2));
  const file = join(modulesFolder, 'late.mjs');
  writeFileSync(
    file,
    `import { persistable } from '${import.meta.resolve('holdfast/odb')}';
     export const late = () => 'in time';
     persistable('late', import.meta, { late });`,
  );
  const { late } = (await import(file)) as { late: () => string };
  const job = await claim(late);
  const { outcome } = await work(job);
  assert.ok(outcome.kind === 'completed' && !outcome.failed, JSON.stringify(outcome));
  assert.equal(await resultOf(job), 'in time');
});

test('what a thread logs goes where the logs of the process go', async () => {
  await work(await claim(jobs.throwing));
  const line = lines.find(({ message }) => message.includes('out of luck'));
  assert.equal(line?.logger, 'zc.async.events');
});

test('job functions in the module that the program starts with are refused', () => {
  const file = join(folder, 'program.mjs');
  writeFileSync(
    file,
    `import { DB, persistable } from '${import.meta.resolve('holdfast/odb')}';
     import { ThreadPool } from '${import.meta.resolve('#src/async/pool/thread-pool.js')}';
     export function job() {}
     persistable('program', import.meta, { job });
     const db = await DB.open('memory:');
     try { new ThreadPool({ name: 'main', size: 1, db, uuid: 'x' }); } catch (error) { console.log(error.code, error.message); }
     await db.close();`,
  );
  const { stdout, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8' });
  assert.match(
    stdout,
    /^ASYNC_ENTRY_MODULE .*program\.mjs cannot be a job module.*module of their own.*'inline'/,
    stderr,
  );
  const piped = spawnSync(process.execPath, ['--input-type=module'], { input: readFileSync(file), encoding: 'utf8' });
  assert.match(piped.stdout, /^ASYNC_ENTRY_MODULE/, piped.stderr);
});

test('a job module that begins a program of its own, or breaks, in a thread is named in the log; the jobs wait', async () => {
  const cases = [
    [
      'opens.mjs',
      `await DB.open('memory:')`,
      /opens\.mjs cannot be a job module: it calls DB\.open while it is imported/,
    ],
    ['hides.mjs', `DB.open('memory:').catch(() => {})`, /hides\.mjs cannot be a job module: it calls DB\.open/],
    ['throws.mjs', `throw new Error('no luck')`, /the job module .*throws\.mjs does not load: no luck/],
    ['exits.mjs', 'process.exit(3)', /the worker thread ended with exit code 3 while it started/],
  ] as const;
  for (const [name, body, message] of cases) {
    const program = join(folder, 'program.mjs');
    const file = join(folder, name);
    writeFileSync(
      file,
      `import { isMainThread } from 'node:worker_threads';
       import { DB, persistable } from '${import.meta.resolve('holdfast/odb')}';
       if (!isMainThread) { ${body} }
       export function job() {}
       persistable('job', import.meta, { job });`,
    );
    writeFileSync(
      program,
      `import { job } from './${name}';
       import { DB, setLogSink } from '${import.meta.resolve('holdfast/odb')}';
       import { ThreadPool } from '${import.meta.resolve('#src/async/pool/thread-pool.js')}';
       const db = await DB.open('memory:');
       const pool = new ThreadPool({ name: 'main', size: 2, db, uuid: 'x' });
       const logged = new Promise((resolve) => setLogSink(resolve));
       const ended = new Promise((resolve) => pool.start({ oid: 0 }, { finishing() {}, ended: resolve }));
       const { level, message, error } = await logged;
       console.log(level, message, error.message, pool.jobCount);
       await pool.stop({ graceMs: 0 });
       console.log((await ended).kind);
       await db.close();`,
    );
    const { stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
    assert.match(stdout, message, stderr);
    assert.match(
      stdout,
      /^critical the worker thread main:1 does not start; its jobs wait.* 1\ninterrupted\n$/s,
      stderr,
    );
  }
});

/** Resolves once a job has left its mark. */
async function waitFor(name: string): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    try {
      readFileSync(join(folder, name));
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  throw new Error(`no job has come to '${name}'`);
}
