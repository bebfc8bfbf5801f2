import assert from 'node:assert/strict';
import {
  ConflictError,
  MAX_TID,
  type Oid,
  POSKeyError,
  ROOT_OID,
  StorageError,
  type StorageTransaction,
  StorageTransactionError,
  strongReferences,
  type Tid,
  ZERO_TID,
} from '../odb/index.js';
import { begin, commit, finish, having, make, newTransaction, text, transactions } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

const NOWHERE = 4_000_000_000_000 as Oid;

/** What a transaction does, and in which order its calls may come. */
export function testCommits(suite: StorageSuite): void {
  const group = new Group(suite, 'commit');

  group.test('an empty storage has no transaction and no object', [], async ({ storage }) => {
    assert.equal(storage.lastTransaction(), ZERO_TID);
    assert.equal(storage.poll(), ZERO_TID);
    assert.equal(await storage.sync(), ZERO_TID);
    assert.equal(storage.length, 0);
    assert.throws(() => storage.load(ROOT_OID), POSKeyError);
    assert.throws(() => storage.loadBefore(NOWHERE, 1 as Tid), POSKeyError);
    assert.throws(() => storage.loadSerial(NOWHERE, 1 as Tid), POSKeyError);
    await assert.rejects(storage.history(NOWHERE), POSKeyError);
    assert.deepEqual(await transactions(storage), []);
  });

  group.test('what was committed is read back, with its tid', [], async ({ storage }) => {
    const oid = storage.newOid();
    const { tid, resolved } = await commit(storage, [[oid, ZERO_TID, 'one']]);
    assert.deepEqual(resolved, []);
    assert.ok(tid > ZERO_TID);
    assert.equal(storage.lastTransaction(), tid);
    const revision = storage.load(oid);
    assert.equal(text(revision.data), 'one');
    assert.equal(revision.tid, tid);
    assert.equal(revision.endTid, undefined);
    assert.equal(text(storage.loadSerial(oid, tid)), 'one');
    assert.throws(() => storage.load(NOWHERE), POSKeyError);
    assert.throws(() => storage.loadSerial(oid, (tid + 1) as Tid), POSKeyError);
    assert.ok(storage.length >= 1);
  });

  group.test('bytes of any kind and size come back as they were', [], async ({ storage }) => {
    const all = [
      Uint8Array.of(0),
      Uint8Array.from({ length: 256 }, (_, i) => i),
      Buffer.alloc(70_000, 0xab),
      Buffer.alloc(3_000_000, 'many'),
      Buffer.alloc(17 * 1024 * 1024, 'more than a frame, a batch, a memory of LevelDB'),
    ];
    const oids = all.map(() => storage.newOid());
    await commit(
      storage,
      oids.map((oid, i) => [oid, ZERO_TID, Buffer.from(all[i] as Uint8Array)]),
    );
    for (const [i, oid] of oids.entries()) {
      assert.ok(Buffer.from(all[i] as Uint8Array).equals(storage.load(oid).data), `${all[i]?.length} bytes`);
    }
  });

  group.test('a store of no bytes removes the object', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['one', 'two']);
    const [a, b] = oids as [Oid, Oid];
    const removed = await commit(storage, [[a, tid, '']]);
    // Who looks at it from above has to know it from one that never was.
    const gone = having(POSKeyError, { oid: a, removedBy: removed.tid });
    assert.throws(() => storage.load(a), gone);
    assert.throws(() => storage.loadBefore(a, (removed.tid + 1) as Tid), gone);
    assert.throws(() => storage.loadSerial(a, removed.tid), gone);
    assert.throws(() => storage.load(NOWHERE), having(POSKeyError, { oid: NOWHERE, removedBy: undefined }));
    assert.equal(text(storage.load(b).data), 'two');
    for (const late of ['late', '']) await assert.rejects(commit(storage, [[a, tid, late]]), ConflictError);
    assert.equal(text(storage.loadBefore(a, removed.tid)?.data as Uint8Array), 'one');
    const { tid: again } = await commit(storage, [[a, removed.tid, 'again']]);
    assert.deepEqual([text(storage.load(a).data), storage.load(a).tid], ['again', again]);
  });

  group.test('a transaction of many records has one tid', [], async ({ storage }) => {
    const texts = Array.from({ length: 1500 }, (_, i) => `text ${i}`);
    const { oids, tid } = await make(storage, texts);
    for (const [i, oid] of oids.entries()) {
      const revision = storage.load(oid);
      assert.equal(text(revision.data), texts[i]);
      assert.equal(revision.tid, tid);
    }
  });

  group.test('tids rise with each transaction', [], async ({ storage }) => {
    const oid = storage.newOid();
    let serial = ZERO_TID;
    for (let i = 0; i < 20; i++) {
      const { tid } = await commit(storage, [[oid, serial, String(i)]]);
      assert.ok(tid > serial);
      serial = tid;
    }
  });

  group.test('of an object that is stored twice in a transaction, the last is kept', [], async ({ storage }) => {
    const oid = storage.newOid();
    const first = await commit(storage, [
      [oid, ZERO_TID, 'draft'],
      [oid, ZERO_TID, 'final'],
    ]);
    assert.equal(text(storage.load(oid).data), 'final');
    const second = await commit(storage, [
      [oid, first.tid, 'another draft'],
      [oid, first.tid, 'another final'],
    ]);
    assert.equal(text(storage.load(oid).data), 'another final');
    assert.equal(text(storage.loadSerial(oid, first.tid)), 'final');
    const records = (await transactions(storage, second.tid)).flatMap((each) => each.records);
    assert.equal(records.length, 1);
  });

  group.test('a transaction without records is a transaction', [], async ({ storage }) => {
    for (const description of ['', 'nothing to see']) {
      const { tid } = await commit(storage, [], { description });
      assert.equal(storage.lastTransaction(), tid);
      const [only, ...others] = await transactions(storage, tid);
      assert.equal(others.length, 0);
      assert.equal(only?.tid, tid);
      assert.equal(only?.description, description);
      assert.deepEqual(only?.records, []);
    }
  });

  group.test('oids are never given twice, and the root’s is not given', [], async (subject) => {
    const clients = await group.clients(subject, 3);
    const oids = new Set<Oid>();
    for (let i = 0; i < 6000; i++) oids.add((clients[i % 3] as typeof subject.storage).newOid());
    assert.equal(oids.size, 6000);
    assert.ok(!oids.has(ROOT_OID));
  });

  group.test('an oid that came from elsewhere is not given out any more', [], async ({ storage }) => {
    const far = (storage.newOid() + 100_000) as Oid;
    await commit(storage, [[far, ZERO_TID, 'from elsewhere']]);
    for (let i = 0; i < 5000; i++) assert.notEqual(storage.newOid(), far);
  });

  group.test('an oid can be had above a given one, and none is higher than the highest', [], async (subject) => {
    const clients = await group.clients(subject, 2);
    const oids = new Set<Oid>();
    for (const above of [0, 3000, 2000, 50_000] as Oid[]) {
      for (const storage of clients) {
        const oid = storage.newOid(above);
        assert.ok(oid > above, `${oid} > ${above}`);
        oids.add(oid);
      }
    }
    assert.equal(oids.size, 8);
    for (const { highestOid } of clients) assert.ok(highestOid >= Math.max(...oids));
    const far = 2_000_000 as Oid;
    await commit(subject.storage, [[far, ZERO_TID, 'from elsewhere']]);
    for (const { highestOid } of clients) assert.ok(highestOid >= far);
  });

  group.test('in two phases: nothing is seen after the vote, everything after the finish', [], async ({ storage }) => {
    const { oids, tid: before } = await make(storage, ['old']);
    const [oid] = oids as [Oid];
    const fresh = storage.newOid();
    const transaction = begin(storage, [
      [oid, before, 'new'],
      [fresh, ZERO_TID, 'fresh'],
    ]);
    assert.deepEqual(await storage.tpcVote(transaction), { resolved: [] });
    assert.equal(text(storage.load(oid).data), 'old');
    assert.equal(storage.load(oid).endTid, undefined);
    assert.throws(() => storage.load(fresh), POSKeyError);
    assert.equal(storage.lastTransaction(), before);
    const tid = await storage.tpcFinish(transaction);
    assert.ok(tid > before);
    assert.equal(storage.lastTransaction(), tid);
    assert.equal(text(storage.load(oid).data), 'new');
    assert.equal(text(storage.load(fresh).data), 'fresh');
    assert.equal(storage.load(fresh).tid, tid);
  });

  group.test('calls in the wrong order are refused', [], async ({ storage }) => {
    const refused = StorageTransactionError;
    const oid = storage.newOid();
    const transaction = newTransaction();
    assert.throws(() => storage.store(transaction, oid, ZERO_TID, Buffer.from('x')), refused);
    assert.throws(() => storage.checkCurrentSerial(transaction, oid, ZERO_TID), refused);
    await assert.rejects(storage.commit(transaction), refused);
    await assert.rejects(storage.tpcVote(transaction), refused);
    await assert.rejects(storage.tpcFinish(transaction), refused);
    begin(storage, [[oid, ZERO_TID, 'x']], transaction);
    assert.throws(() => storage.tpcBegin(transaction), refused);
    await assert.rejects(storage.tpcFinish(transaction), refused);
    await assert.rejects(storage.tpcVote(newTransaction()), refused);
    await storage.tpcVote(transaction);
    assert.throws(() => storage.store(transaction, oid, ZERO_TID, Buffer.from('late')), refused);
    assert.throws(() => storage.checkCurrentSerial(transaction, oid, ZERO_TID), refused);
    await assert.rejects(storage.tpcVote(transaction), refused);
    await assert.rejects(storage.commit(transaction), refused);
    await assert.rejects(storage.tpcFinish(newTransaction()), refused);
    assert.throws(() => storage.tpcBegin(transaction), refused);
    await storage.tpcFinish(transaction);
    await assert.rejects(storage.tpcFinish(transaction), refused);
    assert.throws(() => storage.store(transaction, oid, ZERO_TID, Buffer.from('late')), refused);
    assert.equal(text(storage.load(oid).data), 'x');
  });

  group.test('what was refused is good for nothing but to be aborted', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['x']);
    const [oid] = oids as [Oid];
    const { tid: second } = await commit(storage, [[oid, tid, 'y']]);
    for (const decide of ['commit', 'tpcVote'] as const) {
      const transaction = begin(storage, [[oid, tid, 'late']]);
      await assert.rejects(storage[decide](transaction), ConflictError);
      assert.throws(() => storage.store(transaction, oid, second, Buffer.from('z')), StorageTransactionError);
      assert.throws(() => storage.checkCurrentSerial(transaction, oid, second), StorageTransactionError);
      assert.throws(() => storage.tpcBegin(transaction), StorageTransactionError);
      await assert.rejects(storage.commit(transaction), StorageTransactionError);
      await assert.rejects(storage.tpcVote(transaction), StorageTransactionError);
      await assert.rejects(storage.tpcFinish(transaction), StorageTransactionError);
      await assert.rejects(storage.doubts.suspend(transaction), StorageTransactionError);
      await storage.tpcAbort(transaction);
    }
    await commit(storage, [[oid, second, 'z']]);
  });

  group.test('while a transaction is decided, nothing else is done with it', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['0']);
    const [oid] = oids as [Oid];
    const refused = StorageTransactionError;
    const others = async (transaction: StorageTransaction) => {
      assert.throws(() => storage.tpcBegin(transaction), refused);
      assert.throws(() => storage.store(transaction, oid, tid, Buffer.from('late')), refused);
      assert.throws(() => storage.checkCurrentSerial(transaction, oid, tid), refused);
      const calls = [
        storage.commit(transaction),
        storage.tpcVote(transaction),
        storage.tpcFinish(transaction),
        storage.tpcAbort(transaction),
        storage.doubts.suspend(transaction),
      ];
      for (const call of calls) await assert.rejects(call, refused);
    };
    const first = begin(storage, [[oid, tid, '1']]);
    const committing = storage.commit(first);
    await Promise.all([others(first), committing]);
    const serial = (await committing).tid;
    assert.equal(text(storage.load(oid).data), '1');
    const second = begin(storage, [[oid, serial, '2']]);
    await Promise.all([storage.tpcVote(second), others(second)]);
    const finishing = storage.tpcFinish(second);
    await Promise.all([others(second), finishing]);
    assert.deepEqual([text(storage.load(oid).data), storage.load(oid).tid], ['2', await finishing]);
  });

  group.test('an abort may be asked for twice at once', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['0']);
    const [oid] = oids as [Oid];
    const transaction = begin(storage, [[oid, tid, 'never']]);
    await storage.tpcVote(transaction);
    await Promise.all([storage.tpcAbort(transaction), storage.tpcAbort(transaction)]);
    await commit(storage, [[oid, tid, '1']]);
  });

  group.test('what is suspended was voted before, for another to decide', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['0']);
    const [oid] = oids as [Oid];
    await assert.rejects(storage.doubts.suspend(newTransaction()), StorageTransactionError);
    const transaction = begin(storage, [[oid, tid, '1']]);
    await assert.rejects(storage.doubts.suspend(transaction), StorageTransactionError);
    await storage.commit(transaction);
    assert.deepEqual(await storage.doubts.list(), []);
  });

  group.test('an aborted transaction leaves nothing behind, in whatever phase', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['kept']);
    const [kept] = oids as [Oid];
    const never = storage.newOid();
    for (const phase of ['begun', 'stored', 'voted'] as const) {
      const transaction = newTransaction();
      storage.tpcBegin(transaction);
      if (phase !== 'begun') {
        storage.store(transaction, kept, tid, Buffer.from('lost'));
        storage.store(transaction, never, ZERO_TID, Buffer.from('lost'));
      }
      if (phase === 'voted') await storage.tpcVote(transaction);
      await storage.tpcAbort(transaction);
      await storage.tpcAbort(transaction);
      assert.equal(storage.lastTransaction(), tid, phase);
      assert.equal(text(storage.load(kept).data), 'kept', phase);
      assert.throws(() => storage.load(never), POSKeyError, phase);
      // What was aborted may begin again, and somebody else may go on.
      storage.tpcBegin(transaction);
      await storage.tpcAbort(transaction);
    }
    const next = await commit(storage, [[kept, tid, 'newer']]);
    assert.equal(text(storage.load(kept).data), 'newer');
    assert.deepEqual(
      (await transactions(storage)).map((each) => each.tid),
      [tid, next.tid],
    );
  });

  group.test('an abort of what was never begun is passed over', [], async ({ storage }) => {
    await storage.tpcAbort(newTransaction());
  });

  group.test('a vote holds others back until it is finished or aborted', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['a', 'b']);
    const [a, b] = oids as [Oid, Oid];
    for (const ends of ['finish', 'abort'] as const) {
      const serial = storage.load(a).tid;
      const voted = begin(storage, [[a, serial, ends]]);
      await storage.tpcVote(voted);
      const other = commit(storage, [[b, storage.load(b).tid, ends]]);
      let atLeast = tid;
      if (ends === 'finish') atLeast = await storage.tpcFinish(voted);
      else await storage.tpcAbort(voted);
      assert.ok((await other).tid > atLeast);
    }
    assert.equal(text(storage.load(a).data), 'finish');
    assert.equal(text(storage.load(b).data), 'abort');
  });

  group.test('many transactions side by side are all committed, each whole', [], async (subject) => {
    const clients = await group.clients(subject, 4);
    const { storage } = subject;
    const { oids, tid } = await make(
      storage,
      Array.from({ length: 40 }, () => '0'),
    );
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        commit(clients[i % 4] as typeof storage, [
          [oids[2 * i] as Oid, tid, `left ${i}`],
          [oids[2 * i + 1] as Oid, tid, `right ${i}`],
        ]),
      ),
    );
    assert.equal(new Set(outcomes.map((each) => each.tid)).size, 20);
    await storage.sync();
    for (let i = 0; i < 20; i++) {
      const [left, right] = [storage.load(oids[2 * i] as Oid), storage.load(oids[2 * i + 1] as Oid)];
      assert.deepEqual([text(left.data), text(right.data)], [`left ${i}`, `right ${i}`]);
      assert.equal(left.tid, outcomes[i]?.tid);
      assert.equal(right.tid, outcomes[i]?.tid);
    }
  });

  group.test('user, description and extension are kept', [], async ({ storage }) => {
    const facts = { user: 'Ünal', description: 'déjà vu: “日本”', extension: Uint8Array.from([0x81, 0xa1, 0x61, 1]) };
    const oid = storage.newOid();
    const { tid } = await commit(storage, [[oid, ZERO_TID, 'x']], facts);
    const [entry] = await storage.history(oid);
    const [record] = await transactions(storage);
    for (const kept of [entry, record]) {
      assert.equal(kept?.tid, tid);
      assert.equal(kept?.user, facts.user);
      assert.equal(kept?.description, facts.description);
      assert.deepEqual([...(kept?.extension ?? [])], [...facts.extension]);
    }
  });

  group.test('the outcome of a commit can be asked for by its id', [], async (subject) => {
    const { storage } = subject;
    const [, other] = (await group.clients(subject, 2)) as [typeof storage, typeof storage];
    const oid = storage.newOid();
    const [done, twoPhases, aborted, refused] = [
      newTransaction(),
      newTransaction(),
      newTransaction(),
      newTransaction(),
    ];
    const { tid } = await finish(storage, begin(storage, [[oid, ZERO_TID, 'x']], done));
    begin(storage, [], twoPhases);
    await storage.tpcVote(twoPhases);
    const second = await storage.tpcFinish(twoPhases);
    begin(storage, [[oid, tid, 'y']], aborted);
    await storage.tpcVote(aborted);
    await storage.tpcAbort(aborted);
    begin(storage, [[oid, ZERO_TID, 'z']], refused);
    await assert.rejects(finish(storage, refused));
    for (const client of [storage, other]) {
      assert.equal(await client.outcome(done.commitId), tid);
      assert.equal(await client.outcome(twoPhases.commitId), second);
      assert.equal(await client.outcome(aborted.commitId), undefined);
      assert.equal(await client.outcome(refused.commitId), undefined);
      assert.equal(await client.outcome(newTransaction().commitId), undefined);
    }
  });

  group.test('who was told that a commit did not happen can rely on it', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['0']);
    const [oid] = oids as [Oid];
    for (const decide of ['commit', 'tpcVote'] as const) {
      const late = begin(storage, [[oid, tid, 'late']]);
      assert.equal(await storage.outcome(late.commitId), undefined);
      await assert.rejects(storage[decide](late), StorageError);
      await storage.tpcAbort(late);
      assert.equal(await storage.outcome(late.commitId), undefined);
    }
    assert.equal(text(storage.load(oid).data), '0');
    await commit(storage, [[oid, tid, '1']]);
  });

  group.test('what is closed answers nothing, and may be closed again', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['x']);
    const [oid] = oids as [Oid];
    const [open, voted] = [begin(storage, []), begin(storage, [[oid, tid, 'voted']])];
    await storage.tpcVote(voted);
    // What was read once may be at hand still.
    const read = [() => storage.load(oid), () => storage.loadBefore(oid, MAX_TID), () => storage.loadSerial(oid, tid)];
    for (const each of read) each();
    const begun = storage.iterate();
    await Promise.all([storage.close(), storage.close()]);
    await storage.close();
    for (const each of read) assert.throws(each, StorageError);
    assert.throws(() => storage.load(NOWHERE), StorageError);
    assert.throws(() => storage.newOid(), StorageError);
    assert.throws(() => storage.tpcBegin(newTransaction()), StorageError);
    assert.throws(() => storage.attach(), StorageError);
    const drain = async (all: AsyncIterable<unknown>) => {
      for await (const each of all) assert.fail(`told of ${String(each)}`);
    };
    const calls: Record<string, () => Promise<unknown>> = {
      commit: () => storage.commit(open),
      tpcFinish: () => storage.tpcFinish(voted),
      outcome: () => storage.outcome(open.commitId),
      history: () => storage.history(oid),
      undoLog: () => storage.undoLog(),
      iterate: () => drain(storage.iterate()),
      'iterate, asked before': () => drain(begun),
      verify: () => drain(storage.verify({ references: () => [] })),
      pack: () => storage.pack({ before: tid, references: strongReferences }),
      doubts: () => storage.doubts.list(),
      resolve: () => storage.doubts.resolve(voted.commitId, true),
      forget: () => storage.doubts.forget(voted.commitId),
      loadBlob: () => storage.loadBlob(oid, { id: '0'.repeat(32), size: 1, crc: 0 }),
    };
    for (const [name, call] of Object.entries(calls)) await assert.rejects(call(), StorageError, name);
    for (const each of [open, voted, newTransaction()]) await storage.tpcAbort(each);
    assert.equal(storage.lastTransaction(), tid);
    storage.subscribe({ invalidate: () => undefined, invalidateAll: () => undefined })();
    storage.keepSnapshots(() => undefined)();
    assert.equal(typeof storage.size, 'number');
    assert.equal(typeof storage.length, 'number');
  });

  group.test('tids rise even when the clock steps back or stands still', ['clock'], async () => {
    let nowMs = 1_700_000_000_000;
    const clock = { now: () => nowMs, schedule: () => ({ cancel: () => undefined }) };
    const subject = await suite.open({ clock });
    try {
      const { storage } = subject;
      const tids: Tid[] = [];
      for (const step of [0, 0, 1, -5000, -5000, 20_000]) {
        nowMs += step;
        tids.push((await commit(storage, [])).tid);
      }
      const rising = [...tids].sort((a, b) => a - b);
      assert.deepEqual(tids, rising);
      assert.equal(new Set(tids).size, tids.length);
      assert.equal(tids[0], 1_700_000_000_000_000);
      assert.equal(tids[5], nowMs * 1000);
    } finally {
      await subject.close();
    }
  });
}
