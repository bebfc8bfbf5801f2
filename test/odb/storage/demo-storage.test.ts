import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import {
  copyTransactions,
  DB,
  DemoStorage,
  Length,
  openStorage,
  PersistentMapping,
  POSKeyError,
  ReadConflictError,
  type Storage,
  StorageError,
  type Tid,
  TransactionManager,
} from 'holdfast/odb';
import { openAttached } from '#src/odb/remote/index.js';
import { Owner } from '../remote/owner.js';

type Node = PersistentMapping<unknown>;
interface Root {
  a: Node;
  b: Node;
  gone?: Node;
  total: Length;
}

let folder: string;
let path: string;

/** Writes a database to stand upon: some objects, of which one has a history, and one is garbage. */
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-demo-'));
  path = join(folder, 'base.fs');
  const db = await DB.open<Root>(path);
  await db.transaction(({ root }) => {
    root.a = new PersistentMapping([['value', 0]]);
    root.b = new PersistentMapping([['child', new PersistentMapping([['value', 'child']])]]);
    root.gone = new PersistentMapping();
    root.total = new Length(10);
  });
  for (let i = 1; i <= 3; i++) await change(db, ({ a }) => a.set('value', i));
  await change(db, (root) => {
    delete root.gone;
  });
  await db.close();
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Commits a change; resolves to its tid. */
async function change(db: DB<Root>, fn: (root: Root) => unknown): Promise<Tid> {
  await db.transaction(({ root }) => void fn(root as unknown as Root));
  return db.lastTransaction();
}

function rootOf(db: DB<Root>): Root {
  return db.open({ transactionManager: new TransactionManager() }).root as unknown as Root;
}

/** All that a storage tells of itself. */
async function told(storage: Storage): Promise<string[]> {
  const all: string[] = [];
  for await (const { tid, records } of storage.iterate()) {
    all.push(
      `${tid}: ${records.map(({ oid, data }) => `${oid} ${Buffer.from(data ?? []).toString('hex')}`).join(', ')}`,
    );
  }
  return all;
}

test('the base is never written: not by commits, undo or pack, and it may be opened to be read only', async () => {
  const base = await openStorage(path, { readOnly: true });
  const before = await told(base);
  const db = await DB.open<Root>(await DemoStorage.open(base, { closesBase: false }));
  const tid = await change(db, (root) => {
    root.a.set('value', 'changed');
    root.gone = new PersistentMapping([['value', 'new']]);
  });
  db.undo(tid);
  await db.transaction(() => db.undo(tid));
  await db.pack();
  await db.close();
  assert.deepEqual(await told(base), before);
  await base.close();
});

test('oids and tids of the changes are above all of the base', async () => {
  const base = await openStorage(path, { readOnly: true });
  const db = await DB.open<Root>(await DemoStorage.open(base));
  const tid = await change(db, (root) => {
    root.a.set('new', new PersistentMapping());
  });
  assert.ok(tid > base.lastTransaction());
  const oid = (rootOf(db).a.get('new') as Node)._p_oid as number;
  assert.ok(oid > base.highestOid, `${oid} > ${base.highestOid}`);
  assert.throws(() => base.load(oid as never), POSKeyError);
  await db.close();
});

test('changes of one object on both sides of the border merge, and its history runs over both', async () => {
  const db = await DB.open<Root>(await DemoStorage.open(await openStorage(path)));
  const managers = [new TransactionManager(), new TransactionManager()];
  const totals = managers.map((transactionManager) => db.open({ transactionManager }).root.total);
  for (const [i, total] of totals.entries()) managers[i]?.enter(() => total.change(10 ** i));
  for (const manager of managers) await manager.commit();
  assert.equal(rootOf(db).total.value, 21);
  const { a } = rootOf(db);
  const tid = await change(db, (root) => root.a.set('value', 4));
  const history = await db.history(a._p_oid as number, 10);
  assert.equal(history.length, 5);
  assert.equal(history[0]?.tid, tid);
  const valueAt = (before: Tid) => {
    const past = db.open({ before, transactionManager: new TransactionManager() });
    const value = past.root.a.get('value');
    past.close();
    return value;
  };
  assert.deepEqual(
    history.map((each) => valueAt((each.tid + 1) as Tid)),
    [4, 3, 2, 1, 0],
  );
  await db.close();
});

test('transactions of the base can be undone: what comes of it stands in the changes', async () => {
  const db = await DB.open<Root>(await DemoStorage.open(await openStorage(path, { readOnly: true })));
  const [removal, third] = await db.undoLog();
  await db.transaction(() => db.undoMultiple([removal?.tid as Tid, third?.tid as Tid]));
  const root = rootOf(db);
  assert.equal(root.a.get('value'), 2);
  assert.ok(root.gone);
  // The first change of an object of the base is undone to what the base has.
  const tid = await change(db, ({ b }) => b.set('value', 'b'));
  await db.transaction(() => db.undo(tid));
  assert.ok(!rootOf(db).b.has('value'));
  assert.equal((rootOf(db).b.get('child') as Node).get('value'), 'child');
  await db.close();
});

test('what others commit to the base afterwards is not seen', async () => {
  const owner = await Owner.start({ path });
  const view = await openAttached(await owner.attach());
  const live = await DB.open<Root>(await openAttached(await owner.attach()));
  const demo = await DB.open<Root>(await DemoStorage.open(view));
  await change(live, (root) => {
    root.a.set('value', 'live');
    root.gone = new PersistentMapping([['value', 'live']]);
  });
  await view.sync();
  const root = rootOf(demo);
  assert.equal(root.a.get('value'), 3);
  assert.equal(root.gone, undefined);
  await change(demo, ({ a }) => a.set('value', 'demo'));
  assert.equal(rootOf(demo).a.get('value'), 'demo');
  assert.equal(rootOf(live).a.get('value'), 'live');
  await demo.close();
  await live.close();
  await owner.closeStorage();
  await owner.end();
});

test('a pack of the changes keeps what base and changes reach, through objects of the base too', async () => {
  const db = await DB.open<Root>(await DemoStorage.open(await openStorage(path, { readOnly: true })));
  await change(db, ({ b }) => (b.get('child') as Node).set('value', 'changed, and reached by way of the base'));
  for (let i = 0; i < 3; i++) await change(db, (root) => root.a.set('new', new PersistentMapping([['value', i]])));
  await change(db, (root) => root.a.delete('value'));
  const { changes } = db.storage as DemoStorage;
  const before = changes.length;
  await db.pack();
  assert.equal(changes.length, before - 2, 'two of the three new ones were garbage');
  const root = rootOf(db);
  assert.equal((root.b.get('child') as Node).get('value'), 'changed, and reached by way of the base');
  assert.equal((root.a.get('new') as Node).get('value'), 2);
  assert.equal(root.a.has('value'), false);
  await db.close();
});

test('changes on a disk are there again, over the same base; over one that was written since they are refused', async () => {
  const open = async () =>
    DemoStorage.open(await openStorage(path), { changes: await openStorage(join(folder, 'changes.fs')) });
  let db = await DB.open<Root>(await open());
  const tid = await change(db, ({ a }) => a.set('value', 'kept'));
  await db.close();
  db = await DB.open<Root>(await open());
  assert.equal(rootOf(db).a.get('value'), 'kept');
  assert.equal(db.lastTransaction(), tid);
  await db.close();
  const base = await DB.open<Root>(path);
  await change(base, ({ a }) => a.set('value', 'later'));
  const changes = await openStorage(join(folder, 'changes.fs'));
  await assert.rejects(DemoStorage.open(base.storage, { changes }), (error: unknown) => {
    assert.ok(error instanceof StorageError);
    assert.match(error.message, /changes\.fs.*base\.fs.*written since/);
    return true;
  });
  await changes.close();
  await base.close();
});

test('what was tried can be taken over into the base by a copy of the changes', async () => {
  const demo = await DemoStorage.open(await openStorage(path, { readOnly: true }), {
    changes: await openStorage(join(folder, 'changes.fs')),
  });
  const db = await DB.open<Root>(demo);
  await change(db, (root) => {
    root.a.set('value', 'tried').set('new', new PersistentMapping([['value', 'new']]));
  });
  await db.close();
  const [base, changes] = [await openStorage(path), await openStorage(join(folder, 'changes.fs'))];
  await copyTransactions(changes, base);
  await changes.close();
  const taken = await DB.open<Root>(base);
  assert.equal((rootOf(taken).a.get('new') as Node).get('value'), 'new');
  assert.equal(rootOf(taken).a.get('value'), 'tried');
  await taken.close();
});

test('push stacks further changes; pop drops them, and leaves what is below open; close closes all, unless told otherwise', async () => {
  const base = await openStorage(path);
  const first = await DemoStorage.open(base, { closesBase: false });
  const oid = base.highestOid;
  const commit = async (storage: Storage, serial: Tid, text: string) => {
    const transaction = {
      commitId: Buffer.from(text.padEnd(16)),
      user: '',
      description: '',
      extension: Buffer.alloc(0),
    };
    storage.tpcBegin(transaction);
    storage.store(transaction, oid, serial, Buffer.from(text));
    return (await storage.commit(transaction)).tid;
  };
  const text = (storage: Storage) => Buffer.from(storage.load(oid).data).toString();
  const tid = await commit(first, first.load(oid).tid, 'one');
  const second = await first.push();
  const third = await second.push();
  assert.ok((await commit(third, tid, 'three')) > tid);
  assert.deepEqual([text(third), text(second), text(first)], ['three', 'one', 'one']);
  assert.equal(await third.pop(), second);
  assert.throws(() => third.load(oid), StorageError);
  await commit(second, tid, 'two');
  assert.equal(await second.pop(), first);
  assert.equal(text(first), 'one');
  const fourth = await first.push();
  await fourth.close();
  assert.equal(text(first), 'one', 'what was pushed does not close what it stands on');
  await first.close();
  assert.throws(() => first.changes.load(oid), StorageError);
  assert.ok(base.load(oid));
  await (await DemoStorage.open(base)).close();
  assert.throws(() => base.load(oid), StorageError);
});

test('where history of the changes was dropped, the base still answers for its own time, and nothing is made up', async () => {
  const db = await DB.open<Root>(await DemoStorage.open(await openStorage(path, { readOnly: true })));
  const { base } = db.storage as DemoStorage;
  const oid = (await db.transaction(({ root }) => root.a._p_oid)) as never;
  const atBase = base.load(oid);
  const tids: Tid[] = [];
  for (let i = 0; i < 3; i++) tids.push(await change(db, ({ a }) => a.set('value', `demo ${i}`)));
  await db.pack();
  const revision = db.storage.loadBefore(oid, (atBase.tid + 1) as Tid);
  assert.deepEqual(revision?.data, atBase.data);
  assert.ok((revision?.endTid ?? 0) <= (tids[0] as Tid), 'it is not said to hold for longer than is known');
  assert.throws(() => db.storage.loadBefore(oid, tids[2] as Tid), ReadConflictError);
  await db.close();
});
