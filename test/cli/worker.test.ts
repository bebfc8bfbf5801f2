import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Failure, getDefaultQueue, installQueues, Job, type Queue } from 'holdfast/async';
import { DB, Length, TransactionManager } from 'holdfast/odb';
import 'holdfast/zeo';
import { until, waitForStart } from 'holdfast/testing';
import { type Program, Site } from '../support/programs.js';
import {
  add,
  burnsOnce,
  countMe,
  diesOnce,
  meet,
  type Place,
  staysOnce,
  throwing,
  unstorable,
  whereAmI,
} from '../support/worker-jobs.js';

const JOBS = fileURLToPath(new URL('../support/worker-jobs.js', import.meta.url));

/** A client of the server of a site. */
class Client {
  readonly manager = new TransactionManager();

  private constructor(
    readonly db: DB,
    readonly address: string,
  ) {}

  static async open(address: string): Promise<Client> {
    const client = new Client(await DB.open(`zeo://${address}`), address);
    await installQueues(client.db);
    client.connection = client.db.open({ transactionManager: client.manager });
    return client;
  }

  connection!: ReturnType<DB['open']>;

  get queue(): Queue {
    return getDefaultQueue(this.connection);
  }

  async put<J extends Job>(...jobs: readonly J[]): Promise<readonly J[]> {
    await this.manager.run(
      () => {
        for (const job of jobs) this.queue.put(job as Job);
      },
      { retries: 20 },
    );
    return jobs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.manager.abort();
    this.connection.close();
    await this.db.close();
  }
}

/** Runs a worker that is to fail; resolves to its exit code and what it said. */
async function failing(
  site: Site,
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<{ code: number | null; said: string }> {
  const program = site.start('holdfast', ['worker', ...args], options);
  const { code } = await program.exited;
  return { code, said: program.stderr };
}

test('a wrong command line is told in one line, with exit code 2', async () => {
  await using site = new Site();
  for (const [args, message] of [
    [[JOBS], /which database\? give --zeo host:port/],
    [['--zeo', '127.0.0.1:1'], /missing required argument 'module'/],
    [['--zeo', '127.0.0.1:1', '--db', 'x', JOBS], /--zeo or --db, not both/],
    [['--zeo', 'not an address', JOBS], /'not an address' is no address/],
    [['--db', 'x', '--agent', 'main', JOBS], /--agent main: it has no name and size/],
    [['--db', 'x', '--agent', 'main=1,chooser=nobody.knows', JOBS], /no module gives the name 'nobody\.knows'/],
    [['--db', 'x', '--poll-interval', 'soon', JOBS], /'soon' is no duration/],
    [['--db', 'x', '--size', 'many', JOBS], /'many' is no size/],
    [['--frobnicate', JOBS], /unknown option '--frobnicate'/],
  ] as const) {
    const { code, said } = await failing(site, args);
    assert.equal(code, 2, said);
    assert.match(said, /^holdfast worker: [^\n]*\n$/);
    assert.match(said, message);
  }
  assert.ok(!existsSync(join(site.directory, 'x')), 'nothing was made');
});

test('a module that does not load, or is a program of its own, is named', async () => {
  await using site = new Site();
  const holdfast = import.meta.resolve('holdfast');
  for (const [name, text, message] of [
    ['broken.mjs', 'throw new Error("no luck");', /job module .*broken\.mjs does not load: no luck/],
    ['syntax.mjs', 'export const = 1;', /job module .*syntax\.mjs does not load: Unexpected token/],
    [
      'program.mjs',
      `import { DB } from '${holdfast}'; await DB.open('memory:');`,
      /program\.mjs cannot be a job module/,
    ],
    ['missing.mjs', undefined, /missing\.mjs does not load: there is no such file/],
  ] as const) {
    const file = join(site.directory, name);
    if (text !== undefined) writeFileSync(file, text);
    const { code, said } = await failing(site, ['--db', 'test.fs', file]);
    assert.equal(code, 1, said);
    assert.match(said, message);
    assert.ok(!existsSync(join(site.directory, 'test.fs')), 'nothing was made');
  }
});

test('a second worker in one directory ends at once, and says what to do; so does one whose uuid.txt is rubbish', async () => {
  await using site = new Site();
  const { address } = await site.server();
  await site.worker('shared', ['--zeo', address, JOBS]);
  const second = await failing(site, ['--zeo', address, JOBS], { cwd: 'shared' });
  assert.equal(second.code, 1);
  assert.match(second.said, /uuid\.txt is in use by process \d+.*--uuid-file/);
  writeFileSync(join(site.folder('rubbish'), 'uuid.txt'), 'what is this?\n');
  const rubbish = await failing(site, ['--zeo', address, JOBS], { cwd: 'rubbish' });
  assert.equal(rubbish.code, 1);
  assert.match(
    rubbish.said,
    /rubbish\/uuid\.txt gives this instance no UUID: its first line is no UUID; delete the file/,
  );
  // A file of its own lets two work side by side.
  const other = site.start('holdfast', ['worker', '--zeo', address, '--uuid-file', 'other.txt', JOBS], {
    cwd: 'shared',
  });
  await other.output(/works on/);
});

test('a worker waits for a server that is not there yet', async () => {
  await using site = new Site();
  const { program, address, port } = await site.server();
  await program.end();
  const worker = site.start('holdfast', ['worker', '--zeo', address, JOBS], { cwd: 'early' });
  await worker.output(/there is no server at zeo:.* yet; waiting for it/, 'stderr');
  await site.server({ port });
  await worker.output(/works on/);
  assert.deepEqual(await worker.end('SIGINT'), { code: 0, signal: null });
});

test('two workers run two jobs at the same time, each in a thread of its own process', async () => {
  await using site = new Site();
  const { address } = await site.server();
  const workers = [
    await site.worker('one', ['--zeo', address, '--size', '1', JOBS]),
    await site.worker('two', ['--zeo', address, '--size', '1', JOBS]),
  ];
  await using client = await Client.open(address);
  const [left, right] = await client.put(
    new Job(meet, site.directory, 'left', 'right'),
    new Job(meet, site.directory, 'right', 'left'),
  );
  const places = (await Promise.all([left?.done(), right?.done()])) as Place[];
  assert.deepEqual(places.map(({ pid }) => pid).sort(), workers.map(({ pid }) => pid).sort());
  assert.ok(places.every(({ isMainThread }) => !isMainThread));
});

test('jobs that throw, or return what cannot be stored, or end their thread, cost nobody else anything', async () => {
  await using site = new Site();
  const { address } = await site.server();
  const worker = await site.worker('one', ['--zeo', address, '--size', '2', JOBS]);
  await using client = await Client.open(address);
  const jobs = await client.put<Job>(
    new Job(throwing),
    new Job(unstorable),
    new Job(diesOnce, site.directory, 'exit') as Job,
    new Job(add, 1, 2) as Job,
  );
  const [threw, refused, died, sum] = await Promise.all(jobs.map((job) => job.done()));
  assert.match(String(threw), /RangeError: out of luck/);
  assert.match(String(refused), /deep\.callback/);
  assert.equal(died, 'survived exit');
  assert.equal(sum, 3);
  assert.match(worker.stderr, /its worker thread main:\d exited with code 7/);
  assert.deepEqual(await worker.end(), { code: 0, signal: null });
});

test('a worker that is told to end puts back what it has not finished, and another one runs it', async () => {
  await using site = new Site();
  const { address } = await site.server();
  const first = await site.worker('first', ['--zeo', address, '--grace', '200ms', JOBS]);
  await using client = await Client.open(address);
  const [job] = await client.put(new Job(staysOnce, site.directory, 'stays'));
  await until(
    () => (existsSync(join(site.directory, 'stays')) ? true : undefined),
    () => 'the job has not begun',
  );
  assert.deepEqual(await first.end('SIGTERM'), { code: 0, signal: null });
  const second = await site.worker('second', ['--zeo', address, JOBS]);
  assert.equal(((await (job as Job).done()) as Place).pid, second.pid);
});

/** Where a job said that it runs; `undefined` while it has not said it to the end. */
function placeIn(path: string): Place | undefined {
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return text === '' ? undefined : (JSON.parse(text) as Place);
}

test('a job whose worker is killed runs again elsewhere, within seconds', async () => {
  await using site = new Site();
  const { address } = await site.server();
  const workers: Program[] = [
    await site.worker('one', ['--zeo', address, '--size', '1', JOBS]),
    await site.worker('two', ['--zeo', address, '--size', '1', JOBS]),
  ];
  await using client = await Client.open(address);
  const [job] = await client.put(new Job(burnsOnce, site.directory, 'burns'));
  const { pid } = await until(
    () => placeIn(join(site.directory, 'burns')),
    () => 'the job has not begun',
  );
  const victim = workers.find((worker) => worker.pid === pid) as Program;
  const killedMs = performance.now();
  victim.child.kill('SIGKILL');
  const place = (await job?.done()) as Place;
  const elapsedMs = performance.now() - killedMs;
  assert.notEqual(place.pid, pid);
  assert.ok(elapsedMs < 15_000, `it took ${Math.round(elapsedMs)} ms`);
});

test('a server that is killed in the middle of a job loses neither the job nor its result', async () => {
  await using site = new Site();
  const { program: server, address, port } = await site.server();
  await site.worker('one', ['--zeo', address, '--size', '1', JOBS]);
  await using client = await Client.open(address);
  const [held, queued] = await client.put<Job>(
    new Job(meet, site.directory, 'worker', 'go') as Job,
    new Job(whereAmI) as Job,
  );
  await until(
    () => (existsSync(join(site.directory, 'worker')) ? true : undefined),
    () => 'the job has not begun',
  );
  server.child.kill('SIGKILL');
  await server.exited;
  writeFileSync(join(site.directory, 'go'), '');
  await site.server({ port });
  const results = await Promise.all([held?.done(), queued?.done()]);
  assert.ok(
    results.every((result) => !(result instanceof Failure)),
    String(results),
  );
});

test('workers that are killed in full flow lose no job, and let none take effect twice', async () => {
  await using site = new Site();
  const { address } = await site.server();
  const start = (name: string) => site.worker(name, ['--zeo', address, '--size', '5', '--pool', 'inline', JOBS]);
  let workers = [await start('w0'), await start('w1')];
  await using client = await Client.open(address);
  await client.manager.run(() => client.connection.root.set('length', new Length()));
  const length = client.connection.root.get('length') as Length;
  const count = 400;
  const jobs = await client.put(...Array.from({ length: count }, () => new Job(countMe, length)));
  for (let round = 0; round < 2; round++) {
    await waitForStart(jobs[(round + 1) * 60] as Job);
    const [victim, survivor] = workers as [Program, Program];
    victim.child.kill('SIGKILL');
    await victim.exited;
    workers = [survivor, await start(`w${round + 2}`)];
  }
  for (const job of jobs) assert.ok(!((await job.done()) instanceof Failure));
  client.manager.begin();
  assert.equal(length.value, count);
});
