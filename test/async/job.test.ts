import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BadStatusError, Failure, Job, method, Queue } from 'holdfast/async';
import { transaction } from 'holdfast/odb';
import { Account, add, both, echo, explode, fortyTwo, SignedJob } from './support/functions.js';
import { QueueSite } from './support/queues.js';

const badStatus = { code: 'ASYNC_BAD_STATUS' } satisfies Partial<BadStatusError>;

test('a fresh job is new, and nowhere', () => {
  const job = new Job(add, 1, 2);
  assert.equal(job.status, 'new-status');
  assert.equal(job.queue, undefined);
  assert.equal(job.agent, undefined);
  assert.equal(job.parent, undefined);
  assert.equal(job.result, undefined);
  assert.equal(job.callable, add);
  assert.equal(job.callableName, 'tests.add');
  assert.deepEqual([...job.args], [1, 2]);
  assert.deepEqual(job.quotaNames, []);
  assert.equal(job.beginAfter, undefined);
  assert.equal(job.beginBy, undefined);
  assert.equal(job.activeStart, undefined);
  assert.equal(job.activeEnd, undefined);
  assert.equal(job.initialCallbacksEnd, undefined);
  assert.equal(job.failureLogLevel, undefined);
  assert.equal(job.assignerUuid, undefined);
});

test('what cannot be called cannot be the callable of a job', () => {
  for (const wrong of [undefined, null, 3, 'tests.add', {}, []]) {
    assert.throws(() => new Job(wrong as never), { name: 'TypeError' });
  }
});

test('the arguments may be changed after the job was made, and are stored with it', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = user.do((queue) => queue.put(new Job(echo, 'a')));
  await user.commit();
  user.do(() => job.args.push('b', 'c'));
  await user.commit();
  const other = site.view();
  const seen = other.connection.get(job._p_oid as number) as Job;
  assert.deepEqual([...seen.args], ['a', 'b', 'c']);
  assert.equal(seen.args.length, 3);
  assert.equal(seen.args.at(-1), 'c');
});

test('two jobs that are in a queue can be arguments of each other before the commit', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const [one, two] = user.do((queue) => [queue.put(new Job(echo)), queue.put(new Job(echo))] as const);
  user.do(() => {
    one.args.push(two);
    two.args.push(one);
  });
  await user.commit();
  const seen = site.view().connection.get(one._p_oid as number) as Job;
  assert.equal((seen.args.at(0) as Job)._p_oid, two._p_oid);
  assert.equal((seen.args.at(0) as Job).args.at(0), seen);
});

test('bind gives the job itself as first argument', () => {
  const job = Job.bind(echo, 'x');
  assert.equal(job.args.at(0), job);
  assert.equal(job.args.at(1), 'x');
});

test('a method is stored as its object and its name, and looked up afresh', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const account = new Account();
  const job = user.do((queue) => queue.put(new Job(method(account, 'deposit'), 5)));
  await user.commit();
  const seen = site.view().connection.get(job._p_oid as number) as typeof job;
  const callable = seen.callable;
  assert.equal(callable?.methodName, 'deposit');
  assert.equal(callable?.object._p_oid, account._p_oid);
  assert.throws(() => method(account, 'withdraw' as never), { name: 'TypeError' });
  assert.throws(() => method({} as never, 'x' as never), { name: 'TypeError' });
});

test('a job given as callable belongs to the job that calls it, unless it belongs to another', () => {
  const inner = new Job(fortyTwo);
  const outer = new Job(inner);
  assert.equal(inner.parent, outer);
  const another = new Job(inner);
  assert.equal(inner.parent, outer);
  assert.equal(another.parent, undefined);
});

test("a job's own method may be its callable, and it does not become its own parent", () => {
  class SelfJob extends SignedJob {
    work(): string {
      return 'done by itself';
    }
  }
  const job = new SelfJob('me', echo);
  job.callable = method(job, 'work') as never;
  assert.equal(job.parent, undefined);
});

test('the callable can be replaced while the job is new, and not later', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = new Job<typeof echo | typeof fortyTwo>(echo);
  job.callable = fortyTwo;
  assert.equal(job.callable, fortyTwo);
  user.do((queue) => queue.put(job));
  assert.throws(() => {
    job.callable = echo;
  }, badStatus);
});

test('status and result cannot be assigned', () => {
  const job = new Job(echo) as unknown as Record<string, unknown>;
  assert.throws(() => {
    job['status'] = 'completed-status';
  }, TypeError);
  assert.throws(() => {
    job['result'] = 1;
  }, TypeError);
});

test('a subclass with a constructor of its own works, and its fields are stored and tracked', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = new SignedJob('Ada', echo, 1);
  assert.equal(job.status, 'new-status');
  user.do((queue) => queue.put(job));
  await user.commit();
  const other = site.view();
  const seen = other.connection.get(job._p_oid as number) as SignedJob;
  assert.ok(seen instanceof SignedJob);
  assert.equal(seen.author, 'Ada');
  assert.deepEqual([...seen.args], [1]);
  other.do(() => {
    seen.author = 'Grace';
  });
  await other.commit();
  user.begin();
  assert.equal(job.author, 'Grace');
  assert.equal(job.callable, echo);
});

test('the text form names class, oid, database and the call', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  assert.equal(String(new Job(add, 1, 2)), '<Job (oid ?, db ?) ``tests.add(1, 2)``>');
  const account = new Account();
  const job = new Job(method(account, 'deposit'), 5);
  assert.equal(String(job), '<Job (oid ?, db ?) ``<Account (oid ?, db ?)>:deposit(5)``>');
  const inner = new Job(both, account, job);
  assert.match(String(inner), /``tests\.both\(<Account \(oid \?, db \?\)>, <Job \(oid \?, db \?\) ``.*``>\)``>$/);
  user.do((queue) => queue.put(job));
  await user.commit();
  assert.equal(
    String(job),
    `<Job (oid ${job._p_oid}, db 'unnamed') \`\`<Account (oid ${account._p_oid}, db 'unnamed')>:deposit(5)\`\`>`,
  );
});

test('an argument that cannot be printed does not keep the job from being printed', () => {
  const broken = {
    get trouble(): never {
      throw new Error('in a getter');
    },
    [Symbol.for('nodejs.util.inspect.custom')](): never {
      throw new Error('while printing');
    },
  };
  assert.match(String(new Job(echo, broken)), /^<Job \(oid \?, db \?\)/);
});

test('a function without a name is refused, and the error says which and what to do', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  await assert.rejects(
    async () => {
      user.do((queue) => queue.put(function nameless() {}));
      await user.commit();
    },
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'ODB_UNREGISTERED');
      assert.match(error.message, /nameless/);
      assert.match(error.message, /persistable\(/);
      return true;
    },
  );
});

test('beginAfter is a valid date, set while the job is new', async () => {
  await using site = await QueueSite.open();
  const job = new Job(echo);
  const date = new Date('2030-01-02T03:04:05.006Z');
  job.beginAfter = date;
  assert.deepEqual(job.beginAfter, date);
  for (const wrong of [new Date(Number.NaN), '2030-01-01' as never, 5 as never]) {
    assert.throws(() => {
      job.beginAfter = wrong;
    }, RangeError);
  }
  assert.deepEqual(job.beginAfter, date);
  site.view().do((queue) => queue.put(job));
  assert.throws(() => {
    job.beginAfter = new Date();
  }, badStatus);
});

test('beginBy is a duration, set while the job is new or pending; a negative one is refused', async () => {
  await using site = await QueueSite.open();
  const job = new Job(echo);
  job.beginBy = { hours: 1 };
  assert.equal(job.beginBy, 3_600_000);
  site.view().do((queue) => queue.put(job));
  job.beginBy = 5000;
  assert.equal(job.beginBy, 5000);
  assert.throws(() => {
    job.beginBy = -1;
  }, RangeError);
  job.beginBy = undefined;
  assert.equal(job.beginBy, undefined);
});

test('quotaNames are an array of names; a bare string is refused and changes nothing', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = new Job(echo);
  job.quotaNames = new Set(['one', 'two']);
  assert.deepEqual(job.quotaNames, ['one', 'two']);
  for (const wrong of ['three', '', 3, undefined] as never[]) {
    assert.throws(() => {
      job.quotaNames = wrong;
    }, TypeError);
  }
  assert.deepEqual(job.quotaNames, ['one', 'two']);
  assert.throws(() => user.do((queue) => queue.put(job)), { code: 'ASYNC_UNKNOWN_QUOTA', quotaName: 'one' });
  assert.equal(user.queue.length, 0);
  assert.equal(job.status, 'new-status');
  user.do((queue) => {
    queue.quotas.create('one');
    queue.quotas.create('two');
    queue.put(job);
  });
  user.do(() => {
    job.quotaNames = ['two'];
  });
  assert.throws(
    () =>
      user.do(() => {
        job.quotaNames = ['two', 'none'];
      }),
    { code: 'ASYNC_UNKNOWN_QUOTA', quotaName: 'none' },
  );
  assert.deepEqual(job.quotaNames, ['two']);
});

test('annotations are stored beside the job: writing them does not conflict with a change of the job', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = user.do((queue) => queue.put(echo));
  user.do(() => job.annotations.set('note', 1));
  await user.commit();
  const other = site.view();
  const seen = other.connection.get(job._p_oid as number) as Job;
  other.do(() => seen.annotations.set('note', 2));
  user.do(() => {
    job.beginBy = 1000;
  });
  await user.commit();
  await other.commit();
  user.begin();
  assert.equal(job.annotations.get('note'), 2);
  assert.equal(job.beginBy, 1000);
});

test('a Failure tells of the error, and is stored without it', async () => {
  const cause = new TypeError('deeper');
  let error: unknown;
  try {
    explode('it broke');
  } catch (thrown) {
    error = Object.assign(thrown as Error, { cause, handler: () => 1, when: new Date(0) });
  }
  const failure = new Failure(error);
  assert.equal(failure.errorName, 'RangeError');
  assert.equal(failure.message, 'it broke');
  assert.ok(failure.check(RangeError));
  assert.ok(failure.check(Error));
  assert.ok(failure.check('RangeError'));
  assert.ok(!failure.check(TypeError, 'SyntaxError'));
  assert.equal(failure.properties['sector'], 7);
  assert.equal(failure.cause?.message, 'deeper');
  assert.equal(failure.getTraceback('brief'), 'RangeError: it broke');
  assert.match(failure.getTraceback(), /RangeError: it broke\n\s+at explode/);
  assert.match(failure.getTraceback('verbose'), /caused by: TypeError: deeper/);
  await using site = await QueueSite.open();
  const user = site.view();
  user.do(() => user.connection.root.set('failure', failure));
  await user.commit();
  const seen = site.view().connection.root.get('failure') as Failure;
  assert.ok(seen instanceof Failure);
  assert.deepEqual(seen.getTraceback('verbose'), failure.getTraceback('verbose'));
});

test('anything may have been thrown', () => {
  for (const thrown of [undefined, null, 'text', 5, { code: 'X' }]) {
    const failure = new Failure(thrown);
    assert.equal(typeof failure.message, 'string');
    assert.ok(failure.getTraceback('verbose').length > 0);
  }
  const cyclic = new Error('round and round');
  cyclic.cause = cyclic;
  assert.match(new Failure(cyclic).getTraceback('verbose'), /round and round/);
});

test('no transaction is left over by these tests', () => {
  transaction.abort();
  assert.ok(new Queue());
});
