import assert from 'node:assert/strict';
import {
  MAX_TID,
  type Oid,
  POSKeyError,
  ROOT_OID,
  type Storage,
  StorageError,
  type StorageTransaction,
  strongReferences,
  type Tid,
  ZERO_TID,
} from '../odb/index.js';
import { begin, commit, finish, make, newTransaction, text, transactions } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

/** Numbers that are no oid and no tid, and what else may come where one is wanted. */
const NO_NUMBERS = [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, MAX_TID + 1, '1', undefined, null] as never[];

/** What storages are given: what is wrong is refused and changes nothing, what is extreme is right. */
export function testArguments(suite: StorageSuite): void {
  const group = new Group(suite, 'arguments');

  /** Refused as an argument, with this code, by every one of the calls; and the storage is as it was. */
  const refuses = async (storage: Storage, code: string, calls: Iterable<() => unknown>): Promise<void> => {
    const { oids, tid } = await make(storage, ['as it was']);
    for (const call of calls) {
      await assert.rejects(
        async () => call(),
        (error: Error & { code?: string }) => {
          assert.ok(error instanceof TypeError || error instanceof RangeError, `${call}: ${error}`);
          assert.equal(error.code, code, `${call}: ${error}`);
          return true;
        },
      );
    }
    assert.equal(storage.lastTransaction(), tid);
    assert.equal(text(storage.load(oids[0] as Oid).data), 'as it was');
    await make(storage, ['and goes on']);
  };

  group.test('a number that is no oid is not taken for another one', [], async ({ storage }) => {
    await commit(storage, [
      [ROOT_OID, ZERO_TID, 'root'],
      [1 as Oid, ZERO_TID, 'one'],
    ]);
    const open = begin(storage, []);
    const calls = NO_NUMBERS.flatMap((oid) => [
      () => storage.load(oid),
      () => storage.loadBefore(oid, MAX_TID),
      () => storage.loadSerial(oid, 1 as Tid),
      () => storage.history(oid),
      () => storage.store(open, oid, ZERO_TID, Buffer.from('lost')),
      () => storage.checkCurrentSerial(open, oid, ZERO_TID),
      // Without an argument, it is any.
      () => storage.newOid(oid === undefined ? (-1 as Oid) : oid),
    ]);
    await refuses(storage, 'ARG_OID', calls);
    await finish(storage, open);
    assert.equal(text(storage.load(ROOT_OID).data), 'root');
  });

  group.test('a number that is no tid is not taken for another one', [], async ({ storage }) => {
    const { oids } = await make(storage, ['x']);
    const [oid] = oids as [Oid];
    const open = begin(storage, []);
    const given = NO_NUMBERS.filter((tid) => tid !== undefined);
    const calls = given.flatMap((tid) => [
      () => storage.loadBefore(oid, tid),
      () => storage.loadSerial(oid, tid),
      () => storage.store(open, oid, tid, Buffer.from('lost')),
      () => storage.checkCurrentSerial(open, oid, tid),
      () => storage.undoLog({ before: tid }),
      () => transactions(storage, tid),
      () => transactions(storage, ZERO_TID, tid),
    ]);
    if (suite.supports.undo === true) calls.push(...given.map((tid) => () => storage.undo(open, tid)));
    if (suite.supports.pack === true) {
      calls.push(...given.map((before) => () => storage.pack({ before, references: strongReferences })));
    }
    await refuses(storage, 'ARG_TID', calls);
    await finish(storage, open);
  });

  group.test('a transaction is restored under no number that is no tid', [], async ({ storage }) => {
    const numbers = [...NO_NUMBERS.filter((tid) => tid !== undefined), ZERO_TID, MAX_TID] as Tid[];
    await refuses(
      storage,
      'ARG_TID',
      numbers.map((tid) => () => storage.tpcBegin(newTransaction({ tid }))),
    );
  });

  group.test('what is no record is not stored', [], async ({ storage }) => {
    const open = begin(storage, []);
    const oid = storage.newOid();
    const tooLarge = new Uint8Array(256 * 1024 * 1024 + 1);
    const records = [undefined, null, 'text', [1, 2], new ArrayBuffer(4), 7, tooLarge] as never[];
    await refuses(
      storage,
      'ARG_RECORD',
      records.map((data) => () => storage.store(open, oid, ZERO_TID, data)),
    );
    await finish(storage, open);
    assert.throws(() => storage.load(oid), POSKeyError);
  });

  group.test('what is no transaction is not begun', [], async ({ storage }) => {
    const wrong = [
      undefined,
      null,
      {},
      'x',
      newTransaction({ commitId: new Uint8Array(15) }),
      newTransaction({ commitId: 'a text of 16 b..' as never }),
      newTransaction({ user: undefined as never }),
      newTransaction({ description: 5 as never }),
      newTransaction({ extension: 'x' as never }),
    ] as StorageTransaction[];
    await refuses(
      storage,
      'ARG_TRANSACTION',
      wrong.map((transaction) => () => storage.tpcBegin(transaction)),
    );
  });

  group.test('what is no commit id, no number of entries, no decider is refused', [], async ({ storage }) => {
    const { oids } = await make(storage, ['x']);
    const ids = [undefined, 'x', new Uint8Array(0), new Uint8Array(17)] as Uint8Array[];
    await refuses(
      storage,
      'ARG_COMMIT_ID',
      ids.flatMap((id) => [
        () => storage.outcome(id),
        () => storage.doubts.resolve(id, false),
        () => storage.doubts.forget(id),
      ]),
    );
    const sizes = [-1, 1.5, Number.NaN, '2', null] as number[];
    await refuses(
      storage,
      'ARG_COUNT',
      sizes.flatMap((size) => [() => storage.history(oids[0] as Oid, size), () => storage.undoLog({ size })]),
    );
    const open = begin(storage, []);
    const deciders = [null, {}, 'x', { identity: '', name: 'x' }, { identity: 'a b', name: 'x' }, { identity: 'x' }];
    await refuses(
      storage,
      'ARG_DECIDER',
      deciders.map((decider) => () => storage.tpcVote(open, decider as never)),
    );
    await finish(storage, open);
  });

  group.test('a lock has a name', ['locks'], async ({ storage }) => {
    const { locks } = storage;
    assert.ok(locks);
    const names = [undefined, 5, {}] as never[];
    await refuses(
      storage,
      'ARG_LOCK',
      names.flatMap((name) => [
        () => locks.tryLock(name),
        () => locks.lock(name),
        () => locks.unlock(name),
        () => locks.watch(name, () => undefined),
      ]),
    );
    assert.equal(await locks.tryLock(''), true);
  });

  group.test('as many entries are told as there are, however many are asked for', ['history'], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['0']);
    const [oid] = oids as [Oid];
    await commit(storage, [[oid, tid, '1']]);
    for (const size of [2, 2 ** 31, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]) {
      assert.equal((await storage.history(oid, size)).length, 2, `${size}`);
      assert.equal((await storage.undoLog({ size })).length, 2, `${size}`);
    }
    assert.equal((await storage.undoLog({ size: 0 })).length, 0);
  });

  group.test('past the highest oid none is given, rather than one twice', [], async ({ storage }) => {
    const highest = Number.MAX_SAFE_INTEGER as Oid;
    const { tid } = await commit(storage, [[highest, ZERO_TID, 'the last one']]);
    await commit(storage, [[highest, tid, 'changed']]);
    assert.equal(text(storage.load(highest).data), 'changed');
    assert.equal(storage.highestOid, highest);
    for (let i = 0; i < 2; i++) assert.throws(() => storage.newOid(), StorageError);
    assert.throws(() => storage.newOid(highest), StorageError);
    await commit(storage, [[7 as Oid, ZERO_TID, 'what has an oid goes on']]);
  });

  group.test('past the last tid nothing is committed, rather than two under one', [], async ({ storage }) => {
    const oid = storage.newOid();
    const last = (MAX_TID - 1) as Tid;
    await finish(storage, begin(storage, [[oid, ZERO_TID, 'the last one']], newTransaction({ tid: last })));
    await storage.sync();
    assert.equal(storage.lastTransaction(), last);
    for (const load of [() => storage.load(oid), () => storage.loadBefore(oid, MAX_TID)]) {
      const revision = load();
      assert.deepEqual([revision?.tid, text(revision?.data as Uint8Array)], [last, 'the last one']);
    }
    await assert.rejects(commit(storage, [[oid, last, 'x']]), StorageError);
    const voter = begin(storage, [[oid, last, 'x']]);
    await assert.rejects(storage.tpcVote(voter), StorageError);
    await storage.tpcAbort(voter);
    assert.equal(storage.lastTransaction(), last);
    assert.deepEqual(
      (await transactions(storage)).map(({ tid }) => tid),
      [last],
    );
  });

  group.test('a pack to a time to come takes nothing from what comes', ['pack', 'undo'], async ({ storage }) => {
    await commit(storage, [[ROOT_OID, ZERO_TID, '']]);
    await storage.pack({ before: MAX_TID, references: strongReferences });
    const { tid } = await commit(storage, [[ROOT_OID, storage.lastTransaction(), '']]);
    assert.deepEqual(
      (await storage.undoLog()).map((entry) => entry.tid),
      [tid],
    );
    assert.deepEqual(
      (await transactions(storage, tid)).map(({ records }) => records),
      [[{ oid: ROOT_OID, tid, data: undefined }]],
    );
  });
}
