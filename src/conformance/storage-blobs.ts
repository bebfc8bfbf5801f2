import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import {
  BlobInfo,
  ConflictError,
  copyTransactions,
  DB,
  encodeBlobRecord,
  type Oid,
  openStorage,
  POSKeyError,
  type Storage,
  StorageError,
  type StorageTransaction,
  strongReferences,
  type Tid,
  ZERO_TID,
} from '../odb/index.js';
import { begin, commit, finish, having, make, newTransaction, text } from './commits.js';
import { Group, type StorageSuite, type Subject } from './subject.js';

/** A content that was stored. */
interface Stored {
  readonly oid: Oid;
  readonly info: BlobInfo;
  readonly tid: Tid;
}

/** Files with contents, in a folder of their own. */
class Drafts {
  readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-drafts-'));
  #count = 0;

  /** A file with a content, and what a record says of it. */
  make(content: string | Uint8Array): { readonly info: BlobInfo; readonly file: string } {
    const bytes = Buffer.from(content as string);
    const file = join(this.folder, `${++this.#count}`);
    writeFileSync(file, bytes);
    return { info: BlobInfo.of(bytes.length, crc32(bytes)), file };
  }

  /** Puts a content into a transaction. */
  put(
    storage: Storage,
    transaction: StorageTransaction,
    oid: Oid,
    serial: Tid,
    content: string | Uint8Array,
  ): BlobInfo {
    const { info, file } = this.make(content);
    storage.storeBlob(transaction, oid, serial, encodeBlobRecord(info), file);
    return info;
  }

  /** Commits a content. */
  async store(
    storage: Storage,
    content: string | Uint8Array,
    { oid, tid }: { readonly oid: Oid; readonly tid: Tid } = { oid: storage.newOid(), tid: ZERO_TID },
  ): Promise<Stored> {
    const transaction = newTransaction();
    storage.tpcBegin(transaction);
    const info = this.put(storage, transaction, oid, tid, content);
    return { oid, info, tid: (await finish(storage, transaction)).tid };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function contentOf(storage: Storage, { oid, info }: Pick<Stored, 'oid' | 'info'>): Promise<string> {
  return readFile(await storage.loadBlob(oid, info), 'utf8');
}

/** Has the root reference a blob, so that a pack keeps it. */
async function keep(storage: Storage, { oid }: Stored): Promise<void> {
  const db = await DB.open<{ kept: unknown }>(storage);
  await db.transaction((connection) => {
    connection.root.kept = connection.get(oid);
  });
}

function packing(storage: Storage): Promise<void> {
  return storage.pack({ before: (storage.lastTransaction() + 1) as Tid, references: strongReferences });
}

/** Blobs: contents that are files, and that are committed, read, undone and packed with the records that name them. */
export function testBlobs(suite: StorageSuite): void {
  const group = new Group(suite, 'blobs');
  const test = (
    name: string,
    needs: Parameters<Group['test']>[1],
    fn: (subject: Subject, drafts: Drafts) => Promise<void>,
  ) =>
    group.test(name, ['blobs', ...needs], async (subject) => {
      const drafts = new Drafts();
      try {
        await fn(subject, drafts);
      } finally {
        drafts.remove();
      }
    });

  /** The storage has contents no more; who has not seen one is told so. */
  const areGone = async (subject: Subject, ...contents: readonly Stored[]) => {
    const fresh = (await group.clients(subject, 2))[1] as Storage;
    for (const { oid, info } of contents) await assert.rejects(fresh.loadBlob(oid, info), having(POSKeyError, { oid }));
  };

  test('many at once, with contents and without, are committed, each with its own', [], async (subject, drafts) => {
    const clients = await group.clients(subject, 3);
    const results = await Promise.all(
      Array.from({ length: 24 }, async (_, i) => {
        const client = clients[i % 3] as Storage;
        if (i % 4 === 0) return drafts.store(client, `content ${i}`);
        const { oids, tid } = await make(client, [`record ${i}`]);
        return { oid: oids[0] as Oid, tid, info: undefined };
      }),
    );
    assert.equal(new Set(results.map(({ tid }) => tid)).size, 24);
    await subject.storage.sync();
    for (const [i, { oid, tid, info }] of results.entries()) {
      const revision = subject.storage.load(oid);
      assert.equal(revision.tid, tid);
      if (info) assert.equal(await contentOf(subject.storage, { oid, info }), `content ${i}`);
      else assert.equal(text(revision.data), `record ${i}`);
    }
  });

  test(
    'a transaction in doubt keeps its content, though who made it is gone; taken back, it leaves none',
    [],
    async ({ storage }, drafts) => {
      for (const happened of [true, false]) {
        const oid = storage.newOid();
        const { info, file } = drafts.make('in doubt');
        const transaction = newTransaction();
        storage.tpcBegin(transaction);
        storage.storeBlob(transaction, oid, ZERO_TID, encodeBlobRecord(info), file);
        await storage.tpcVote(transaction, { identity: '00', name: 'the other one' });
        await storage.doubts.suspend(transaction);
        rmSync(file);
        await drafts.store(storage, 'others go on');
        const tid = await storage.doubts.resolve(transaction.commitId, happened);
        if (happened) {
          assert.equal(storage.load(oid).tid, tid);
          assert.equal(await contentOf(storage, { oid, info }), 'in doubt');
        } else {
          assert.throws(() => storage.load(oid), POSKeyError);
          await assert.rejects(storage.loadBlob(oid, info), having(POSKeyError, { oid }));
        }
      }
    },
  );

  test('a content is there once it is committed, in a file that can only be read', [], async ({ storage }, drafts) => {
    assert.equal(storage.supports.blobs, true);
    const { info, file } = drafts.make('the content');
    const oid = storage.newOid();
    const transaction = newTransaction();
    storage.tpcBegin(transaction);
    storage.storeBlob(transaction, oid, ZERO_TID, encodeBlobRecord(info), file);
    await assert.rejects(storage.loadBlob(oid, info), having(POSKeyError, { oid }));
    const { tid } = await finish(storage, transaction);
    assert.equal(readFileSync(file, 'utf8'), 'the content', 'the file stays its maker’s');
    rmSync(file);
    assert.equal(await contentOf(storage, { oid, info }), 'the content');
    assert.deepEqual(Buffer.from(storage.load(oid).data), encodeBlobRecord(info));
    assert.equal(storage.load(oid).tid, tid);
    const path = await storage.loadBlob(oid, info);
    assert.equal(statSync(path).mode & 0o222, 0);
    // Nothing stops the superuser.
    if (process.getuid?.() !== 0) assert.throws(() => accessSync(path, constants.W_OK));
  });

  test('an empty content, and one of many chunks', [], async ({ storage }, drafts) => {
    const large = Buffer.alloc(3_000_001, 'a large content ');
    const [empty, many] = [await drafts.store(storage, ''), await drafts.store(storage, large)];
    assert.equal(await contentOf(storage, empty), '');
    const found = await readFile(await storage.loadBlob(many.oid, many.info));
    assert.equal(createHash('sha1').update(found).digest('hex'), createHash('sha1').update(large).digest('hex'));
  });

  test('each revision has its content', ['history'], async ({ storage }, drafts) => {
    const first = await drafts.store(storage, 'first');
    const path = await storage.loadBlob(first.oid, first.info);
    const second = await drafts.store(storage, 'second', first);
    assert.equal(await contentOf(storage, first), 'first');
    assert.equal(await contentOf(storage, second), 'second');
    assert.equal(readFileSync(path, 'utf8'), 'first', 'a file does not change');
  });

  test('several contents are of one transaction, with other records', [], async ({ storage }, drafts) => {
    const [a, b, c] = [storage.newOid(), storage.newOid(), storage.newOid()];
    const transaction = begin(storage, [[c, ZERO_TID, 'a record']]);
    const infoA = drafts.put(storage, transaction, a, ZERO_TID, 'one');
    const infoB = drafts.put(storage, transaction, b, ZERO_TID, 'two');
    const { tid } = await finish(storage, transaction);
    assert.deepEqual(
      [await contentOf(storage, { oid: a, info: infoA }), await contentOf(storage, { oid: b, info: infoB })],
      ['one', 'two'],
    );
    assert.deepEqual(
      [a, b, c].map((oid) => storage.load(oid).tid),
      [tid, tid, tid],
    );
  });

  test('vote and finish in two steps', [], async ({ storage }, drafts) => {
    const oid = storage.newOid();
    const transaction = newTransaction();
    storage.tpcBegin(transaction);
    const info = drafts.put(storage, transaction, oid, ZERO_TID, 'voted');
    await storage.tpcVote(transaction);
    assert.throws(() => storage.load(oid), POSKeyError);
    await storage.tpcFinish(transaction);
    assert.equal(await contentOf(storage, { oid, info }), 'voted');
  });

  test('what is aborted, before the vote or after it, leaves nothing', [], async ({ storage }, drafts) => {
    const oid = storage.newOid();
    for (const isVoted of [false, true]) {
      const transaction = newTransaction();
      storage.tpcBegin(transaction);
      const info = drafts.put(storage, transaction, oid, ZERO_TID, 'aborted');
      if (isVoted) await storage.tpcVote(transaction);
      await storage.tpcAbort(transaction);
      await assert.rejects(storage.loadBlob(oid, info), having(POSKeyError, { oid }));
      assert.throws(() => storage.load(oid), POSKeyError);
    }
    const kept = await drafts.store(storage, 'kept', { oid, tid: ZERO_TID });
    assert.equal(await contentOf(storage, kept), 'kept');
  });

  test(
    'of two who write the same blob the second one conflicts, and both read what the first one wrote',
    [],
    async (subject, drafts) => {
      const [one, two] = (await group.clients(subject, 2)) as [Storage, Storage];
      const former = await drafts.store(one, 'former');
      await two.sync();
      const [first, second] = [newTransaction(), newTransaction()];
      one.tpcBegin(first);
      two.tpcBegin(second);
      const winner = drafts.put(one, first, former.oid, former.tid, 'first');
      const loser = drafts.put(two, second, former.oid, former.tid, 'second');
      await finish(one, first);
      await assert.rejects(finish(two, second), having(ConflictError, { oid: former.oid, baseSerial: former.tid }));
      for (const client of [one, two]) {
        await client.sync();
        assert.equal(await contentOf(client, { oid: former.oid, info: winner }), 'first');
        await assert.rejects(client.loadBlob(former.oid, loser), having(POSKeyError, { oid: former.oid }));
      }
      // Who lost tries again, with the same content.
      const { file } = drafts.make('second');
      const again = newTransaction();
      two.tpcBegin(again);
      two.storeBlob(again, former.oid, two.load(former.oid).tid, encodeBlobRecord(loser), file);
      await finish(two, again);
      assert.equal(await contentOf(two, { oid: former.oid, info: loser }), 'second');
    },
  );

  test('another client has the content', ['clients'], async (subject, drafts) => {
    const { storage } = subject;
    const stored = await drafts.store(storage, 'for others');
    const other = await subject.another();
    await other.sync();
    assert.equal(await contentOf(other, stored), 'for others');
  });

  test(
    'a record without its content is refused, and so is a content that is not what the record says',
    [],
    async ({ storage }, drafts) => {
      const oid = storage.newOid();
      const { info, file } = drafts.make('some content');
      await assert.rejects(commit(storage, [[oid, ZERO_TID, encodeBlobRecord(info)]]), StorageError);
      writeFileSync(file, 'changed since');
      const transaction = newTransaction();
      storage.tpcBegin(transaction);
      storage.storeBlob(transaction, oid, ZERO_TID, encodeBlobRecord(info), file);
      await assert.rejects(finish(storage, transaction), StorageError);
      const missing = newTransaction();
      storage.tpcBegin(missing);
      storage.storeBlob(missing, oid, ZERO_TID, encodeBlobRecord(info), join(drafts.folder, 'nothing'));
      await assert.rejects(finish(storage, missing));
      assert.throws(() => storage.load(oid), POSKeyError);
      await assert.rejects(storage.loadBlob(oid, info), having(POSKeyError, { oid }));
      const other = newTransaction();
      storage.tpcBegin(other);
      assert.throws(() => storage.storeBlob(other, oid, ZERO_TID, Buffer.from('no blob'), file), {
        code: 'ARG_BLOB_RECORD',
      });
      await storage.tpcAbort(other);
    },
  );

  test('a blob may be stored again with the content that it has', [], async ({ storage }, drafts) => {
    const stored = await drafts.store(storage, 'the same');
    const { tid } = await commit(storage, [[stored.oid, stored.tid, encodeBlobRecord(stored.info)]]);
    assert.ok(tid > stored.tid);
    assert.equal(await contentOf(storage, stored), 'the same');
  });

  test('undo, redo, and undo of what made it bring back the content of then', ['undo'], async ({ storage }, drafts) => {
    const undo = async (tid: Tid): Promise<Tid> => {
      const transaction = newTransaction();
      storage.tpcBegin(transaction);
      storage.undo(transaction, tid);
      return (await finish(storage, transaction)).tid;
    };
    const first = await drafts.store(storage, 'first');
    const second = await drafts.store(storage, 'second', first);
    const undone = await undo(second.tid);
    assert.deepEqual(Buffer.from(storage.load(first.oid).data), encodeBlobRecord(first.info));
    assert.equal(await contentOf(storage, first), 'first');
    const redone = await undo(undone);
    assert.deepEqual(Buffer.from(storage.load(first.oid).data), encodeBlobRecord(second.info));
    assert.equal(await contentOf(storage, second), 'second');
    await undo(redone);
    await undo(undone).catch(() => undefined);
    const made = await drafts.store(storage, 'made');
    const unmade = await undo(made.tid);
    assert.throws(() => storage.load(made.oid), POSKeyError);
    await undo(unmade);
    assert.deepEqual(Buffer.from(storage.load(made.oid).data), encodeBlobRecord(made.info));
    assert.equal(await contentOf(storage, made), 'made');
  });

  test('a pack removes the contents of what it drops, and no others', ['pack'], async (subject, drafts) => {
    const { storage } = subject;
    const first = await drafts.store(storage, 'first');
    const second = await drafts.store(storage, 'second', first);
    const garbage = await drafts.store(storage, 'garbage');
    await keep(storage, first);
    const open = newTransaction();
    storage.tpcBegin(open);
    const uncommitted = drafts.put(storage, open, first.oid, second.tid, 'uncommitted');
    await packing(storage);
    await areGone(subject, first, garbage);
    assert.equal(await contentOf(storage, second), 'second');
    await finish(storage, open);
    assert.equal(await contentOf(storage, { oid: first.oid, info: uncommitted }), 'uncommitted');
  });

  test('a pack keeps a content that an undo has brought back', ['pack', 'undo'], async (subject, drafts) => {
    const { storage } = subject;
    const first = await drafts.store(storage, 'first');
    const second = await drafts.store(storage, 'second', first);
    await keep(storage, first);
    const transaction = newTransaction();
    storage.tpcBegin(transaction);
    storage.undo(transaction, second.tid);
    await finish(storage, transaction);
    await packing(storage);
    assert.equal(await contentOf(storage, first), 'first');
    await areGone(subject, second);
  });

  test('contents are copied with their transactions, to and fro', [], async ({ storage }, drafts) => {
    const source = await openStorage('memory:');
    const target = await openStorage('memory:');
    try {
      const first = await drafts.store(source, 'first');
      await commit(source, [[source.newOid(), ZERO_TID, 'a record']]);
      const second = await drafts.store(source, 'second', first);
      const { bytes } = await copyTransactions(source, storage);
      assert.ok(bytes > 'firstsecond'.length);
      await storage.sync();
      await copyTransactions(storage, target);
      for (const each of [storage, target]) {
        assert.equal(each.lastTransaction(), second.tid);
        assert.equal(await contentOf(each, second), 'second');
        if (suite.supports.history === true) assert.equal(await contentOf(each, first), 'first');
      }
    } finally {
      await source.close();
      await target.close();
    }
  });

  test('contents are there after a close', ['reopen'], async (subject, drafts) => {
    const stored = await drafts.store(subject.storage, 'durable');
    const storage = await subject.reopen();
    assert.equal(await contentOf(storage, stored), 'durable');
  });

  test('what can only be read gives contents, and takes none', ['reopen', 'readOnly'], async (subject, drafts) => {
    const stored = await drafts.store(subject.storage, 'durable');
    const storage = await subject.reopen({ readOnly: true });
    assert.equal(await contentOf(storage, stored), 'durable');
    assert.throws(() => storage.tpcBegin(newTransaction()), { code: 'ODB_READ_ONLY' });
  });
}
