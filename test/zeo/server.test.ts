import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { type LogRecord, type LogSink, setLogSink } from '#src/base/index.js';
import { AddressInUseError, ClientDisconnected, StorageError } from '#src/odb/errors.js';
import { type Oid, type Tid, ZERO_TID } from '#src/odb/ids.js';
import { newPacket, readValue, valuePacket } from '#src/odb/remote/codec.js';
import { commitPacket } from '#src/odb/remote/commit-message.js';
import { errorFromWire } from '#src/odb/remote/error-codec.js';
import { HEADER_BYTES, Message } from '#src/odb/remote/messages.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import {
  ConnectionMessage,
  helloPacket,
  openChannelPacket,
  pingPacket,
  readInvalidate,
  readWelcome,
} from '#src/zeo/protocol/connection-messages.js';
import { encodeFrame, FrameDecoder } from '#src/zeo/protocol/framing.js';
import { MAGIC } from '#src/zeo/protocol/version.js';
import { type ServerOptions, StorageServer } from '#src/zeo/server/server.js';
import { parseAddress } from '#src/zeo/transport/address.js';
import { newTransaction } from '../odb/remote/owner.js';
import { ManualClock, settled } from '../support/manual-clock.js';

let storage: MemoryStorage;
let clock: ManualClock;
let server: StorageServer;
let lines: LogRecord[];
let formerSink: LogSink;
let clients: RawClient[];

beforeEach(() => {
  lines = [];
  clients = [];
  formerSink = setLogSink((line) => lines.push(line));
  clock = new ManualClock();
  storage = new MemoryStorage({ clock });
});

afterEach(async () => {
  for (const client of clients) client.socket.destroy();
  await server?.close();
  await storage.close();
  setLogSink(formerSink);
});

async function listen(options: Partial<ServerOptions> = {}): Promise<void> {
  server = await StorageServer.listen({ storage, address: 0, clock, ...options });
}

/** A client that says what the test wants said. */
class RawClient {
  readonly socket: Socket;
  readonly frames: { channel: number; packet: Buffer }[] = [];
  #onFrame: (() => void) | undefined;
  readonly closed: Promise<void>;

  constructor(address: string) {
    const parsed = parseAddress(address);
    this.socket = parsed.kind === 'unix' ? connect(parsed.path) : connect(parsed.port, parsed.host);
    const decoder = new FrameDecoder({
      frameBytesMax: 0xffff_ffff,
      onFrame: (channel, packet) => {
        this.frames.push({ channel, packet: Buffer.from(packet) });
        this.#onFrame?.();
      },
    });
    this.socket.on('data', (chunk) => decoder.push(chunk));
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => this.socket.on('close', () => resolve()));
    clients.push(this);
  }

  send(...parts: (Uint8Array | string)[]): void {
    for (const part of parts) this.socket.write(part);
  }

  async frame(): Promise<{ channel: number; packet: Buffer }> {
    while (this.frames.length === 0) {
      await new Promise<void>((resolve) => {
        this.#onFrame = resolve;
      });
    }
    return this.frames.shift() as { channel: number; packet: Buffer };
  }

  hello(storageName = '1', versions = [1], lastTid = ZERO_TID): void {
    this.send(MAGIC, encodeFrame(0, helloPacket({ versions, storage: storageName, lastTid, label: 'raw' })));
  }

  /** With the handshake, and channel 1. */
  static async welcome(lastTid = ZERO_TID): Promise<RawClient> {
    const client = new RawClient(server.address);
    client.hello('1', [1], lastTid);
    assert.equal((await client.frame()).packet[0], ConnectionMessage.welcome);
    client.send(encodeFrame(0, openChannelPacket({ channel: 1, isReadOnly: false, locks: [], watches: [] })));
    assert.equal((await client.frame()).packet[0], ConnectionMessage.channelOpened);
    return client;
  }

  commit(
    oid: number,
    serial: number,
    options: { type?: typeof Message.commit | typeof Message.vote; size?: number } = {},
  ) {
    const { type = Message.commit, size = 10 } = options;
    const packet = commitPacket({
      type,
      id: 1,
      number: 1,
      canMerge: false,
      aheadCount: 0,
      transaction: newTransaction(),
      checks: [],
      undos: [],
      records: [{ oid: oid as Oid, tid: serial as Tid, endTid: undefined, data: new Uint8Array(size) }],
    });
    this.send(encodeFrame(1, packet));
  }

  load(oid: number): void {
    const packet = newPacket(Message.load, 2, 16);
    packet[HEADER_BYTES + 7] = oid;
    this.send(encodeFrame(1, packet));
  }
}

async function commit(oid: number, size = 10): Promise<Tid> {
  const transaction = newTransaction();
  storage.tpcBegin(transaction);
  let serial = ZERO_TID;
  try {
    serial = storage.load(oid as Oid).tid;
  } catch {}
  storage.store(transaction, oid as Oid, serial, new Uint8Array(size));
  return (await storage.commit(transaction)).tid;
}

test('a client is told its version, what the storage can, and where it stands', async () => {
  await listen();
  const tid = await commit(5);
  const client = new RawClient(server.address);
  client.hello();
  const welcome = readWelcome((await client.frame()).packet);
  assert.equal(welcome.version, 1);
  assert.equal(welcome.lastTid, tid);
  assert.deepEqual(welcome.supports, storage.supports);
  assert.equal(welcome.nowMs, clock.now());
  assert.deepEqual(welcome.missed, [{ tid, oids: [5] }]);
});

for (const [what, hello, pattern] of [
  ['an unknown version', ['1', [77]], /version 1 .* 77/],
  ['an unknown storage', ['nope', [1]], /no storage 'nope', but '1'/],
] as const) {
  test(`${what} is refused with an error that says so`, async () => {
    await listen();
    const client = new RawClient(server.address);
    client.hello(hello[0], [...hello[1]]);
    const { packet } = await client.frame();
    assert.equal(packet[0], ConnectionMessage.refusal);
    assert.match(errorFromWire(readValue(packet)).message, pattern);
    await client.closed;
  });
}

const rubbish: [string, readonly (Uint8Array | string)[]][] = [
  ['an HTTP request', ['GET / HTTP/1.1\r\nHost: x\r\n\r\n']],
  ['a TLS hello', [Buffer.from('1603010200010001fc0303', 'hex')]],
  ['random bytes', [Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 7919) % 251))]],
  ['another frame first', [MAGIC, encodeFrame(0, pingPacket(1))]],
  [
    'a hello on another channel',
    [MAGIC, encodeFrame(3, helloPacket({ versions: [1], storage: '1', lastTid: ZERO_TID, label: '' }))],
  ],
  [
    'a hello that is none',
    [MAGIC, encodeFrame(0, valuePacket(ConnectionMessage.hello as typeof Message.load, 0, 'hi'))],
  ],
  [
    'a hello with rubbish in it',
    [MAGIC, encodeFrame(0, valuePacket(ConnectionMessage.hello as typeof Message.load, 0, [['x'], 1, -1, 1]))],
  ],
  ['a frame with a wrong checksum', [MAGIC, Buffer.from([0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 0, 0])]],
  ['a handshake of a megabyte', [MAGIC, Buffer.from([0, 16, 0, 0])]],
];

for (const [what, parts] of rubbish) {
  test(`${what} costs that connection only`, async () => {
    await listen();
    const good = await RawClient.welcome();
    const bad = new RawClient(server.address);
    bad.send(...parts);
    await bad.closed;
    good.commit(7, 0);
    assert.equal((await good.frame()).packet[0], ConnectionMessage.invalidate);
    assert.equal((await good.frame()).packet[0], Message.answer);
    assert.equal(lines.filter(({ level }) => level === 'error' || level === 'critical').length, 0);
  });
}

for (const [what, frame] of [
  ['an unknown message', encodeFrame(1, newPacket(250 as typeof Message.load, 1, 0))],
  ['a message that only servers send', encodeFrame(1, newPacket(Message.answer, 1, 0))],
  ['an unknown message about the connection', encodeFrame(0, newPacket(250 as typeof Message.load, 1, 0))],
  ['a load without an oid', encodeFrame(1, newPacket(Message.load, 1, 3))],
  ['a commit of nothing readable', encodeFrame(1, newPacket(Message.commit, 1, 60))],
  ['a packet without a header', encodeFrame(1, new Uint8Array(2))],
  [
    'a channel that is open already',
    encodeFrame(0, openChannelPacket({ channel: 1, isReadOnly: false, locks: [], watches: [] })),
  ],
] as const) {
  test(`after the handshake, ${what} costs that connection only`, async () => {
    await listen();
    const [good, bad] = [await RawClient.welcome(), await RawClient.welcome()];
    bad.send(frame);
    await bad.closed;
    good.load(9);
    assert.equal((await good.frame()).packet[0], Message.failure);
    assert.ok(lines.some(({ level, message }) => level === 'warning' && /disconnected/.test(message)));
  });
}

test('a request on a channel that is not open is passed over', async () => {
  await listen();
  const client = await RawClient.welcome();
  client.send(encodeFrame(9, newPacket(Message.load, 1, 16)));
  client.load(9);
  assert.equal((await client.frame()).channel, 1);
});

test('who does not shake hands in time is disconnected', async () => {
  await listen({ handshakeTimeout: 5000 });
  const client = new RawClient(server.address);
  client.send(MAGIC);
  await once(client.socket, 'connect');
  while (server.stats.connections === 0) await settled();
  await clock.advance(4999);
  assert.equal(server.stats.connections, 1);
  await clock.advance(1);
  await client.closed;
});

test('who is silent for long is disconnected; who pings is not', async () => {
  await listen({ silenceTimeout: 20_000 });
  const [silent, pinging] = [await RawClient.welcome(), await RawClient.welcome()];
  for (let i = 0; i < 6; i++) {
    pinging.send(encodeFrame(0, pingPacket(i + 1)));
    assert.equal((await pinging.frame()).packet[0], ConnectionMessage.pong);
    await clock.advance(5000);
  }
  await silent.closed;
  assert.equal(pinging.socket.destroyed, false);
});

test('connections above the limit are turned away', async () => {
  await listen({ connectionsMax: 2 });
  const first = await RawClient.welcome();
  await RawClient.welcome();
  const third = new RawClient(server.address);
  await third.closed;
  first.socket.destroy();
  while (server.stats.connections === 2) await settled();
  await RawClient.welcome();
});

test('a frame above the limit costs the connection', async () => {
  await listen({ maxFrame: '100KB' });
  const client = await RawClient.welcome();
  client.commit(1, 0, { size: 200_000 });
  await client.closed;
  assert.ok(lines.some(({ message }) => /at most 102400 are taken/.test(message)));
});

test('every client is told of a commit ahead of any answer that knows of it', async () => {
  await listen();
  const [a, b] = [await RawClient.welcome(), await RawClient.welcome()];
  a.commit(5, 0);
  const told = await a.frame();
  const answer = await a.frame();
  assert.equal(told.packet[0], ConnectionMessage.invalidate);
  const { tid, oids } = readInvalidate(told.packet);
  assert.deepEqual(oids, [5]);
  assert.deepEqual(readValue(answer.packet), [[], tid]);
  b.load(5);
  assert.equal((await b.frame()).packet[0], ConnectionMessage.invalidate);
  assert.equal((await b.frame()).packet[0], Message.answer);
});

test('requests that come in one piece are answered in their order', async () => {
  await listen();
  const client = await RawClient.welcome();
  const frames = Array.from({ length: 50 }, (_, i) => encodeFrame(1, newPacket(Message.stats, i + 1, 0)));
  client.send(Buffer.concat(frames));
  for (let i = 0; i < 50; i++) assert.equal((await client.frame()).packet.readUInt32BE(1), i + 1);
});

test('who comes back is told what it missed, or that this is too long ago', async () => {
  await listen({ invalidationQueueSize: 3 });
  const tids: Tid[] = [];
  for (let oid = 1; oid <= 6; oid++) tids.push(await commit(oid));
  const welcome = async (lastTid: Tid) => {
    const client = new RawClient(server.address);
    client.hello('1', [1], lastTid);
    return readWelcome((await client.frame()).packet);
  };
  assert.deepEqual((await welcome(tids[5] as Tid)).missed, []);
  assert.deepEqual((await welcome(tids[3] as Tid)).missed, [
    { tid: tids[4], oids: [5] },
    { tid: tids[5], oids: [6] },
  ]);
  assert.equal((await welcome(tids[0] as Tid)).missed, undefined);
});

test('who does not read what it is told is dropped, and harms nobody', async () => {
  await listen({ maxBacklog: '512KB' });
  const [slow, good] = [await RawClient.welcome(), await RawClient.welcome()];
  slow.socket.pause();
  // Loopback sockets take megabytes before they are full.
  const oids = Array.from({ length: 20_000 }, (_, i) => i + 1);
  while (server.stats.connections === 2) {
    const transaction = newTransaction();
    storage.tpcBegin(transaction);
    for (const oid of oids) {
      let serial = ZERO_TID;
      try {
        serial = storage.load(oid as Oid).tid;
      } catch {}
      storage.store(transaction, oid as Oid, serial, new Uint8Array(1));
    }
    await storage.commit(transaction);
    while ((await good.frame()).packet[0] !== ConnectionMessage.invalidate);
    await settled();
  }
  slow.socket.resume();
  await slow.closed;
  assert.ok(lines.some(({ message }) => /does not read/.test(message)));
  good.load(1);
  while ((await good.frame()).packet[0] !== Message.answer);
});

test('who asks for much and reads nothing is not read from any more', async () => {
  await listen();
  await commit(1, 500_000);
  const client = await RawClient.welcome();
  client.socket.pause();
  const requests = encodeFrame(1, newPacket(Message.load, 2, 16));
  requests[HEADER_BYTES + 8 + 7] = 1;
  const good = (() => {
    const packet = newPacket(Message.load, 2, 16);
    packet[HEADER_BYTES + 7] = 1;
    return encodeFrame(1, packet);
  })();
  client.send(Buffer.concat(Array.from({ length: 2000 }, () => good)));
  for (let i = 0; i < 50; i++) await settled();
  assert.ok(server.stats.bytesOut < 100e6, `${server.stats.bytesOut} bytes were put out for who reads none`);
  client.socket.resume();
  for (let i = 0; i < 2000; i++) assert.equal((await client.frame()).packet.length, 500_000 + 16 + HEADER_BYTES);
});

test('a vote that is never finished is aborted after a while, and its client dropped', async () => {
  await listen({ transactionTimeout: 7000 });
  const [a, b] = [await RawClient.welcome(), await RawClient.welcome()];
  a.commit(5, 0, { type: Message.vote });
  assert.equal((await a.frame()).packet[0], Message.answer);
  b.commit(6, 0);
  await settled();
  assert.equal(b.frames.length, 0, 'votes are one at a time');
  await clock.advance(7000);
  await a.closed;
  while ((await b.frame()).packet[0] !== Message.answer);
  assert.throws(() => storage.load(5 as Oid));
  assert.ok(lines.some(({ level, message }) => level === 'critical' && /7000 ms/.test(message)));
});

test('a vote whose client goes away is aborted at once', async () => {
  await listen();
  const [a, b] = [await RawClient.welcome(), await RawClient.welcome()];
  a.commit(5, 0, { type: Message.vote });
  await a.frame();
  a.socket.destroy();
  b.commit(5, 0);
  while ((await b.frame()).packet[0] !== Message.answer);
});

test('a closing server finishes what was voted, refuses what is new, and ends', async () => {
  await listen();
  const [voter, other] = [await RawClient.welcome(), await RawClient.welcome()];
  voter.commit(5, 0, { type: Message.vote });
  await voter.frame();
  const closed = server.close();
  other.commit(6, 0);
  const refused = await other.frame();
  assert.equal(refused.packet[0], Message.failure);
  assert.ok(errorFromWire(readValue(refused.packet)) instanceof ClientDisconnected);
  const late = new RawClient(server.address);
  await late.closed;
  const finish = newPacket(Message.finish, 3, 4);
  finish[HEADER_BYTES + 3] = 1;
  voter.send(encodeFrame(1, finish));
  while ((await voter.frame()).packet[0] !== Message.answer);
  await closed;
  await Promise.all([voter.closed, other.closed]);
  assert.equal(storage.load(5 as Oid).data.length, 10);
  await server.close();
});

test('a read-only server refuses to write', async () => {
  await listen({ readOnly: true });
  const client = await RawClient.welcome();
  client.commit(5, 0);
  const { packet } = await client.frame();
  assert.equal((readValue(packet) as unknown[])[0], 'ODB_READ_ONLY');
});

test('several storages, by name', async () => {
  const other = new MemoryStorage({ clock });
  await listen({ storage: { main: storage, other } });
  await commit(3);
  for (const [name, lastTid] of [
    ['main', storage.lastTransaction()],
    ['other', ZERO_TID],
  ] as const) {
    const client = new RawClient(server.address);
    client.hello(name);
    assert.equal(readWelcome((await client.frame()).packet).lastTid, lastTid);
  }
  await server.close();
  await other.close();
});

test('an address that is taken, or is not to be had, is an error that names it', async () => {
  await listen();
  const taken = server.address;
  await assert.rejects(StorageServer.listen({ storage, address: taken }), (error: unknown) => {
    assert.ok(error instanceof AddressInUseError);
    assert.equal(error.address, taken);
    return true;
  });
  await assert.rejects(StorageServer.listen({ storage, address: '203.0.113.1:9999' }), (error: unknown) => {
    return error instanceof StorageError && /203\.0\.113\.1:9999/.test(error.message);
  });
  await assert.rejects(StorageServer.listen({ storage, address: 'nonsense' }), { code: 'ARG_ADDRESS' });
});

test('a Unix socket: one that a killed server left is taken over, one that is in use is not, any other file is left alone', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-sock-'));
  try {
    const path = join(folder, 'zeo.sock');
    // What a killed process leaves: a socket that nobody listens on.
    const dead = createServer();
    dead.listen(path);
    await once(dead, 'listening');
    await listen({ address: join(folder, 'other.sock') });
    await assert.rejects(StorageServer.listen({ storage, address: path }), AddressInUseError);
    await new Promise<void>((resolve) => dead.close(() => resolve()));
    await server.close();
    await listen({ address: path });
    assert.equal(server.address, path);
    const client = await RawClient.welcome();
    client.load(1);
    assert.equal((await client.frame()).packet[0], Message.failure);
    await assert.rejects(StorageServer.listen({ storage, address: path }), AddressInUseError);
    await server.close();
    assert.equal(existsSync(path), false);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('it counts what happens', async () => {
  await listen();
  const client = await RawClient.welcome();
  client.commit(5, 0);
  await client.frame();
  await client.frame();
  client.commit(5, 0);
  await client.frame();
  client.load(5);
  await client.frame();
  const { connections, storages, bytesIn, bytesOut, since } = server.stats;
  assert.equal(connections, 1);
  assert.deepEqual(storages['1'], {
    clients: 1,
    loads: 1,
    stores: 2,
    commits: 1,
    aborts: 0,
    conflicts: 1,
    resolved: 0,
  });
  assert.ok(bytesIn > 100 && bytesOut > 50);
  assert.equal(since.getTime(), clock.now());
});
