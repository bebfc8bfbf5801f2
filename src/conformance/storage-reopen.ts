import assert from 'node:assert/strict';
import { type Oid, POSKeyError, ReadOnlyError, strongReferences, type Tid, ZERO_TID } from '../odb/index.js';
import { begin, commit, finish, having, make, newTransaction, text, transactions } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

/** What is there after a close, and what a storage that only reads refuses. */
export function testReopen(suite: StorageSuite): void {
  const group = new Group(suite, 'reopen');

  group.test('everything committed is there, nothing else is', ['reopen'], async (subject) => {
    const { storage } = subject;
    const { oids, tid } = await make(storage, ['a0', 'b0']);
    const [a, b] = oids as [Oid, Oid];
    const done = newTransaction({ description: 'second' });
    const second = await finish(storage, begin(storage, [[a, tid, 'a1']], done));
    const never = storage.newOid();
    const [voted, open, aborted] = [newTransaction(), newTransaction(), newTransaction()];
    begin(storage, [[b, tid, 'aborted']], aborted);
    await storage.tpcVote(aborted);
    await storage.tpcAbort(aborted);
    begin(storage, [[never, ZERO_TID, 'open']], open);
    begin(storage, [[b, tid, 'voted']], voted);
    await storage.tpcVote(voted);
    const reopened = await subject.reopen();
    assert.equal(reopened.lastTransaction(), second.tid);
    assert.deepEqual([text(reopened.load(a).data), reopened.load(a).tid], ['a1', second.tid]);
    assert.deepEqual([text(reopened.load(b).data), reopened.load(b).tid], ['b0', tid]);
    assert.throws(() => reopened.load(never), POSKeyError);
    if (suite.supports.history === true) {
      assert.equal(text(reopened.loadSerial(a, tid)), 'a0');
      assert.deepEqual(
        (await reopened.history(a, 10)).map((entry) => entry.tid),
        [second.tid, tid],
      );
    }
    const told = await transactions(reopened);
    assert.deepEqual(
      told.map((each) => [each.tid, each.description]),
      [
        [tid, ''],
        [second.tid, 'second'],
      ],
    );
    assert.equal(await reopened.outcome(done.commitId), second.tid);
    for (const lost of [voted, open, aborted]) assert.equal(await reopened.outcome(lost.commitId), undefined);
    await commit(reopened, [[b, tid, 'b1']]);
  });

  group.test('oids are not given again', ['reopen'], async (subject) => {
    const oids = new Set<Oid>();
    let { storage } = subject;
    for (let round = 0; round < 4; round++) {
      // Some are used, some never.
      for (let i = 0; i < 300; i++) {
        const oid = storage.newOid();
        assert.ok(!oids.has(oid), `${oid} was given before`);
        oids.add(oid);
      }
      await make(storage, ['x']).then(({ oids: [oid] }) => oids.add(oid as Oid));
      const far = (storage.newOid() + 20_000 * (round + 1)) as Oid;
      oids.add(far);
      await commit(storage, [[far, ZERO_TID, 'far']]);
      storage = await subject.reopen();
    }
  });

  group.test('tids go on rising though the clock was set back meanwhile', ['reopen', 'clock'], async (subject) => {
    let nowMs = 1_700_000_000_000;
    const clock = { now: () => nowMs, schedule: () => ({ cancel: () => undefined }) };
    let storage = await subject.reopen({ clock });
    const { tid } = await commit(storage, []);
    nowMs -= 600_000;
    storage = await subject.reopen({ clock });
    const { tid: next } = await commit(storage, []);
    assert.ok(next > tid);
    assert.equal(storage.lastTransaction(), next);
  });

  group.test('many times, with changes in between', ['reopen'], async (subject) => {
    let { storage } = subject;
    const { oids, tid } = await make(storage, ['0']);
    const [oid] = oids as [Oid];
    const tids: Tid[] = [tid];
    for (let round = 1; round <= 5; round++) {
      storage = await subject.reopen();
      assert.equal(text(storage.load(oid).data), `${round - 1}`);
      tids.push((await commit(storage, [[oid, tids.at(-1) as Tid, `${round}`]])).tid);
    }
    if (suite.supports.history !== true) return;
    for (const [i, each] of tids.entries()) {
      assert.equal(text(storage.loadBefore(oid, (each + 1) as Tid)?.data ?? Buffer.from('')), `${i}`);
    }
  });

  group.test('to be read only: everything is read, every write is refused', ['readOnly'], async (subject) => {
    const { oids, tid } = await make(subject.storage, ['x']);
    const [oid] = oids as [Oid];
    const storage = await subject.reopen({ readOnly: true });
    assert.equal(storage.isReadOnly, true);
    assert.equal(text(storage.load(oid).data), 'x');
    assert.equal(storage.lastTransaction(), tid);
    assert.equal((await transactions(storage)).length, 1);
    assert.throws(() => storage.newOid(), having(ReadOnlyError, {}));
    assert.throws(() => storage.tpcBegin(newTransaction()), having(ReadOnlyError, {}));
    const { commitId } = newTransaction();
    for (const write of [
      storage.pack({ before: tid, references: strongReferences }),
      storage.doubts.resolve(commitId, true),
      storage.doubts.forget(commitId),
    ]) {
      await assert.rejects(write, having(ReadOnlyError, {}));
    }
    await storage.tpcAbort(newTransaction());
    assert.equal(await storage.outcome(commitId), undefined);
    assert.deepEqual(await storage.doubts.list(), []);
    const again = await subject.reopen();
    assert.equal(again.isReadOnly, false);
    await commit(again, [[oid, tid, 'y']]);
  });
}
