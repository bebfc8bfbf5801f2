import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Job, type Queue } from 'holdfast/async';
import { add, echo } from './support/functions.js';
import { QueueSite, type View } from './support/queues.js';

const conflict = { code: 'ODB_CONFLICT' };
const MINUTE = 60_000;

function names(queue: Queue): unknown[] {
  return [...queue].map((job) => job.args.at(0));
}

async function filled(count: number): Promise<{ site: QueueSite; user: View }> {
  const site = await QueueSite.open();
  const user = site.view();
  user.do((queue) => {
    for (let i = 0; i < count; i++) queue.put(new Job(echo, i));
  });
  await user.commit();
  return { site, user };
}

test('concurrent puts of many connections do not conflict, and none is lost', async () => {
  await using site = await QueueSite.open();
  const users = Array.from({ length: 20 }, () => site.view());
  for (let round = 0; round < 10; round++) {
    for (const user of users) user.begin();
    for (const [index, user] of users.entries()) {
      user.do((queue) => {
        for (let i = 0; i <= index; i++) queue.put(new Job(echo, `${round}.${index}.${i}`));
      });
    }
    await Promise.all(users.map((user) => user.commit()));
  }
  const seen = names(site.view().queue);
  assert.equal(seen.length, 10 * ((20 * 21) / 2));
  assert.equal(new Set(seen).size, seen.length);
  for (const [index] of users.entries()) {
    const own = seen.filter((name) => String(name).split('.')[1] === String(index));
    const sorted = [...own].sort((a, b) => {
      const [roundA = 0, , partA = 0] = String(a).split('.').map(Number);
      const [roundB = 0, , partB = 0] = String(b).split('.').map(Number);
      return roundA - roundB || partA - partB;
    });
    assert.deepEqual(own, sorted, 'one connection puts in order');
  }
});

test('concurrent puts of scheduled jobs do not conflict, and come in the order of their times', async () => {
  await using site = await QueueSite.open();
  const now = site.clock.now();
  const users = Array.from({ length: 10 }, () => site.view());
  for (let round = 0; round < 5; round++) {
    for (const user of users) user.begin();
    for (const [index, user] of users.entries()) {
      const delay = ((index * 7 + round * 3) % 50) * 1000 + 1000;
      user.do((queue) => queue.put(new Job(echo, delay), { beginAfter: new Date(now + delay) }));
    }
    await Promise.all(users.map((user) => user.commit()));
  }
  const other = site.view();
  const seen = names(other.queue) as number[];
  assert.equal(seen.length, 50);
  assert.deepEqual(
    seen,
    [...seen].sort((a, b) => a - b),
  );
  await site.clock.advance(MINUTE);
  const claimed: unknown[] = [];
  other.do((queue) => {
    for (let job = queue.claim(); job; job = queue.claim()) claimed.push(job.args.at(0));
  });
  assert.deepEqual(claimed, seen);
});

test('a put does not conflict with a claim, whichever commits first', async () => {
  for (const putFirst of [true, false]) {
    const { site, user } = await filled(3);
    await using _ = site;
    const claimer = site.view();
    const taken = claimer.do((queue) => queue.claim());
    user.do((queue) => queue.put(new Job(echo, 'more')));
    const commits = [() => user.commit(), () => claimer.commit()];
    for (const commit of putFirst ? commits : commits.reverse()) await commit();
    assert.equal(taken?.args.at(0), 0);
    assert.deepEqual(names(site.view().queue), [1, 2, 'more']);
  }
});

test('a put by a transaction that began before everything was claimed is not lost, and does not conflict', async () => {
  // Long enough for several chunks, so that those that the putter saw are let go of.
  const { site, user } = await filled(500);
  await using _ = site;
  const claimer = site.view();
  user.begin();
  user.do((queue) => queue.put(new Job(echo, 'from a long transaction')));
  for (let i = 0; i < 10; i++) {
    claimer.begin();
    claimer.do((queue) => {
      for (let k = 0; k < 50; k++) queue.claim();
    });
    await claimer.commit();
  }
  assert.equal(claimer.queue.length, 0);
  await user.commit();
  assert.deepEqual(names(site.view().queue), ['from a long transaction']);
});

test('two claims of the same job conflict, and exactly one wins', async () => {
  const { site } = await filled(5);
  await using _ = site;
  const [one, two] = [site.view(), site.view()];
  for (const user of [one, two]) user.do((queue) => assert.equal(queue.claim()?.args.at(0), 0));
  await one.commit();
  await assert.rejects(two.commit(), conflict);
  two.abort();
  assert.equal(two.do((queue) => queue.claim())?.args.at(0), 1);
  await two.commit();
  assert.deepEqual(names(site.view().queue), [2, 3, 4]);
});

test('claims of different jobs merge', async () => {
  const { site, user } = await filled(4);
  await using _ = site;
  user.do((queue) => queue.put(new Job(add, 5, 6)));
  await user.commit();
  const [one, two] = [site.view(), site.view()];
  one.do((queue) => queue.claim());
  two.do((queue) => queue.claim((job) => job.callableName === 'tests.add'));
  await one.commit();
  await two.commit();
  assert.deepEqual(names(site.view().queue), [1, 2, 3]);
});

test('a claim and a removal of the same job conflict', async () => {
  const { site } = await filled(2);
  await using _ = site;
  const [one, two] = [site.view(), site.view()];
  one.do((queue) => queue.claim());
  two.do((queue) => queue.pull(0));
  await one.commit();
  await assert.rejects(two.commit(), conflict);
});

test('a job cannot be put by two transactions at once', async () => {
  await using site = await QueueSite.open();
  const user = site.view();
  const job = new Job(echo, 'one');
  user.do(() => user.connection.root.set('job', job));
  await user.commit();
  const [one, two] = [site.view(), site.view()];
  for (const each of [one, two]) each.do((queue) => queue.put(each.connection.root.get('job') as Job));
  await one.commit();
  await assert.rejects(two.commit(), conflict);
  assert.equal(site.view().queue.length, 1);
});

test('a job that is moved by hand between two claims is claimed once', async () => {
  const { site, user } = await filled(1);
  await using _ = site;
  const claimer = site.view();
  claimer.do((queue) => queue.claim());
  user.do((queue) => queue.put(queue.pull()));
  await user.commit();
  // As if it had been claimed after it was moved: it is gone from the queue, and nobody can claim it again.
  await claimer.commit();
  const later = site.view();
  assert.equal(later.queue.length, 0);
  assert.equal(
    later.do((queue) => queue.claim()),
    undefined,
  );
});

test('jobs that nobody can take do not stop those behind them, nor make each claim dearer', async () => {
  const { site, user } = await filled(200);
  await using _ = site;
  user.do((queue) => {
    for (let i = 0; i < 2000; i++) queue.put(new Job(add, i, i));
  });
  await user.commit();
  const claimer = site.view();
  let claimed = 0;
  for (let round = 0; round < 20; round++) {
    claimer.begin();
    claimer.do((queue) => {
      for (let i = 0; i < 100; i++) if (queue.claim((job) => job.callableName === 'tests.add')) claimed++;
    });
    await claimer.commit();
  }
  assert.equal(claimed, 2000);
  assert.equal(site.view().queue.length, 200);
});

test('puts and claims that go on for a long time leave no empty chunks behind', async () => {
  await using site = await QueueSite.open();
  const [putter, claimer] = [site.view(), site.view()];
  const objectsBefore = reachable(site);
  for (let round = 0; round < 30; round++) {
    putter.begin();
    putter.do((queue) => {
      for (let i = 0; i < 100; i++) queue.put(new Job(echo, i));
    });
    await putter.commit();
    claimer.begin();
    claimer.do((queue) => {
      while (queue.claim());
    });
    await claimer.commit();
  }
  assert.equal(site.view().queue.length, 0);
  assert.ok(reachable(site) - objectsBefore < 20, `${reachable(site)} objects, ${objectsBefore} before`);
});

/** Number of objects that the root reaches, told from the records alone. */
function reachable(site: QueueSite): number {
  const { storage } = site.db;
  const seen = new Set<number>([0]);
  for (const oid of seen) {
    for (const { oid: next } of recordReferences(storage.load(oid as never).data)) seen.add(next);
  }
  return seen.size;
}

const { readRecord } = await import('#src/odb/serialize/reader.js');

function recordReferences(data: Uint8Array): readonly { readonly oid: number }[] {
  return readRecord(data).references;
}
