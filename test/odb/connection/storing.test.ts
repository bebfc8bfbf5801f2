import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Connection,
  DB,
  type LogRecord,
  type Oid,
  Persistent,
  PersistentMapping,
  POSKeyError,
  persistable,
  type SerializationError,
  type StorageTransaction,
  setLogSink,
  type Tid,
  transaction,
  type VoteOutcome,
  ZERO_TID,
} from 'holdfast/odb';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

/** Does something while it is written. */
class Busy extends Persistent {
  value: unknown = 0;
  declare _v_whileWritten: ((self: Busy) => void) | undefined;

  override getState(): unknown {
    this._v_whileWritten?.(this);
    return super.getState();
  }
}

class Leaf extends Persistent {
  value = 1;
}

persistable('test.storing', import.meta, { Busy, Leaf });

interface Root {
  busy: Busy;
  leaf: Leaf;
  [name: string]: unknown;
}

/** Tells what it was asked to store and to load; can be told to fail. */
class Watched extends MemoryStorage {
  readonly stores: number[] = [];
  readonly loads: number[] = [];
  fails: 'store' | 'vote' | undefined;

  override store(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array): void {
    if (this.fails === 'store' && this.stores.length > 0) throw new Error('store');
    this.stores.push(Number(oid));
    super.store(transaction, oid, serial, data);
  }

  override loadBefore(oid: Oid, tid: Tid) {
    this.loads.push(Number(oid));
    return super.loadBefore(oid, tid);
  }

  override async commit(transaction: StorageTransaction) {
    if (this.fails === 'vote') throw new Error('vote');
    return super.commit(transaction);
  }

  override async tpcVote(transaction: StorageTransaction, ...rest: never[]): Promise<VoteOutcome> {
    if (this.fails === 'vote') throw new Error('vote');
    return super.tpcVote(transaction, ...rest);
  }
}

interface Subject {
  readonly connection: Connection<Root>;
  readonly root: Connection<Root>['root'];
  readonly db: DB<Root>;
  readonly storage: Watched;
}

function storingTest(name: string, fn: (subject: Subject) => Promise<void>): void {
  test(name, () =>
    transaction.isolate(async () => {
      const storage = new Watched();
      await using db = await DB.open<Root>(storage);
      await db.transaction(({ root }) => {
        root.busy = new Busy();
        root.leaf = new Leaf();
      });
      const connection = db.open();
      storage.stores.length = 0;
      storage.loads.length = 0;
      await fn({ connection, root: connection.root, db, storage });
      transaction.abort();
      connection.close();
    }),
  );
}

storingTest('a commit that changed nothing stores nothing, and is no transaction', async ({ root, db, storage }) => {
  const before = db.lastTransaction();
  assert.equal(root.leaf.value, 1);
  assert.equal(await transaction.commit(), undefined);
  // What was changed, and is said not to be, is none either.
  root.leaf.value = 2;
  root.leaf._p_changed = false;
  await transaction.commit();
  assert.deepEqual([storage.stores, db.lastTransaction() > before], [[], false]);
});

storingTest(
  'what is added, linked or changed while another object is written is stored with it, once each',
  async ({ connection, root, db, storage }) => {
    const { busy, leaf } = root;
    const [added, linked] = [new Leaf(), new Leaf()];
    busy._v_whileWritten = (self) => {
      self._v_whileWritten = undefined;
      connection.add(added);
      self.value = linked;
      leaf.value = 7;
    };
    busy._p_changed = true;
    await transaction.commit();
    assert.deepEqual(storage.stores.sort(), [busy, leaf, added, linked].map(({ _p_oid }) => _p_oid).sort());
    assert.deepEqual(
      [busy, leaf, added, linked].map(({ _p_changed }) => _p_changed),
      [false, false, false, false],
    );
    await db.transaction((other) => {
      assert.equal(other.root.leaf.value, 7);
      assert.equal((other.root.busy.value as Leaf)._p_oid, linked._p_oid);
      assert.equal((other.get(Number(added._p_oid)) as Leaf).value, 1);
    });
  },
);

storingTest('a change of what was written already is stored too', async ({ connection, root, db }) => {
  const { busy, leaf } = root;
  leaf.value = 5;
  busy._p_changed = true;
  busy._v_whileWritten = (self) => {
    self._v_whileWritten = undefined;
    leaf.value = 6;
  };
  await transaction.commit();
  assert.equal(await db.transaction((other) => other.root.leaf.value), 6);
  assert.deepEqual([leaf._p_changed, connection.root.leaf.value], [false, 6]);
});

for (const fails of ['store', 'vote'] as const) {
  storingTest(
    `a commit that fails at the ${fails} takes the place of new objects away, and everything can be committed later`,
    async ({ connection, root, db, storage }) => {
      const [added, linked] = [new Leaf(), new Leaf()];
      connection.add(added);
      root.busy.value = linked;
      root.leaf.value = 2;
      const oids = [Number(added._p_oid)];
      storage.fails = fails;
      await assert.rejects(transaction.commit(), { message: fails });
      storage.fails = undefined;
      for (const each of [added, linked]) {
        assert.deepEqual([each._p_oid, each._p_jar, each._p_changed, each.value], [undefined, undefined, false, 1]);
      }
      transaction.abort();
      assert.deepEqual([root.leaf.value, root.busy.value], [1, 0]);
      for (const oid of oids) assert.throws(() => connection.get(oid), POSKeyError);
      connection.add(added);
      root.busy.value = linked;
      await transaction.commit();
      assert.equal(await db.transaction((other) => (other.root.busy.value as Leaf).value), 1);
    },
  );
}

storingTest('adding twice changes nothing; an abort takes place and mark away', async ({ connection }) => {
  const leaf = new Leaf();
  connection.add(leaf);
  const oid = leaf._p_oid;
  assert.deepEqual([leaf._p_changed, leaf._p_jar === connection], [true, true]);
  assert.equal(connection.get(Number(oid)), leaf);
  connection.add(leaf);
  assert.equal(leaf._p_oid, oid);
  transaction.abort();
  assert.deepEqual([leaf._p_oid, leaf._p_jar, leaf._p_changed], [undefined, undefined, false]);
});

storingTest('begin drops what was not committed', async ({ root, db }) => {
  root.leaf.value = 9;
  const fresh = new Leaf();
  root['fresh'] = fresh;
  transaction.savepoint();
  transaction.begin();
  assert.deepEqual([root.leaf.value, root['fresh'], fresh._p_oid], [1, undefined, undefined]);
  assert.equal(await transaction.commit(), undefined);
  assert.equal(await db.transaction((other) => other.root.leaf.value), 1);
});

storingTest('an abort makes a changed object a ghost, which loads what is committed', async ({ root }) => {
  root.leaf.value = 9;
  transaction.abort();
  assert.equal(root.leaf._p_state, 'ghost');
  assert.equal(root.leaf.value, 1);
});

storingTest(
  'a reference says the class: a ghost of it is made without a read',
  async ({ connection, root, storage }) => {
    assert.ok(root.leaf instanceof Leaf && root.busy instanceof Busy);
    connection.cacheMinimize();
    storage.loads.length = 0;
    assert.deepEqual([root.leaf._p_state, root.busy._p_state], ['ghost', 'ghost']);
    assert.deepEqual(storage.loads, [0]);
  },
);

storingTest('all states of a commit are those of one instant', async ({ root, db }) => {
  const [first, second] = [new Leaf(), new Leaf()];
  Object.assign(root, { first, second });
  await transaction.commit();
  first.value = 10;
  second.value = 10;
  const commit = transaction.commit();
  // Both, or neither: what comes now is too late.
  for (const leaf of [first, second]) {
    assert.throws(
      () => {
        leaf.value = 20;
      },
      { code: 'ODB_COMMIT_UNDER_WAY' },
    );
  }
  await commit;
  assert.deepEqual(
    await db.transaction((other) => ['first', 'second'].map((name) => (other.root[name] as Leaf).value)),
    [10, 10],
  );
});

storingTest(
  'while a commit is under way nothing is added to it, nor asked of it',
  async ({ connection, root, storage }) => {
    root.leaf.value = 2;
    const commit = transaction.commit();
    const late = new Leaf();
    assert.throws(() => connection.add(late), { code: 'ODB_COMMIT_UNDER_WAY' });
    assert.throws(() => connection.readCurrent(root.busy), { code: 'ODB_COMMIT_UNDER_WAY' });
    assert.equal(late._p_jar, undefined);
    await commit;
    connection.add(late);
    await transaction.commit();
    assert.ok(storage.load(Number(late._p_oid) as Oid));
  },
);

storingTest(
  'what is dropped from memory while a commit is under way is read as it is being committed',
  async ({ connection, root, db }) => {
    for (const saves of [false, true]) {
      const { leaf } = root;
      const fresh = new Leaf();
      Object.assign(root, { fresh });
      leaf.value = 10;
      fresh.value = 20;
      if (saves) transaction.savepoint();
      const commit = transaction.commit();
      db.cacheMinimize();
      assert.equal(leaf._p_state, 'ghost');
      assert.deepEqual([leaf.value, fresh.value, (root['fresh'] as Leaf).value], [10, 20, 20]);
      await commit;
      assert.deepEqual([leaf.value, fresh.value], [10, 20]);
      leaf.value += 1;
      fresh.value += 1;
      await transaction.commit();
      const stored = await db.transaction((other) => [other.root.leaf.value, (other.root['fresh'] as Leaf).value]);
      assert.deepEqual(stored, [11, 21]);
    }
    void connection;
  },
);

storingTest('nothing is added under another manager than that of the connection', async ({ connection }) => {
  const leaf = new Leaf();
  await transaction.isolate(() => {
    assert.throws(() => connection.add(leaf), { code: 'ODB_CONNECTION_STATE' });
  });
  assert.equal(leaf._p_oid, undefined);
});

storingTest('a record above 16 MiB is stored, with a warning that says which it is', async ({ root, db }) => {
  const limit = 16 * 1024 * 1024;
  const records: LogRecord[] = [];
  const sink = setLogSink((record) => records.push(record));
  try {
    root['below'] = new PersistentMapping({ bytes: new Uint8Array(limit - 1000) });
    await transaction.commit();
    assert.equal(records.length, 0);
    root['deep'] = { large: new PersistentMapping({ bytes: new Uint8Array(limit) }) };
    await transaction.commit();
  } finally {
    setLogSink(sink);
  }
  assert.deepEqual(
    records.map(({ level }) => level),
    ['warning'],
  );
  assert.match(String(records[0]?.message), /^root\.deep\.large has a record of 16\d{6} bytes: /);
  const length = await db.transaction((other) => {
    const { large } = other.root['deep'] as { large: PersistentMapping<Uint8Array> };
    return large.get('bytes')?.length;
  });
  assert.equal(length, limit);
});

storingTest('a record above 256 MiB is refused by its path', async ({ root }) => {
  // The same bytes time and again: only what is written of them is large.
  const part = new Uint8Array(16 * 1024 * 1024);
  root['huge'] = Array.from({ length: 17 }, () => part.subarray());
  await assert.rejects(transaction.commit(), (error: SerializationError) => {
    assert.equal(error.path, 'root');
    assert.match(error.message, /larger than 268435456 bytes/);
    return true;
  });
});

storingTest('serial, time and size of an object are those of its revision', async ({ root }) => {
  const { leaf } = root;
  const fresh = new Leaf();
  assert.deepEqual([fresh._p_serial, fresh._p_mtime, fresh._p_estimatedSize], [ZERO_TID, undefined, 0]);
  root['fresh'] = fresh;
  leaf.value = 3;
  const tid = await transaction.commit();
  for (const each of [fresh, leaf]) {
    assert.equal(each._p_serial, tid);
    assert.equal(each._p_mtime?.getTime(), Math.floor(Number(tid) / 1000));
    assert.ok(each._p_estimatedSize > 10);
  }
});
