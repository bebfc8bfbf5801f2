import assert from 'node:assert/strict';
import {
  copyTransactions,
  DB,
  MAX_TID,
  type Oid,
  openStorage,
  PersistentMapping,
  ROOT_OID,
  type Storage,
  StorageError,
  type StorageTransaction,
  strongReferences,
  type Tid,
  ZERO_TID,
} from '../odb/index.js';
import { begin, commit, finish, having, make, newTransaction, text, transactions, undo } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

/** A storage with some history, of which one object was removed again. */
async function withHistory(): Promise<{ readonly source: Storage; readonly oids: readonly Oid[] }> {
  const source = await openStorage('memory:');
  const { oids, tid } = await make(source, ['one', 'two', 'three']);
  const [a, b] = oids as [Oid, Oid];
  const facts = { user: '/site ada', description: 'a change', extension: Uint8Array.of(0x81, 0xa1, 0x61, 0x01) };
  const changed = await commit(source, [[a, tid, 'one!']], facts);
  await commit(source, [
    [a, changed.tid, 'one!!'],
    [b, tid, 'x'.repeat(100_000)],
  ]);
  const made = await make(source, ['undone']);
  await undo(source, [made.tid]);
  return { source, oids: [...oids, ...made.oids] };
}

/** Copying: transactions of another storage are taken over as they are. */
export function testCopy(suite: StorageSuite): void {
  const group = new Group(suite, 'copy');

  group.test('all transactions are taken over: tids, notes, users, records', [], async ({ storage }) => {
    const { source, oids } = await withHistory();
    const told: Tid[] = [];
    const { transactions: count, tid } = await copyTransactions(source, storage, {
      onProgress: (progress) => told.push(progress.tid),
    });
    assert.equal(tid, source.lastTransaction());
    assert.equal(told.at(-1), tid);
    await storage.sync();
    assert.equal(storage.lastTransaction(), tid);
    const copied = await transactions(storage);
    assert.equal(count, copied.length);
    assert.deepEqual(withBuffers(copied), withBuffers(await transactions(source)));
    for (const oid of oids.slice(0, 3)) {
      const { data, tid: serial } = source.load(oid);
      const revision = storage.load(oid);
      assert.deepEqual([text(revision.data), revision.tid], [text(data), serial]);
    }
    assert.throws(() => storage.load(oids[3] as Oid), { code: 'ODB_POS_KEY' });
  });

  group.test('the past is copied with it', ['history'], async ({ storage }) => {
    const { source, oids } = await withHistory();
    await copyTransactions(source, storage);
    const [a] = oids as [Oid];
    for (const { tid } of await source.history(a, 10)) {
      assert.equal(text(storage.loadSerial(a, tid)), text(source.loadSerial(a, tid)));
      const [mine, theirs] = [storage, source].map((each) => each.loadBefore(a, tid));
      assert.deepEqual([mine?.tid, mine?.endTid], [theirs?.tid, theirs?.endTid]);
    }
  });

  group.test('calling it again takes over what is new', [], async ({ storage }) => {
    const { source, oids } = await withHistory();
    await copyTransactions(source, storage);
    await storage.sync();
    assert.equal((await copyTransactions(source, storage)).transactions, 0);
    const [a] = oids as [Oid];
    const { tid } = await commit(source, [[a, source.load(a).tid, 'new']]);
    assert.equal((await copyTransactions(source, storage)).transactions, 1);
    await storage.sync();
    assert.deepEqual([text(storage.load(a).data), storage.load(a).tid], ['new', tid]);
    assert.deepEqual(withBuffers(await transactions(storage)), withBuffers(await transactions(source)));
  });

  group.test('undone, redone and undone again: each step arrives as it was', ['undo'], async ({ storage }) => {
    const source = await openStorage('memory:');
    const { oids, tid } = await make(source, ['one', 'two']);
    const [a, b] = oids as [Oid, Oid];
    const change = await commit(source, [
      [a, tid, 'one!'],
      [b, tid, 'two!'],
    ]);
    let last = change.tid;
    for (let i = 0; i < 5; i++) last = await undo(source, [last]);
    await copyTransactions(source, storage);
    await storage.sync();
    assert.deepEqual(withBuffers(await transactions(storage)), withBuffers(await transactions(source)));
    assert.deepEqual([text(storage.load(a).data), text(storage.load(b).data)], ['one', 'two']);
    // Of the copy, too, each can be undone.
    last = await undo(storage, [last]);
    assert.equal(text(storage.load(a).data), 'one!');
    assert.deepEqual(
      (await storage.undoLog({ size: 1 })).map((each) => each.tid),
      [last],
    );
  });

  group.test('a pack of the copy keeps what the root reaches, and drops the rest', ['pack'], async ({ storage }) => {
    const source = await DB.open('memory:');
    const objects = [new PersistentMapping(), new PersistentMapping()] as const;
    await source.transaction((connection) => {
      connection.root['reached'] = objects[0];
      connection.add(objects[1]);
    });
    const [reached, garbage] = objects.map(({ _p_oid }) => _p_oid) as [Oid, Oid];
    const tid = source.lastTransaction();
    await copyTransactions(source.storage, storage);
    await storage.sync();
    await storage.pack({ before: (tid + 1) as Tid, references: strongReferences });
    assert.equal(storage.load(ROOT_OID).tid, tid);
    assert.equal(storage.load(reached).tid, tid);
    const told = (await transactions(storage)).flatMap(({ records }) => records.map(({ oid }) => oid));
    assert.ok(told.includes(reached) && !told.includes(garbage), String(told));
    await source.close();
  });

  group.test('one that was interrupted goes on where it was', [], async ({ storage }) => {
    const source = await openStorage('memory:');
    const oid = source.newOid();
    let serial = ZERO_TID;
    for (let i = 0; i < 700; i++) serial = (await commit(source, [[oid, serial, `${i}`]])).tid;
    const stop = new AbortController();
    const reason = new RangeError('enough');
    const stopped = copyTransactions(source, storage, { signal: stop.signal, onProgress: () => stop.abort(reason) });
    await assert.rejects(stopped, reason);
    await storage.sync();
    const taken = storage.lastTransaction();
    assert.ok(taken > ZERO_TID && taken < serial, `${taken} of ${serial}`);
    await copyTransactions(source, storage);
    await storage.sync();
    assert.deepEqual(withBuffers(await transactions(storage)), withBuffers(await transactions(source)));
  });

  group.test('what is no copy of the source is refused, rather than mixed with it', [], async ({ storage }) => {
    const { source, oids } = await withHistory();
    const [a] = oids as [Oid];
    const mine = storage.newOid();
    const own = await commit(storage, [[mine, ZERO_TID, 'mine']], { tid: (source.lastTransaction() + 1000) as Tid });
    const isUnchanged = () => {
      assert.equal(storage.lastTransaction(), own.tid);
      assert.equal(text(storage.load(mine).data), 'mine');
    };
    await storage.sync();
    await assert.rejects(copyTransactions(source, storage), having(StorageError, {}));
    isUnchanged();
    const { tid } = await commit(source, [[a, source.load(a).tid, 'newer']], { tid: (own.tid + 1) as Tid });
    await assert.rejects(copyTransactions(source, storage), having(StorageError, {}));
    isUnchanged();
    // Who knows better says so.
    assert.equal((await copyTransactions(source, storage, { from: tid })).transactions, 1);
    // What begins after the last transaction here goes on with it, and so does what has none.
    const [next, none] = [await openStorage('memory:'), await openStorage('memory:')];
    await commit(next, [[next.newOid(), ZERO_TID, 'next']], { tid: (tid + 1) as Tid });
    await storage.sync();
    assert.equal((await copyTransactions(none, storage)).transactions, 0);
    assert.equal((await copyTransactions(next, storage)).transactions, 1);
  });

  group.test('oids that came with it are not given again, and tids go on after its last', [], async ({ storage }) => {
    const far = 5_000_000 as Oid;
    const tid = (Date.now() * 1000 + 3_600_000_000) as Tid;
    await finish(storage, begin(storage, [[far, ZERO_TID, 'far']], newTransaction({ tid })));
    await storage.sync();
    assert.equal(storage.lastTransaction(), tid);
    assert.equal(text(storage.load(far).data), 'far');
    const { oids, tid: next } = await make(storage, ['next']);
    assert.ok(next > tid);
    assert.notEqual(oids[0], far);
  });

  group.test(
    'the outcome of what was copied can be asked for as that of others, however old or young its tid is',
    [],
    async ({ storage }) => {
      const oid = storage.newOid();
      const yearUs = 31_557_600_000_000;
      const tids = [1, 10 * yearUs, 20 * yearUs, MAX_TID - 100] as Tid[];
      let serial = ZERO_TID;
      const restored: StorageTransaction[] = [];
      for (const tid of tids) {
        const transaction = newTransaction({ tid });
        serial = (await finish(storage, begin(storage, [[oid, serial, `${tid}`]], transaction))).tid;
        restored.push(transaction);
      }
      for (const { commitId, tid } of restored) assert.equal(await storage.outcome(commitId), tid);
      assert.equal(await storage.outcome(newTransaction().commitId), undefined);
      const late = newTransaction();
      const { tid } = await finish(storage, begin(storage, [[oid, serial, 'late']], late));
      assert.equal(await storage.outcome(late.commitId), tid);
    },
  );

  group.test('what is older than the last transaction is refused, and changes nothing', [], async ({ storage }) => {
    const { oids, tid } = await make(storage, ['one']);
    const [a] = oids as [Oid];
    for (const old of [tid, (tid - 1) as Tid]) {
      await assert.rejects(
        finish(storage, begin(storage, [[a, ZERO_TID, 'old']], newTransaction({ tid: old }))),
        StorageError,
      );
    }
    assert.equal(text(storage.load(a).data), 'one');
    const { source } = await withHistory();
    await assert.rejects(
      copyTransactions(source, storage, { from: ZERO_TID, signal: AbortSignal.abort(new RangeError()) }),
      RangeError,
    );
    assert.equal(storage.lastTransaction(), tid);
  });
}

/** Bytes compare the same, whichever class they have. */
function withBuffers(told: Awaited<ReturnType<typeof transactions>>): unknown {
  return told.map(({ extension, records, ...rest }) => ({
    ...rest,
    extension: Buffer.from(extension),
    records: records.map(({ data, ...record }) => ({ ...record, data: data && Buffer.from(data) })),
  }));
}
