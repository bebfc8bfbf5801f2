import assert from 'node:assert/strict';
import { type Oid, POSKeyError, type Storage, type Tid, UndoError, ZERO_TID } from '../odb/index.js';
import { begin, commit, finish, having, make, text, transactions, undo } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

/** Undo: what a transaction did is taken back by another. */
export function testUndo(suite: StorageSuite): void {
  const group = new Group(suite, 'undo');

  group.test('what a transaction changed is again as it was', ['undo'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['one', 'two', 'three']);
    const [a, b, c] = oids as [Oid, Oid, Oid];
    const changed = await commit(storage, [
      [a, tid, 'one!'],
      [b, tid, 'two!'],
    ]);
    const other = await commit(storage, [[c, tid, 'three!']]);
    const undone = await undo(storage, [changed.tid]);
    assert.deepEqual(texts(storage, oids), ['one', 'two', 'three!']);
    assert.deepEqual(
      oids.map((oid) => storage.load(oid).tid),
      [undone, undone, other.tid],
    );
    assert.equal(text(storage.loadSerial(a, changed.tid)), 'one!');
    assert.equal(storage.loadBefore(a, undone)?.endTid, undone);
  });

  group.test('who uses the same data is told', ['undo', 'clients'], async (subject) => {
    const { storage } = subject;
    const other = await subject.another();
    const { oids, tid } = await make(storage, ['one', 'two']);
    const changed = await commit(storage, [[oids[1] as Oid, tid, 'two!']]);
    await other.sync();
    assert.deepEqual(texts(other, oids), ['one', 'two!']);
    const told: [Tid, readonly Oid[]][] = [];
    other.subscribe({ invalidate: (at, changedOids) => told.push([at, changedOids]), invalidateAll: () => {} });
    const undone = await undo(storage, [changed.tid]);
    await other.sync();
    assert.deepEqual(told, [[undone, [oids[1]]]]);
    assert.deepEqual(texts(other, oids), ['one', 'two']);
  });

  group.test('an object that the transaction made is there no more', ['undo'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['new']);
    const [oid] = oids as [Oid];
    const undone = await undo(storage, [tid]);
    assert.throws(() => storage.load(oid), POSKeyError);
    assert.throws(() => storage.loadBefore(oid, (undone + 1) as Tid), POSKeyError);
    assert.throws(() => storage.loadSerial(oid, undone), POSKeyError);
    const before = storage.loadBefore(oid, undone);
    assert.deepEqual([before && text(before.data), before?.endTid], ['new', undone]);
    const [told] = (await transactions(storage, undone, undone)).map(({ records }) => records);
    assert.deepEqual(told, [{ oid, tid: undone, data: undefined }]);
    await assert.rejects(commit(storage, [[oid, tid, 'late']]), having(Error, {}));
    const again = await commit(storage, [[oid, undone, 'again']]);
    assert.equal(text(storage.load(oid).data), 'again');
    assert.equal(storage.load(oid).tid, again.tid);
  });

  group.test('an undo can be undone', ['undo'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['one']);
    const { tid: changed } = await commit(storage, [[oids[0] as Oid, tid, 'two']]);
    const undone = await undo(storage, [changed]);
    assert.deepEqual(texts(storage, oids), ['one']);
    const redone = await undo(storage, [undone]);
    assert.deepEqual(texts(storage, oids), ['two']);
    await undo(storage, [redone]);
    assert.deepEqual(texts(storage, oids), ['one']);
    // The first change is undone already: what is there is not what it wrote.
    await assert.rejects(undo(storage, [changed]), having(UndoError, { tid: changed, oid: oids[0] as Oid }));
    const removed = await undo(storage, [redone]).then(
      () => undefined,
      (error: unknown) => error,
    );
    assert.ok(removed instanceof UndoError);
  });

  group.test('each undo is a revision of its own, which ends with the next', ['undo'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['one']);
    const [oid] = oids as [Oid];
    const tids = [tid, (await commit(storage, [[oid, tid, 'two']])).tid];
    for (let i = 0; i < 4; i++) tids.push(await undo(storage, [tids.at(-1) as Tid]));
    for (const [i, each] of tids.entries()) {
      const revision = storage.loadBefore(oid, (each + 1) as Tid);
      const facts = [text(revision?.data as Uint8Array), revision?.tid, revision?.endTid];
      assert.deepEqual(facts, [i % 2 === 0 ? 'one' : 'two', each, tids[i + 1]]);
      assert.equal(text(storage.loadSerial(oid, each)), i % 2 === 0 ? 'one' : 'two');
    }
    assert.deepEqual(
      (await storage.history(oid, 10)).map((entry) => entry.tid),
      [...tids].reverse(),
    );
  });

  group.test('an undone removal brings the object back', ['undo'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['here']);
    const removed = await undo(storage, [tid]);
    await undo(storage, [removed]);
    assert.deepEqual(texts(storage, oids), ['here']);
  });

  group.test('what was changed later is in the way, and nothing is undone', ['undo'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['one', 'two']);
    const [a, b] = oids as [Oid, Oid];
    const first = await commit(storage, [
      [a, tid, 'one!'],
      [b, tid, 'two!'],
    ]);
    const second = await commit(storage, [[b, first.tid, 'two?']]);
    await assert.rejects(undo(storage, [first.tid]), having(UndoError, { tid: first.tid, oid: b }));
    assert.deepEqual(texts(storage, oids), ['one!', 'two?']);
    assert.equal(storage.lastTransaction(), second.tid);
    await undo(storage, [second.tid]);
    await undo(storage, [first.tid]);
    assert.deepEqual(texts(storage, oids), ['one', 'two']);
  });

  group.test('several are undone in one transaction, in order', ['undo'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['0']);
    const [oid] = oids as [Oid];
    const first = await commit(storage, [[oid, tid, '1']]);
    const second = await commit(storage, [[oid, first.tid, '2']]);
    await assert.rejects(undo(storage, [first.tid, second.tid]), having(UndoError, { tid: first.tid }));
    const undone = await undo(storage, [second.tid, first.tid]);
    assert.deepEqual(texts(storage, oids), ['0']);
    assert.equal(storage.load(oid).tid, undone);
  });

  group.test(
    'later changes stay where they merge',
    ['undo', 'merges'],
    async ({ storage }) => {
      const { oids, tid } = await make(storage, ['.a']);
      const [oid] = oids as [Oid];
      const cut = await commit(storage, [[oid, tid, '.']]);
      await commit(storage, [[oid, cut.tid, '.b']]);
      const transaction = begin(storage, []);
      storage.undo(transaction, cut.tid);
      const { resolved } = await finish(storage, transaction);
      assert.deepEqual(resolved, [oid]);
      assert.deepEqual(texts(storage, oids), ['.ba']);
    },
    { merges: true },
  );

  group.test(
    'where a merge fails, the later change is in the way, and the reason is told',
    ['undo', 'merges'],
    async ({ storage }) => {
      const { oids, tid } = await make(storage, ['?']);
      const [oid] = oids as [Oid];
      const first = await commit(storage, [[oid, tid, 'a']]);
      const second = await commit(storage, [[oid, first.tid, 'ab']]);
      const refused = await undo(storage, [first.tid]).catch((error: unknown) => error);
      assert.ok(refused instanceof UndoError, String(refused));
      assert.deepEqual([refused.tid, refused.oid], [first.tid, oid]);
      assert.match(refused.reason, /this text cannot be merged/);
      assert.equal(storage.lastTransaction(), second.tid);
    },
    { merges: true },
  );

  group.test('what the same transaction stores is kept beside it', ['undo'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['one', 'two']);
    const [a, b] = oids as [Oid, Oid];
    const changed = await commit(storage, [[a, tid, 'one!']]);
    const transaction = begin(storage, [[b, tid, 'two!']]);
    storage.undo(transaction, changed.tid);
    const outcome = await finish(storage, transaction);
    assert.deepEqual(texts(storage, oids), ['one', 'two!']);
    assert.deepEqual(
      oids.map((oid) => storage.load(oid).tid),
      [outcome.tid, outcome.tid],
    );
  });

  group.test('in two phases: an aborted undo did not happen', ['undo'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['one']);
    const changed = await commit(storage, [[oids[0] as Oid, tid, 'two']]);
    const aborted = begin(storage, []);
    storage.undo(aborted, changed.tid);
    await storage.tpcVote(aborted);
    await storage.tpcAbort(aborted);
    assert.deepEqual(texts(storage, oids), ['two']);
    const finished = begin(storage, []);
    storage.undo(finished, changed.tid);
    await storage.tpcVote(finished);
    await storage.tpcFinish(finished);
    assert.deepEqual(texts(storage, oids), ['one']);
  });

  group.test('there has to be such a transaction', ['undo'], async ({ storage }) => {
    const { tid } = await make(storage, ['one']);
    for (const unknown of [tid - 1, tid + 1] as Tid[]) {
      await assert.rejects(undo(storage, [unknown]), having(UndoError, { tid: unknown, oid: undefined }));
    }
  });

  group.test('the log of transactions, newest first', ['undo'], async ({ storage }) => {
    const tids: Tid[] = [];
    const [oid] = (await make(storage, ['0'])).oids as [Oid];
    for (let i = 1; i <= 5; i++) {
      const serial = storage.load(oid).tid;
      tids.unshift((await commit(storage, [[oid, serial, `${i}`]], { user: `u${i}`, description: `d${i}` })).tid);
    }
    const log = await storage.undoLog({ size: 3 });
    assert.deepEqual(
      log.map(({ tid, user, description }) => [tid, user, description]),
      tids.slice(0, 3).map((tid, i) => [tid, `u${5 - i}`, `d${5 - i}`]),
    );
    const rest = await storage.undoLog({ before: tids[2] as Tid, size: 2 });
    assert.deepEqual(
      rest.map(({ tid }) => tid),
      tids.slice(3),
    );
    assert.deepEqual(await storage.undoLog({ before: ZERO_TID }), []);
  });

  group.test('it is still undone when the data are opened anew', ['undo', 'reopen'], async (subject) => {
    const { oids, tid } = await make(subject.storage, ['one', 'two']);
    const changed = await commit(subject.storage, [[oids[0] as Oid, tid, 'one!']]);
    const late = await make(subject.storage, ['three']);
    await undo(subject.storage, [changed.tid]);
    await undo(subject.storage, [late.tid]);
    const storage = await subject.reopen();
    assert.deepEqual(texts(storage, oids), ['one', 'two']);
    assert.throws(() => storage.load(late.oids[0] as Oid), POSKeyError);
  });
}

/** Undoes transactions in one of their own; resolves to its tid. */
function texts(storage: Storage, oids: readonly Oid[]): string[] {
  return oids.map((oid) => text(storage.load(oid).data));
}
