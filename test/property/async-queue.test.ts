import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Job } from 'holdfast/async';
import { echo } from '../async/support/functions.js';
import { QueueSite, type View } from '../async/support/queues.js';

/** What the model knows of a pending job. */
interface ModelJob {
  readonly name: number;
  /** When it may begin. */
  readonly beginMs: number;
  /** Whether its time had not come when it was put. */
  readonly isScheduled: boolean;
  /** The number of its put. */
  readonly putAt: number;
}

/** The order of a queue, in the plainest way: plain jobs as they were put, scheduled ones by time, merged by beginAfter. */
function modelOrder(jobs: readonly ModelJob[], nowMs: number): ModelJob[] {
  const byTime = (a: ModelJob, b: ModelJob) => a.beginMs - b.beginMs || a.putAt - b.putAt;
  const plain = jobs.filter((job) => !job.isScheduled).sort((a, b) => a.putAt - b.putAt);
  const due = jobs.filter((job) => job.isScheduled && job.beginMs <= nowMs).sort(byTime);
  const future = jobs.filter((job) => job.isScheduled && job.beginMs > nowMs).sort(byTime);
  const merged: ModelJob[] = [];
  while (plain.length > 0 || due.length > 0) {
    const [nextPlain, nextDue] = [plain[0], due[0]];
    if (nextDue && (!nextPlain || nextDue.beginMs <= nextPlain.beginMs)) merged.push(due.shift() as ModelJob);
    else merged.push(plain.shift() as ModelJob);
  }
  return [...merged, ...future];
}

type Step =
  | { readonly kind: 'put'; readonly user: number; readonly delays: readonly number[] }
  | { readonly kind: 'claim'; readonly user: number; readonly count: number; readonly modulus: number }
  | { readonly kind: 'pull'; readonly user: number; readonly index: number }
  | { readonly kind: 'aborted'; readonly user: number }
  | { readonly kind: 'advance'; readonly ms: number };

const USERS = 3;
const user = fc.nat(USERS - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('put' as const),
      user,
      // Most jobs are to begin now; some later.
      delays: fc.array(fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 40 })), {
        minLength: 1,
        maxLength: 80,
      }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('claim' as const),
      user,
      count: fc.integer({ min: 1, max: 100 }),
      modulus: fc.integer({ min: 1, max: 3 }),
    }),
  },
  fc.record({ kind: fc.constant('pull' as const), user, index: fc.integer({ min: -3, max: 30 }) }),
  fc.record({ kind: fc.constant('aborted' as const), user }),
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 60 }) }) },
);

test('a queue of several users offers its jobs as the plainest model does', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      await using site = await QueueSite.open();
      const users = Array.from({ length: USERS }, () => site.view());
      let model: ModelJob[] = [];
      let putCount = 0;
      for (const each of steps) {
        // No two transactions in one instant: between those the order is not promised.
        await site.clock.advance(1);
        const nowMs = site.clock.now();
        if (each.kind === 'advance') {
          await site.clock.advance(each.ms);
          continue;
        }
        const view = users[each.user] as View;
        view.begin();
        switch (each.kind) {
          case 'put':
            for (const delay of each.delays) {
              const name = putCount++;
              const beginMs = nowMs + delay;
              view.do((queue) => queue.put(new Job(echo, name), delay === 0 ? {} : { beginAfter: new Date(beginMs) }));
              model.push({ name, beginMs, isScheduled: delay > 0, putAt: name });
            }
            break;
          case 'claim':
            for (let i = 0; i < each.count; i++) {
              const passes = (name: unknown): boolean => (name as number) % each.modulus === 0;
              const job: Job | undefined = view.do((queue) => queue.claim((candidate) => passes(candidate.args.at(0))));
              const expected = modelOrder(model, nowMs).find((one) => one.beginMs <= nowMs && passes(one.name));
              assert.equal(job?.args.at(0), expected?.name);
              model = model.filter((one) => one !== expected);
              if (!job) break;
            }
            break;
          case 'pull': {
            const expected = modelOrder(model, nowMs).at(each.index);
            if (!expected) assert.throws(() => view.do((queue) => queue.pull(each.index)), RangeError);
            else {
              assert.equal(view.do((queue) => queue.pull(each.index)).args.at(0), expected.name);
              model = model.filter((one) => one !== expected);
            }
            break;
          }
          case 'aborted':
            view.do((queue) => {
              queue.claim();
              queue.put(new Job(echo, -1));
            });
            view.abort();
            break;
        }
        await view.commit();
        const seen = [...view.queue].map((job) => job.args.at(0));
        assert.deepEqual(
          seen,
          modelOrder(model, nowMs).map(({ name }) => name),
        );
        assert.equal(view.queue.length, model.length);
      }
    }),
    { numRuns: 60 },
  );
});
