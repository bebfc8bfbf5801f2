import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ClientDisconnected,
  CommitUncertainError,
  ConflictError,
  DB,
  type Oid,
  Persistent,
  persistable,
  StorageError,
  type Tid,
  TransactionManager,
  transaction,
} from 'holdfast/odb';
import { systemRandom } from '#src/base/index.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { ManualClock } from '../../support/manual-clock.js';

class Counter extends Persistent {
  value = 0;
}
persistable('test.retries', import.meta, { Counter });

function add(counter: Counter, amount: number): void {
  counter.value += amount;
}

interface Root {
  counter: Counter;
}

const conflict = () => new ConflictError({ oid: 1 as Oid, baseSerial: 1 as Tid, committedSerial: 2 as Tid });

/** A clock that tells how long is waited, and waits for nobody. */
class Waits extends ManualClock {
  readonly delays: number[] = [];

  override schedule(delayMs: number, fn: () => void) {
    this.delays.push(delayMs);
    return super.schedule(0, fn);
  }
}

/** Runs until `work` has settled. */
async function settledBy<T>(clock: ManualClock, work: Promise<T>): Promise<PromiseSettledResult<T>> {
  let result: PromiseSettledResult<T> | undefined;
  const settled = Promise.allSettled([work]).then(([each]) => {
    result = each;
  });
  while (!result) await clock.advance(0);
  await settled;
  return result;
}

/** A manager whose random numbers are all the same. */
function managerWith(clock: ManualClock, random: number): TransactionManager {
  return new TransactionManager({ clock, random: { ...systemRandom, next: () => random } });
}

test('between two tries after a conflict there is a random wait, up to 2ⁿ ms and at most 250', async () => {
  for (const random of [0, 0.5, 0.999999]) {
    const clock = new Waits();
    const run = managerWith(clock, random).run(() => Promise.reject(conflict()), { retries: 10 });
    assert.equal((await settledBy(clock, run)).status, 'rejected');
    const most = [2, 4, 8, 16, 32, 64, 128, 250, 250, 250];
    assert.deepEqual(
      clock.delays,
      most.map((each) => each * random),
    );
  }
});

test('an error of a lost connection is waited for, for longer each time; any other is thrown at once', async () => {
  const clock = new Waits();
  const lost = managerWith(clock, 0.5).run(() => Promise.reject(new ClientDisconnected('gone')), { retries: 3 });
  const result = await settledBy(clock, lost);
  assert.ok(result.status === 'rejected' && result.reason instanceof ClientDisconnected);
  assert.equal(clock.delays.length, 3);
  assert.ok(clock.delays.every((delay, i) => delay >= 100 && delay > (clock.delays[i - 1] ?? 0)));
  let runs = 0;
  const broken = managerWith(clock, 0.5).run(() => {
    runs++;
    throw new StorageError('full');
  });
  assert.equal((await settledBy(clock, broken)).status, 'rejected');
  assert.deepEqual([runs, clock.delays.length], [1, 3]);
});

test('a signal ends the waiting with its reason', async () => {
  const clock = new ManualClock();
  const abort = new AbortController();
  const reason = new Error('enough');
  let runs = 0;
  const run = managerWith(clock, 0.5).run(
    () => {
      runs++;
      throw new ClientDisconnected('gone');
    },
    { retries: 1000, signal: abort.signal },
  );
  while (clock.pending === 0) await clock.advance(0);
  abort.abort(reason);
  await assert.rejects(run, (error) => error === reason);
  assert.equal(runs, 1);
  assert.equal(clock.pending, 0);
});

/** Loses the answers to commits that change something, whether they happened or not. */
class Forgetful extends MemoryStorage {
  /** What becomes of the next commits, in order. */
  readonly fates: ('happens' | 'is lost')[] = [];
  readonly asked: AbortSignal[] = [];

  override async commit(...args: Parameters<MemoryStorage['commit']>) {
    const fate = this.fates.shift();
    if (fate === undefined) return super.commit(...args);
    const [{ commitId }] = args;
    if (fate === 'happens') await super.commit(...args);
    else await super.tpcAbort(...args);
    throw new CommitUncertainError(commitId, async ({ signal }) => {
      if (signal) this.asked.push(signal);
      return this.outcome(commitId);
    });
  }
}

test('what became of a commit whose answer was lost is asked; it is run again only where it did not happen', async () => {
  const storage = new Forgetful();
  await using db = await DB.open<Root>(storage);
  await db.transaction(({ root }) => {
    root.counter = new Counter();
  });
  const increments = async (...fates: Forgetful['fates']) => {
    storage.fates.push(...fates);
    let runs = 0;
    const result = await db.transaction(({ root }) => {
      runs++;
      root.counter.value++;
      return `run ${runs}`;
    });
    return [runs, result, await db.transaction(({ root }) => root.counter.value)];
  };
  assert.deepEqual(await increments('happens'), [1, 'run 1', 1]);
  assert.deepEqual(await increments('is lost'), [2, 'run 2', 2]);
  assert.deepEqual(await increments('is lost', 'is lost', 'happens'), [3, 'run 3', 3]);
  storage.fates.push('is lost', 'is lost');
  await assert.rejects(
    db.transaction(({ root }) => add(root.counter, 1), { retries: 1 }),
    CommitUncertainError,
  );
  assert.equal(await db.transaction(({ root }) => root.counter.value), 3);
  const { signal } = new AbortController();
  storage.fates.push('happens');
  await transaction.run(
    () => {
      const { root } = db.open();
      (root as unknown as Root).counter.value++;
    },
    { signal },
  );
  assert.deepEqual(storage.asked, [signal]);
});

test('each try begins anew: with the newest state, and nothing of the one before', async () => {
  await using db = await DB.open<Root & { left?: number }>('memory:');
  await db.transaction(({ root }) => {
    root.counter = new Counter();
  });
  const seen: unknown[] = [];
  await db.transaction(
    async ({ root }) => {
      seen.push([root.counter.value, root.left, transaction.get().description]);
      root.left = seen.length;
      root.counter.value += 1;
      if (seen.length < 3) await db.transaction((other) => add(other.root.counter, 10));
    },
    { note: 'counted' },
  );
  assert.deepEqual(seen, [
    [0, undefined, 'counted'],
    [10, undefined, 'counted'],
    [20, undefined, 'counted'],
  ]);
  assert.deepEqual(await db.transaction(({ root }) => [root.counter.value, root.left]), [21, 3]);
});

test('a transaction of its own leaves that of its caller alone, commits on success, aborts on an error, and is closed', () =>
  transaction.isolate(async () => {
    await using db = await DB.open<Root & { mine: number; theirs: number }>('memory:');
    await db.transaction(({ root }) => {
      root.counter = new Counter();
    });
    const mine = db.open();
    mine.root.mine = 1;
    const before = transaction.get();
    let theirs: unknown;
    const failure = new Error('of the function');
    await assert.rejects(
      db.transaction((connection) => {
        theirs = connection;
        connection.root.theirs = 1;
        throw failure;
      }),
      (error) => error === failure,
    );
    assert.equal((theirs as typeof mine).isClosed, true);
    await db.transaction((connection) => {
      assert.notEqual(connection, mine);
      assert.notEqual(transaction.get(), before);
      assert.equal(connection.root.theirs, undefined);
      connection.root.theirs = 2;
    });
    assert.equal(transaction.get(), before);
    assert.deepEqual([mine.root.mine, mine.root.theirs], [1, undefined]);
    await transaction.commit();
    assert.deepEqual([mine.root.mine, mine.root.theirs], [1, 2]);
    assert.equal(db.connectionDebugInfo().filter(({ opened }) => opened).length, 1);
    mine.close();
  }));

test('within isolate, run and db.transaction the manager is one of their own, also after a wait', async () => {
  await using db = await DB.open('memory:');
  const outside = transaction.get();
  const inside = async () => {
    const first = transaction.get();
    assert.notEqual(first, outside);
    await new Promise(setImmediate);
    assert.equal(transaction.get(), first);
    return first;
  };
  const all = [
    await transaction.isolate(inside),
    await transaction.run(inside),
    await db.transaction(inside),
    await transaction.isolate(() => transaction.isolate(inside)),
  ];
  for await (const attempt of transaction.attempts()) {
    await attempt.run(async () => {
      all.push(await inside());
    });
  }
  assert.equal(new Set(all).size, 5);
  assert.equal(transaction.get(), outside);
  transaction.abort();
});
