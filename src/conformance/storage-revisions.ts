import assert from 'node:assert/strict';
import { MAX_TID, type Oid, POSKeyError, type Tid, ZERO_TID } from '../odb/index.js';
import { begin, commit, finish, make, newTransaction, text, transactions } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

const NOWHERE = 4_000_000_000_000 as Oid;

/** Reading the past: revisions, histories, transactions. */
export function testRevisions(suite: StorageSuite): void {
  const group = new Group(suite, 'revisions');

  group.test('each revision is read as it was written, by its tid', ['history'], async ({ storage }) => {
    const { oid, tids } = await revise(storage, 7);
    for (const [i, tid] of tids.entries()) assert.equal(text(storage.loadSerial(oid, tid)), `revision ${i}`);
    assert.throws(() => storage.loadSerial(oid, ((tids[0] as Tid) - 1) as Tid), POSKeyError);
    assert.throws(() => storage.loadSerial(NOWHERE, tids[3] as Tid), POSKeyError);
  });

  group.test('at each instant the revision of that instant is read, with its end', ['history'], async (subject) => {
    const { oid, tids } = await revise(subject.storage, 70);
    for (const storage of await group.clients(subject, 2)) {
      await storage.sync();
      assert.equal(storage.loadBefore(oid, tids[0] as Tid), undefined);
      assert.equal(storage.loadBefore(oid, 1 as Tid), undefined);
      for (const [i, tid] of tids.entries()) {
        const next = tids[i + 1];
        for (const before of [tid + 1, next ?? MAX_TID]) {
          const revision = storage.loadBefore(oid, before as Tid);
          assert.ok(revision, `revision ${i} before ${before}`);
          assert.deepEqual([text(revision.data), revision.tid, revision.endTid], [`revision ${i}`, tid, next]);
        }
      }
      assert.throws(() => storage.loadBefore(NOWHERE, MAX_TID), POSKeyError);
    }
  });

  group.test('tids that follow each other without a gap are told from each other', ['history'], async ({ storage }) => {
    const oid = storage.newOid();
    const first = 1_000_000;
    for (let i = 0; i < 5; i++) {
      const transaction = newTransaction({ tid: (first + i) as Tid });
      await finish(
        storage,
        begin(storage, [[oid, i === 0 ? ZERO_TID : ((first + i - 1) as Tid), `${i}`]], transaction),
      );
    }
    await storage.sync();
    assert.equal(storage.loadBefore(oid, first as Tid), undefined);
    for (let i = 0; i < 5; i++) {
      const revision = storage.loadBefore(oid, (first + i + 1) as Tid);
      const facts = [text(revision?.data as Uint8Array), revision?.tid, revision?.endTid];
      assert.deepEqual(facts, [`${i}`, first + i, i === 4 ? undefined : first + i + 1]);
      assert.equal(text(storage.loadSerial(oid, (first + i) as Tid)), `${i}`);
    }
    assert.deepEqual(
      (await transactions(storage, (first + 1) as Tid, (first + 3) as Tid)).map(({ tid }) => tid),
      [first + 1, first + 2, first + 3],
    );
  });

  group.test('before an object was made there is none, though others were there', [], async ({ storage }) => {
    const { tid: earlier } = await make(storage, ['other']);
    const { oids, tid } = await make(storage, ['late']);
    const [oid] = oids as [Oid];
    assert.equal(storage.loadBefore(oid, (earlier + 1) as Tid), undefined);
    assert.equal(storage.loadBefore(oid, tid), undefined);
    assert.equal(text(storage.loadBefore(oid, (tid + 1) as Tid)?.data ?? Buffer.from('')), 'late');
  });

  group.test('what was read of a snapshot is read again, whatever is committed', ['history'], async (subject) => {
    const { storage } = subject;
    const [, reader] = (await group.clients(subject, 2)) as [typeof storage, typeof storage];
    const { oids, tid } = await make(storage, ['a0', 'b0', 'c0']);
    const [a, b, c] = oids as [Oid, Oid, Oid];
    await reader.sync();
    const before = (reader.poll() + 1) as Tid;
    const read = (oid: Oid) => text(reader.loadBefore(oid, before)?.data ?? Buffer.from('nothing'));
    assert.equal(read(a), 'a0');
    const { tid: second } = await commit(storage, [
      [a, tid, 'a1'],
      [b, tid, 'b1'],
    ]);
    await commit(storage, [[a, second, 'a2']]);
    assert.deepEqual([read(a), read(b), read(c)], ['a0', 'b0', 'c0'], 'before the reader was told');
    await reader.sync();
    assert.deepEqual([read(a), read(b), read(c)], ['a0', 'b0', 'c0'], 'after it was told');
    assert.equal(text(reader.load(a).data), 'a2');
    await reader.prefetch([a, b, c, NOWHERE], before);
    assert.deepEqual([read(a), read(b), read(c)], ['a0', 'b0', 'c0'], 'after a prefetch');
    assert.equal(reader.loadBefore(a, before)?.endTid, second);
  });

  group.test('a history lists the newest first, as many as are asked for', ['history'], async ({ storage }) => {
    const { oid, tids } = await revise(storage, 6);
    const newest = [...tids].reverse();
    assert.deepEqual(
      (await storage.history(oid)).map((entry) => entry.tid),
      newest.slice(0, 1),
    );
    for (const size of [1, 3, 6, 100]) {
      const entries = await storage.history(oid, size);
      assert.deepEqual(
        entries.map((entry) => entry.tid),
        newest.slice(0, size),
      );
      assert.deepEqual(
        entries.map((entry) => entry.sizeBytes),
        entries.map(() => 'revision 0'.length),
      );
    }
    assert.deepEqual(await storage.history(oid, 0), []);
    await assert.rejects(storage.history(NOWHERE), POSKeyError);
  });

  group.test('transactions are told in their order, with their records', ['history'], async ({ storage }) => {
    const { oids, tid: first } = await make(storage, ['a0', 'b0']);
    const [a, b] = oids as [Oid, Oid];
    const { tid: second } = await commit(storage, [[a, first, 'a1']], { description: 'second' });
    const { tid: third } = await commit(storage, [[b, first, 'b1']]);
    const told = (await transactions(storage)).map(({ tid, records }) => [
      tid,
      records
        .map((record) => [record.oid, record.tid, text(record.data ?? Buffer.from('nothing'))])
        .sort((x, y) => Number(x[0]) - Number(y[0])),
    ]);
    assert.deepEqual(told, [
      [
        first,
        [
          [a, first, 'a0'],
          [b, first, 'b0'],
        ],
      ],
      [second, [[a, second, 'a1']]],
      [third, [[b, third, 'b1']]],
    ]);
  });

  group.test('bounds of transactions are inclusive, and need not be tids', [], async ({ storage }) => {
    const tids: Tid[] = [];
    for (let i = 0; i < 5; i++) tids.push((await commit(storage, [])).tid);
    const told = async (from?: number, to?: number) =>
      (await transactions(storage, from as Tid | undefined, to as Tid | undefined)).map((each) => each.tid);
    const [t0, t1, t2, t3, t4] = tids as [Tid, Tid, Tid, Tid, Tid];
    assert.deepEqual(await told(), tids);
    assert.deepEqual(await told(t1, t3), [t1, t2, t3]);
    assert.deepEqual(await told(t2, t2), [t2]);
    assert.deepEqual(await told(t3), [t3, t4]);
    assert.deepEqual(await told(undefined, t1), [t0, t1]);
    assert.deepEqual(await told(t3, t1), []);
    assert.deepEqual(await told(0, t0 - 1), []);
    assert.deepEqual(await told(t4 + 1), []);
    assert.deepEqual(await told(0, MAX_TID), tids);
  });

  group.test('what is committed while transactions are told is not among them', ['history'], async ({ storage }) => {
    // Large enough that not all of it comes at once.
    const serials: Tid[] = [];
    const oid = storage.newOid();
    for (let i = 0; i < 12; i++) {
      serials.push((await commit(storage, [[oid, serials.at(-1) ?? ZERO_TID, Buffer.alloc(400_000, i)]])).tid);
    }
    const told: Tid[] = [];
    for await (const { tid, records } of storage.iterate()) {
      if (told.length === 0) await commit(storage, []);
      told.push(tid);
      const data = records[0]?.data;
      assert.ok(data && Buffer.alloc(400_000, told.length - 1).equals(data), `the data of ${tid}`);
    }
    assert.deepEqual(told, serials);
    assert.equal((await transactions(storage)).length, serials.length + 1);
  });

  group.test(
    'what is committed after the call is not told of, though nothing was taken yet',
    [],
    async ({ storage }) => {
      const { tid } = await commit(storage, []);
      const told = storage.iterate();
      await commit(storage, []);
      const tids: Tid[] = [];
      for await (const each of told) tids.push(each.tid);
      assert.deepEqual(tids, [tid]);
      for await (const each of told) assert.fail(`transactions are told once, and ${each.tid} again`);
    },
  );

  group.test('the record of a current revision belongs to the transaction of its tid', [], async ({ storage }) => {
    const { oids, tid: first } = await make(storage, ['a0', 'b0']);
    const [a, b] = oids as [Oid, Oid];
    await commit(storage, [[a, first, 'a1']]);
    for (const oid of [a, b]) {
      const { tid, data } = storage.load(oid);
      const [transaction] = await transactions(storage, tid, tid);
      // The list of records can be walked as often as one likes.
      for (let i = 0; i < 2; i++) {
        const record = transaction?.records.find((each) => each.oid === oid);
        assert.deepEqual([record?.tid, text(record?.data as Uint8Array)], [tid, text(data)]);
      }
    }
  });

  group.test('two can be told of transactions side by side, and one may leave early', [], async ({ storage }) => {
    const tids: Tid[] = [];
    for (let i = 0; i < 4; i++) tids.push((await commit(storage, [])).tid);
    const [a, b] = [storage.iterate()[Symbol.asyncIterator](), storage.iterate()[Symbol.asyncIterator]()];
    for (const tid of tids.slice(0, 3)) {
      assert.equal(((await a.next()).value as { tid: Tid }).tid, tid);
      assert.equal(((await b.next()).value as { tid: Tid }).tid, tid);
    }
    await a.return?.();
    assert.equal(((await b.next()).value as { tid: Tid }).tid, tids[3]);
    assert.equal((await b.next()).done, true);
  });
}

async function revise(storage: Parameters<typeof commit>[0], count: number) {
  const oid = storage.newOid();
  const tids: Tid[] = [];
  for (let i = 0; i < count; i++) {
    tids.push((await commit(storage, [[oid, tids.at(-1) ?? ZERO_TID, `revision ${i}`]])).tid);
  }
  return { oid, tids };
}
