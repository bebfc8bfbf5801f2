import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import {
  BTree,
  type Connection,
  DB,
  Length,
  MAX_TID,
  PersistentBlob,
  PersistentMapping,
  POSKeyError,
  ReadOnlyHistoryError,
  type Storage,
  type Tid,
  TransactionManager,
  tidToDate,
  UndoError,
} from '../odb/index.js';
import { having } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

type Node = PersistentMapping<unknown>;

/** A new object. */
function node(value: unknown): Node {
  return new PersistentMapping<unknown>([['value', value]]);
}

/** What one program does with the objects of a database. */
class Program {
  readonly db: DB;
  readonly #storage: Storage;

  private constructor(db: DB, storage: Storage) {
    this.db = db;
    this.#storage = storage;
  }

  static async open(storage: Storage): Promise<Program> {
    return new Program(await DB.open(storage), storage);
  }

  /** Commits a change; resolves to its tid. */
  async commit(fn: (root: Node, connection: Connection) => unknown): Promise<Tid> {
    await this.db.transaction((connection) => fn(connection.root as unknown as Node, connection));
    return this.db.lastTransaction();
  }

  /** Undoes transactions in one of their own; resolves to its tid. */
  undo(...tids: Tid[]): Promise<Tid> {
    return this.commit(() => this.db.undoMultiple(tids));
  }

  /** What the root shows, of all that anybody has committed. */
  async see<T>(fn: (root: Node, connection: Connection) => T | Promise<T>): Promise<T> {
    await this.#storage.sync();
    return this.db.transaction((connection) => fn(connection.root as unknown as Node, connection));
  }
}

function valueIn(root: Node, name: string): unknown {
  return (root.get(name) as Node | undefined)?.get('value');
}

function write(blob: unknown, content: string): Promise<void> {
  return pipeline([content], (blob as PersistentBlob).open('w'));
}

function read(blob: unknown): Promise<string> {
  return text((blob as PersistentBlob).open('r'));
}

/** What objects get from a storage: undo, the past, exports, blobs and savepoints. */
export function testObjects(suite: StorageSuite): void {
  const group = new Group(suite, 'objects');

  /** Two programs that use the same data, by two clients where there can be. */
  const programs = (storages: readonly Storage[]) =>
    Promise.all(storages.map((storage) => Program.open(storage))) as Promise<[Program, Program]>;

  group.test('the past is shown as it was, stays as it is, and is only read', ['history'], async (subject) => {
    const [writer, reader] = await programs(await group.clients(subject, 2));
    const tids: Tid[] = [];
    tids.push(await writer.commit((root) => root.set('a', node(0))));
    for (let i = 1; i <= 3; i++) tids.push(await writer.commit((root) => (root.get('a') as Node).set('value', i)));
    const last = tids[3] as Tid;
    assert.equal(await reader.see((root) => valueIn(root, 'a')), 3);
    const manager = new TransactionManager();
    const open = (options: { before: Tid } | { at: Date }) =>
      reader.db.open({ ...options, transactionManager: manager });
    const pasts = [...tids, (last + 1) as Tid].map((before) => open({ before }));
    const values = () => pasts.map(({ root }) => valueIn(root as unknown as Node, 'a'));
    assert.deepEqual(values(), [undefined, 0, 1, 2, 3]);
    const present = open({ at: tidToDate(last) });
    assert.equal(present.before, last + 1);
    await writer.commit((root) => (root.get('a') as Node).set('value', 'later'));
    assert.equal(await reader.see((root) => valueIn(root, 'a')), 'later');
    manager.begin();
    for (const past of pasts) past.cacheMinimize();
    assert.deepEqual(values(), [undefined, 0, 1, 2, 3]);
    assert.throws(() => (present.root['a'] as Node).set('value', 9), ReadOnlyHistoryError);
    assert.ok(present.isReadOnly);
    assert.throws(() => open({ before: MAX_TID }), { name: 'RangeError', code: 'ARG_TID' });
    for (const past of [...pasts, present]) past.close();
  });

  group.test(
    'a past that was packed away is not there, and is said to be gone',
    ['history', 'pack'],
    async (subject) => {
      const writer = await Program.open(subject.storage);
      const made = await writer.commit((root) => root.set('a', node(0)));
      const changed = await writer.commit((root) => (root.get('a') as Node).set('value', 1));
      await writer.db.pack();
      // A client that has read nothing of it.
      const reader = await Program.open((await group.clients(subject, 2))[1] as Storage);
      const past = reader.db.open({ before: changed, transactionManager: new TransactionManager() });
      const gone = past.root['a'] as Node;
      assert.throws(() => gone.get('value'), { code: 'ODB_POS_KEY', message: /trimmed from history/ });
      past.close();
      const earlier = reader.db.open({ before: made, transactionManager: new TransactionManager() });
      assert.throws(() => earlier.get(Number(gone._p_oid)), POSKeyError);
      earlier.close();
    },
  );

  group.test(
    'an undo gives back what was, to all who use the objects; what was made goes, and comes again with a redo',
    ['undo'],
    async (subject) => {
      const [one, two] = await programs(await group.clients(subject, 2));
      const both = async () => [await one.see(seen), await two.see(seen)];
      const seen = (root: Node) => [valueIn(root, 'a'), valueIn(root, 'b'), [...root.keys()].sort().join()];
      await one.commit((root) => root.set('a', node(1)));
      const change = await one.commit((root) => {
        (root.get('a') as Node).set('value', 2);
        root.set('b', node('new'));
      });
      assert.deepEqual(await both(), Array(2).fill([2, 'new', 'a,b']));
      const oid = await two.see((root) => Number((root.get('b') as Node)._p_oid));
      const undone = await two.undo(change);
      assert.deepEqual(await both(), Array(2).fill([1, undefined, 'a']));
      assert.throws(() => two.db.storage.load(oid as never), POSKeyError);
      // Whoever undoes has to have seen it.
      await one.see(() => undefined);
      const redone = await one.undo(undone);
      assert.deepEqual(await both(), Array(2).fill([2, 'new', 'a,b']));
      assert.equal(await two.see((root) => (root.get('b') as Node)._p_oid), oid);
      await two.undo(redone);
      assert.deepEqual(await both(), Array(2).fill([1, undefined, 'a']));
      assert.deepEqual((await one.db.undoLog(0, 3)).map(({ tid }) => tid).slice(1), [redone, undone]);
    },
  );

  group.test(
    'several undos are one transaction, in whichever order where they merge',
    ['undo'],
    async ({ storage }) => {
      const program = await Program.open(storage);
      await program.commit((root) => root.set('count', new Length(0)));
      const count = (root: Node) => root.get('count') as Length;
      const [one, two, four] = [
        await program.commit((root) => count(root).change(1)),
        await program.commit((root) => count(root).change(2)),
        await program.commit((root) => count(root).change(4)),
      ];
      for (const order of [
        [one, four],
        [four, one],
        [two, one, four],
      ]) {
        const undone = await program.commit(() => {
          for (const tid of order) program.db.undo(tid);
        });
        assert.equal(await program.see((root) => count(root).value), order.length === 2 ? 2 : 0);
        await program.undo(undone);
        assert.equal(await program.see((root) => count(root).value), 7);
      }
    },
    { objects: true },
  );

  group.test(
    'an undo merges with what others commit beside it, before it and after',
    ['undo'],
    async (subject) => {
      const [one, two] = await programs(await group.clients(subject, 2));
      const tree = (root: Node) => root.get('tree') as BTree<number, number>;
      await one.commit((root) => root.set('tree', new BTree<number, number>().load([[0, 0]])));
      const mistake = await one.commit((root) => {
        for (let i = 0; i < 10; i++) tree(root).set(1000 + i, i);
      });
      await two.see(() => undefined);
      await Promise.all([
        ...Array.from({ length: 8 }, (_, i) =>
          two.db.transaction(({ root }) => tree(root as never).set(2 + i, i), { retries: 100 }),
        ),
        one.undo(mistake),
        ...Array.from({ length: 8 }, (_, i) =>
          one.db.transaction(({ root }) => tree(root as never).set(20 + i, i), { retries: 100 }),
        ),
      ]);
      for (const program of [one, two]) {
        const keys = await program.see((root) => {
          tree(root).check();
          return [...tree(root).keys()];
        });
        assert.deepEqual(keys, [0, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 22, 23, 24, 25, 26, 27]);
      }
      await assert.rejects(one.undo((mistake + 1_000_000) as Tid), having(UndoError, {}));
    },
    { objects: true },
  );

  group.test(
    'an object that its transaction changes, and undoes, shows what was stored',
    ['undo'],
    async ({ storage }) => {
      const program = await Program.open(storage);
      await program.commit((root) => root.set('a', node(1)));
      const change = await program.commit((root) => (root.get('a') as Node).set('value', 2));
      const manager = new TransactionManager();
      const connection = program.db.open({ transactionManager: manager });
      await manager.enter(async () => {
        const a = (connection.root as unknown as Node).get('a') as Node;
        // The record is the same as that of the change.
        a.set('value', 2);
        program.db.undo(change);
        await manager.commit();
        assert.equal(a.get('value'), 1);
      });
      connection.close();
      assert.equal(await program.see((root) => valueIn(root, 'a')), 1);
    },
  );

  group.test('an undo gives back the contents of blobs, and so does the past', ['undo', 'blobs'], async (subject) => {
    const [one, two] = await programs(await group.clients(subject, 2));
    const content = (program: Program) => program.see((root) => read(root.get('blob')));
    await one.commit((root) => root.set('blob', new PersistentBlob('first')));
    const change = await one.commit(async (root) => {
      await write(root.get('blob'), 'second');
      root.set('other', new PersistentBlob('made with it'));
    });
    assert.equal(await content(two), 'second');
    const undone = await two.undo(change);
    assert.deepEqual([await content(one), await content(two)], ['first', 'first']);
    assert.equal(await one.see((root) => root.has('other')), false);
    await one.undo(undone);
    assert.equal(await content(two), 'second');
    assert.equal(await two.see((root) => read(root.get('other'))), 'made with it');
    const past = two.db.open({ before: change, transactionManager: new TransactionManager() });
    assert.equal(await read(past.root['blob']), 'first');
    past.close();
  });

  group.test('savepoints go back to the contents of then, and nobody else sees them', ['blobs'], async (subject) => {
    const [one, two] = await programs(await group.clients(subject, 2));
    await one.commit((root) => root.set('blob', new PersistentBlob('0')));
    const manager = new TransactionManager();
    const connection = one.db.open({ transactionManager: manager });
    await manager.enter(async () => {
      const root = connection.root as unknown as Node;
      await write(root.get('blob'), '1');
      root.set('new', new PersistentBlob('new'));
      const savepoint = manager.savepoint();
      connection.cacheMinimize();
      await write(root.get('blob'), '2');
      await write(root.get('new'), 'newer');
      assert.deepEqual([await read(root.get('blob')), await read(root.get('new'))], ['2', 'newer']);
      assert.equal(await two.see((others) => read(others.get('blob'))), '0');
      savepoint.rollback();
      assert.deepEqual([await read(root.get('blob')), await read(root.get('new'))], ['1', 'new']);
      await manager.commit();
    });
    connection.close();
    assert.deepEqual(await two.see(async (root) => [await read(root.get('blob')), await read(root.get('new'))]), [
      '1',
      'new',
    ]);
  });

  group.test(
    'what an object reaches is exported, and comes in again as a copy of its own',
    ['blobs'],
    async (subject) => {
      const [one, two] = await programs(await group.clients(subject, 2));
      await one.commit((root) => {
        const [album, photo] = [node('album'), new PersistentBlob('photo')];
        root.set('album', album.set('photo', photo).set('self', album).set('again', photo));
      });
      const bytes = await two.see((root, connection) => buffer(connection.exportFile(root.get('album') as Node)));
      const contents = (album: Node) => Promise.all(['photo', 'again'].map((name) => read(album.get(name))));
      await assert.rejects(
        two.db.transaction(async (connection) => {
          const album = (await connection.importFile(Readable.from([bytes]))) as Node;
          assert.deepEqual(await contents(album), ['photo', 'photo']);
          connection.root['copy'] = album;
          throw new RangeError('not after all');
        }),
        RangeError,
      );
      assert.equal(await one.see((root) => root.has('copy')), false);
      await two.commit(async (root, connection) =>
        root.set('copy', await connection.importFile(Readable.from([bytes]))),
      );
      await one.see(async (root) => {
        const [album, copy] = [root.get('album') as Node, root.get('copy') as Node];
        assert.notEqual(copy._p_oid, album._p_oid);
        assert.equal(copy.get('self'), copy);
        assert.equal(copy.get('photo'), copy.get('again'));
        assert.notEqual((copy.get('photo') as Node)._p_oid, (album.get('photo') as Node)._p_oid);
        await write(copy.get('photo'), 'retouched');
      });
      assert.deepEqual(await two.see((root) => contents(root.get('album') as Node)), ['photo', 'photo']);
      assert.deepEqual(await two.see((root) => contents(root.get('copy') as Node)), ['retouched', 'retouched']);
    },
  );
}
