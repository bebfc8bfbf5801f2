import assert from 'node:assert/strict';
import { createHash, randomFillSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { ClientDisconnected, DB, PersistentBlob, ReadOnlyError, transaction } from 'holdfast/odb';
import { crc32, type LogRecord, type LogSink, setLogSink } from '#src/base/index.js';
import { type Oid, ZERO_TID } from '#src/odb/ids.js';
import { blobFilePacket, blobPathPacket } from '#src/odb/remote/blob-messages.js';
import { ProtocolError, Session } from '#src/odb/remote/index.js';
import { BlobInfo, encodeBlobRecord } from '#src/odb/storage/blob/blob-info.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import type { Storage } from '#src/odb/storage/storage.js';
import { type ClientOptions, ClientStorage } from '#src/zeo/index.js';
import { newTransaction } from '../odb/remote/owner.js';
import { ServerProgram } from './server-program.js';

const MB = 1024 * 1024;

let folder: string;
let servers: ServerProgram[];
let clients: ClientStorage[];
let lines: LogRecord[];
let formerSink: LogSink;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-zeo-blobs-'));
  servers = [];
  clients = [];
  lines = [];
  formerSink = setLogSink((line) => lines.push(line));
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await Promise.all(servers.map((server) => server.kill()));
  rmSync(folder, { recursive: true, force: true });
  setLogSink(formerSink);
});

async function serve(options: Parameters<typeof ServerProgram.start>[0] = {}): Promise<ServerProgram> {
  const server = await ServerProgram.start(options);
  servers.push(server);
  return server;
}

async function connect(address: string, options: ClientOptions = {}): Promise<ClientStorage> {
  const client = await ClientStorage.connect(address, options);
  clients.push(client);
  return client;
}

/** A file of random bytes. */
function makeFile(size: number): { readonly file: string; readonly info: BlobInfo; readonly hash: string } {
  const file = join(folder, `content-${BlobInfo.of(0, 0).id}`);
  const fd = openSync(file, 'w');
  const hash = createHash('sha1');
  let crc = 0;
  const chunk = Buffer.alloc(MB);
  for (let left = size; left > 0; left -= MB) {
    const bytes = randomFillSync(chunk.subarray(0, Math.min(left, MB)));
    writeSync(fd, bytes);
    hash.update(bytes);
    crc = crc32(bytes, crc);
  }
  closeSync(fd);
  return { file, info: BlobInfo.of(size, crc), hash: hash.digest('hex') };
}

/** Commits a content of so many bytes. */
async function store(storage: Storage, size: number) {
  const made = makeFile(size);
  const oid = storage.newOid();
  const transaction = newTransaction();
  storage.tpcBegin(transaction);
  storage.storeBlob(transaction, oid, ZERO_TID, encodeBlobRecord(made.info), made.file);
  await storage.commit(transaction);
  rmSync(made.file);
  return { ...made, oid };
}

function hashOf(path: string): string {
  return createHash('sha1').update(readFileSync(path)).digest('hex');
}

/** The most memory that a process has had, in bytes; the mark is put back before. */
function peakOf(pid: number): () => number {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  return () => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(5);
}

/** Everything in a cache that is no content in its place. */
function temporaries(cache: string): string[] {
  const names = (path: string) => (existsSync(path) ? readdirSync(path) : []);
  const own = names(join(cache, 'tmp')).filter((name) => !name.endsWith('.lock'));
  return [...own.flatMap((name) => names(join(cache, 'tmp', name))), ...names(join(cache, 'fetching'))];
}

test('a large content goes to the server and comes back without ever being in memory', {
  skip: existsSync('/proc/self/clear_refs') ? false : 'the peak of memory is told by Linux alone',
}, async () => {
  const size = 192 * MB;
  const server = await serve({ path: join(folder, 'test.fs') });
  const one = await connect(server.address);
  const two = await connect(server.address);
  await store(one, MB);
  const peaks = [peakOf(process.pid), peakOf(server.child.pid as number)];
  const before = peaks.map((peak) => peak());
  const stored = await store(one, size);
  await two.sync();
  const path = await two.loadBlob(stored.oid, stored.info);
  const grown = peaks.map((peak, i) => Math.round((peak() - (before[i] as number)) / MB));
  assert.equal(statSync(path).size, size);
  assert.equal(hashOf(path), stored.hash);
  // What it needs is a few chunks; what is seen besides is garbage that nobody has collected yet.
  assert.ok(Math.max(...grown) < 144, `client and server have grown by ${grown} MB`);
});

test('each content is fetched once, though many requests, threads and clients of the folder ask for it', async () => {
  const server = await serve();
  const stored = await store(await connect(server.address), 8 * MB);
  const blobCachePath = join(folder, 'cache');
  const [one, two] = [
    await connect(server.address, { blobCachePath }),
    await connect(server.address, { blobCachePath }),
  ];
  const before = (await server.stats()).bytesOut;
  const attachment = one.attach();
  const worker = new Worker(new URL('./blob-thread.js', import.meta.url), {
    workerData: { attachment: attachment.data, oid: stored.oid, info: { ...stored.info } },
    transferList: [...attachment.transferList],
  });
  const inThread = new Promise<string>((resolve, reject) => {
    worker.on('message', resolve);
    worker.on('error', reject);
  });
  const paths = await Promise.all([
    ...[one, two, one, two].map((client) => client.loadBlob(stored.oid, stored.info)),
    inThread,
  ]);
  assert.equal(new Set(paths).size, 1);
  assert.equal(hashOf(paths[0] as string), stored.hash);
  assert.equal(statSync(paths[0] as string).mode & 0o222, 0, 'it can only be read');
  const sent = (await server.stats()).bytesOut - before;
  assert.ok(sent > 8 * MB && sent < 9 * MB, `${sent} bytes were sent`);
  assert.deepEqual(temporaries(blobCachePath), []);
});

test('what a client has committed itself is not fetched', async () => {
  const server = await serve();
  const client = await connect(server.address);
  const stored = await store(client, 2 * MB);
  const before = (await server.stats()).bytesOut;
  assert.equal(hashOf(await client.loadBlob(stored.oid, stored.info)), stored.hash);
  assert.ok((await server.stats()).bytesOut - before < 10_000);
});

test('a cache is held near its size: what was not used for longest goes, and is fetched again when it is wanted', async () => {
  const server = await serve();
  const writer = await connect(server.address);
  const contents = [];
  for (let i = 0; i < 12; i++) contents.push(await store(writer, 200_000));
  const blobCachePath = join(folder, 'cache');
  const client = await connect(server.address, { blobCachePath, blobCacheSize: 1_000_000 });
  const bytes = () =>
    readdirSync(blobCachePath, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
  const [first] = contents as [(typeof contents)[0]];
  let firstPath = '';
  for (const { oid, info } of contents) {
    await client.loadBlob(oid, info);
    // It is used all the time, so that others go.
    firstPath = await client.loadBlob(first.oid, first.info);
    await pause(2);
  }
  await until(() => bytes() <= 1_200_000);
  assert.ok(existsSync(firstPath), 'what is in use stays');
  for (const { oid, info, hash } of contents) assert.equal(hashOf(await client.loadBlob(oid, info)), hash);
});

test('what is missing in a cache is fetched again, and so is what is damaged', async () => {
  const server = await serve();
  const stored = await store(await connect(server.address), 100_000);
  const blobCachePath = join(folder, 'cache');
  const first = await connect(server.address, { blobCachePath });
  const path = await first.loadBlob(stored.oid, stored.info);
  rmSync(path);
  assert.equal(hashOf(await first.loadBlob(stored.oid, stored.info)), stored.hash);
  rmSync(path);
  writeFileSync(path, 'cut off');
  assert.equal(hashOf(await first.loadBlob(stored.oid, stored.info)), stored.hash);
  await first.close();
  assert.ok(existsSync(path), 'it outlasts the client');
  // A flipped bit is looked for once, by each who finds the file.
  const bytes = readFileSync(path);
  bytes[50_000] = (bytes[50_000] as number) ^ 1;
  rmSync(path);
  writeFileSync(path, bytes);
  const second = await connect(server.address, { blobCachePath });
  assert.equal(hashOf(await second.loadBlob(stored.oid, stored.info)), stored.hash);
  assert.ok(lines.some(({ message }) => /is damaged, and is fetched again/.test(message)));
});

test('a client that is disconnected in the middle gets ClientDisconnected; nothing is left behind, on either side', async () => {
  const path = join(folder, 'test.fs');
  let server = await serve({ path });
  const writer = await connect(server.address);
  const stored = await store(writer, 24 * MB);
  const blobCachePath = join(folder, 'cache');
  const client = await connect(server.address, { blobCachePath, waitTimeout: 2000 });
  const made = makeFile(24 * MB);
  const lost = newTransaction();
  client.tpcBegin(lost);
  client.storeBlob(lost, client.newOid(), ZERO_TID, encodeBlobRecord(made.info), made.file);
  const upload = client.commit(lost);
  const sent = join(path, 'blobs', 'tmp');
  await until(() => readdirSync(sent).length > 0);
  // From now on nothing goes on: both are in their middle.
  server.child.kill('SIGSTOP');
  const download = client.loadBlob(stored.oid, stored.info);
  await until(() => temporaries(blobCachePath).some((name) => name.endsWith('.new')));
  const failures = Promise.all([download, upload].map((each) => assert.rejects(each, ClientDisconnected)));
  await server.kill();
  await failures;
  await client.tpcAbort(lost);
  assert.deepEqual(temporaries(blobCachePath), []);
  server = await serve({ path, address: server.address });
  assert.deepEqual(readdirSync(sent), []);
  // A client that goes in the middle leaves nothing with a server that stays.
  const second = await connect(server.address);
  const again = newTransaction();
  second.tpcBegin(again);
  second.storeBlob(again, second.newOid(), ZERO_TID, encodeBlobRecord(made.info), made.file);
  const cut = assert.rejects(second.commit(again), ClientDisconnected);
  await until(() => readdirSync(sent).length > 0);
  await second.close();
  await cut;
  await until(() => readdirSync(sent).length === 0);
  assert.equal(hashOf(await writer.loadBlob(stored.oid, stored.info)), stored.hash);
});

test('what is not committed is in the folder of the cache, and is removed on abort', async () => {
  const server = await serve();
  const blobCachePath = join(folder, 'cache');
  const client = await connect(server.address, { blobCachePath });
  const db = await DB.open<{ blob: PersistentBlob }>(client);
  const connection = db.open();
  connection.root.blob = new PersistentBlob('committed');
  await transaction.commit();
  const writer = connection.root.blob.open('w');
  await new Promise<void>((resolve) => writer.end('uncommitted', () => resolve()));
  assert.equal(temporaries(blobCachePath).length, 1);
  transaction.abort();
  assert.equal(await text(connection.root.blob.open('r')), 'committed');
  assert.deepEqual(temporaries(blobCachePath), []);
  connection.close();
  await db.close();
});

test('a folder that a client leaves is cleaned; what one left that was killed goes with the next', async () => {
  const server = await serve();
  const blobCachePath = join(folder, 'cache');
  const dead = join(blobCachePath, 'tmp', 'dead');
  mkdirSync(dead, { recursive: true });
  writeFileSync(join(dead, 'draft'), 'half');
  const client = await connect(server.address, { blobCachePath });
  assert.ok(!existsSync(dead));
  await client.close();
  assert.deepEqual(readdirSync(join(blobCachePath, 'tmp')), []);
  const own = await connect(server.address);
  const cache = dirname(dirname(own.temporaryDirectory as string));
  await own.close();
  assert.ok(!existsSync(cache), 'one of its own goes as a whole');
});

test('who may only read cannot send contents', async () => {
  const server = await serve({ readOnly: true });
  const client = await connect(server.address);
  assert.throws(() => client.tpcBegin(newTransaction()), ReadOnlyError);
});

test('a path is taken from nobody outside the process', async () => {
  const storage = new MemoryStorage();
  const session = new Session({ storage, transport: { send: () => undefined, close: () => undefined } });
  const info = BlobInfo.of(1, 1);
  assert.throws(() => session.receive(blobFilePacket(info.id, '/etc/hostname')), ProtocolError);
  assert.throws(() => session.receive(blobPathPacket(1, 1 as Oid, info)), ProtocolError);
  session.close();
  await storage.close();
});
