import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  createReadStream,
  createWriteStream,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { createGunzip, createGzip } from 'node:zlib';
import {
  BTree,
  type Connection,
  ConnectionStateError,
  CorruptionError,
  checkedReferences,
  copyTransactions,
  DB,
  FormatVersionError,
  InvalidObjectReference,
  type Oid,
  type Persistent,
  PersistentBlob,
  PersistentList,
  PersistentMapping,
  POSKeyError,
  readOpaqueState,
  readRecord,
  StorageError,
  type Tid,
  TransactionManager,
  transaction,
  WeakReference,
  ZERO_TID,
} from 'holdfast/odb';
import { systemRandom } from '#src/base/index.js';
import { commit } from '#src/conformance/commits.js';
import { ExportWriter } from '#src/odb/connection/export-format.js';
import { buildRecord } from '#src/odb/serialize/record.js';
import type { RecordReference } from '#src/odb/serialize/references.js';
import { encodePlain, writeRecord } from '#src/odb/serialize/writer.js';
import { Account } from './bank.js';

const IMPORTER = fileURLToPath(new URL('./importing-process.js', import.meta.url));

let folder: string;
let databases: DB[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-export-'));
  databases = [];
});

afterEach(async () => {
  await Promise.all(databases.map((db) => db.close()));
  rmSync(folder, { recursive: true, force: true });
});

async function newDatabase(): Promise<DB> {
  const db = await DB.open('memory:');
  databases.push(db);
  return db;
}

/** Two accounts that know each other, and what leads elsewhere. */
async function bank(): Promise<DB> {
  const db = await newDatabase();
  await db.transaction(({ root }) => {
    const [ada, bob] = [new Account('Ada'), new Account('Bob')];
    ada.friend = bob;
    bob.friend = ada;
    ada.balance = 7;
    root['ada'] = ada;
    root['other'] = new Account('somebody else');
    root['tree'] = new BTree<number, Account>().load(
      Array.from({ length: 500 }, (_, i) => [i, new Account(`account ${i}`)] as const),
    );
  });
  return db;
}

/** The bytes of an export of what the root holds under a name. */
async function exportOf(db: DB, name = 'ada'): Promise<Buffer> {
  return db.transaction((connection) => buffer(connection.exportFile(connection.root[name] as Persistent)));
}

/** Imports into a fresh database. */
async function importing<T>(bytes: Uint8Array, look: (top: Persistent, connection: Connection) => T): Promise<T> {
  const db = await newDatabase();
  await db.transaction(async (connection) => {
    connection.root['imported'] = await connection.importFile(Readable.from([bytes]));
  });
  return db.transaction((connection) => look(connection.root['imported'] as Persistent, connection));
}

test('what an object reaches is copied into another database, with oids of its own there, and cycles kept', async () => {
  const source = await bank();
  const path = join(folder, 'ada.hfx');
  const told: number[] = [];
  const summary = await source.transaction((connection) =>
    connection.exportFile(connection.root['ada'] as Account, path, { onProgress: ({ objects }) => told.push(objects) }),
  );
  assert.equal(summary.objects, 2);
  assert.ok(summary.bytes > 0);
  assert.equal(told.at(-1), 2);
  const target = await bank();
  const before = await target.transaction(({ root }) => [...root.keys()].length);
  const oid = await target.transaction(async (connection) => {
    const ada = (await connection.importFile(path)) as Account;
    assert.equal(ada._p_state, 'ghost');
    connection.root['copy'] = ada;
    return ada._p_oid as Oid;
  });
  await target.transaction(({ root }) => {
    const copy = root['copy'] as Account;
    assert.equal(copy._p_oid, oid);
    assert.deepEqual([copy.owner, copy.balance, copy.friend?.owner], ['Ada', 7, 'Bob']);
    assert.equal(copy.friend?.friend, copy);
    const original = root['ada'] as Account;
    assert.notEqual(copy, original);
    assert.notEqual(copy.friend, original.friend);
    copy.deposit(1);
    assert.equal([...root.keys()].length, before + 1);
  });
  await target.transaction(({ root }) => assert.equal((root['ada'] as Account).balance, 7));
});

test('a copy within the same database shares no object with what it is a copy of', async () => {
  const db = await bank();
  const bytes = await exportOf(db, 'tree');
  await db.transaction(async (connection) => {
    connection.root['copy'] = await connection.importFile(Readable.from([bytes]));
  });
  await db.transaction(({ root }) => {
    const oidsOf = (name: string) => [...(root[name] as BTree<number, Account>).values()].map(({ _p_oid }) => _p_oid);
    const [originals, copies] = [new Set(oidsOf('tree')), oidsOf('copy')];
    assert.equal(copies.length, 500);
    for (const oid of copies) assert.ok(!originals.has(oid));
    (root['copy'] as BTree<number, Account>).check();
  });
});

test('an export shows the view of its transaction, not what others commit meanwhile, nor what is not committed', async () => {
  const db = await bank();
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  const ada = connection.root['ada'] as Account;
  await db.transaction(({ root }) => (root['ada'] as Account).deposit(100));
  ada.owner = 'not committed';
  const bytes = await buffer(connection.exportFile(ada));
  manager.abort();
  connection.close();
  await importing(bytes, (top) => assert.deepEqual([(top as Account).owner, (top as Account).balance], ['Ada', 7]));
});

test('a connection that shows the past exports the past', async () => {
  const db = await bank();
  const before = (db.lastTransaction() + 1) as Tid;
  await db.transaction(({ root }) => (root['ada'] as Account).deposit(100));
  const connection = db.open({ before });
  const bytes = await buffer(connection.exportFile(connection.root['ada'] as Account));
  connection.close();
  await importing(bytes, (top) => assert.equal((top as Account).balance, 7));
});

test('abort leaves nothing of an import', async () => {
  const source = await bank();
  const bytes = await exportOf(source);
  const db = await newDatabase();
  await transaction.isolate(async () => {
    const connection = db.open();
    const ada = (await connection.importFile(Readable.from([bytes]))) as Account;
    connection.root['ada'] = ada;
    const bob = ada.friend as Account;
    const oids = [ada._p_oid, bob._p_oid] as Oid[];
    bob.deposit(1);
    transaction.abort();
    assert.equal(connection.root['ada'], undefined);
    for (const oid of oids) assert.throws(() => connection.get(oid), { code: 'ODB_POS_KEY' });
    assert.throws(() => ada.owner, { code: 'ODB_POS_KEY' });
    connection.close();
  });
  assert.equal(db.storage.length, 1);
});

test('an import goes and comes with savepoints', async () => {
  const source = await bank();
  const bytes = await exportOf(source);
  const db = await newDatabase();
  await transaction.isolate(async () => {
    const connection = db.open();
    connection.root['x'] = 1;
    const empty = transaction.savepoint();
    const ada = (await connection.importFile(Readable.from([bytes]))) as Account;
    connection.root['ada'] = ada;
    const imported = transaction.savepoint();
    ada.deposit(1);
    ada.owner = 'changed';
    transaction.savepoint();
    imported.rollback();
    assert.deepEqual([ada.owner, ada.balance], ['Ada', 7]);
    const oid = ada._p_oid as Oid;
    assert.equal(connection.get(oid), ada);
    empty.rollback();
    assert.throws(() => connection.get(oid), { code: 'ODB_POS_KEY' });
    assert.equal(connection.root['ada'], undefined);
    const again = (await connection.importFile(Readable.from([bytes]))) as Account;
    connection.root['ada'] = again;
    again.deposit(3);
    await transaction.commit();
    assert.equal(again.balance, 10);
    again.deposit(1);
    await transaction.commit();
    connection.close();
  });
  await db.transaction(({ root }) => assert.equal((root['ada'] as Account).balance, 11));
});

test('an imported object that only others of the import reach can be used before and after the commit', async () => {
  const source = await bank();
  const bytes = await exportOf(source, 'tree');
  const db = await DB.open('memory:', { cacheSize: 20 });
  databases.push(db);
  await transaction.isolate(async () => {
    const connection = db.open();
    const tree = (await connection.importFile(Readable.from([bytes]))) as BTree<number, Account>;
    connection.root['tree'] = tree;
    assert.equal(tree.get(321)?.owner, 'account 321');
    connection.cacheMinimize();
    assert.equal(tree.get(321)?.owner, 'account 321');
    await transaction.commit();
    for (const account of tree.values()) account.deposit(1);
    await transaction.commit();
    connection.close();
  });
  await db.transaction(({ root }) => {
    let sum = 0;
    for (const { balance } of (root['tree'] as BTree<number, Account>).values()) sum += balance;
    assert.equal(sum, 500);
  });
});

/** Stores records as they are, each with references and the name of a class. */
async function storeRecords(
  db: DB,
  records: readonly { className: string; state: unknown; references?: readonly RecordReference[] }[],
): Promise<Oid[]> {
  const oids = records.map(() => db.storage.newOid());
  await commit(
    db.storage,
    records.map(({ className, state, references = [] }, i) => {
      const placeholders = new Map(references.map((reference) => [{}, reference]));
      const data = writeRecord({
        className,
        state: { state, references: [...placeholders.keys()] },
        references: {
          isPersistent: (value) => placeholders.has(value),
          reference: (value) => placeholders.get(value) as RecordReference,
        },
        path: className,
      });
      return [oids[i] as Oid, ZERO_TID, data];
    }),
  );
  return oids;
}

test('records of classes that are not known here survive, with their references', async () => {
  const source = await newDatabase();
  const [leaf] = (await storeRecords(source, [{ className: 'nowhere.Leaf', state: new Map([['x', -0]]) }])) as [Oid];
  const [top] = (await storeRecords(source, [
    {
      className: 'nowhere.Thing',
      state: 'kept',
      references: [{ oid: leaf, className: 'nowhere.Leaf', kind: 'strong' }],
    },
  ])) as [Oid];
  const bytes = await source.transaction((connection) => buffer(connection.exportFile(top)));
  await importing(bytes, (imported, { storage }) => {
    const data = storage.load(imported._p_oid as Oid).data;
    const { className, references } = readRecord(data);
    assert.equal(className, 'nowhere.Thing');
    assert.equal((readOpaqueState(data) as { state: unknown }).state, 'kept');
    const [reference] = references as [RecordReference];
    const state = readOpaqueState(storage.load(reference.oid).data) as { state: unknown };
    assert.deepEqual([reference.className, state.state], ['nowhere.Leaf', new Map([['x', -0]])]);
  });
});

test('a weak reference is not followed: to what is in the export it leads there, else to what is gone', async () => {
  const source = await bank();
  await source.transaction(({ root }) => {
    const ada = root['ada'] as Account;
    root['weak'] = new PersistentList([ada, new WeakReference(ada), new WeakReference(root['other'] as Account)]);
  });
  const bytes = await exportOf(source, 'weak');
  await importing(bytes, (top) => {
    const [ada, inside, outside] = [...(top as PersistentList<unknown>)] as [Account, WeakReference, WeakReference];
    assert.equal(inside.get(), ada);
    assert.equal(outside.get(), undefined);
  });
});

test('a reference to another database is refused, and named', async () => {
  const db = await newDatabase();
  for (const kind of ['strong', 'weak'] as const) {
    const [top] = (await storeRecords(db, [
      {
        className: 'x.Y',
        state: 0,
        references: [{ oid: 5 as Oid, className: 'x.Z', kind, databaseName: 'elsewhere' }],
      },
    ])) as [Oid];
    const path = join(folder, 'never.hfx');
    await assert.rejects(
      db.transaction((connection) => connection.exportFile(top, path)),
      (error) =>
        error instanceof InvalidObjectReference && /oid \d+ references oid 5 .*'elsewhere'/.test(error.message),
    );
    assert.deepEqual(readdirSync(folder), []);
  }
});

test('objects without a place to be read from are refused', async () => {
  const db = await bank();
  await transaction.isolate(async () => {
    const connection = db.open();
    const carol = new Account('Carol');
    assert.throws(() => connection.exportFile(carol), InvalidObjectReference);
    connection.add(carol);
    assert.throws(() => connection.exportFile(carol), POSKeyError);
    await assert.rejects(connection.exportFile(carol, join(folder, 'x')), POSKeyError);
    await assert.rejects(buffer(connection.exportFile(4_000_000)), POSKeyError);
    await assert.rejects(connection.exportFile(0, 5 as never), { code: 'ARG_DESTINATION' });
    assert.throws(() => connection.exportFile(-1), RangeError);
    await assert.rejects(connection.exportFile(0, join(folder, 'no', 'such', 'folder')), StorageError);
    transaction.abort();
    await db.transaction(({ root }) => {
      root['later'] = new Account('later');
    });
    const later = Number(await db.transaction(({ root }) => (root['later'] as Account)._p_oid));
    await assert.rejects(buffer(connection.exportFile(later)), /made after the transaction began/);
    connection.close();
    assert.throws(() => connection.exportFile(0), ConnectionStateError);
    await assert.rejects(connection.importFile('x'), ConnectionStateError);
  });
});

test('an object that is referenced and not there stops the export, and is named', async () => {
  const db = await newDatabase();
  const [top] = (await storeRecords(db, [
    { className: 'x.Y', state: 0, references: [{ oid: 9999 as Oid, className: 'x.Z', kind: 'strong' }] },
  ])) as [Oid];
  await assert.rejects(
    db.transaction((connection) => connection.exportFile(top, join(folder, 'never.hfx'))),
    (error) => error instanceof POSKeyError && error.oid === 9999 && /holdfast verify/.test(error.message),
  );
  assert.deepEqual(readdirSync(folder), []);
});

test('an export goes through streams, compressed or not, and files may be named by a URL', async () => {
  const db = await bank();
  const path = join(folder, 'tree.hfx');
  await db.transaction(async (connection) => {
    const tree = connection.root['tree'] as Persistent;
    await connection.exportFile(tree, pathToFileURL(path));
    await pipeline(connection.exportFile(tree), createGzip(), createWriteStream(`${path}.gz`));
    await connection.exportFile(tree, createWriteStream(`${path}.stream`));
  });
  assert.deepEqual(readFileSync(`${path}.stream`), readFileSync(path));
  const target = await newDatabase();
  await target.transaction(async (connection) => {
    const unpacked = createReadStream(`${path}.gz`).pipe(createGunzip());
    for (const source of [path, pathToFileURL(path), unpacked, createReadStream(path, { highWaterMark: 777 })]) {
      const tree = (await connection.importFile(source)) as BTree<number, Account>;
      assert.equal(tree.get(499)?.owner, 'account 499');
    }
    await assert.rejects(connection.importFile(createReadStream(path, 'latin1')), { code: 'ARG_SOURCE' });
    await assert.rejects(connection.importFile(5 as never), { code: 'ARG_SOURCE' });
    await assert.rejects(connection.importFile(join(folder, 'missing')), StorageError);
  });
});

test('every damaged byte is found, nothing is imported, and the message says where', async () => {
  const source = await bank();
  const bytes = await exportOf(source);
  const db = await newDatabase();
  const connection = db.open({ transactionManager: new TransactionManager() });
  await connection.transactionManager.enter(async () => {
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] as number) ^ (1 << (at % 8));
      await assert.rejects(connection.importFile(Readable.from([damaged])), (error) => {
        if (at < 8) assert.ok(error instanceof FormatVersionError && /is no export file/.test(error.message));
        else if (at === 8) assert.ok(error instanceof FormatVersionError && /version \d+/.test(error.message));
        else assert.ok(error instanceof CorruptionError && /byte \d+/.test(error.message), String(error));
        return true;
      });
    }
  });
  // Nothing was begun: it can be closed.
  connection.close();
  assert.equal(db.storage.length, 1);
});

test('an export that was cut off anywhere is told to be incomplete, and one that goes on is damaged', async () => {
  const source = await bank();
  const bytes = await exportOf(source);
  const db = await newDatabase();
  await db.transaction(async (connection) => {
    for (let length = 0; length < bytes.length; length++) {
      await assert.rejects(
        connection.importFile(Readable.from([bytes.subarray(0, length)])),
        (error) => error instanceof CorruptionError && error.message.includes(`it ends at byte ${length},`),
      );
    }
    await assert.rejects(connection.importFile(Readable.from([bytes, Buffer.from('x')])), /goes on at byte/);
    await assert.rejects(connection.importFile(Readable.from([bytes, bytes])), /goes on at byte/);
  });
});

test('records that were left out, put in twice or moved are noticed', async () => {
  const source = await bank();
  const bytes = await exportOf(source);
  // The head takes 29 bytes; then each record 21 and its own.
  const first = 29;
  const second = first + 21 + bytes.readUInt32BE(first + 9);
  const end = second + 21 + bytes.readUInt32BE(second + 9);
  assert.equal(bytes.length, end + 17);
  const [head, a, b, tail] = [
    bytes.subarray(0, first),
    bytes.subarray(first, second),
    bytes.subarray(second, end),
    bytes.subarray(end),
  ];
  const db = await newDatabase();
  await db.transaction(async (connection) => {
    for (const parts of [
      [head, b, a, tail],
      [head, a, tail],
      [head, a, a, b, tail],
      [head, tail],
    ]) {
      await assert.rejects(connection.importFile(Readable.from(parts)), CorruptionError);
    }
    await connection.importFile(Readable.from([head, a, b, tail]));
  });
});

test('an import whose transaction ended meanwhile imports nothing, and says so', async () => {
  const source = await bank();
  const bytes = await exportOf(source);
  const db = await newDatabase();
  await transaction.isolate(async () => {
    const connection = db.open();
    for (const end of [() => transaction.abort(), () => transaction.begin(), () => transaction.commit()]) {
      const stream = new PassThrough();
      const imported = connection.importFile(stream);
      stream.write(bytes.subarray(0, 100));
      await end();
      stream.end(bytes.subarray(100));
      await assert.rejects(imported, ConnectionStateError);
    }
    connection.close();
  });
  assert.equal(db.storage.length, 1);
});

test('a signal stops an export and an import, also one that waits, and leaves no file', async () => {
  const db = await bank();
  const reason = new RangeError('enough');
  const path = join(folder, 'stopped.hfx');
  await db.transaction(async (connection) => {
    const tree = connection.root['tree'] as Persistent;
    await assert.rejects(connection.exportFile(tree, path, { signal: AbortSignal.abort(reason) }), reason);
    const stuck = new AbortController();
    const full = new PassThrough({ highWaterMark: 1 });
    const exporting = connection.exportFile(tree, full, { signal: stuck.signal });
    setImmediate(() => stuck.abort(reason));
    await assert.rejects(exporting, reason);
    const waiting = new AbortController();
    const importing = connection.importFile(new PassThrough(), { signal: waiting.signal });
    setImmediate(() => waiting.abort(reason));
    await assert.rejects(importing, reason);
  });
  assert.ok(!existsSync(path));
  assert.deepEqual(readdirSync(folder), []);
});

test('a file is replaced once its successor is whole', async () => {
  const db = await bank();
  const path = join(folder, 'ada.hfx');
  writeFileSync(path, 'former');
  await db.transaction(async (connection) => {
    await assert.rejects(connection.exportFile(4_000_000, path), POSKeyError);
    assert.equal(readFileSync(path, 'utf8'), 'former');
    await connection.exportFile(connection.root['ada'] as Account, path);
    assert.ok((await connection.importFile(path)) instanceof Account);
  });
  assert.deepEqual(readdirSync(folder), ['ada.hfx']);
});

test('of two exports into one file at a time each is whole, and one of them stays', async () => {
  const db = await bank();
  const path = join(folder, 'same.hfx');
  await db.transaction(async (connection) => {
    const [ada, tree] = [connection.root['ada'] as Account, connection.root['tree'] as BTree<number, Account>];
    await Promise.all([connection.exportFile(tree, path), connection.exportFile(ada, path)]);
    const top = await connection.importFile(path);
    if (top instanceof Account) assert.equal(top.friend?.owner, 'Bob');
    else assert.equal((top as typeof tree).get(499)?.owner, 'account 499');
  });
  assert.deepEqual(readdirSync(folder), ['same.hfx']);
});

test('what cannot be written is a StorageError that names the file, and leaves nothing', async () => {
  const db = await bank();
  const path = join(folder, 'folder');
  mkdirSync(path);
  await db.transaction(async (connection) => {
    for (const place of [path, join(path, 'missing', 'x')]) {
      await assert.rejects(
        connection.exportFile(0, place),
        (error) => error instanceof StorageError && error.message.includes(`'${place}'`),
      );
    }
  });
  assert.deepEqual(readdirSync(folder), ['folder']);
});

test('what are no options of an export, an import or a copy is refused', async () => {
  const db = await bank();
  const path = join(folder, 'x');
  await db.transaction(async (connection) => {
    const { storage } = db;
    const wrong: [() => unknown, string][] = [
      [() => connection.exportFile(0, path, null as never), 'ARG_OPTIONS'],
      [() => connection.exportFile(0, path, { onProgres: () => {} } as never), 'ARG_OPTIONS'],
      [() => connection.exportFile(0, path, { onProgress: 5 } as never), 'ARG_FUNCTION'],
      [() => connection.exportFile(0, path, { signal: 5 } as never), 'ARG_SIGNAL'],
      [() => connection.exportFile(0, undefined as never, null as never), 'ARG_OPTIONS'],
      [() => connection.importFile(path, null as never), 'ARG_OPTIONS'],
      [() => connection.importFile(path, { signals: undefined } as never), 'ARG_OPTIONS'],
      [() => connection.importFile(path, { signal: new AbortController() } as never), 'ARG_SIGNAL'],
      [() => copyTransactions(db as never, storage), 'ARG_STORAGE'],
      [() => copyTransactions(storage, undefined as never), 'ARG_STORAGE'],
      [() => copyTransactions(storage, storage, { form: 1 } as never), 'ARG_OPTIONS'],
      [() => copyTransactions(storage, storage, { from: '1' } as never), 'ARG_TID'],
      [() => copyTransactions(storage, storage, { signal: 'stop' } as never), 'ARG_SIGNAL'],
    ];
    for (const [call, code] of wrong) await assert.rejects(async () => call(), { code }, String(call));
  });
  assert.deepEqual(readdirSync(folder), []);
});

/** A database on disk, with a blob of several pieces, an empty one, and one that is not. */
async function withBlobs(): Promise<{ readonly db: DB; readonly content: Buffer }> {
  const db = await DB.open(join(folder, 'blobs.fs'));
  databases.push(db);
  const content = Buffer.from(systemRandom.bytes(600_000));
  await db.transaction(({ root }) => {
    const photo = new PersistentBlob(content);
    root['album'] = new PersistentList([photo, new PersistentBlob(''), new PersistentBlob('text'), photo]);
  });
  return { db, content };
}

test('a pipe that has a name, and what a link leads to, are written to, not replaced by a file of that name', async () => {
  const from = await bank();
  const whole = await exportOf(from);
  const send = (to: string) =>
    from.transaction((connection) => connection.exportFile(connection.root['ada'] as Persistent, to));
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const reader = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  await send(pipe);
  assert.ok(lstatSync(pipe).isFIFO());
  const taken = Buffer.alloc(whole.length + 1);
  assert.equal(readSync(reader, taken), whole.length);
  closeSync(reader);
  const link = join(folder, 'link');
  const real = join(folder, 'real.hfx');
  writeFileSync(real, 'older', { mode: 0o600 });
  symlinkSync(real, link);
  await send(link);
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.equal(readFileSync(real).length, whole.length);
  assert.equal(statSync(real).mode & 0o777, 0o600, 'who could not read it before cannot read it now');
});

test('an export that cannot be written says so, and takes no file of anybody away', async () => {
  const from = await bank();
  const send = (to: string) => from.transaction((connection) => connection.exportFile(0, to));
  const mine = join(folder, 'x.hfx.part');
  writeFileSync(mine, 'mine');
  await send(join(folder, 'x.hfx'));
  assert.equal(readFileSync(mine, 'utf8'), 'mine');
  const before = readdirSync(folder);
  const isTold = (what: RegExp) => (error: unknown) =>
    error instanceof StorageError &&
    /the export file .* cannot be written: /.test(error.message) &&
    what.test(error.message);
  await assert.rejects(send(folder), isTold(/it is a directory; name a file in it/));
  await assert.rejects(send(join(folder, 'no', 'x.hfx')), isTold(/no such file or directory/));
  await assert.rejects(send(join(mine, 'x.hfx')), isTold(/not a directory/));
  await assert.rejects(send(''), { code: 'ARG_DESTINATION' });
  assert.deepEqual(readdirSync(folder), before);
});

test('blobs go with their contents, into contents of their own', async () => {
  const { db, content } = await withBlobs();
  const bytes = await exportOf(db, 'album');
  const check = async (album: PersistentList<PersistentBlob>) => {
    const [photo, empty, text, again] = [...album] as [PersistentBlob, PersistentBlob, PersistentBlob, PersistentBlob];
    assert.deepEqual(await buffer(photo.open('r')), content);
    assert.equal((await buffer(empty.open('r'))).length, 0);
    assert.equal(String(await buffer(text.open('r'))), 'text');
    assert.equal(again, photo);
  };
  await transaction.isolate(async () => {
    const connection = db.open();
    connection.root['aborted'] = await connection.importFile(Readable.from([bytes]));
    transaction.abort();
    const album = (await connection.importFile(Readable.from([bytes]))) as PersistentList<PersistentBlob>;
    connection.root['copy'] = album;
    await check(album);
    connection.cacheMinimize();
    transaction.savepoint();
    await check(album);
    await transaction.commit();
    await check(album);
    await pipeline(Readable.from(['another text']), (album.at(2) as PersistentBlob).open('w'));
    await transaction.commit();
    await check(connection.root['album'] as PersistentList<PersistentBlob>);
    connection.close();
  });
  await db.transaction(async ({ root }) => {
    const text = (root['copy'] as PersistentList<PersistentBlob>).at(2) as PersistentBlob;
    assert.equal(String(await buffer(text.open('r'))), 'another text');
  });
  const problems = [];
  for await (const problem of db.storage.verify({ references: checkedReferences })) problems.push(problem);
  assert.deepEqual(problems, []);
  assert.deepEqual(readdirSync(join(folder, 'blobs.fs', 'blobs', 'tmp')), [], 'no content is left over');
});

test('a damaged or incomplete content of a blob is refused, and leaves nothing', async () => {
  const { db } = await withBlobs();
  const bytes = await exportOf(db, 'album');
  const damaged = Buffer.from(bytes);
  damaged[300_000] = (damaged[300_000] as number) ^ 4;
  await transaction.isolate(async () => {
    const connection = db.open();
    for (const wrong of [damaged, bytes.subarray(0, 300_000)]) {
      await assert.rejects(
        connection.importFile(Readable.from([wrong])),
        (error) => error instanceof CorruptionError && /the content of blob oid \d+/.test(error.message),
      );
    }
    connection.close();
  });
  assert.deepEqual(readdirSync(join(folder, 'blobs.fs', 'blobs', 'tmp')), []);
});

test('a savepoint goes back to before an import, and to what was imported, however much that is', async () => {
  const source = await newDatabase();
  const text = 'x'.repeat(200);
  await source.transaction(({ root }) => {
    root['tree'] = new BTree<number, Account>().load(
      Array.from({ length: 3000 }, (_, i) => [i, new Account(`${i} ${text}`)] as const),
    );
  });
  const bytes = await exportOf(source, 'tree');
  assert.ok(bytes.length > 600_000, 'more than is kept in memory');
  const target = await newDatabase();
  await transaction.isolate(async () => {
    const connection = target.open();
    type Tree = BTree<number, Account>;
    const importTree = async () => (await connection.importFile(Readable.from([bytes]))) as Tree;
    const start = transaction.savepoint();
    const dropped = await importTree();
    const gone = dropped.get(7) as Account;
    assert.equal(gone.owner, `7 ${text}`);
    start.rollback();
    assert.throws(() => gone.owner, POSKeyError);
    connection.root['tree'] = await importTree();
    const imported = transaction.savepoint();
    const tree = connection.root['tree'] as Tree;
    const [account, other] = [tree.get(8), tree.get(2999)] as [Account, Account];
    account.balance = 1;
    transaction.savepoint();
    account.balance = 2;
    connection.cacheMinimize();
    assert.deepEqual([account.balance, other.owner], [2, `2999 ${text}`]);
    imported.rollback();
    assert.deepEqual([account.balance, account.owner], [0, `8 ${text}`]);
    other.balance = 9;
    await importTree();
    await transaction.commit();
    assert.equal(other.balance, 9);
    connection.close();
  });
  await target.transaction(({ root }) => {
    const tree = root['tree'] as BTree<number, Account>;
    tree.check();
    for (let i = 0; i < 3000; i++) {
      const { owner, balance } = tree.get(i) as Account;
      assert.deepEqual([owner, balance], [`${i} ${text}`, i === 2999 ? 9 : 0]);
    }
  });
});

test('a large import is one transaction, and needs little memory; so does the export of it', async () => {
  const count = 150_000;
  const file = join(folder, 'large.hfx');
  await pipeline(Readable.from(largeExport(count)), createWriteStream(file));
  const path = join(folder, 'large.fs');
  // Its objects alone would take more.
  const args = ['--max-old-space-size=40', IMPORTER, path, file];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const [length, exported] = JSON.parse(stdout) as [number, number];
  assert.ok(length > count, stdout);
  assert.equal(exported, count + 1);
  const db = await DB.open(path, { history: 'all' });
  databases.push(db);
  const records = [];
  for await (const each of db.storage.iterate()) records.push(each.records.length);
  assert.deepEqual(records, [1, count + 2], 'the new root, then the import and the changed root');
  for await (const { message } of db.storage.verify({ references: checkedReferences })) assert.fail(message);
});

/** A list of so many mappings, whose records are of 150 bytes. */
function* largeExport(count: number): Generator<Buffer> {
  const reference = (i: number) => ({
    oid: (i + 1) as Oid,
    className: 'holdfast.PersistentMapping',
    kind: 'strong' as const,
  });
  const writer = new ExportWriter();
  yield writer.head(0 as Oid, 1 as Tid);
  const state = encodePlain({ text: 'x'.repeat(100) }, 'state') as Buffer;
  const references = Array.from({ length: count }, (_, i) => reference(i));
  yield writer.record(0 as Oid, buildRecord('holdfast.PersistentList', references, state, state.length));
  for (let i = 0; i < count; i += 1000) {
    const records = Array.from({ length: 1000 }, (_, j) =>
      writer.record((i + j + 1) as Oid, buildRecord('holdfast.PersistentMapping', [], state, state.length)),
    );
    yield Buffer.concat(records);
  }
  yield writer.end();
}

test('a file of the first version is read', async () => {
  const bytes = Buffer.from(FIRST_VERSION, 'base64');
  await importing(bytes, (top) => {
    const mapping = top as PersistentMapping<unknown>;
    assert.ok(mapping instanceof PersistentMapping);
    assert.deepEqual([mapping.get('one'), [...(mapping.get('list') as PersistentList<number>)]], [1, [1, 2, 3]]);
  });
});

/** A mapping of a number and a list, as the first version exported it. */
const FIRST_VERSION =
  'iUhGWA0KGgoBAAAAAAAAAAEABmE4pHP6mdqSqtABAAAAAAAAAAEAAABL/OU3pQECGmhvbGRmYXN0LlBlcnNpc3RlbnRNYXBwaW5nF2hvbGRmYXN0LlBlcnNpc3RlbnRMaXN0AQIEyQAAAA0Ho29uZQGkbGlzdNQBAIKUtRQBAAAAAAAAAAIAAAAfNud4wAEBF2hvbGRmYXN0LlBlcnNpc3RlbnRMaXN0AJMBAgOqY0ugAAAAAAAAAAACAAAAAFAdAt8=';
