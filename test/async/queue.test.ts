import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getDefaultQueue, Job, Queue, Queues } from 'holdfast/async';
import { type Oid, POSKeyError, type Revision, setLogLevel, setLogSink } from 'holdfast/odb';
import { add, echo, fortyTwo, onlyEcho } from './support/functions.js';
import { QueueSite, type View } from './support/queues.js';

const MINUTE = 60_000;

/** Text of the first argument of each pending job, as they would be offered. */
function order(queue: Queue): unknown[] {
  return [...queue].map((job) => job.args.at(0));
}

/** Claims everything that is due. */
function claimAll(user: View): unknown[] {
  const claimed: unknown[] = [];
  user.do((queue) => {
    for (let job = queue.claim(); job; job = queue.claim()) claimed.push(job.args.at(0));
  });
  return claimed;
}

test('queues know their name and their parent as long as they are in the mapping', () => {
  const queues = new Queues();
  const queue = new Queue();
  queues.set('mail', queue);
  assert.equal(queue.name, 'mail');
  assert.equal(queue.parent, queues);
  assert.equal(queues.get('mail'), queue);
  assert.equal(queues.get('other'), undefined);
  queues.delete('mail');
  assert.equal(queue.parent, undefined);
  assert.equal(queues.size, 0);
  assert.throws(() => queues.set('x', {} as never), TypeError);
});

test('a fresh queue is empty', () => {
  const queue = new Queue();
  assert.equal(queue.length, 0);
  assert.deepEqual([...queue], []);
  assert.equal(queue.claim(), undefined);
  assert.throws(() => queue.pull(), RangeError);
  assert.throws(() => queue.pull(-1), RangeError);
});

test('put makes a job of a function, and fills in what is not given', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = user.do((queue) => queue.put(fortyTwo));
  assert.equal(job.status, 'pending-status');
  assert.equal(job.parent, user.queue);
  assert.equal(job.queue, user.queue);
  assert.deepEqual(job.beginAfter, new Date(site.clock.now()));
  assert.equal(typeof job.assignerUuid, 'string');
  assert.equal(user.queue.length, 1);
  assert.equal(user.queue.at(0), job);
  assert.equal(user.queue.at(-1), job);
  assert.equal(user.queue.at(1), undefined);
});

test('put of a job that is not new is refused', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = user.do((queue) => queue.put(fortyTwo));
  assert.throws(() => user.do((queue) => queue.put(job)), { code: 'ASYNC_BAD_STATUS' });
  assert.equal(user.queue.length, 1);
  for (const wrong of [3, 'x', null, {}]) assert.throws(() => user.do((queue) => queue.put(wrong as never)), TypeError);
});

test('put with an invalid date or duration queues nothing, and leaves the job as it was', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = new Job(fortyTwo);
  assert.throws(() => user.do((queue) => queue.put(job, { beginAfter: new Date(Number.NaN) })), RangeError);
  assert.throws(() => user.do((queue) => queue.put(job, { beginAfter: new Date(0), beginBy: -5 })), RangeError);
  assert.equal(user.queue.length, 0);
  assert.equal(job.status, 'new-status');
  assert.equal(job.beginAfter, undefined);
  assert.equal(job.beginBy, undefined);
});

test('put may set when, how long, how loud and how stubborn; what is not given stays', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = new Job(fortyTwo);
  job.failureLogLevel = 'info';
  const beginAfter = new Date(site.clock.now() + MINUTE);
  user.do((queue) => queue.put(job, { beginAfter, beginBy: { minutes: 2 } }));
  assert.deepEqual(job.beginAfter, beginAfter);
  assert.equal(job.beginBy, 2 * MINUTE);
  assert.equal(job.failureLogLevel, 'info');
});

test('jobs are offered in the order in which they were put', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  user.do((queue) => {
    for (let i = 0; i < 300; i++) queue.put(new Job(echo, i));
  });
  await user.commit();
  const expected = Array.from({ length: 300 }, (_, i) => i);
  const other = site.view();
  assert.equal(other.queue.length, 300);
  assert.deepEqual(order(other.queue), expected);
  assert.deepEqual(claimAll(other), expected);
  assert.equal(other.queue.length, 0);
  await other.commit();
  user.begin();
  assert.equal(user.queue.length, 0);
});

test('jobs of one transaction keep their order, whatever their beginAfter within one millisecond', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const due = new Date(site.clock.now() + MINUTE);
  user.do((queue) => {
    for (let i = 0; i < 20; i++) queue.put(new Job(echo, i), { beginAfter: due });
  });
  await user.commit();
  await site.clock.advance(MINUTE);
  const other = site.view();
  assert.deepEqual(
    claimAll(other),
    Array.from({ length: 20 }, (_, i) => i),
  );
});

test('transactions one after the other keep their order, whichever connections they come from', async () => {
  await using site = await QueueSite.open();
  const users = Array.from({ length: 5 }, () => site.view());
  for (let i = 0; i < 40; i++) {
    const user = users[(i * 3) % 5] as View;
    user.begin();
    user.do((queue) => queue.put(new Job(echo, i)));
    await user.commit();
    await site.clock.advance(1);
  }
  const claimer = site.view();
  assert.deepEqual(
    order(claimer.queue),
    Array.from({ length: 40 }, (_, i) => i),
  );
  assert.deepEqual(
    claimAll(claimer),
    Array.from({ length: 40 }, (_, i) => i),
  );
});

test('a job is not claimed before its time, and stands behind what is due', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const now = site.clock.now();
  user.do((queue) => {
    queue.put(new Job(echo, 'in 3'), { beginAfter: new Date(now + 3 * MINUTE) });
    queue.put(new Job(echo, 'in 1'), { beginAfter: new Date(now + MINUTE) });
    queue.put(new Job(echo, 'now'));
    queue.put(new Job(echo, 'in 2'), { beginAfter: new Date(now + 2 * MINUTE) });
  });
  await user.commit();
  assert.deepEqual(order(user.queue), ['now', 'in 1', 'in 2', 'in 3']);
  assert.equal(user.queue.length, 4);
  assert.deepEqual(claimAll(user), ['now']);
  await site.clock.advance(2 * MINUTE);
  assert.deepEqual(claimAll(user), ['in 1', 'in 2']);
  await site.clock.advance(MINUTE - 1);
  assert.deepEqual(claimAll(user), []);
  await site.clock.advance(1);
  assert.deepEqual(claimAll(user), ['in 3']);
});

test('due scheduled jobs and plain ones are merged by beginAfter, the scheduled one first on a tie', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const now = site.clock.now();
  user.do((queue) => {
    queue.put(new Job(echo, 'at 2'), { beginAfter: new Date(now + 2 * MINUTE) });
    queue.put(new Job(echo, 'at 1'), { beginAfter: new Date(now + MINUTE) });
    queue.put(new Job(echo, 'plain 0'));
  });
  await user.commit();
  await site.clock.advance(MINUTE);
  user.do((queue) => queue.put(new Job(echo, 'plain 1')));
  await user.commit();
  await site.clock.advance(2 * MINUTE);
  user.do((queue) => queue.put(new Job(echo, 'plain 3')));
  await user.commit();
  const expected = ['plain 0', 'at 1', 'plain 1', 'at 2', 'plain 3'];
  assert.deepEqual(order(user.queue), expected);
  assert.deepEqual(claimAll(user), expected);
});

test('a job put with a beginAfter in the past goes to the end of the line', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  user.do((queue) => queue.put(new Job(echo, 'first')));
  await user.commit();
  const past = user.do((queue) => queue.put(new Job(echo, 'past'), { beginAfter: new Date(0) }));
  await user.commit();
  assert.deepEqual(past.beginAfter, new Date(0));
  const other = site.view();
  await site.clock.advance(1);
  other.do((queue) => queue.put(new Job(echo, 'last')));
  await other.commit();
  assert.deepEqual(claimAll(other), ['first', 'past', 'last']);
});

test('pull takes a job out at a place, and it is new again', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  user.do((queue) => {
    for (const name of ['a', 'b', 'c', 'd']) queue.put(new Job(echo, name));
  });
  await user.commit();
  const pulled = user.do((queue) => [queue.pull(), queue.pull(-1), queue.pull(1)]);
  assert.deepEqual(
    pulled.map((job) => job.args.at(0)),
    ['a', 'd', 'c'],
  );
  for (const job of pulled) {
    assert.equal(job.status, 'new-status');
    assert.equal(job.parent, undefined);
    assert.equal(job.assignerUuid, undefined);
  }
  assert.throws(() => user.do((queue) => queue.pull(1)), RangeError);
  assert.throws(() => user.do((queue) => queue.pull(-2)), RangeError);
  assert.deepEqual(order(user.queue), ['b']);
  await user.commit();
  const [first] = pulled as [Job];
  const before = first.beginAfter;
  user.do((queue) => queue.put(first));
  await user.commit();
  assert.deepEqual(first.beginAfter, before);
  assert.deepEqual(order(user.queue), ['b', 'a']);
});

test('remove takes out the job that is given; one that is not there is named', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const [one, two] = user.do((queue) => [queue.put(new Job(echo, 1)), queue.put(new Job(echo, 2))] as const);
  await user.commit();
  user.do((queue) => queue.remove(one as never));
  assert.equal(one.status, 'new-status');
  assert.deepEqual(order(user.queue), [2]);
  assert.throws(
    () => user.do((queue) => queue.remove(one as never)),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'ODB_LOOKUP');
      assert.match(error.message, /tests\.echo\(1\)/);
      return true;
    },
  );
  await user.commit();
  assert.equal(two.status, 'pending-status');
});

test('claim takes the first job that passes; others stay in place', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  user.do((queue) => {
    queue.put(new Job(add, 1, 2));
    queue.put(new Job(echo, 'a'));
    queue.put(new Job(add, 3, 4));
    queue.put(new Job(echo, 'b'));
  });
  await user.commit();
  const claimed = user.do((queue) => queue.claim(onlyEcho as never));
  assert.equal(claimed?.args.at(0), 'a');
  assert.equal(claimed?.parent, undefined);
  assert.equal(claimed?.status, 'new-status');
  assert.deepEqual(order(user.queue), [1, 3, 'b']);
  assert.equal(user.do((queue) => queue.claim(onlyEcho as never))?.args.at(0), 'b');
  assert.equal(
    user.do((queue) => queue.claim(onlyEcho as never)),
    undefined,
  );
  const fallback = new Job(fortyTwo);
  assert.equal(
    user.do((queue) => queue.claim(onlyEcho as never, fallback as never)),
    fallback,
  );
  await user.commit();
  assert.deepEqual(order(site.view().queue), [1, 3]);
});

test('what a transaction took out comes back when it is aborted', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  user.do((queue) => {
    for (let i = 0; i < 130; i++) queue.put(new Job(echo, i));
  });
  await user.commit();
  assert.equal(claimAll(user).length, 130);
  user.abort();
  assert.equal(user.queue.length, 130);
  user.do((queue) => queue.put(new Job(echo, 'kept out')));
  user.abort();
  user.do((queue) => queue.put(new Job(echo, 130)));
  await user.commit();
  assert.deepEqual(
    order(site.view().queue),
    Array.from({ length: 131 }, (_, i) => i),
  );
});

test('a due job that was not begun in time is replaced by one that fails it', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = user.do((queue) => queue.put(new Job(echo, 'late'), { beginBy: MINUTE }));
  await user.commit();
  await site.clock.advance(MINUTE);
  const other = site.view();
  // Not strictly later yet.
  assert.equal(other.do((queue) => queue.claim())?.args.at(0), 'late');
  other.abort();
  await site.clock.advance(1);
  const failing = other.do((queue) => queue.claim()) as unknown as Job;
  assert.notEqual(failing._p_oid, job._p_oid);
  assert.equal(failing.callableName, 'Job:fail');
  assert.equal(other.queue.length, 0);
  other.abort();
  // The filter is asked about the job itself.
  assert.equal(
    other.do((queue) => queue.claim((each) => each.callableName !== 'tests.echo')),
    undefined,
  );
});

test('a job whose function is not registered here is stepped over, with one warning', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const stranger = new Job(echo, 'unknown');
  user.do((queue) => {
    queue.put(stranger);
    queue.put(new Job(echo, 'unknown too'));
    queue.put(new Job(add, 1, 1));
  });
  await user.commit();
  // A name that another process registered: written into the records as that process would.
  await renameInRecords(site, 'tests.echo', 'tests.ohce');
  const lines: string[] = [];
  const formerLevel = setLogLevel('warning');
  const formerSink = setLogSink(({ level, message }) => lines.push(`${level}: ${message}`));
  try {
    const other = site.view();
    const claimed = other.do((queue) => [queue.claim(), queue.claim()]);
    assert.equal(claimed[0]?.callableName, 'tests.add');
    assert.equal(claimed[1], undefined);
    const seen = other.connection.get(stranger._p_oid as number) as Job;
    assert.equal(seen.callable, undefined);
    assert.equal(seen.callableName, 'tests.ohce');
    assert.equal(seen.status, 'pending-status');
    assert.equal(other.queue.length, 2);
    assert.match(String(seen), /tests\.ohce\('unknown'\)/);
  } finally {
    setLogSink(formerSink);
    setLogLevel(formerLevel);
  }
  assert.equal(lines.length, 1);
  assert.match(lines[0] as string, /^warning: .*tests\.ohce/);
});

test('getDefaultQueue says what to do when there is none', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  assert.equal(getDefaultQueue(user.connection), user.queue);
  assert.equal(getDefaultQueue(user.do((queue) => queue.put(echo))), user.queue);
  user.abort();
  user.do(() => user.connection.root.delete('zc.async'));
  assert.throws(() => getDefaultQueue(user.connection), { code: 'ASYNC_NO_QUEUE', message: /installQueues/ });
});

/** Replaces a name of the same length in all records, as if they had been written by a process that knows the other one. */
async function renameInRecords(site: QueueSite, from: string, to: string): Promise<void> {
  assert.equal(from.length, to.length);
  const { storage } = site.db;
  const transaction = {
    commitId: new Uint8Array(16).fill(7),
    user: '',
    description: '',
    extension: new Uint8Array(0),
  };
  storage.tpcBegin(transaction);
  const oidsEnd = storage.newOid();
  for (let oid = 1; oid < oidsEnd; oid++) {
    let revision: Revision;
    try {
      revision = storage.load(oid as Oid);
    } catch (error) {
      // Not every oid that was given out was used.
      if (error instanceof POSKeyError) continue;
      throw error;
    }
    const { data, tid } = revision;
    const text = Buffer.from(data).toString('latin1');
    if (text.includes(from))
      storage.store(transaction, oid as never, tid, Buffer.from(text.replaceAll(from, to), 'latin1'));
  }
  await storage.commit(transaction);
}
