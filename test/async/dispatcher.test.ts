import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent, Dispatcher, Failure, getDefaultQueue, Job, method, NeverRetry, parallel, serial } from 'holdfast/async';
import { setLogLevel, setLogSink } from 'holdfast/odb';
import { getPoll, setUp, waitForAnnotation, waitForDeactivation, waitForStart } from 'holdfast/testing';
import { DispatcherSite } from './support/site.js';
import {
  addAndFail,
  addAndReturnPromiseInside,
  addSlowly,
  addTo,
  annotate,
  calls,
  conflictUntil,
  describe,
  explode,
  heldUp,
  nameOfJob,
  namesOf,
  note,
  open,
  returnJob,
  returnNested,
  returnParallel,
  statusesOf,
} from './support/work.js';

test('a committed job runs, and its result is there for everybody', async () => {
  await using site = await DispatcherSite.open();
  const job = new Job(note, 'hello');
  assert.equal(job.status, 'new-status');
  await site.put(job);
  assert.equal(job.status, 'pending-status');
  assert.equal(job.result, undefined);
  assert.equal(await job.done(), 'hello');
  assert.equal(job.status, 'pending-status', 'the view of the one who waits does not move by itself');
  site.begin();
  assert.equal(job.status, 'completed-status');
  assert.equal(job.result, 'hello');
  assert.equal(job.agent?.name, 'main');
  assert.ok(job.activeStart && job.activeEnd && job.activeStart <= job.activeEnd);
});

test('a job that was not committed is seen by nobody', async () => {
  await using site = await DispatcherSite.open();
  site.manager.enter(() => site.queue.put(new Job(note, 'dropped')));
  site.manager.abort();
  await site.run(new Job(note, 'kept'));
  assert.deepEqual(calls, ['kept']);
});

test('one slot works through the queue in order', async () => {
  await using site = await DispatcherSite.open({ agentSize: 1 });
  const jobs = Array.from({ length: 30 }, (_, i) => new Job(note, String(i)));
  await site.put(...jobs);
  await site.reactor.waitFor(...jobs);
  assert.deepEqual(
    calls,
    jobs.map((_, i) => String(i)),
  );
});

test('an agent runs as many jobs at once as its size says, and no more', async () => {
  await using site = await DispatcherSite.open({ agentSize: 2 });
  const jobs = ['a', 'b', 'c'].map((name) => new Job(heldUp, name));
  await site.put(...jobs);
  await waitForStart(jobs[1] as Job);
  assert.deepEqual(calls, ['a begins', 'b begins']);
  open('a');
  await waitForStart(jobs[2] as Job);
  open('b');
  open('c');
  await site.reactor.waitFor(...jobs);
  assert.deepEqual(calls.slice(0, 4), ['a begins', 'b begins', 'a ends', 'c begins']);
});

test('an agent whose size is changed, or that is added, is noticed without a poll', async () => {
  await using site = await DispatcherSite.open({ agentSize: 0, pollInterval: { hours: 1 } });
  const [job] = await site.put(new Job(note, 'late'));
  await site.reactor.timeFlies(1000);
  assert.deepEqual(calls, []);
  await site.do(({ queue, dispatcher }) => {
    const agent = queue.dispatchers.get(dispatcher.uuid)?.get('main') as Agent;
    agent.size = 1;
  });
  await job?.done();
  await site.do(({ queue, dispatcher }) => {
    queue.dispatchers.get(dispatcher.uuid)?.set('second', new Agent({ pool: 'inline', size: 1 }));
    (queue.dispatchers.get(dispatcher.uuid)?.get('main') as Agent).size = 0;
  });
  const other = new Job(nameOfJob);
  await site.put(other);
  assert.equal(await other.done(), 'second work.nameOfJob ');
});

test('a scheduled job begins when it is due, without waiting for a poll', async () => {
  await using site = await DispatcherSite.open({ pollInterval: { hours: 1 } });
  const job = new Job(note, 'in time');
  await site.do(({ queue, reactor }) => queue.put(job, { beginAfter: new Date(reactor.now() + 60_000) }));
  await site.reactor.timeFlies(59_000);
  assert.deepEqual(calls, []);
  await site.reactor.timeFlies(1001);
  await job.done();
  site.begin();
  assert.ok(Number(job.activeStart) >= Number(job.beginAfter));
});

test('a job that was not begun in time fails with TimeoutError, and its callbacks run', async () => {
  await using site = await DispatcherSite.open({ agentSize: 0 });
  const job = new Job(note, 'never');
  await site.do(({ queue }) => {
    queue.put(job, { beginBy: { minutes: 1 } });
    job.addCallback(new Job(describe, 'callback'));
  });
  await site.reactor.timeFlies({ minutes: 2 });
  await site.do(({ queue, dispatcher }) => {
    (queue.dispatchers.get(dispatcher.uuid)?.get('main') as Agent).size = 1;
  });
  await site.reactor.waitFor(job);
  site.begin();
  assert.ok(job.result instanceof Failure);
  assert.equal((job.result as Failure).errorName, 'TimeoutError');
  assert.equal(calls.length, 1);
  assert.match(calls[0] as string, /^callback: Failure/);
});

test('what a job writes and its completion are one transaction', async () => {
  await using site = await DispatcherSite.open();
  const good = await site.run(new Job(addTo, site.tally, 5));
  assert.equal(good.result, 5);
  assert.equal(site.tally.total, 5);
  const bad = await site.run(new Job(addAndFail, site.tally, 100));
  assert.ok((bad.result as unknown) instanceof Failure);
  assert.equal(site.tally.total, 5, 'a job that throws leaves nothing behind');
  const tid = good._p_serial;
  assert.ok(tid > 0);
  const writes = new Set<number>();
  for await (const transaction of site.db.storage.iterate(tid, tid)) {
    for await (const { oid } of transaction.records) writes.add(oid);
  }
  assert.ok(writes.has(good._p_oid as number) && writes.has(site.tally._p_oid as number));
});

test('a result that cannot be stored fails the job, and says where the culprit stands', async () => {
  await using site = await DispatcherSite.open();
  const job = await site.run(new Job(addAndReturnPromiseInside, site.tally, 7));
  const failure = job.result as unknown as Failure;
  assert.ok(failure instanceof Failure);
  assert.match(failure.message, /deep\[0\]\.pending|deep.*0.*pending/);
  assert.match(failure.message, /[Pp]romise/);
  assert.equal(site.tally.total, 0);
});

test('conflicts are retried four times, other errors are not, and NeverRetry means never', async () => {
  await using site = await DispatcherSite.open();
  assert.equal((await site.run(new Job(conflictUntil, 'five', 5))).result, 5);
  const given = await site.run(new Job(conflictUntil, 'six', 6));
  assert.equal((given.result as unknown as Failure).errorName, 'ConflictError');
  assert.equal(calls.filter((name) => name === 'six').length, 5);
  await site.run(new Job(explode, 'once'));
  assert.equal(calls.filter((name) => name === 'explode once').length, 1);
  const never = new Job(conflictUntil, 'never', 2);
  never.retryPolicyFactory = NeverRetry;
  await site.run(never);
  assert.equal(calls.filter((name) => name === 'never').length, 1);
});

test('jobs that change one object are run again until both changes are there', async () => {
  await using site = await DispatcherSite.open({ agentSize: 2 });
  const jobs = [new Job(addSlowly, site.tally, 1, 'a'), new Job(addSlowly, site.tally, 10, 'b')];
  await site.put(...jobs);
  for (const job of jobs) await waitForStart(job);
  open('a');
  open('b');
  await site.reactor.waitFor(...jobs);
  site.begin();
  assert.equal(site.tally.total, 11);
});

test('callbacks are given the result, and chosen by success or failure', async () => {
  await using site = await DispatcherSite.open();
  const good = new Job(note, 'fine');
  const bad = new Job(explode, 'ouch');
  const chained = await site.do(({ queue }) => {
    queue.put(good);
    queue.put(bad);
    const first = good.addCallback(new Job(describe, 'first'));
    const second = first.addCallback(new Job(describe, 'second'));
    good.addCallbacks({ success: new Job(describe, 'success'), failure: new Job(describe, 'failure') });
    bad.addCallbacks({ success: new Job(describe, 'success'), failure: new Job(describe, 'failure') });
    return second;
  });
  await site.reactor.waitFor(good, bad);
  site.begin();
  assert.deepEqual([...calls].sort(), [
    'explode ouch',
    'failure: Failure ouch',
    'fine',
    'first: fine',
    'second: first: fine',
    'success: fine',
  ]);
  assert.equal(chained.result, 'second: first: fine');
  assert.equal(good.result, 'fine', 'a callback never changes the result of its job');
});

test('a callback that is added while the job runs, or after it, is run, and the job is not run again', async () => {
  await using site = await DispatcherSite.open();
  const job = new Job(heldUp, 'job');
  await site.put(job);
  await waitForStart(job);
  await site.do(() => job.addCallback(new Job(describe, 'during')));
  open('job');
  await site.reactor.waitFor(job);
  const late = await site.do(() => job.addCallback(new Job(describe, 'after')));
  await site.reactor.waitFor(late as Job);
  assert.deepEqual(calls, ['job begins', 'job ends', 'during: job', 'after: job']);
});

test('a returned job gives its result to the one that returned it, which waits without a slot', async () => {
  await using site = await DispatcherSite.open({ agentSize: 1 });
  assert.equal((await site.run(new Job(returnJob, 'inner'))).result, 'inner');
  const nested = await site.run(new Job(returnNested, 'deep', 5));
  assert.equal(nested.result, 'deep');
  assert.deepEqual((await site.run(new Job(returnParallel))).result, ['a', 'b']);
});

test('serial runs its parts in order, parallel together; a part that fails stops nothing', async () => {
  await using site = await DispatcherSite.open({ agentSize: 3 });
  const inOrder = await site.run(
    serial(new Job(note, 'one'), new Job(explode, 'two'), new Job(note, 'three'), { postprocess: namesOf }) as Job,
  );
  assert.deepEqual(calls, ['one', 'explode two', 'three']);
  assert.deepEqual(inOrder.result, ['one', 'failed: two', 'three']);
  calls.length = 0;
  const parts = ['a', 'b', 'c'].map((name) => new Job(heldUp, name));
  const together = parallel(...parts, { postprocess: statusesOf }) as Job;
  await site.put(together);
  for (const part of parts) await waitForStart(part);
  assert.deepEqual(calls, ['a begins', 'b begins', 'c begins']);
  for (const name of ['c', 'a', 'b']) open(name);
  await site.reactor.waitFor(together);
  site.begin();
  assert.deepEqual(together.result, ['string', 'string', 'string']);
  const bare = await site.run(parallel(new Job(note, 'x'), new Job(note, 'y')) as Job);
  assert.deepEqual(
    (bare.result as Job[]).map(({ result, status }) => `${String(result)} ${status}`),
    ['x completed-status', 'y completed-status'],
  );
  assert.deepEqual((await site.run(parallel({ postprocess: namesOf }) as Job)).result, [], 'no parts at all');
});

test('a quota is a strict maximum over all dispatchers', async () => {
  await using site = await DispatcherSite.open({ agentSize: 3 });
  await setUp(site.db, { pool: 'inline', reactor: site.reactor, agentSize: 3 });
  const jobs = Array.from({ length: 6 }, (_, i) => new Job(heldUp, String(i)));
  await site.do(({ queue }) => {
    queue.quotas.create('narrow', { size: 2 });
    for (const job of jobs) {
      job.quotaNames = ['narrow'];
      queue.put(job);
    }
  });
  for (let done = 0; done < 6; done++) {
    await site.reactor.timeFlies(500);
    const running = calls.filter((call) => call.endsWith('begins')).length - done;
    assert.ok(running <= 2, `${running} of them ran at once`);
    await waitForStart(jobs[done] as Job);
    open(String(done));
    await site.reactor.waitFor(jobs[done] as Job);
  }
});

test('a job whose dispatcher ends is put back, and run by the next; NeverRetry fails it instead', async () => {
  await using site = await DispatcherSite.open({ agentSize: 3, grace: 0 });
  const again = new Job(heldUp, 'again');
  const never = new Job(heldUp, 'never');
  never.retryPolicyFactory = NeverRetry;
  await site.put(again, never);
  await waitForStart(again);
  await waitForStart(never);
  const ended = site.dispatcher.deactivate();
  await site.reactor.timeFlies(100);
  await ended;
  open('again');
  await setUp(site.db, { pool: 'inline', reactor: site.reactor });
  await site.reactor.waitFor(again, never);
  site.begin();
  assert.equal(again.result, 'again');
  assert.equal((never.result as unknown as Failure).errorName, 'AbortedError');
  assert.equal(calls.filter((call) => call === 'again begins').length, 2);
  assert.equal(calls.filter((call) => call === 'never begins').length, 1);
});

test('a dispatcher that was buried, and is alive, cannot commit what its job did', async () => {
  await using site = await DispatcherSite.open({ agentSize: 1 });
  const job = new Job(addSlowly, site.tally, 1, 'zombie');
  await site.put(job);
  await waitForStart(job);
  await site.do(({ queue, dispatcher }) => queue.dispatchers.get(dispatcher.uuid)?.deactivate());
  site.begin();
  const agents = site.queue.dispatchers.get(site.dispatcher.uuid);
  assert.ok(agents);
  open('zombie');
  await site.reactor.waitFor(job);
  site.begin();
  assert.equal(site.tally.total, 1, 'the change is there once');
  assert.equal(calls.filter((call) => call === 'zombie begins').length, 2);
});

test('a sibling buries a dispatcher that is not heard of, and its jobs are run elsewhere', async () => {
  await using site = await DispatcherSite.open({ agentSize: 1 });
  // As a process leaves it that was killed: active, with a job that nobody works on.
  const job = new Job(note, 'left behind');
  const uuid = '00000000-0000-1000-8000-000000000000';
  await site.do(({ queue }) => {
    const dead = queue.dispatchers.register(uuid);
    dead.set('main', new Agent({ pool: 'inline' }));
    dead.activate();
    queue.put(job);
    const claimed = dead.get('main')?.claimJob();
    assert.equal(claimed, job);
    job.begin(site.reactor.now());
  });
  // Nobody holds its lock: that is noticed long before its pings are missed.
  await site.reactor.timeFlies({ seconds: 1 });
  assert.deepEqual(calls, []);
  await site.reactor.timeFlies({ seconds: 30 });
  site.begin();
  const agents = site.queue.dispatchers.get(uuid);
  assert.ok(agents);
  await waitForDeactivation(agents);
  await site.reactor.waitFor(job);
  assert.deepEqual(calls, ['left behind']);
});

test('live annotations go both ways while a job runs', async () => {
  await using site = await DispatcherSite.open();
  const job = new Job(annotate);
  await site.put(job);
  assert.equal(await waitForAnnotation(job, 'progress'), 50);
  await site.do(() => job.annotations.set('answer', 42));
  await site.reactor.waitFor(job);
  site.begin();
  assert.equal(job.result, 42);
});

test('a function that is not registered stays pending, is warned of, and holds nobody up', async () => {
  await using site = await DispatcherSite.open();
  const stranger = (name: string) => name;
  await assert.rejects(
    site.put(new Job(stranger, 'unknown')),
    (error: Error) => /persistable/.test(error.message) && /stranger/.test(error.message),
  );
  site.manager.abort();
  await site.run(new Job(note, 'goes on'));
  assert.deepEqual(calls, ['goes on']);
});

test('failures are logged with their stack before callbacks run', async () => {
  await using site = await DispatcherSite.open();
  const lines: string[] = [];
  const formerLevel = setLogLevel('error');
  const formerSink = setLogSink(({ level, logger, message }) => lines.push(`${level} ${logger} ${message}`));
  try {
    await site.run(new Job(explode, 'loud'));
    const quiet = new Job(explode, 'quiet');
    quiet.failureLogLevel = 'debug';
    await site.run(quiet);
  } finally {
    setLogSink(formerSink);
    setLogLevel(formerLevel);
  }
  assert.equal(lines.length, 1);
  assert.match(lines[0] as string, /^error zc\.async\.events .*explode\('loud'\).*loud\n\s+at explode/s);
});

test('a method of a persistent object can be a job', async () => {
  await using site = await DispatcherSite.open();
  const inner = new Job(note, 'by method');
  await site.do(({ connection }) => connection.root.set('inner', inner));
  const outer = await site.run(new Job(method(inner, 'run')));
  assert.equal(outer.result, 'by method');
});

test('a second dispatcher of one UUID is refused in this process', async () => {
  await using site = await DispatcherSite.open();
  assert.throws(() => new Dispatcher(site.db, { uuid: site.dispatcher.uuid }), { code: 'ASYNC_ALREADY_REGISTERED' });
  assert.equal(Dispatcher.get(site.dispatcher.uuid), site.dispatcher);
});

test('the dispatcher tells what it does and did', async () => {
  await using site = await DispatcherSite.open({ agentSize: 2 });
  const job = new Job(heldUp, 'watched');
  await site.put(job);
  await waitForStart(job);
  const id = { oid: job._p_oid, databaseName: 'unnamed' };
  assert.deepEqual(site.dispatcher.getActiveJobIds(), [id]);
  const info = site.dispatcher.getJobInfo(job._p_oid as number);
  assert.equal(info.call, 'work.heldUp("watched")');
  assert.equal(info.completed, undefined);
  open('watched');
  await site.reactor.waitFor(job);
  const next = getPoll(site.dispatcher);
  await site.reactor.timeFlies(500);
  assert.deepEqual(Object.keys((await next).queues), ['']);
  assert.equal(site.dispatcher.getStatistics().successful, 1);
  assert.equal(site.dispatcher.getStatusInfo().status, 'RUNNING');
  assert.throws(() => site.dispatcher.getJobInfo(999_999), { code: 'ODB_LOOKUP' });
});

test('budget: two records of its own per job, and few that are shared', async () => {
  await using site = await DispatcherSite.open({ agentSize: 50 });
  const count = 500;
  const jobs = Array.from({ length: count }, (_, i) => new Job(note, String(i)));
  await site.put(...jobs);
  const own = new Set(jobs.map(({ _p_oid }) => _p_oid as number));
  const before = site.manager.enter(() => getDefaultQueue(site.connection)._p_jar) && site.db.storage.lastTransaction();
  await site.reactor.waitFor(...jobs);
  await site.reactor.timeFlies(1000);
  let ownWrites = 0;
  let sharedWrites = 0;
  for await (const transaction of site.db.storage.iterate(before)) {
    if (transaction.tid === before) continue;
    for await (const { oid } of transaction.records) {
      if (own.has(oid)) ownWrites++;
      else sharedWrites++;
    }
  }
  assert.ok(ownWrites <= 2 * count, `${ownWrites} records for ${count} jobs`);
  assert.ok(sharedWrites <= 0.3 * count, `${sharedWrites} shared records for ${count} jobs`);
});
