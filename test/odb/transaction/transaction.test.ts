import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import {
  CommitUnderWayError,
  ConflictError,
  type DataManager,
  DoomedTransaction,
  InvalidSavepointRollbackError,
  type Oid,
  type Synchronizer,
  type Tid,
  type Transaction,
  TransactionFailedError,
  TransactionManager,
  TransactionStateError,
} from 'holdfast/odb';
import { type LogRecord, type LogSink, setLogSink } from '#src/base/index.js';

let manager: TransactionManager;
let calls: string[];
let lines: LogRecord[];
let formerSink: LogSink;

beforeEach(() => {
  manager = new TransactionManager();
  calls = [];
  lines = [];
  formerSink = setLogSink((line) => lines.push(line));
});

afterEach(() => {
  if (manager.current) manager.abort();
  setLogSink(formerSink);
});

type Step = 'abort' | 'tpcBegin' | 'commit' | 'tpcVote' | 'tpcFinish' | 'tpcAbort';

/** A participant that notes what it is called for, and fails where it is told to. */
class Participant implements DataManager {
  fails: Partial<Record<Step, Error>> = {};

  constructor(
    readonly name: string,
    readonly isAsync = false,
  ) {}

  sortKey(): string {
    return this.name;
  }

  #step(step: Step): void | Promise<void> {
    calls.push(`${this.name} ${step}`);
    const error = this.fails[step];
    if (this.isAsync) return error ? Promise.reject(error) : Promise.resolve();
    if (error) throw error;
  }

  abort(): void {
    calls.push(`${this.name} abort`);
    if (this.fails.abort) throw this.fails.abort;
  }

  tpcBegin(): void | Promise<void> {
    return this.#step('tpcBegin');
  }

  commit(): void | Promise<void> {
    return this.#step('commit');
  }

  tpcVote(): void | Promise<void> {
    return this.#step('tpcVote');
  }

  async tpcFinish(): Promise<undefined> {
    await this.#step('tpcFinish');
  }

  tpcAbort(): void | Promise<void> {
    return this.#step('tpcAbort');
  }
}

function join(...participants: Participant[]): void {
  for (const participant of participants) manager.join(participant);
}

const boom = (message = 'boom') => new Error(message);

test('participants are called in the order of their sort keys, each phase for all of them', async () => {
  join(new Participant('b'), new Participant('c', true), new Participant('a'));
  await manager.commit();
  const phases = ['tpcBegin', 'commit', 'tpcVote', 'tpcFinish'];
  assert.deepEqual(
    calls,
    phases.flatMap((phase) => ['a', 'b', 'c'].map((name) => `${name} ${phase}`)),
  );
});

for (const isAsync of [false, true]) {
  for (const step of ['tpcBegin', 'commit', 'tpcVote'] as const) {
    for (const [index, name] of ['a', 'b', 'c'].entries()) {
      const kind = isAsync ? 'asynchronous' : 'synchronous';
      test(`a failure of ${step} in the ${kind} participant ${index + 1} of 3 aborts all, and is what the commit throws`, async () => {
        const participants = ['a', 'b', 'c'].map((each) => new Participant(each, isAsync));
        (participants[index] as Participant).fails = { [step]: boom(`${step} of ${name}`) };
        // A second failure on the way back stops nobody, and hides nothing.
        (participants[0] as Participant).fails.tpcAbort = boom('on the way back');
        join(...participants);
        await assert.rejects(manager.commit(), { message: `${step} of ${name}` });
        assert.ok(!calls.some((call) => call.endsWith('tpcFinish')));
        assert.deepEqual(
          calls.filter((call) => call.endsWith('tpcAbort')),
          ['a tpcAbort', 'b tpcAbort', 'c tpcAbort'],
        );
        // Who has voted is told by tpcAbort alone.
        const voted = step === 'tpcVote' ? index : 0;
        const aborted = ['a', 'b', 'c'].slice(voted).map((each) => `${each} abort`);
        assert.deepEqual(
          calls.filter((call) => call.endsWith(' abort')),
          aborted,
        );
        await assert.rejects(manager.commit(), (error: TransactionFailedError) => {
          assert.ok(error instanceof TransactionFailedError);
          assert.match(error.message, new RegExp(`${step} of ${name}`));
          assert.equal((error.cause as Error).message, `${step} of ${name}`, 'the first failure');
          return true;
        });
        assert.throws(() => manager.join(new Participant('late')), TransactionFailedError);
        assert.throws(() => manager.savepoint(), TransactionFailedError);
        manager.abort();
        join(new Participant('next'));
        await manager.commit();
      });
    }
  }
}

for (const name of ['a', 'b', 'c']) {
  test(`a failure of tpcFinish in ${name} is critical, the others are finished, and nothing is run again`, async () => {
    const participants = ['a', 'b', 'c'].map((each) => new Participant(each));
    const conflict = new ConflictError({ oid: 1 as Oid, baseSerial: 1 as Tid, committedSerial: 2 as Tid });
    for (const each of participants) if (each.name === name) each.fails.tpcFinish = conflict;
    let runs = 0;
    const run = manager.run(
      () => {
        runs++;
        join(...participants);
      },
      { retries: 3 },
    );
    await assert.rejects(run, (error) => error === conflict);
    assert.equal(runs, 1, 'what has happened in part is not done twice');
    assert.equal(calls.filter((call) => call.endsWith('tpcFinish')).length, 3);
    assert.equal(lines.filter(({ level }) => level === 'critical').length, 1);
  });
}

test('a sole participant that can commits in one phase; next to another one it votes', async () => {
  class OnePhase extends Participant {
    async commitOnePhase(): Promise<Tid> {
      calls.push(`${this.name} commitOnePhase`);
      return 77 as Tid;
    }
  }
  join(new OnePhase('one'));
  assert.equal(await manager.commit(), 77);
  assert.deepEqual(calls, ['one tpcBegin', 'one commit', 'one commitOnePhase']);
  calls = [];
  join(new OnePhase('one'), new Participant('two'));
  assert.equal(await manager.commit(), undefined);
  assert.ok(calls.includes('one tpcVote') && !calls.includes('one commitOnePhase'));
});

test('one that decides is finished first, and its failure aborts all', async () => {
  class Decider extends Participant {
    readonly decides = true;
  }
  const decider = new Decider('z');
  join(new Participant('a'), decider);
  await manager.commit();
  assert.deepEqual(calls.slice(-2), ['z tpcFinish', 'a tpcFinish']);
  calls = [];
  decider.fails.tpcFinish = boom();
  join(new Participant('a'), decider);
  await assert.rejects(manager.commit(), { message: 'boom' });
  assert.deepEqual(calls.slice(-3), ['z tpcFinish', 'a tpcAbort', 'z tpcAbort']);
  assert.equal(lines.filter(({ level }) => level === 'critical').length, 0);
});

test('an abort goes through all participants though one fails, and throws the first failure', () => {
  const [a, b] = [new Participant('a'), new Participant('b')];
  a.fails.abort = boom('of a');
  join(a, b);
  assert.throws(() => manager.abort(), { message: 'of a' });
  assert.deepEqual(calls, ['a abort', 'b abort']);
  assert.equal(manager.current, undefined);
});

test('hooks run in order, with their arguments, may wait, and may add hooks', async () => {
  const { current = manager.get() } = manager;
  const note = (text: string) => void calls.push(text);
  current.addBeforeCommitHook(
    async (first: string, second: string) => {
      await Promise.resolve();
      note(`before ${first} ${second}`);
      current.addBeforeCommitHook(() => note('added'));
    },
    ['one', 'two'],
  );
  current.addBeforeCommitHook(() => note('second'));
  current.addAfterCommitHook(
    async (success: boolean, text: string) => {
      await Promise.resolve();
      note(`after ${success} ${text}`);
      current.addAfterCommitHook((again: boolean) => note(`added after ${again}`));
    },
    ['x'],
  );
  join(new Participant('p'));
  await manager.commit();
  assert.deepEqual(calls, [
    'before one two',
    'second',
    'added',
    'p tpcBegin',
    'p commit',
    'p tpcVote',
    'p tpcFinish',
    'after true x',
    'added after true',
  ]);
  // They belong to one transaction.
  calls = [];
  await manager.commit();
  assert.deepEqual(calls, []);
});

test('a before-commit hook that throws fails the commit, takes changes back, and tells the others', async () => {
  for (const isAsync of [false, true]) {
    calls = [];
    const transaction = manager.begin();
    transaction.addBeforeCommitHook(() => {
      if (isAsync) return Promise.reject(boom('hook'));
      throw boom('hook');
    });
    transaction.addAfterCommitHook((success: boolean) => void calls.push(`after ${success}`));
    join(new Participant('p'));
    await assert.rejects(manager.commit(), { message: 'hook' });
    assert.deepEqual(calls, ['p abort', 'after false']);
    await assert.rejects(manager.commit(), TransactionFailedError);
    manager.abort();
  }
});

test('an after-commit hook that throws is logged, and changes nothing', async () => {
  manager.get().addAfterCommitHook(() => Promise.reject(boom('late')));
  manager.get().addAfterCommitHook(() => void calls.push('next'));
  await manager.commit();
  assert.deepEqual(calls, ['next']);
  assert.equal(lines.filter(({ level }) => level === 'error').length, 1);
});

test('abort hooks run around an abort, may add hooks, are not waited for, and do not run for a commit', async () => {
  const transaction = manager.get();
  transaction.addBeforeAbortHook(() => {
    calls.push('before');
    transaction.addBeforeAbortHook(() => void calls.push('added'));
  });
  transaction.addAfterAbortHook((text: string) => void calls.push(text), ['after']);
  transaction.addAfterAbortHook(() => Promise.reject(boom('late')));
  join(new Participant('p'));
  manager.abort();
  assert.deepEqual(calls, ['before', 'added', 'p abort', 'after']);
  await new Promise(setImmediate);
  assert.equal(lines.filter(({ level }) => level === 'error').length, 1);
  manager.get().addBeforeAbortHook(() => void calls.push('wrong'));
  await manager.commit();
  assert.ok(!calls.includes('wrong'));
});

test('while before-commit hooks run, nothing else of the manager can be begun', async () => {
  const transaction = manager.get();
  transaction.addBeforeCommitHook(async () => {
    await assert.rejects(manager.commit(), CommitUnderWayError);
    assert.throws(() => manager.abort(), CommitUnderWayError);
    assert.throws(() => manager.begin(), CommitUnderWayError);
    manager.join(new Participant('joined by a hook'));
  });
  await manager.commit();
  assert.ok(calls.includes('joined by a hook tpcFinish'));
});

test('while a commit is under way, nothing else of the manager can be done', async () => {
  const slow = new Participant('slow', true);
  join(slow);
  const commit = manager.commit();
  const attempts: (() => unknown)[] = [
    () => manager.begin(),
    () => manager.abort(),
    () => manager.doom(),
    () => manager.savepoint(),
    () => manager.join(new Participant('late')),
  ];
  for (const attempt of attempts) assert.throws(attempt, CommitUnderWayError);
  await assert.rejects(manager.commit(), CommitUnderWayError);
  await commit;
});

test('a doomed transaction refuses to commit, also one that a hook doomed, and can be aborted', async () => {
  manager.begin();
  manager.doom();
  assert.ok(manager.isDoomed());
  await assert.rejects(manager.commit(), DoomedTransaction);
  manager.abort();
  assert.ok(!manager.isDoomed());
  join(new Participant('p'));
  manager.get().addBeforeCommitHook(() => manager.doom());
  await assert.rejects(manager.commit(), DoomedTransaction);
  assert.deepEqual(calls, ['p abort']);
  manager.abort();
  await manager.commit();
});

test('synchronizers are told of each boundary once, with an explicit manager too', async () => {
  for (const explicit of [false, true]) {
    calls = [];
    const mine = new TransactionManager({ explicit });
    const told = (what: string) => (transaction: Transaction) => void calls.push(`${what} ${transaction.status}`);
    const synchronizer: Synchronizer = {
      newTransaction: told('new'),
      beforeCompletion: told('before'),
      afterCompletion: told('after'),
    };
    mine.registerSynch(synchronizer);
    mine.begin();
    await mine.commit();
    assert.deepEqual(calls, ['new active', 'before active', 'after committed']);
    calls = [];
    mine.begin();
    mine.abort();
    assert.deepEqual(calls, ['new active', 'before active', 'after aborted']);
    calls = [];
    mine.begin();
    const failing = new Participant('p');
    failing.fails.tpcVote = boom();
    mine.join(failing);
    calls = [];
    await assert.rejects(mine.commit());
    assert.deepEqual(
      calls.filter((call) => !call.startsWith('p ')),
      ['before active', 'after failed'],
    );
    mine.abort();
    mine.unregisterSynch(synchronizer);
    calls = [];
    mine.begin();
    assert.deepEqual(calls, []);
    mine.abort();
  }
});

test('a synchronizer that is registered while a transaction is under way is told of it at once', () => {
  const told: unknown[] = [];
  const synchronizer: Synchronizer = {
    newTransaction: (each) => void told.push(each),
    beforeCompletion: () => {},
    afterCompletion: () => {},
  };
  manager.registerSynch(synchronizer);
  manager.unregisterSynch(synchronizer);
  assert.deepEqual(told, []);
  const transaction = manager.begin();
  manager.registerSynch(synchronizer);
  assert.deepEqual(told, [transaction]);
  manager.unregisterSynch(synchronizer);
});

test('an explicit manager wants begin, and once only', async () => {
  const explicit = new TransactionManager({ explicit: true });
  for (const wrong of [() => explicit.get(), () => explicit.join(new Participant('p')), () => explicit.abort()]) {
    assert.throws(wrong, TransactionStateError);
  }
  await assert.rejects(explicit.commit(), TransactionStateError);
  explicit.begin();
  assert.throws(() => explicit.begin(), TransactionStateError);
  await explicit.commit();
});

/** A participant with savepoints: a list of words. */
class Words extends Participant {
  words: string[] = [];
  failsToSave = false;

  savepoint() {
    if (this.failsToSave) throw boom('not saved');
    const saved = [...this.words];
    return {
      rollback: () => {
        this.words = [...saved];
      },
    };
  }
}

test('savepoints of foreign participants go back in nested order; one that joined later is taken out', () => {
  const words = new Words('words');
  join(words);
  words.words.push('a');
  const one = manager.savepoint();
  words.words.push('b');
  const two = manager.savepoint();
  const late = new Words('late');
  join(late);
  two.rollback();
  assert.deepEqual(calls, ['late abort']);
  assert.deepEqual(words.words, ['a', 'b']);
  one.rollback();
  assert.deepEqual(words.words, ['a']);
  assert.ok(one.valid && !two.valid);
  assert.throws(() => two.rollback(), InvalidSavepointRollbackError);
  words.words.push('c');
  one.rollback();
  assert.deepEqual(words.words, ['a']);
  manager.abort();
  assert.throws(() => one.rollback(), InvalidSavepointRollbackError);
});

test('a participant without savepoints is refused, unless they are optimistic: then only going back fails', async () => {
  join(new Participant('plain'));
  assert.throws(() => manager.savepoint(), TransactionStateError);
  assert.deepEqual(calls, ['plain abort'], 'a savepoint that failed loses the changes');
  await assert.rejects(manager.commit(), TransactionFailedError);
  manager.abort();
  join(new Participant('plain'));
  const optimistic = manager.savepoint(true);
  assert.throws(() => optimistic.rollback(), TransactionStateError);
  await assert.rejects(manager.commit(), TransactionFailedError);
  manager.abort();
});

test('a savepoint that fails fails the transaction with its error', async () => {
  const words = new Words('words');
  words.failsToSave = true;
  join(words);
  assert.throws(() => manager.savepoint(), { message: 'not saved' });
  await assert.rejects(manager.commit(), (error: TransactionFailedError) => {
    assert.equal((error.cause as Error).message, 'not saved');
    return true;
  });
  assert.throws(() => manager.savepoint(), TransactionFailedError);
  manager.begin();
  words.failsToSave = false;
  join(words);
  manager.savepoint();
  await manager.commit();
});

test('attempts end with the first that commits, and with the last error', async () => {
  const conflict = () => new ConflictError({ oid: 1 as Oid, baseSerial: 1 as Tid, committedSerial: 2 as Tid });
  const numbers: number[] = [];
  for await (const attempt of manager.attempts(4)) {
    numbers.push(attempt.number);
    await attempt.run(() => {
      if (attempt.number < 3) throw conflict();
    });
  }
  assert.deepEqual(numbers, [1, 2, 3]);
  let runs = 0;
  const failing = manager.run(
    () => {
      runs++;
      throw conflict();
    },
    { retries: 2 },
  );
  await assert.rejects(failing, ConflictError);
  assert.equal(runs, 3);
  runs = 0;
  await assert.rejects(
    manager.run(() => {
      runs++;
      throw boom('never');
    }),
    { message: 'never' },
  );
  assert.equal(runs, 1);
});

test('user, note and extended information are told to the participants', async () => {
  let told: Transaction | undefined;
  class Curious extends Participant {
    override tpcBegin(): void {
      told = manager.current;
    }
  }
  manager.note(' one ');
  manager.note('');
  manager.note('two');
  manager.setUser('ada', '/admin');
  manager.setExtendedInfo('request', { id: 7 });
  join(new Curious('p'));
  await manager.commit();
  assert.equal(told?.description, 'one\ntwo');
  assert.equal(told?.user, '/admin ada');
  assert.deepEqual(told?.extension, { request: { id: 7 } });
});
