import assert from 'node:assert/strict';
import {
  copyTransactions,
  type Oid,
  openStorage,
  type Storage,
  StorageError,
  type Tid,
  ZERO_TID,
} from '../odb/index.js';
import { begin, commit, finish, make, newTransaction, text, transactions } from './commits.js';
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
  const transaction = newTransaction({ description: 'an undo' });
  source.tpcBegin(transaction);
  source.undo(transaction, made.tid);
  await source.commit(transaction);
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
