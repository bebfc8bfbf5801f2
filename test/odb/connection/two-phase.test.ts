import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import {
  ClientDisconnected,
  CommitUncertainError,
  type Databases,
  DB,
  LookupError,
  openStorage,
  type Storage,
  StorageError,
  type Tid,
  TransactionInDoubtError,
  transaction,
} from 'holdfast/odb';
import { type LogRecord, type LogSink, setLogSink } from '#src/base/index.js';
import { type Faults, withFaults } from '../../support/faults.js';

interface Root {
  value: number;
}

/** Where two databases are: the one that decides, and the one that follows. */
interface Pair {
  readonly decider: DB<Root>;
  readonly follower: DB<Root>;
}

let directory: string;
let databases: Databases;
let opened: DB[];
let deciderFaults: Faults;
let followerFaults: Faults;
let lines: LogRecord[];
let formerSink: LogSink;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'holdfast-two-'));
  databases = new Map();
  opened = [];
  deciderFaults = {};
  followerFaults = {};
  lines = [];
  formerSink = setLogSink((line) => lines.push(line));
});

afterEach(async () => {
  await closeAll();
  rmSync(directory, { recursive: true });
  setLogSink(formerSink);
});

async function closeAll(): Promise<void> {
  for (const db of opened.splice(0)) await db.close();
  databases = new Map();
}

async function open(name: string, storage: Storage): Promise<DB<Root>> {
  const db = await DB.open<Root>(storage, { databases, databaseName: name });
  opened.push(db as unknown as DB);
  return db;
}

const uriOf = (name: string) => join(directory, `${name}.fs`);

/** Opens both databases, on the disk; which one decides is a matter of their identities. */
async function openPair(): Promise<Pair> {
  const storages = await Promise.all(['a', 'b'].map((name) => openStorage(uriOf(name))));
  const [first, second] = storages.sort((x, y) => (x.identity < y.identity ? -1 : 1)) as [Storage, Storage];
  return {
    decider: await open('decider', withFaults(first, deciderFaults)),
    follower: await open('follower', withFaults(second, followerFaults)),
  };
}

/** Sets the value in both. */
function setBoth({ decider }: Pair, value: number, retries = 0): Promise<void> {
  return decider.transaction(
    (connection) => {
      connection.root.value = value;
      connection.getConnection<Root>('follower').root.value = value;
    },
    { retries },
  );
}

const readValue = (db: DB<Root>) => db.transaction(({ root }) => root.value);

async function values({ decider, follower }: Pair): Promise<[number, number]> {
  return [await readValue(decider), await readValue(follower)];
}

/** What both hold once they are opened anew, as after a crash. */
async function reopened(): Promise<[number, number]> {
  await closeAll();
  for (const faults of [deciderFaults, followerFaults]) {
    for (const name of Object.keys(faults)) delete faults[name as keyof Faults];
  }
  return values(await openPair());
}

const fail = (message: string) => async (): Promise<never> => {
  throw new StorageError(message);
};

test('a transaction of two databases is committed to both, in one order, and nothing is kept of it', async () => {
  const pair = await openPair();
  const calls: string[] = [];
  for (const [who, faults] of [
    ['decider', deciderFaults],
    ['follower', followerFaults],
  ] as const) {
    faults.tpcVote = (call, ...args) => {
      calls.push(`${who} votes for ${args[1]?.identity === pair.decider.storage.identity ? 'decider' : 'another'}`);
      return call(...args);
    };
    faults.tpcFinish = (call, ...args) => {
      calls.push(`${who} finishes`);
      return call(...args);
    };
  }
  await setBoth(pair, 1);
  assert.deepEqual(calls, [
    'decider votes for decider',
    'follower votes for decider',
    'decider finishes',
    'follower finishes',
  ]);
  // Begun from the other one, the order is the same.
  calls.length = 0;
  await pair.follower.transaction((connection) => {
    connection.root.value = 2;
    connection.getConnection<Root>('decider').root.value = 2;
  });
  assert.deepEqual(calls, [
    'decider votes for decider',
    'follower votes for decider',
    'decider finishes',
    'follower finishes',
  ]);
  for (const db of [pair.decider, pair.follower]) assert.deepEqual(await db.doubts(), []);
  assert.deepEqual(await reopened(), [2, 2]);
});

test('one of several that is written alone commits in one step', async () => {
  const pair = await openPair();
  followerFaults.tpcVote = fail('no vote is wanted');
  deciderFaults.tpcVote = fail('no vote is wanted');
  await pair.follower.transaction((connection) => {
    connection.root.value = 5;
    assert.equal(connection.getConnection<Root>('decider').root.value, undefined);
  });
  assert.equal(await readValue(pair.follower), 5);
});

for (const who of ['decider', 'follower'] as const) {
  test(`a ${who} that fails to vote fails the transaction for both, and leaves nothing`, async () => {
    const pair = await openPair();
    await setBoth(pair, 1);
    const faults = who === 'decider' ? deciderFaults : followerFaults;
    faults.tpcVote = fail('no');
    await assert.rejects(setBoth(pair, 2), /no/);
    delete faults.tpcVote;
    assert.deepEqual(await values(pair), [1, 1]);
    for (const db of [pair.decider, pair.follower]) assert.deepEqual(await db.doubts(), []);
    await setBoth(pair, 3);
    assert.deepEqual(await reopened(), [3, 3]);
  });
}

test('where the one that decides fails to finish, nothing has happened anywhere, and the transaction can be run again', async () => {
  const pair = await openPair();
  await setBoth(pair, 1);
  let failures = 0;
  deciderFaults.tpcFinish = (call, ...args) => {
    if (++failures > 1) return call(...args);
    return Promise.reject(new ClientDisconnected('lost before it was asked'));
  };
  await setBoth(pair, 2, 1);
  assert.equal(failures, 2);
  assert.deepEqual(await values(pair), [2, 2]);
  deciderFaults.tpcFinish = fail('the disk is full');
  await assert.rejects(setBoth(pair, 3), /the disk is full/);
  delete deciderFaults.tpcFinish;
  assert.deepEqual(await values(pair), [2, 2]);
  assert.deepEqual(await pair.follower.doubts(), []);
  await setBoth(pair, 4);
  assert.deepEqual(await reopened(), [4, 4]);
});

for (const happened of [true, false]) {
  const what = happened ? 'happened' : 'did not happen';
  test(`an answer of the one that decides is lost: the other stays in doubt until it is told that it ${what}`, async () => {
    const pair = await openPair();
    await setBoth(pair, 1);
    const loseAnswer: Faults['tpcFinish'] = async (call, ...args) => {
      const { commitId } = args[0];
      if (happened) await call(...args);
      else await pair.decider.storage.tpcAbort(args[0]);
      throw new CommitUncertainError(commitId, () => pair.decider.storage.outcome(commitId));
    };
    deciderFaults.tpcFinish = loseAnswer;
    // Who runs it asks by himself, and runs it again only if it did not happen.
    let runs = 0;
    await pair.decider.transaction(
      (connection) => {
        if (++runs === 2) delete deciderFaults.tpcFinish;
        connection.root.value = 2;
        connection.getConnection<Root>('follower').root.value = 2;
      },
      { retries: 1 },
    );
    assert.equal(runs, happened ? 1 : 2);
    assert.deepEqual(await values(pair), [2, 2]);
    // Where nobody asks, it stays in doubt over a close.
    deciderFaults.tpcFinish = loseAnswer;
    await transaction.isolate(async (manager) => {
      const connection = pair.decider.open();
      connection.root.value = 3;
      connection.getConnection<Root>('follower').root.value = 3;
      await assert.rejects(manager.commit(), CommitUncertainError);
      manager.abort();
      connection.close();
    });
    assert.equal((await pair.follower.doubts()).length, 1);
    assert.equal(await readValue(pair.follower), 2);
    assert.deepEqual(await reopened(), happened ? [3, 3] : [2, 2]);
  });
}

test('what has happened stays in doubt in a database that is lost meanwhile; the next who writes there has it told', async () => {
  const pair = await openPair();
  await setBoth(pair, 1);
  const { follower } = pair;
  let isAway = true;
  followerFaults.tpcFinish = async (_, started) => {
    await follower.storage.doubts.suspend(started);
    throw new ClientDisconnected('away');
  };
  const { resolve } = follower.storage.doubts;
  (follower.storage.doubts as { resolve: typeof resolve }).resolve = (...args) =>
    isAway ? Promise.reject(new ClientDisconnected('away')) : resolve(...args);
  await setBoth(pair, 2);
  const critical = lines.filter(({ level }) => level === 'critical');
  assert.equal(critical.length, 1);
  assert.match(critical[0]?.message ?? '', /in doubt/);
  delete followerFaults.tpcFinish;
  assert.deepEqual(await values(pair), [2, 1], 'it is not seen yet');
  const [doubt] = await follower.doubts();
  assert.equal(doubt?.decider, pair.decider.storage.identity);
  const set = () =>
    follower.transaction(
      ({ root }) => {
        root.value += 10;
      },
      { retries: 1 },
    );
  await assert.rejects(set(), (error: TransactionInDoubtError) => {
    assert.ok(error instanceof TransactionInDoubtError);
    assert.equal(error.oid, 0);
    assert.equal(error.retry, 'later');
    assert.match(error.message, /decider|a\.fs|b\.fs/);
    return true;
  });
  isAway = false;
  await set();
  assert.deepEqual(await values(pair), [2, 12]);
  assert.deepEqual(await reopened(), [2, 12]);
});

test('the connection that committed it does not show what is in doubt either', async () => {
  const pair = await openPair();
  await setBoth(pair, 1);
  followerFaults.tpcFinish = async (_, started) => {
    await pair.follower.storage.doubts.suspend(started);
    throw new ClientDisconnected('away');
  };
  const doubts = pair.follower.storage.doubts as { resolve: Storage['doubts']['resolve'] };
  const { resolve } = doubts;
  doubts.resolve = () => Promise.reject(new ClientDisconnected('away'));
  await transaction.isolate(async (manager) => {
    const connection = pair.decider.open();
    const other = connection.getConnection<Root>('follower');
    connection.root.value = 2;
    other.root.value = 2;
    assert.ok(await manager.commit());
    assert.deepEqual([connection.root.value, other.root.value], [2, 1]);
    const [doubt] = await pair.follower.doubts();
    await resolve(doubt?.commitId as Uint8Array, true);
    manager.begin();
    assert.deepEqual([connection.root.value, other.root.value], [2, 2]);
    connection.close();
  });
});

test('a database that is opened alone keeps what is in doubt, tells of it, and is read as before', async () => {
  const pair = await openPair();
  await setBoth(pair, 1);
  const { identity } = pair.follower.storage;
  followerFaults.tpcFinish = async (_, started) => {
    await pair.follower.storage.doubts.suspend(started);
    throw new ClientDisconnected('away');
  };
  (pair.follower.storage.doubts as { resolve: unknown }).resolve = async () => undefined;
  await setBoth(pair, 2);
  await closeAll();
  const storages = await Promise.all(['a', 'b'].map((name) => openStorage(uriOf(name))));
  const [alone, other] = storages.sort(({ identity: first }) => (first === identity ? -1 : 1)) as [Storage, Storage];
  await other.close();
  const warning = lines.find(({ level, message }) => level === 'warning' && /in doubt/.test(message));
  assert.ok(warning);
  const db = await open('follower', alone);
  assert.equal(await readValue(db), 1);
  const problems: string[] = [];
  for await (const { message } of alone.verify({ references: () => [] })) problems.push(message);
  assert.equal(problems.length, 1);
  assert.match(problems[0] as string, /in doubt/);
  await assert.rejects(
    db.transaction(
      ({ root }) => {
        root.value = 9;
      },
      { retries: 0 },
    ),
    TransactionInDoubtError,
  );
  await assert.rejects(db.settleDoubt(new Uint8Array(16), true), LookupError);
  const [doubt] = await db.doubts();
  const tid = (await db.settleDoubt(doubt?.commitId as Uint8Array, true)) as Tid;
  assert.equal(db.lastTransaction(), tid);
  assert.equal(await readValue(db), 2);
  for await (const { message } of alone.verify({ references: () => [] })) assert.fail(message);
});

test('an outcome is known for as long as one of the others has not followed, however old it is', async () => {
  const clock = { nowMs: Date.now(), now: () => clock.nowMs, schedule: () => ({ cancel() {} }) };
  const a = await openStorage(uriOf('a'), { clock });
  const commitId = Buffer.alloc(16, 7);
  const facts = { user: '', description: '', extension: new Uint8Array(0) };
  const decided = { commitId, ...facts };
  a.tpcBegin(decided);
  a.store(decided, a.newOid(), 0 as Tid, Buffer.from('x'));
  await a.tpcVote(decided, a);
  const tid = await a.tpcFinish(decided);
  const commitLater = async () => {
    clock.nowMs += 7_200_000;
    const other = { commitId: Buffer.from(String(clock.nowMs).padStart(16, '0')), ...facts };
    a.tpcBegin(other);
    await a.commit(other);
  };
  await commitLater();
  assert.equal(await a.outcome(commitId), tid);
  await a.close();
  const again = await openStorage(uriOf('a'), { clock });
  assert.equal(await again.outcome(commitId), tid);
  await again.doubts.forget(commitId);
  await again.close();
  const last = await openStorage(uriOf('a'), { clock });
  assert.equal(await last.outcome(commitId), undefined, 'all have followed: it goes as any');
  await last.close();
});

test('two doors to one database are refused in one collection', async () => {
  const storage = await openStorage(uriOf('a'));
  await open('a', storage);
  const copy = withFaults(storage, {});
  await assert.rejects(open('b', copy), { code: 'ARG_DATABASES' });
  await open('same storage', storage);
});
