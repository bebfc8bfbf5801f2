import assert from 'node:assert/strict';
import {
  type Decider,
  type Oid,
  POSKeyError,
  type Storage,
  StorageTransactionError,
  type Tid,
  TransactionInDoubtError,
  ZERO_TID,
} from '../odb/index.js';
import { begin, commit, having, make, newTransaction, text } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

/** Another storage, which decides. */
const OTHER: Decider = { identity: '00', name: 'the other one' };

function self({ identity, name }: Storage): Decider {
  return { identity, name };
}

/** Transactions of several storages: who decides, what stays in doubt, and how that ends. */
export function testDoubts(suite: StorageSuite): void {
  const group = new Group(suite, 'doubts');

  group.test('an identity is the same for all clients, and another for other data', [], async (subject) => {
    const clients = await group.clients(subject, 3);
    for (const { identity } of clients) {
      assert.match(identity, /^[\x21-\x7e]{1,63}$/);
      assert.equal(identity, subject.storage.identity);
    }
    const other = await suite.open({});
    try {
      assert.notEqual(other.storage.identity, subject.storage.identity);
    } finally {
      await other.close();
    }
  });

  group.test('an identity stays when the data are opened anew', ['reopen', 'doubts'], async (subject) => {
    const { identity } = subject.storage;
    assert.equal((await subject.reopen()).identity, identity);
  });

  group.test('of several that wait to vote, one at a time does', [], async (subject) => {
    const clients = await group.clients(subject, 3);
    const { oids, tid } = await make(subject.storage, ['a', 'b', 'c', 'd']);
    const first = begin(subject.storage, [[oids[3] as Oid, tid, 'first']]);
    await subject.storage.tpcVote(first);
    let votedCount = 0;
    const waiting = clients.map(async (client, i) => {
      const transaction = begin(client, [[oids[i] as Oid, tid, 'voted']]);
      await client.tpcVote(transaction);
      votedCount++;
      assert.equal(votedCount, 1, 'nobody else votes while one is voted');
      // Whoever else was let go with this one would vote meanwhile.
      await client.sync();
      await client.sync();
      votedCount--;
      return client.tpcFinish(transaction);
    });
    await subject.storage.tpcFinish(first);
    assert.equal(new Set(await Promise.all(waiting)).size, 3);
  });

  group.test('a transaction in doubt is not seen, and its objects are written by nobody', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['a', 'b']);
    const [a, b] = oids as [Oid, Oid];
    const fresh = storage.newOid();
    const stores = [
      [a, tid, 'in doubt'],
      [fresh, ZERO_TID, 'in doubt'],
    ] as const;
    const doubted = begin(storage, stores, newTransaction({ user: 'ada', description: 'over two' }));
    await storage.tpcVote(doubted, OTHER);
    await storage.doubts.suspend(doubted);
    await assert.rejects(storage.tpcFinish(doubted), StorageTransactionError);
    const [doubt, ...more] = await storage.doubts.list();
    assert.equal(more.length, 0);
    assert.ok(doubt && doubt.tid > tid);
    const { tid: _, ...facts } = doubt;
    assert.deepEqual(facts, {
      commitId: doubted.commitId,
      decider: OTHER.identity,
      deciderName: OTHER.name,
      user: 'ada',
      description: 'over two',
      objects: 2,
    });
    assert.equal(text(storage.load(a).data), 'a');
    assert.throws(() => storage.load(fresh), POSKeyError);
    const refused = having(TransactionInDoubtError, { oid: a, decider: OTHER.identity, deciderName: OTHER.name });
    await assert.rejects(commit(storage, [[a, tid, 'x']]), refused);
    const voter = begin(storage, [[a, tid, 'x']]);
    await assert.rejects(storage.tpcVote(voter), refused);
    await storage.tpcAbort(voter);
    const checker = begin(storage, [[b, tid, 'x']]);
    storage.checkCurrentSerial(checker, a, tid);
    await assert.rejects(storage.commit(checker), refused);
    await storage.tpcAbort(checker);
    await assert.rejects(commit(storage, [[fresh, ZERO_TID, 'x']]), TransactionInDoubtError);
    await assert.rejects(storage.outcome(doubted.commitId), TransactionInDoubtError);
    await commit(storage, [[b, tid, 'others go on']]);
  });

  group.test('what turns out to have happened is seen from now on, by a tid of now', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['a', 'b']);
    const [a, b] = oids as [Oid, Oid];
    const doubted = begin(storage, [[a, tid, 'happened']], newTransaction({ description: 'late' }));
    await storage.tpcVote(doubted, OTHER);
    await storage.doubts.suspend(doubted);
    const between = await commit(storage, [[b, tid, 'meanwhile']]);
    const told: Tid[] = [];
    const unsubscribe = storage.subscribe({ invalidate: (each) => told.push(each), invalidateAll() {} });
    const late = (await storage.doubts.resolve(doubted.commitId, true)) as Tid;
    assert.ok(late > between.tid);
    storage.poll();
    unsubscribe();
    assert.deepEqual(told, [late]);
    assert.equal(storage.lastTransaction(), late);
    assert.equal(text(storage.load(a).data), 'happened');
    assert.equal(text(storage.loadBefore(a, late)?.data as Uint8Array), 'a', 'older views stay as they are');
    assert.deepEqual(await storage.doubts.list(), []);
    assert.equal(await storage.doubts.resolve(doubted.commitId, true), late, 'it may be told twice');
    assert.equal(await storage.outcome(doubted.commitId), late);
    assert.equal((await storage.history(a))[0]?.description, 'late');
    await commit(storage, [[a, late, 'on']]);
  });

  group.test('what turns out not to have happened leaves nothing', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['a']);
    const [a] = oids as [Oid];
    const doubted = begin(storage, [[a, tid, 'never']]);
    await storage.tpcVote(doubted, OTHER);
    await storage.doubts.suspend(doubted);
    assert.equal(await storage.doubts.resolve(doubted.commitId, false), undefined);
    assert.equal(await storage.doubts.resolve(doubted.commitId, false), undefined, 'it may be told twice');
    assert.deepEqual(await storage.doubts.list(), []);
    assert.equal(await storage.outcome(doubted.commitId), undefined);
    await commit(storage, [[a, tid, 'on']]);
    assert.equal(storage.lastTransaction(), storage.load(a).tid);
  });

  group.test('what is in doubt may be told from several sides at once', [], async (subject) => {
    const clients = await group.clients(subject, 3);
    const { storage } = subject;
    const { oids, tid } = await make(storage, ['a']);
    const doubted = begin(storage, [[oids[0] as Oid, tid, 'once']]);
    await storage.tpcVote(doubted, OTHER);
    await storage.doubts.suspend(doubted);
    const tids = await Promise.all(clients.map((client) => client.doubts.resolve(doubted.commitId, true)));
    assert.equal(new Set(tids).size, 1);
    assert.equal(storage.lastTransaction(), tids[0]);
  });

  group.test(
    'the one that decides is never in doubt, and knows the outcome until it may forget',
    [],
    async (subject) => {
      const { storage } = subject;
      const { oids, tid } = await make(storage, ['a']);
      const [a] = oids as [Oid];
      const aborted = begin(storage, [[a, tid, 'aborted']]);
      await storage.tpcVote(aborted, self(storage));
      await assert.rejects(storage.doubts.suspend(aborted), StorageTransactionError);
      await storage.tpcAbort(aborted);
      assert.equal(await storage.outcome(aborted.commitId), undefined);
      const decided = begin(storage, [[a, tid, 'decided']]);
      await storage.tpcVote(decided, self(storage));
      const asked = storage.outcome(decided.commitId);
      const finished = await storage.tpcFinish(decided);
      assert.equal(await asked, finished, 'who asks too early waits');
      assert.equal(await storage.outcome(decided.commitId), finished);
      await storage.doubts.forget(decided.commitId);
      await storage.doubts.forget(newTransaction().commitId);
      await commit(storage, [[a, finished, 'on']]);
    },
  );

  group.test('a vote for another to decide can be aborted and finished as any', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['a']);
    const [a] = oids as [Oid];
    const aborted = begin(storage, [[a, tid, 'aborted']]);
    await storage.tpcVote(aborted, OTHER);
    await storage.tpcAbort(aborted);
    const done = begin(storage, [[a, tid, 'done']]);
    await storage.tpcVote(done, OTHER);
    await storage.tpcFinish(done);
    assert.equal(text(storage.load(a).data), 'done');
    assert.deepEqual(await storage.doubts.list(), []);
  });

  group.test(
    'one that is voted still can be resolved over the head of a voter who was lost',
    [],
    async ({ storage }) => {
      const { oids, tid } = await make(storage, ['a']);
      const [a] = oids as [Oid];
      const voted = begin(storage, [[a, tid, 'voted']]);
      await storage.tpcVote(voted, OTHER);
      const told = await storage.doubts.resolve(voted.commitId, true);
      assert.equal(text(storage.load(a).data), 'voted');
      // To a client it looks as if its session had ended.
      await assert.rejects(storage.tpcFinish(voted), { code: /^ODB_(?:STORAGE_TRANSACTION|CLIENT_DISCONNECTED)$/ });
      assert.equal(await storage.outcome(voted.commitId), told);
    },
  );

  group.test(
    'a client that is lost between the phases leaves it in doubt, unless this storage decides',
    ['clients'],
    async (subject) => {
      const { storage } = subject;
      const { oids, tid } = await make(storage, ['a', 'b']);
      const [a, b] = oids as [Oid, Oid];
      for (const [oid, decider] of [
        [a, OTHER],
        [b, self(storage)],
      ] as const) {
        const client = await subject.another();
        const voted = begin(client, [[oid, tid, 'voted']]);
        await client.tpcVote(voted, decider);
        await client.close();
      }
      // Both were held back by the votes: they go on once these have ended.
      await commit(storage, [[b, tid, 'on']]);
      await assert.rejects(commit(storage, [[a, tid, 'on']]), TransactionInDoubtError);
      const [doubt] = await storage.doubts.list();
      await storage.doubts.resolve(doubt?.commitId as Uint8Array, true);
      storage.poll();
      assert.equal(text(storage.load(a).data), 'voted');
    },
  );

  group.test(
    'a doubt outlives a close; what this storage was to decide does not',
    ['reopen', 'doubts'],
    async (subject) => {
      let { storage } = subject;
      const { oids, tid } = await make(storage, ['a', 'b', 'c']);
      const [a, b, c] = oids as [Oid, Oid, Oid];
      const fresh = storage.newOid();
      const [suspended, closed, own] = [newTransaction(), newTransaction(), newTransaction()];
      begin(storage, [[a, tid, 'suspended']], suspended);
      await storage.tpcVote(suspended, OTHER);
      await storage.doubts.suspend(suspended);
      const stores = [
        [b, tid, 'closed'],
        [fresh, ZERO_TID, 'closed'],
      ] as const;
      begin(storage, stores, closed);
      await storage.tpcVote(closed, OTHER);
      storage = await subject.reopen();
      const inDoubt = (await storage.doubts.list()).map(({ commitId }) => Buffer.from(commitId).toString('hex'));
      const wanted = [suspended, closed].map(({ commitId }) => Buffer.from(commitId).toString('hex'));
      assert.deepEqual(inDoubt.sort(), wanted.sort());
      for (const oid of [a, b]) await assert.rejects(commit(storage, [[oid, tid, 'x']]), TransactionInDoubtError);
      assert.ok(storage.newOid() > fresh);
      begin(storage, [[c, tid, 'own']], own);
      await storage.tpcVote(own, self(storage));
      storage = await subject.reopen();
      assert.equal((await storage.doubts.list()).length, 2);
      await storage.doubts.resolve(suspended.commitId, false);
      const late = await storage.doubts.resolve(closed.commitId, true);
      storage = await subject.reopen();
      assert.deepEqual(await storage.doubts.list(), []);
      assert.deepEqual(
        [a, b, c, fresh].map((oid) => text(storage.load(oid).data)),
        ['a', 'closed', 'c', 'closed'],
      );
      assert.equal(storage.load(fresh).tid, late);
      assert.equal(await storage.outcome(own.commitId), undefined);
      await commit(storage, [[c, tid, 'on']]);
    },
  );

  // The records are of no format, which only one who packs for himself can say how to read.
  if (suite.supports.clients === true) return;
  group.test('a pack keeps what a transaction in doubt refers to', ['pack'], async ({ storage }) => {
    const references = (data: Uint8Array) =>
      text(data)
        .split(' ')
        .filter((word) => /^\d+$/.test(word))
        .map((word) => Number(word) as Oid);
    const root = 0 as Oid;
    const { tid } = await commit(storage, [[root, ZERO_TID, 'root']]);
    const { oids } = await make(storage, ['loose', 'garbage']);
    const [loose, garbage] = oids as [Oid, Oid];
    const doubted = begin(storage, [[root, tid, `root ${loose}`]]);
    await storage.tpcVote(doubted, OTHER);
    await storage.doubts.suspend(doubted);
    const before = (storage.lastTransaction() + 1) as Tid;
    await storage.pack({ before, references });
    assert.throws(() => storage.load(garbage), POSKeyError);
    await storage.doubts.resolve(doubted.commitId, true);
    assert.equal(text(storage.load(loose).data), 'loose');
  });
}
