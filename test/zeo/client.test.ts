import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { DB, PersistentMapping, TransactionManager } from 'holdfast/odb';
import { type LogRecord, type LogSink, setLogSink } from '#src/base/index.js';
import {
  ClientDisconnected,
  CommitUncertainError,
  ConflictError,
  POSKeyError,
  ProtocolError,
  ReadOnlyError,
  StorageError,
} from '#src/odb/errors.js';
import { type Oid, type Tid, ZERO_TID } from '#src/odb/ids.js';
import type { Storage } from '#src/odb/storage/storage.js';
import { type ClientOptions, ClientStorage } from '#src/zeo/index.js';
import { newTransaction } from '../odb/remote/owner.js';
import { concatResolver } from '../odb/remote/resolver.js';
import { ServerProgram } from './server-program.js';

let servers: ServerProgram[];
let clients: ClientStorage[];
let folders: string[];
let lines: LogRecord[];
let formerSink: LogSink;

beforeEach(() => {
  servers = [];
  clients = [];
  folders = [];
  lines = [];
  formerSink = setLogSink((line) => lines.push(line));
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await Promise.all(servers.map((server) => server.kill()));
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  setLogSink(formerSink);
});

async function serve(options: Parameters<typeof ServerProgram.start>[0] = {}): Promise<ServerProgram> {
  const server = await ServerProgram.start(options);
  servers.push(server);
  return server;
}

async function connect(address: string | readonly string[], options: ClientOptions = {}): Promise<ClientStorage> {
  const client = await ClientStorage.connect(address, options);
  clients.push(client);
  return client;
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-zeo-'));
  folders.push(folder);
  return folder;
}

async function commit(storage: Storage, records: readonly [Oid, Tid, string | Uint8Array][]) {
  const transaction = newTransaction();
  storage.tpcBegin(transaction);
  for (const [oid, serial, data] of records) storage.store(transaction, oid, serial, Buffer.from(data));
  try {
    return await storage.commit(transaction);
  } catch (error) {
    await storage.tpcAbort(transaction);
    throw error;
  }
}

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!(await condition())) {
    assert.ok(performance.now() < endMs, `${what} did not happen within 20 s`);
    await pause(5);
  }
}

const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();

test('what one client commits, another reads', async () => {
  const server = await serve();
  const [a, b] = [await connect(server.address), await connect(server.address)];
  assert.equal(a.name, `zeo://${server.address}/1`);
  assert.equal(a.supports.locks, true);
  assert.equal(a.isConnected, true);
  const oid = a.newOid();
  const first = await commit(a, [[oid, ZERO_TID, 'one']]);
  await b.sync();
  assert.equal(b.lastTransaction(), first.tid);
  assert.equal(text(b.load(oid).data), 'one');
  const second = await commit(b, [[oid, first.tid, 'two']]);
  await a.sync();
  assert.equal(text(a.load(oid).data), 'two');
  assert.equal(text(a.loadBefore(oid, second.tid)?.data), 'one', 'the old snapshot, from the cache');
  await assert.rejects(commit(a, [[oid, first.tid, 'late']]), (error: unknown) => {
    assert.ok(error instanceof ConflictError);
    assert.deepEqual([error.oid, error.baseSerial, error.committedSerial], [oid, first.tid, second.tid]);
    return true;
  });
  assert.throws(() => a.load(12_345 as Oid), POSKeyError);
});

test('a client hears of a commit by itself, and polls nothing', async () => {
  const server = await serve();
  const [a, b] = [await connect(server.address), await connect(server.address)];
  const oid = a.newOid();
  const heard = new Promise<Tid>((resolve) => {
    b.subscribe({ invalidate: (tid) => resolve(tid), invalidateAll: () => undefined });
  });
  const { tid } = await commit(a, [[oid, ZERO_TID, 'x']]);
  assert.equal(await heard, tid);
  assert.equal(b.lastTransaction(), tid);
});

test('clients that add to one object at once lose nothing, merged in the server or in the client', async () => {
  for (const resolves of [true, false]) {
    const server = await serve(resolves ? { merges: 'texts' } : {});
    const options = resolves ? {} : { conflictResolver: concatResolver };
    const four: ClientStorage[] = [];
    for (let i = 0; i < 4; i++) four.push(await connect(server.address, options));
    const first = four[0] as ClientStorage;
    const oid = first.newOid();
    const { tid } = await commit(first, [[oid, ZERO_TID, '.']]);
    const letters = 'abcdefghijklmnop';
    await Promise.all([...letters].map((letter, i) => commit(four[i % 4] as Storage, [[oid, tid, `.${letter}`]])));
    await first.sync();
    assert.deepEqual([...(text(first.load(oid).data) as string)].sort().join(''), `.${letters}`);
  }
});

test('never older data than an invalidation that was seen, and never half of a commit', async () => {
  const server = await serve();
  const [writer, reader] = [await connect(server.address), await connect(server.address, { cacheSize: '30KB' })];
  const oids = Array.from({ length: 40 }, () => writer.newOid());
  let serial = (
    await commit(
      writer,
      oids.map((oid) => [oid, ZERO_TID, '0']),
    )
  ).tid;
  let isWriting = true;
  const writing = (async () => {
    for (let round = 1; round <= 150; round++) {
      const before = serial;
      serial = (
        await commit(
          writer,
          oids.map((oid) => [oid, before, String(round)]),
        )
      ).tid;
    }
    isWriting = false;
  })();
  let snapshots = 0;
  let lastRound = 0;
  await reader.sync();
  while (isWriting) {
    const tid = reader.poll();
    const before = (tid + 1) as Tid;
    if (snapshots % 3 === 0) await reader.prefetch(oids, before);
    const rounds = new Set(oids.map((oid) => text(reader.loadBefore(oid, before)?.data)));
    assert.equal(rounds.size, 1, `all of one commit at ${tid}`);
    const round = Number([...rounds][0]);
    assert.ok(round >= lastRound);
    lastRound = round;
    snapshots += 1;
    await pause(0);
  }
  await writing;
  assert.ok(snapshots > 5);
  await reader.sync();
  assert.equal(text(reader.load(oids[0] as Oid).data), '150');
});

test('an unknown name, a wrong protocol, and nobody there', async () => {
  const server = await serve();
  await assert.rejects(ClientStorage.connect(server.address, { storage: 'nope' }), (error: unknown) => {
    return error instanceof StorageError && /no storage 'nope'/.test(error.message);
  });
  const other = createServer((socket) => socket.resume().end('220 mail.example.org ESMTP\r\n')).listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  await assert.rejects(ClientStorage.connect(port), ProtocolError);
  other.close();
  await once(other, 'close');
  const startMs = performance.now();
  await assert.rejects(ClientStorage.connect(port, { waitTimeout: 200 }), (error: unknown) => {
    assert.ok(error instanceof ClientDisconnected);
    assert.match(error.message, new RegExp(`127.0.0.1:${port}.*ECONNREFUSED`));
    return true;
  });
  assert.ok(performance.now() - startMs < 5000);
});

test('several addresses are tried in turn', async () => {
  const server = await serve();
  const client = await connect(['127.0.0.1:1', server.address]);
  assert.equal(client.lastTransaction(), ZERO_TID);
});

test('a read-only client refuses to write', async () => {
  const server = await serve();
  const [writer, client] = [await connect(server.address), await connect(server.address, { readOnly: true })];
  const oid = writer.newOid();
  await commit(writer, [[oid, ZERO_TID, 'x']]);
  await client.sync();
  assert.equal(client.isReadOnly, true);
  assert.throws(() => client.newOid(), ReadOnlyError);
  assert.throws(() => client.tpcBegin(newTransaction()), ReadOnlyError);
  assert.equal(text(client.load(oid).data), 'x');
});

test('while the server is away: the cache answers, other reads fail at once, promises wait for it', async () => {
  const path = join(newFolder(), 'test.fs');
  let server = await serve({ path });
  const { address } = server;
  const client = await connect(address);
  const [cached, other] = [client.newOid(), client.newOid()];
  const { tid } = await commit(client, [[cached, ZERO_TID, 'cached']]);
  await commit(await connect(address), [[other, ZERO_TID, 'other']]);
  await client.sync();
  await server.kill();
  await until(() => !client.isConnected, 'the loss');
  assert.equal(text(client.load(cached).data), 'cached');
  const startMs = performance.now();
  assert.throws(() => client.load(other), ClientDisconnected);
  assert.ok(performance.now() - startMs < 100, 'at once');
  const synced = client.sync();
  const committed = commit(client, [[cached, tid, 'newer']]);
  server = await serve({ path, address });
  await synced;
  const { tid: newer } = await committed;
  assert.equal(client.isConnected, true);
  assert.equal(text(client.load(other).data), 'other');
  assert.equal(client.load(cached).tid, newer);
  assert.notEqual(client.newOid(), other);
});

test('a client that was away gives no oid that it had fetched before: the server may be one that gives them anew', async () => {
  const path = join(newFolder(), 'test.fs');
  let server = await serve({ path });
  const { address } = server;
  const client = await connect(address);
  const first = client.newOid();
  await server.kill();
  await until(() => !client.isConnected, 'the loss');
  // As one that was restored from an older copy.
  unlinkSync(join(path, 'oids'));
  server = await serve({ path, address });
  const other = await connect(address);
  const others = new Set(Array.from({ length: 50 }, () => other.newOid()));
  assert.ok(others.has((first + 1) as Oid), 'it gives them anew');
  await client.sync();
  for (let i = 0; i < 50; i++) assert.ok(!others.has(client.newOid()));
});

test('what an open transaction shows is kept for it, also where its client has lost its server and found it again', async () => {
  const path = join(newFolder(), 'test.fs');
  let server = await serve({ path });
  const { address } = server;
  type Root = { box: PersistentMapping<number> };
  const [reading, writing] = [await connect(address), await connect(address)];
  const [reader, writer] = [await DB.open<Root>(reading), await DB.open<Root>(writing)];
  await writer.transaction(({ root }) => {
    root.box = new PersistentMapping([['value', 0]]);
  });
  await reading.sync();
  const manager = new TransactionManager();
  const { root } = reader.open({ transactionManager: manager });
  manager.begin();
  const { box } = root;
  await writer.transaction((connection) => {
    connection.root.box.set('value', 1);
  });
  await server.kill();
  await until(() => !reading.isConnected && !writing.isConnected, 'the loss');
  server = await serve({ path, address });
  await Promise.all([reading.sync(), writing.sync()]);
  await writer.pack();
  assert.equal(box.get('value'), 0);
  manager.begin();
  assert.equal(box.get('value'), 1);
  await Promise.all([reader.close(), writer.close()]);
});

test('promises wait for the server for a limited time', async () => {
  const server = await serve();
  const client = await connect(server.address, { waitTimeout: 300 });
  await server.kill();
  await until(() => !client.isConnected, 'the loss');
  await assert.rejects(client.sync(), (error: unknown) => {
    return error instanceof ClientDisconnected && /within 300 ms/.test(error.message);
  });
});

test('that the server is away is no problem of the data: a verification fails, and tells of none', async () => {
  const server = await serve();
  const client = await connect(server.address, { waitTimeout: 100 });
  await commit(client, [[client.newOid(), ZERO_TID, 'x']]);
  await server.kill();
  await until(() => !client.isConnected, 'the loss');
  const verify = async () => {
    for await (const { message } of client.verify({ references: () => [] })) assert.fail(message);
  };
  await assert.rejects(verify(), ClientDisconnected);
});

test('what was committed while a client was away is told when it is back, one by one or as a whole', async () => {
  for (const invalidationQueueSize of [100, 2]) {
    const path = join(newFolder(), 'test.fs');
    let server = await serve({ path });
    const { address } = server;
    const client = await connect(address);
    const oid = client.newOid();
    let { tid } = await commit(client, [[oid, ZERO_TID, 'before']]);
    await server.close();
    await until(() => !client.isConnected, 'the loss');
    // Somebody else writes while the client cannot be there.
    const folder = newFolder();
    server = await serve({ path, address: join(folder, 'zeo.sock') });
    const writer = await connect(server.address);
    for (let i = 0; i < 5; i++) tid = (await commit(writer, [[oid, tid, `away ${i}`]])).tid;
    await writer.close();
    await server.close();
    const told: string[] = [];
    client.subscribe({
      invalidate: (_, oids) => told.push(`some ${oids.join()}`),
      invalidateAll: () => told.push('all'),
    });
    server = await serve({ path, address, invalidationQueueSize });
    await client.sync();
    assert.equal(client.lastTransaction(), tid);
    assert.equal(text(client.load(oid).data), 'away 4');
    assert.deepEqual(told, invalidationQueueSize === 2 ? ['all'] : Array(5).fill(`some ${oid}`));
    await client.close();
    await server.close();
  }
});

test('a server that knows less than the client has seen is not used', async () => {
  const server = await serve();
  const client = await connect(server.address);
  const oid = client.newOid();
  await commit(client, [[oid, ZERO_TID, 'x']]);
  await server.kill();
  await serve({ address: server.address });
  await until(
    () => lines.some(({ level, message }) => level === 'critical' && /not used/.test(message)),
    'the refusal',
  );
  assert.equal(client.isConnected, false);
  assert.equal(text(client.load(oid).data), 'x', 'the cache goes on');
});

test('a commit whose answer was lost is uncertain, and its outcome can be asked for', async () => {
  const path = join(newFolder(), 'test.fs');
  const server = await serve({ path });
  const client = await connect(server.address);
  const [oid, other] = [client.newOid(), client.newOid()];
  const { tid } = await commit(client, [[oid, ZERO_TID, 'x']]);
  // The server gets the commit only when it wakes up, and it never does.
  await server.block(60_000);
  const lost = commit(client, [[oid, tid, 'lost']]);
  const read = client.sync();
  await pause(50);
  const failures = Promise.allSettled([lost, read]);
  await server.kill();
  const [commitResult, syncResult] = await failures;
  assert.ok(commitResult.status === 'rejected' && commitResult.reason instanceof CommitUncertainError);
  assert.ok(syncResult.status === 'rejected' && syncResult.reason instanceof ClientDisconnected);
  const abort = new AbortController();
  const withdrawn = commitResult.reason.outcome({ signal: abort.signal });
  abort.abort(new Error('no patience'));
  await assert.rejects(withdrawn, /no patience/);
  const outcome = commitResult.reason.outcome();
  await serve({ path, address: server.address });
  assert.equal(await outcome, undefined);
  assert.equal(text(client.load(oid).data), 'x');
  await commit(client, [[other, ZERO_TID, 'goes on']]);
});

test('a commit that happened though its answer was lost says so', async () => {
  const path = join(newFolder(), 'test.fs');
  const server = await serve({ path });
  const client = await connect(server.address);
  const watcher = await connect(server.address);
  const oid = client.newOid();
  const transaction = newTransaction();
  client.tpcBegin(transaction);
  client.store(transaction, oid, ZERO_TID, Buffer.from('x'));
  const heard = new Promise<Tid>((resolve) => {
    watcher.subscribe({ invalidate: resolve, invalidateAll: resolve });
  });
  const result = client.commit(transaction);
  const tid = await heard;
  assert.equal(await watcher.outcome(transaction.commitId), tid);
  assert.equal((await result).tid, tid);
  assert.equal(await watcher.outcome(newTransaction().commitId), undefined);
});

test('a commit of which it was said that it did not happen never does', async () => {
  const server = await serve();
  const [a, b] = [await connect(server.address), await connect(server.address)];
  const transaction = newTransaction();
  a.tpcBegin(transaction);
  a.store(transaction, a.newOid(), ZERO_TID, Buffer.from('too late'));
  assert.equal(await b.outcome(transaction.commitId), undefined);
  await assert.rejects(a.commit(transaction), ClientDisconnected);
  await a.tpcAbort(transaction);
  assert.equal(await b.outcome(transaction.commitId), undefined);
  assert.equal(b.length, 0);
});

test('a transaction of two phases does not outlive its connection', async () => {
  const path = join(newFolder(), 'test.fs');
  const server = await serve({ path });
  const client = await connect(server.address);
  const oid = client.newOid();
  const [voted, sent] = [newTransaction(), newTransaction()];
  client.tpcBegin(voted);
  client.store(voted, oid, ZERO_TID, Buffer.from('x'));
  await client.tpcVote(voted);
  client.tpcBegin(sent);
  client.store(sent, client.newOid(), ZERO_TID, Buffer.alloc(2_000_000));
  await server.kill();
  await until(() => !client.isConnected, 'the loss');
  await serve({ path, address: server.address });
  await client.sync();
  await assert.rejects(client.tpcFinish(voted), ClientDisconnected);
  await client.tpcAbort(voted);
  await assert.rejects(client.commit(sent), ClientDisconnected);
  await client.tpcAbort(sent);
  assert.throws(() => client.load(oid), POSKeyError);
  await commit(client, [[oid, ZERO_TID, 'y']]);
});

test('a vote that has waited for the connection is finished on it', async () => {
  const path = join(newFolder(), 'test.fs');
  const server = await serve({ path });
  const client = await connect(server.address);
  const oid = client.newOid();
  await server.kill();
  await until(() => !client.isConnected, 'the loss');
  const voted = newTransaction();
  client.tpcBegin(voted);
  client.store(voted, oid, ZERO_TID, Buffer.from('x'));
  const vote = client.tpcVote(voted);
  await serve({ path, address: server.address });
  await vote;
  const tid = await client.tpcFinish(voted);
  assert.equal(client.load(oid).tid, tid);
});

test('kill -9 of the server at any moment loses no acknowledged commit, and no half of another is there', async () => {
  const path = join(newFolder(), 'test.fs');
  let server = await serve({ path });
  const { address } = server;
  const client = await connect(address);
  const pairs = Array.from({ length: 6 }, () => [client.newOid(), client.newOid()] as const);
  const first = await commit(
    client,
    pairs.flat().map((oid) => [oid, ZERO_TID, '0']),
  );
  let isOver = false;
  let acknowledged = 0;
  let uncertain = 0;
  const workers = pairs.map(async ([left, right]) => {
    let serial = first.tid;
    let value = 0;
    while (!isOver) {
      try {
        const outcome = await commit(client, [
          [left, serial, String(value + 1)],
          [right, serial, String(value + 1)],
        ]);
        serial = outcome.tid;
        value += 1;
        acknowledged += 1;
      } catch (error) {
        if (error instanceof CommitUncertainError) {
          uncertain += 1;
          const tid = await error.outcome();
          if (tid === undefined) continue;
          serial = tid;
          value += 1;
        } else if (!(error instanceof ClientDisconnected)) {
          throw error;
        }
      }
    }
    return value;
  });
  for (let round = 0; round < 4; round++) {
    await pause(60 + round * 35);
    await server.kill();
    server = await serve({ path, address });
    await client.sync();
  }
  isOver = true;
  const values = await Promise.all(workers);
  await client.sync();
  const fresh = await connect(address);
  for (const [i, [left, right]] of pairs.entries()) {
    assert.equal(text(fresh.load(left).data), String(values[i]));
    assert.equal(text(fresh.load(right).data), String(values[i]));
    assert.equal(text(client.load(left).data), String(values[i]), 'the cache was brought up to date');
  }
  assert.ok(acknowledged > 20, `${acknowledged} acknowledged, ${uncertain} uncertain`);
});

test('locks: held against others, taken again after a reconnect, fallen with their client', async () => {
  const path = join(newFolder(), 'test.fs');
  let server = await serve({ path });
  const { address } = server;
  const [a, b] = [await connect(address), await connect(address)];
  assert.equal(await a.locks.tryLock('claim'), true);
  assert.equal(await b.locks.tryLock('claim'), false);
  let falls = 0;
  b.locks.watch('claim', () => {
    falls += 1;
  });
  const waiting = b.locks.lock('claim');
  const failed = assert.rejects(waiting, ClientDisconnected);
  await server.kill();
  await failed;
  server = await serve({ path, address });
  await a.sync();
  assert.equal(await b.locks.tryLock('claim'), false, 'it was taken again first');
  assert.equal(falls, 1, 'sessions may have ended unseen');
  const granted = b.locks.lock('claim');
  await a.close();
  await granted;
  assert.equal(falls, 2);
  const other = await connect(address);
  assert.equal(await other.locks.tryLock('claim'), false);
  await b.locks.unlock('claim');
  assert.equal(await other.locks.tryLock('claim'), true);
  await server.close();
});

test('a lock is taken again only while it is held', async () => {
  const path = join(newFolder(), 'test.fs');
  const server = await serve({ path });
  const [a, b] = [await connect(server.address), await connect(server.address)];
  await a.locks.lock('one');
  await a.locks.lock('two');
  await a.locks.unlock('one');
  await server.kill();
  await serve({ path, address: server.address });
  await Promise.all([a.sync(), b.sync()]);
  assert.equal(await b.locks.tryLock('one'), true);
  assert.equal(await b.locks.tryLock('two'), false);
});

test('the clock of a client is its server’s', async () => {
  const server = await serve();
  const client = await connect(server.address);
  assert.ok(Math.abs(client.clock.now() - Date.now()) < 100);
});

test('another thread has a view of its own, and takes it along when it ends', async () => {
  const server = await serve();
  const client = await connect(server.address);
  const oid = client.newOid();
  const { tid } = await commit(client, [[oid, ZERO_TID, '0']]);
  const threads = await Promise.all([startThread(client), startThread(client)]);
  const results = await Promise.all(threads.map((thread) => thread.ask({ kind: 'increment', oid, count: 100 })));
  assert.deepEqual(results, [100, 100]);
  await client.sync();
  assert.equal(text(client.load(oid).data), '200');
  assert.ok(client.load(oid).tid > tid);
  const [first, second] = threads as [Thread, Thread];
  await first.ask({ kind: 'lock', name: 'mine' });
  const fell = new Promise<void>((resolve) => client.locks.watch('mine', resolve));
  await first.worker.terminate();
  await fell;
  assert.equal(await second.ask({ kind: 'lock', name: 'mine' }), true);
  await second.ask({ kind: 'close' });
  await client.locks.lock('mine');
  await second.worker.terminate();
});

test('threads work while the main thread is blocked, though one of them was attached and another closes meanwhile', async () => {
  const server = await serve();
  const client = await connect(server.address);
  const oid = client.newOid();
  await commit(client, [[oid, ZERO_TID, '0']]);
  const threads = await Promise.all([startThread(client), startThread(client)]);
  const shared = new Int32Array(new SharedArrayBuffer(8));
  for (const [i, thread] of threads.entries()) {
    thread.worker.postMessage({ kind: 'increment', oid, count: 50, shared, index: i, closes: i === 1 });
  }
  const endMs = performance.now() + 15_000;
  while (Atomics.load(shared, 0) + Atomics.load(shared, 1) < 100) {
    assert.ok(performance.now() < endMs, `${shared} were done while the main thread was blocked`);
    Atomics.wait(shared, 0, Atomics.load(shared, 0), 20);
  }
  assert.equal(client.poll() > ZERO_TID, true, 'what was published is known without an event');
  assert.equal(text(client.load(oid).data), '100');
  for (const { worker } of threads) await worker.terminate();
});

test('closing a client ends what others wait for, in this thread and in others', async () => {
  const server = await serve();
  const client = await connect(server.address);
  const thread = await startThread(client);
  await server.block(3000);
  const reading = thread.ask({ kind: 'load', oid: 77 });
  const synced = client.sync();
  const failed = assert.rejects(synced, ClientDisconnected);
  await pause(50);
  const startMs = performance.now();
  await client.close();
  await failed;
  assert.equal(await reading, 'ODB_CLIENT_DISCONNECTED');
  assert.ok(performance.now() - startMs < 2500, 'nobody waited for the server');
  await client.close();
  assert.throws(() => client.load(1 as Oid), ClientDisconnected);
  await thread.worker.terminate();
});

test('a thread whose view blocks wakes when the server goes away', async () => {
  const server = await serve();
  const client = await connect(server.address);
  const thread = await startThread(client);
  await server.block(60_000);
  const reading = thread.ask({ kind: 'load', oid: 77 });
  await pause(50);
  const startMs = performance.now();
  await server.kill();
  assert.equal(await reading, 'ODB_CLIENT_DISCONNECTED');
  assert.ok(performance.now() - startMs < 2000);
  await thread.worker.terminate();
});

test('reads do not starve the event loop of a client that does something else', async () => {
  const server = await serve();
  const client = await connect(server.address, { cacheSize: 0 });
  const oid = client.newOid();
  await commit(client, [[oid, ZERO_TID, 'x']]);
  let ticks = 0;
  const timer = setInterval(() => {
    ticks += 1;
  }, 1);
  for (let i = 0; i < 200; i++) {
    client.load(oid);
    await pause(0);
  }
  clearInterval(timer);
  assert.ok(ticks > 10, `${ticks} ticks`);
});

test('history and transactions come over the wire', async () => {
  const server = await serve();
  const client = await connect(server.address);
  const oid = client.newOid();
  const tids: Tid[] = [];
  let serial = ZERO_TID;
  for (let i = 0; i < 3; i++) {
    serial = (await commit(client, [[oid, serial, Buffer.alloc(400_000, i)]])).tid;
    tids.push(serial);
  }
  assert.deepEqual(
    (await client.history(oid, 5)).map(({ tid }) => tid),
    [...tids].reverse(),
  );
  const seen: Tid[] = [];
  for await (const { tid, records, user } of client.iterate()) {
    seen.push(tid);
    assert.equal(records[0]?.data?.length, 400_000);
    assert.equal(user, 'tester');
  }
  assert.deepEqual(seen, tids);
  assert.equal(client.length, 1);
});

test('a record of many megabytes goes there and back', async () => {
  const server = await serve();
  const [a, b] = [await connect(server.address), await connect(server.address)];
  const oid = a.newOid();
  const data = Buffer.alloc(30_000_000, 'holdfast');
  await commit(a, [[oid, ZERO_TID, data]]);
  await b.sync();
  assert.ok(data.equals(b.load(oid).data));
});

class Thread {
  constructor(readonly worker: Worker) {}

  async ask(request: object): Promise<unknown> {
    this.worker.postMessage(request);
    const [message] = (await once(this.worker, 'message')) as [unknown];
    return message;
  }
}

async function startThread(client: ClientStorage): Promise<Thread> {
  const { data, transferList } = client.attach();
  const worker = new Worker(new URL('./client-thread.js', import.meta.url), {
    workerData: data,
    transferList: [...transferList],
  });
  await once(worker, 'message');
  return new Thread(worker);
}
