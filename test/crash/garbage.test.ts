import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { ZERO_TID } from 'holdfast/odb';
import { ClientStorage } from 'holdfast/zeo';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { helloPacket } from '#src/zeo/protocol/connection-messages.js';
import { encodeFrame } from '#src/zeo/protocol/framing.js';
import { MAGIC } from '#src/zeo/protocol/version.js';
import { Site } from '../support/programs.js';
import { type Acknowledgement, checkLedger, makeLedger, transfer } from './ledger.js';

let site: Site;
let client: ClientStorage | undefined;
let sockets: Socket[];

beforeEach(() => {
  site = new Site();
  sockets = [];
  client = undefined;
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await client?.close();
  await site[Symbol.asyncDispose]();
});

/** Connects to a port and writes; resolves to the socket, and to what becomes of it. */
async function send(
  port: number,
  ...parts: (Uint8Array | string)[]
): Promise<{ socket: Socket; closed: Promise<void> }> {
  const socket = connect(port, '127.0.0.1');
  sockets.push(socket);
  socket.on('error', () => undefined);
  socket.resume();
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  for (const part of parts) socket.write(part);
  return { socket, closed };
}

function hello(): Buffer {
  return Buffer.concat([
    MAGIC,
    encodeFrame(0, helloPacket({ versions: [1], storage: '1', lastTid: ZERO_TID, label: 'raw' })),
  ]);
}

test('garbage sent to the port of runzeo costs its sender the connection, and nobody else anything', async () => {
  const path = join(site.directory, 'test.fs');
  const storage = await LevelStorage.open(path);
  await makeLedger(storage);
  await storage.close();
  const { program: server, address, port } = await site.server();
  client = await ClientStorage.connect(address);
  let losses = 0;
  client.subscribe({ invalidate: () => undefined, invalidateAll: () => losses++ });

  const acks: Acknowledgement[] = [];
  let isOver = false;
  const busy = (async () => {
    while (!isOver) acks.push(await transfer(client as ClientStorage, 0));
  })();

  const oversized = Buffer.from(encodeFrame(0, new Uint8Array(16)));
  oversized.fill(0xff, 0, 4);
  const garbage: Record<string, (Uint8Array | string)[]> = {
    'random bytes': [randomBytes(4096)],
    'many random bytes': [randomBytes(3_000_000)],
    zeros: [Buffer.alloc(100_000)],
    'an HTTP request': ['GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    'a TLS hello': [Buffer.from('16030100c8010000c40303', 'hex'), randomBytes(190)],
    'the magic, then random bytes': [MAGIC, randomBytes(1000)],
    'a frame that says it is of 4 GiB': [MAGIC, oversized],
    'a handshake, then a frame that says it is of 4 GiB': [hello(), oversized],
    'a handshake, then random bytes': [hello(), Buffer.from([0xff]), randomBytes(1000)],
    'a handshake, then a packet of an unknown type': [hello(), encodeFrame(0, Buffer.alloc(32, 0xee))],
    'two handshakes': [hello(), hello()],
  };
  for (const [name, parts] of Object.entries(garbage)) {
    const { closed, socket } = await send(port, ...parts);
    // The server has closed it: nothing that we do would.
    await closed;
    assert.ok(socket.destroyed, name);
  }
  // Handshakes that stall, and connections that come and go: many at a time.
  const whole = hello();
  for (let i = 0; i < 100; i++) await send(port, whole.subarray(0, i % whole.length));
  const known = acks.length;
  for (let i = 0; i < 50; i++) (await send(port, whole.subarray(0, i % whole.length))).socket.destroy();
  while (acks.length < known + 20) await new Promise(setImmediate);

  isOver = true;
  await busy;
  assert.equal(client.isConnected, true);
  assert.equal(losses, 0, 'the connection of the client was never lost');
  assert.equal(server.hasEnded, false);
  await checkLedger(client, acks, () => 0);
  assert.doesNotMatch(server.stderr, /critical|Error:.*\n\s+at /);
  await client.close();
  // Those that stall do not hold it up.
  assert.deepEqual(await server.end('SIGTERM'), { code: 0, signal: null }, server.stderr);
});

test('a port in use is an error that names it; the database is let go of', async () => {
  const { port, program } = await site.server();
  const second = site.start('runzeo', ['-a', `127.0.0.1:${port}`, '-f', join(site.directory, 'other.fs')]);
  assert.deepEqual(await second.exited, { code: 1, signal: null });
  assert.match(second.stderr, new RegExp(`^runzeo: 127\\.0\\.0\\.1:${port} is in use.*\\n$`));
  assert.equal(second.stdout, '');
  await (await LevelStorage.open(join(site.directory, 'other.fs'))).close();
  assert.equal(program.hasEnded, false);
});

test('runzeo refuses a directory that is no database, a file, and a newer format, in one line that names it', async () => {
  const foreign = site.folder('foreign');
  writeFileSync(join(foreign, 'notes.txt'), 'mine');
  const file = join(site.directory, 'file');
  writeFileSync(file, 'mine');
  const newer = site.folder('newer');
  mkdirSync(join(newer, 'level'));
  writeFileSync(join(newer, 'holdfast.json'), '{"format":"holdfast","version":99}');
  for (const path of [foreign, file, newer]) {
    const program = site.start('runzeo', ['-a', '127.0.0.1:0', '-f', path]);
    assert.deepEqual(await program.exited, { code: 1, signal: null });
    assert.match(program.stderr, /^runzeo: .*\n$/);
    assert.ok(program.stderr.includes(path), program.stderr);
    assert.ok(!existsSync(`${path}.lock`));
  }
  assert.deepEqual(readdirSync(foreign), ['notes.txt']);
  assert.deepEqual(readdirSync(newer).sort(), ['holdfast.json', 'level']);
});

test('a client of something that is no server of ours says so; one of nothing at all gives up in time', async () => {
  const other = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.resume();
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as { port: number };
  try {
    await assert.rejects(ClientStorage.connect(`127.0.0.1:${port}`, { waitTimeout: 2000 }), (error: unknown) => {
      assert.match(String(error), new RegExp(`127\\.0\\.0\\.1:${port}`));
      assert.match(String(error), /holdfast/);
      return true;
    });
  } finally {
    await new Promise((resolve) => other.close(resolve));
  }
  await assert.rejects(ClientStorage.connect(`127.0.0.1:${port}`, { waitTimeout: 300 }), {
    code: 'ODB_CLIENT_DISCONNECTED',
  });
});
