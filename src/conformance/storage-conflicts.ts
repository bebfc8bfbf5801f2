import assert from 'node:assert/strict';
import {
  ConflictError,
  type Oid,
  POSKeyError,
  ReadConflictError,
  type Storage,
  type Tid,
  ZERO_TID,
} from '../odb/index.js';
import { begin, commit, finish, having, make, newTransaction, text } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

/** First committer wins, unless the changes merge. */
export function testConflicts(suite: StorageSuite): void {
  const group = new Group(suite, 'conflicts');
  const merging = { merges: true };

  group.test('a store that is based on an old revision is refused, with the facts', [], async ({ storage }) => {
    const { oids, tid: first } = await make(storage, ['one']);
    const [oid] = oids as [Oid];
    const { tid: second } = await commit(storage, [[oid, first, 'two']]);
    const facts = { oid, baseSerial: first, committedSerial: second };
    await assert.rejects(commit(storage, [[oid, first, 'late']]), having(ConflictError, facts));
    const voter = begin(storage, [[oid, first, 'late']]);
    await assert.rejects(storage.tpcVote(voter), having(ConflictError, facts));
    await storage.tpcAbort(voter);
    assert.equal(text(storage.load(oid).data), 'two');
    assert.equal(storage.lastTransaction(), second);
    await commit(storage, [[oid, second, 'three']]);
  });

  group.test('of two who make the same object new, the second is refused', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['mine']);
    const [oid] = oids as [Oid];
    await assert.rejects(
      commit(storage, [[oid, ZERO_TID, 'yours']]),
      having(ConflictError, { oid, baseSerial: ZERO_TID, committedSerial: tid }),
    );
    assert.equal(text(storage.load(oid).data), 'mine');
  });

  group.test('of an object that is not there, no revision can be superseded', [], async ({ storage }) => {
    const { tid } = await make(storage, ['x']);
    const oid = storage.newOid();
    await assert.rejects(
      commit(storage, [[oid, tid, 'x']]),
      having(ConflictError, { oid, baseSerial: tid, committedSerial: ZERO_TID }),
    );
    assert.throws(() => storage.load(oid), POSKeyError);
  });

  group.test('one conflict fails the whole transaction', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['a', 'b']);
    const [a, b] = oids as [Oid, Oid];
    const fresh = storage.newOid();
    await commit(storage, [[b, tid, 'b1']]);
    await assert.rejects(
      commit(storage, [
        [fresh, ZERO_TID, 'fresh'],
        [a, tid, 'a1'],
        [b, tid, 'other'],
      ]),
      having(ConflictError, { oid: b }),
    );
    assert.deepEqual([text(storage.load(a).data), text(storage.load(b).data)], ['a', 'b1']);
    assert.throws(() => storage.load(fresh), POSKeyError);
  });

  group.test('of transactions side by side on one object, exactly one is committed', [], async (subject) => {
    const { storage } = subject;
    const clients = await group.clients(subject, 3);
    const { oids, tid } = await make(storage, ['start']);
    const [oid] = oids as [Oid];
    const results = await Promise.allSettled(
      Array.from({ length: 9 }, (_, i) => commit(clients[i % 3] as Storage, [[oid, tid, `winner ${i}`]])),
    );
    const won = results.flatMap((result, i) => (result.status === 'fulfilled' ? [i] : []));
    assert.equal(won.length, 1);
    for (const result of results) {
      if (result.status === 'rejected') having(ConflictError, { oid, baseSerial: tid })(result.reason);
    }
    await storage.sync();
    assert.equal(text(storage.load(oid).data), `winner ${won[0]}`);
  });

  group.test('a check of what is no longer current is refused, and writes nothing', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['read', 'written']);
    const [read, written] = oids as [Oid, Oid];
    const { tid: second } = await commit(storage, [[read, tid, 'read 1']]);
    for (const how of ['commit', 'vote'] as const) {
      const transaction = begin(storage, [[written, tid, 'written 1']]);
      storage.checkCurrentSerial(transaction, read, tid);
      await assert.rejects(
        how === 'commit' ? storage.commit(transaction) : storage.tpcVote(transaction),
        having(ReadConflictError, { oid: read, baseSerial: tid, committedSerial: second }),
      );
      await storage.tpcAbort(transaction);
    }
    assert.equal(text(storage.load(written).data), 'written');
    const transaction = begin(storage, [[written, tid, 'written 1']]);
    storage.checkCurrentSerial(transaction, read, second);
    await finish(storage, transaction);
    assert.equal(text(storage.load(written).data), 'written 1');
    assert.equal(storage.load(read).tid, second, 'a check writes no revision');
  });

  group.test('after a successful check, a writer of that object comes later', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['read', 'written']);
    const [read, written] = oids as [Oid, Oid];
    const checker = begin(storage, [[written, tid, 'written 1']]);
    storage.checkCurrentSerial(checker, read, tid);
    await storage.tpcVote(checker);
    const writer = commit(storage, [[read, tid, 'read 1']]);
    const checked = await storage.tpcFinish(checker);
    assert.ok((await writer).tid > checked);
  });

  group.test(
    'checks in both directions: of two who read what the other writes, one is refused',
    [],
    async (subject) => {
      const { storage } = subject;
      const [a, b] = (await group.clients(subject, 2)) as [Storage, Storage];
      const { oids } = await make(storage, ['0', '0']);
      const [x, y] = oids as [Oid, Oid];
      for (let round = 0; round < 10; round++) {
        await Promise.all([a.sync(), b.sync()]);
        const [left, right] = [begin(a, [[x, a.load(x).tid, `${round}`]]), begin(b, [[y, b.load(y).tid, `${round}`]])];
        a.checkCurrentSerial(left, y, a.load(y).tid);
        b.checkCurrentSerial(right, x, b.load(x).tid);
        const results = await Promise.allSettled([finish(a, left), finish(b, right)]);
        assert.equal(results.filter((result) => result.status === 'fulfilled').length, 1);
      }
    },
  );

  group.test(
    'changes that merge are merged, and the committer is told',
    ['merges'],
    async ({ storage }) => {
      const { oids, tid } = await make(storage, ['x', 'y']);
      const [x, y] = oids as [Oid, Oid];
      await commit(storage, [[x, tid, 'xa']]);
      const merged = await commit(storage, [
        [x, tid, 'xb'],
        [y, tid, 'y1'],
      ]);
      assert.deepEqual(merged.resolved, [x]);
      assert.equal(text(storage.load(x).data), 'xab');
      assert.equal(storage.load(x).tid, merged.tid);
      assert.equal(text(storage.load(y).data), 'y1');
      const voter = begin(storage, [[x, tid, 'xc']]);
      assert.deepEqual(await storage.tpcVote(voter), { resolved: [x] });
      await storage.tpcFinish(voter);
      assert.equal(text(storage.load(x).data), 'xabc');
    },
    merging,
  );

  group.test(
    'changes that do not merge are refused, with the reason; so are objects that both made',
    ['merges'],
    async ({ storage }) => {
      const { oids, tid } = await make(storage, ['x']);
      const [oid] = oids as [Oid];
      const { tid: second } = await commit(storage, [[oid, tid, 'xa']]);
      await assert.rejects(
        commit(storage, [[oid, tid, '!']]),
        having(ConflictError, { oid, baseSerial: tid, committedSerial: second, reason: 'not only added to' }),
      );
      await assert.rejects(commit(storage, [[oid, ZERO_TID, 'x']]), ConflictError);
      assert.equal(text(storage.load(oid).data), 'xa');
    },
    merging,
  );

  group.test(
    'a merge that fails is a conflict too',
    ['merges'],
    async ({ storage }) => {
      const { oids, tid } = await make(storage, ['x']);
      const [oid] = oids as [Oid];
      const { tid: second } = await commit(storage, [[oid, tid, 'xa']]);
      await assert.rejects(
        commit(storage, [[oid, tid, '?']]),
        having(ConflictError, { oid, baseSerial: tid, committedSerial: second }),
      );
      assert.equal(text(storage.load(oid).data), 'xa');
    },
    merging,
  );

  group.test(
    'whoever adds, and however many at once: nothing is lost, nothing is there twice',
    ['merges'],
    async (subject) => {
      const { storage } = subject;
      const clients = await group.clients(subject, 4);
      const { oids, tid } = await make(storage, ['.']);
      const [oid] = oids as [Oid];
      const letters = [...'abcdefghijklmnopqrstuvwxyz'];
      await Promise.all(letters.map((letter, i) => commit(clients[i % 4] as Storage, [[oid, tid, `.${letter}`]])));
      await storage.sync();
      assert.equal([...text(storage.load(oid).data).slice(1)].sort().join(''), letters.join(''));
    },
    merging,
  );

  group.test(
    'a check is never merged',
    ['merges'],
    async ({ storage }) => {
      const { oids, tid } = await make(storage, ['x']);
      const [oid] = oids as [Oid];
      await commit(storage, [[oid, tid, 'xa']]);
      const transaction = newTransaction();
      storage.tpcBegin(transaction);
      storage.checkCurrentSerial(transaction, oid, tid as Tid);
      await assert.rejects(finish(storage, transaction), ReadConflictError);
    },
    merging,
  );
}
