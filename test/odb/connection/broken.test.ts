import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import {
  Broken,
  BrokenModified,
  type Connection,
  DB,
  Persistent,
  type PersistentReference,
  persistable,
  type RecordTransform,
  readRecord,
  TransactionManager,
  TransformStorage,
  transaction,
  UnregisteredError,
  WeakReference,
} from 'holdfast/odb';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

class Thing extends Persistent {
  size = 1;
  tags = ['a'];
  other: Thing | undefined = undefined;
}

class Plain {
  amount = 3;
}

function works(): void {}

persistable('test.broken', import.meta, { Thing, Plain, works, there: () => 1 });

interface Root {
  thing: Thing & Broken;
  other: Thing & Broken;
  list: unknown[];
  weak: WeakReference<Thing>;
  plain: Plain;
  [name: string]: unknown;
}

const THING = 'test.broken.Thing';

/** Lets records name a class by another name of the same length, as where they were written by another program. */
function renaming(from: string, to: string): RecordTransform {
  assert.equal(from.length, to.length);
  const rename = (bytes: Uint8Array, old: string, now: string) =>
    Buffer.from(Buffer.from(bytes).toString('latin1').replaceAll(old, now), 'latin1');
  return { encode: (data) => rename(data, to, from), decode: (stored) => rename(stored, from, to) };
}

/** What a program stores that knows the classes. */
async function stored(): Promise<MemoryStorage> {
  const storage = new MemoryStorage();
  const db = await DB.open<Root>(storage);
  await db.transaction(({ root }) => {
    const thing = new Thing() as Thing & Broken;
    thing.other = new Thing();
    Object.assign(root, { thing, other: thing.other, list: [thing], weak: new WeakReference(thing) });
    root.plain = new Plain();
  });
  return storage;
}

const GONE = 'test.broken.Goner';

/** Runs a test as a program to which the class of two things is `name`; nothing is loaded at first. */
function brokenTest(what: string, fn: (connection: Connection<Root>, db: DB<Root>) => unknown, name: string = GONE) {
  test(what, () =>
    transaction.isolate(async () => {
      await using db = await DB.open<Root>(new TransformStorage(await stored(), renaming(THING, name)));
      const connection = db.open();
      await fn(connection, db);
      transaction.abort();
      connection.close();
    }),
  );
}

brokenTest('a record whose class is not registered loads as a broken object that can be read', ({ root }) => {
  const { thing } = root;
  assert.equal(Object.getPrototypeOf(thing), Broken.prototype);
  assert.deepEqual([thing._p_state, thing._p_brokenClassName], ['ghost', GONE]);
  const { size, tags, other } = thing._p_brokenState as { size: number; tags: string[]; other: PersistentReference };
  assert.deepEqual([size, tags, other.oid, other.className], [1, ['a'], root.other._p_oid, GONE]);
  assert.ok(thing._p_serial > 0 && thing._p_mtime instanceof Date && thing._p_estimatedSize > 0);
  assert.equal(inspect(thing), `Broken ${GONE} { _p_oid: ${thing._p_oid} }`);
  assert.deepEqual(JSON.parse(JSON.stringify(root.list)), [{ _p_oid: thing._p_oid, _p_class: GONE }]);
});

brokenTest('it is the identical object, whichever way it is reached', (connection) => {
  const { thing, list, weak } = connection.root;
  assert.equal(list[0], thing);
  assert.equal(weak.get(), thing);
  assert.equal(connection.get(Number(thing._p_oid)), thing);
});

brokenTest('it cannot be changed, in whatever way, and says what to import', async ({ root }) => {
  const attempts: ((thing: Thing & Broken) => void)[] = [
    (thing) => {
      thing.size = 2;
    },
    (thing) => {
      Object.assign(thing, { fresh: 1 });
    },
    (thing) => {
      thing._p_changed = true;
    },
    (thing) => thing._p_delete('size'),
  ];
  for (const attempt of attempts) {
    assert.throws(
      () => attempt(root.thing),
      (error: BrokenModified) => {
        assert.ok(error instanceof BrokenModified);
        assert.match(error.message, /^test\.broken\.Goner oid \d+ .*persistable for 'test\.broken\.Goner'/);
        return true;
      },
    );
  }
  assert.notEqual(root.thing._p_changed, true);
  assert.equal(await transaction.commit(), undefined);
});

brokenTest('it can be referred to, and is stored again as it is', async (connection, db) => {
  const { root } = connection;
  const { thing } = root;
  const before = Buffer.from(db.storage.load(thing._p_oid as never).data);
  root['again'] = { strong: thing, weak: new WeakReference(thing) };
  const savepoint = transaction.savepoint();
  root['more'] = [thing];
  savepoint.rollback();
  await transaction.commit();
  const { references } = readRecord(db.storage.load(0 as never).data);
  assert.deepEqual(
    references.filter(({ oid }) => oid === thing._p_oid).map(({ className, kind }) => [className, kind]),
    [
      [GONE, 'strong'],
      [GONE, 'weak'],
      [GONE, 'weak'],
    ],
  );
  // A copy of it is a record that nobody here has understood.
  const copy = await connection.importFile(connection.exportFile(thing));
  root['copy'] = copy;
  await transaction.commit();
  await db.pack();
  await db.transaction(({ root: later }) => {
    const pair = [later.thing, later['copy'] as Broken] as const;
    assert.deepEqual(
      pair.map(({ _p_brokenClassName }) => _p_brokenClassName),
      [GONE, GONE],
    );
    const [was, is] = pair.map(({ _p_brokenState }) => _p_brokenState as { size: number; tags: string[] });
    assert.deepEqual([is?.size, is?.tags], [was?.size, was?.tags]);
  });
  assert.deepEqual(Buffer.from(db.storage.load(thing._p_oid as never).data), before);
});

brokenTest('it is dropped from the cache, and invalidated, as any object is', async (connection) => {
  const { thing } = connection.root;
  assert.ok(thing._p_brokenState);
  connection.cacheMinimize();
  assert.equal(thing._p_state, 'ghost');
  assert.ok(thing._p_brokenState);
  thing._p_invalidate();
  assert.equal(thing._p_state, 'ghost');
});

brokenTest('once its class is registered, a connection that has not met it gives an object of that', async (_, db) => {
  const manager = new TransactionManager();
  class Latecomer extends Persistent {
    declare size: number;
  }
  persistable('test.broken', import.meta, { Goner: Latecomer });
  const { root } = db.open({ transactionManager: manager });
  assert.ok(root.thing instanceof Latecomer);
  assert.equal(root.thing.size, 1);
});

for (const [what, name] of [
  ['a function', 'test.broken.works'],
  ['a class of plain values', 'test.broken.Plain'],
] as const) {
  brokenTest(
    `a name that now stands for ${what} makes no such thing of an object`,
    ({ root }) => {
      assert.ok(root.thing instanceof Broken);
      assert.throws(
        () => {
          root.thing.size = 2;
        },
        (error: Error) => error instanceof BrokenModified && /no persistent class/.test(error.message),
      );
    },
    name,
  );
}

test('an object is of the class that its own record names, whatever a reference to it calls it', () =>
  transaction.isolate(async () => {
    // The object was written anew under the present name of its class, and what refers to it was not.
    const storage = await stored();
    const transform = renaming(THING, 'test.broken.Thong');
    const isOfRoot = (data: Uint8Array) => readRecord(data).className === 'holdfast.PersistentMapping';
    await using db = await DB.open<Root>(
      new TransformStorage(storage, {
        encode: (data) => (isOfRoot(data) ? transform.encode(data) : data),
        decode: (data) => (isOfRoot(data) ? transform.decode(data) : data),
      }),
    );
    const connection = db.open();
    const { thing, list, weak } = connection.root;
    assert.ok(thing instanceof Thing);
    assert.equal(thing._p_state, 'ghost');
    thing.size = 5;
    assert.equal(list[0], thing);
    assert.equal(weak.get(), thing);
    await transaction.commit();
    assert.equal(await db.transaction(({ root }) => root.thing.size), 5);
  }));

for (const [what, name] of [
  ['a persistent class', 'test.broken.Thing'],
  ['a function', 'test.broken.there'],
] as const) {
  test(`a plain value whose name now stands for ${what} is told of by that name`, () =>
    transaction.isolate(async () => {
      await using db = await DB.open<Root>(new TransformStorage(await stored(), renaming('test.broken.Plain', name)));
      assert.throws(
        () => db.open().root.plain,
        (error: UnregisteredError) => {
          assert.ok(error instanceof UnregisteredError, String(error));
          assert.equal(error.persistentName, name);
          assert.match(error.message, /no class of plain values/);
          return true;
        },
      );
    }));
}
