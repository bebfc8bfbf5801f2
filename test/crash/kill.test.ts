import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DB, type Oid, type PersistentMapping, POSKeyError, StorageLockedError, ZERO_TID } from 'holdfast/odb';
import { ClientStorage } from 'holdfast/zeo';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { type Program, Site } from '../support/programs.js';
import { type Acknowledgement, acknowledgements, checkLedger, makeLedger, transfer } from './ledger.js';

const EMBEDDED_WRITER = fileURLToPath(new URL('./embedded-writer.js', import.meta.url));
const CLIENT_WRITER = fileURLToPath(new URL('./client-writer.js', import.meta.url));
const PACKING_WRITER = fileURLToPath(new URL('./packing-writer.js', import.meta.url));
const UNDOING_WRITER = fileURLToPath(new URL('./undoing-writer.js', import.meta.url));
const VOTER = fileURLToPath(new URL('./voter.js', import.meta.url));

let site: Site;
let clients: ClientStorage[];

beforeEach(() => {
  site = new Site();
  clients = [];
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await site[Symbol.asyncDispose]();
});

async function connect(address: string): Promise<ClientStorage> {
  const client = await ClientStorage.connect(address);
  clients.push(client);
  return client;
}

/** Makes the ledger on the disk; returns where. */
async function newLedger(): Promise<string> {
  const path = join(site.directory, 'test.fs');
  const storage = await LevelStorage.open(path);
  await makeLedger(storage);
  await storage.close();
  return path;
}

/** Resolves once the program has said so many acknowledgements more than `known`. */
async function acknowledged(program: Program, count: number): Promise<void> {
  const known = acknowledgements(program.stdout).length;
  while (acknowledgements(program.stdout).length < known + count) {
    assert.ok(!program.hasEnded, `it ended: ${program.stderr}`);
    await Promise.race([new Promise((resolve) => program.child.stdout?.once('data', resolve)), program.exited]);
  }
}

/** Runs the event loop for so many turns: a short while that differs each time. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

for (const [how, args, roundCount] of [
  ['', [], 7],
  [' that does not wait for the disk', ['lazy'], 4],
] as const) {
  test(`kill -9 of a process that has the database to itself${how}, at any instant: all that was acknowledged is there, and no half of anything`, async () => {
    const path = await newLedger();
    const acks: Acknowledgement[] = [];
    for (let round = 1; round <= roundCount; round++) {
      const program = site.startFile(EMBEDDED_WRITER, [path, ...args]);
      await acknowledged(program, 1 + Math.floor(Math.random() * 120));
      await turns(Math.floor(Math.random() * 200));
      const exit = await program.end('SIGKILL');
      assert.equal(exit.signal, 'SIGKILL', program.stderr);
      acks.push(...acknowledgements(program.stdout));
      const storage = await LevelStorage.open(path, { history: 'all' });
      try {
        await checkLedger(storage, acks, () => round);
        // Whoever comes next may be the one that opened it for the check.
        acks.push(await transfer(storage, 0));
      } finally {
        await storage.close();
      }
    }
    assert.ok(acks.length > 10 * roundCount, `${acks.length} commits`);
  });
}

test('kill -9 in the middle of a pack: nothing that is reached is lost, and the next pack finds the rest', async () => {
  const path = join(site.directory, 'test.fs');
  let acknowledged = 0;
  for (let round = 0; round < 6; round++) {
    const program = site.startFile(PACKING_WRITER, [path]);
    await program.output(new RegExp(`ack ${acknowledged + 5 + Math.floor(Math.random() * 60)}\n`));
    await turns(Math.floor(Math.random() * 200));
    await program.end('SIGKILL');
    acknowledged = Number([...program.stdout.matchAll(/^ack (\d+)\n/gm)].at(-1)?.[1]);
    const db = await DB.open<{ window: PersistentMapping<PersistentMapping<number>> }>(path);
    const check = () => {
      const window = db.open().root.window;
      const last = Math.max(...[...window.keys()].map(Number));
      assert.ok(last === acknowledged || last === acknowledged + 1, `${last} of ${acknowledged}`);
      assert.equal(window.size, Math.min(last, 20));
      for (const [key, each] of window) assert.equal(each.get('value'), Number(key));
      return window.size + 2;
    };
    check();
    for await (const { tid, records } of db.storage.iterate()) {
      for (const { oid } of records) assert.ok(db.storage.loadSerial(oid, tid));
    }
    await db.pack();
    const objects = check();
    let left = 0;
    for await (const { records } of db.storage.iterate()) left += records.length;
    assert.equal(left, objects, 'no garbage is left, and no history');
    await db.close();
  }
});

test('kill -9 of runzeo under clients: nothing acknowledged is lost, nothing is done twice, and the clients go on', async () => {
  await newLedger();
  let { program: server, address, port } = await site.server();
  const programs = [
    site.startFile(CLIENT_WRITER, [address, '0,1,2']),
    site.startFile(CLIENT_WRITER, [address, '3,4,5']),
  ];
  for (let round = 0; round < 5; round++) {
    for (const program of programs) await acknowledged(program, 1 + Math.floor(Math.random() * 40));
    await turns(Math.floor(Math.random() * 200));
    await server.end('SIGKILL');
    ({ program: server, address, port } = await site.server({ port }));
  }
  for (const program of programs) await acknowledged(program, 5);
  for (const program of programs) {
    const exit = await program.end('SIGTERM');
    assert.deepEqual(exit, { code: 0, signal: null }, program.stderr);
    assert.match(program.stdout, /done\n$/);
  }
  const acks = programs.flatMap((program) => acknowledgements(program.stdout));
  // No client was killed: it knows of each of its commits whether it happened.
  await checkLedger(await connect(address), acks, () => 0);
  assert.deepEqual(await server.end('SIGTERM'), { code: 0, signal: null });
});

test('kill -9 of clients: what was acknowledged to them is there, and the others notice nothing', async () => {
  await newLedger();
  const { address } = await site.server();
  const steady = site.startFile(CLIENT_WRITER, [address, '0,1,2']);
  const acks: Acknowledgement[] = [];
  for (let round = 0; round < 4; round++) {
    const victim = site.startFile(CLIENT_WRITER, [address, '3,4,5']);
    await acknowledged(victim, 1 + Math.floor(Math.random() * 30));
    await victim.end('SIGKILL');
    acks.push(...acknowledgements(victim.stdout));
    await acknowledged(steady, 5);
  }
  assert.equal((await steady.end('SIGTERM')).code, 0, steady.stderr);
  assert.equal(steady.stderr, '');
  acks.push(...acknowledgements(steady.stdout));
  await checkLedger(await connect(address), acks, (seat) => (seat >= 3 ? 4 : 0));
});

test('a client that is killed between its two phases holds up nobody, and its locks fall', async () => {
  await newLedger();
  const { address } = await site.server();
  const client = await connect(address);
  const voter = site.startFile(VOTER, [address]);
  const [, oid] = await voter.output(/voted (\d+)/);
  assert.equal(await client.locks.tryLock('held by the voter'), false);
  const lock = client.locks.lock('held by the voter');
  const waiting = transfer(client, 0);
  await voter.end('SIGKILL');
  const ack = await waiting;
  await lock;
  await checkLedger(client, [ack], () => 0);
  assert.throws(() => client.load(Number(oid) as Oid), POSKeyError);
});

test('a server that is killed between a vote and its finish has forgotten the vote', async () => {
  const path = await newLedger();
  const { program: server, address } = await site.server();
  const voter = site.startFile(VOTER, [address]);
  const [, oid] = await voter.output(/voted (\d+)/);
  await server.end('SIGKILL');
  const storage = await LevelStorage.open(path, { history: 'all' });
  try {
    assert.throws(() => storage.load(Number(oid) as Oid), POSKeyError);
    assert.ok(storage.newOid() > Number(oid), 'its oid is not given again');
    await checkLedger(storage, [await transfer(storage, 0)], () => 0);
  } finally {
    await storage.close();
  }
});

test('a directory is opened by one process: not by a second, not while the first is stopped, but once it was killed', async () => {
  const path = await newLedger();
  const lock = `${path}.lock`;
  const first = site.startFile(EMBEDDED_WRITER, [path]);
  await acknowledged(first, 1);
  const refused = (error: unknown) => {
    assert.ok(error instanceof StorageLockedError, String(error));
    assert.equal(error.pid, first.pid);
    assert.equal(error.path, path);
    assert.equal(error.retry, 'later');
    return true;
  };
  await assert.rejects(LevelStorage.open(path), refused);
  await assert.rejects(LevelStorage.open(`${site.directory}/./test.fs/`), refused);
  const second = site.start('runzeo', ['-a', '127.0.0.1:0', '-f', path]);
  assert.equal((await second.exited).code, 1);
  assert.ok(second.stderr.includes(path), second.stderr);
  assert.ok(second.stderr.includes(`process ${first.pid}`), second.stderr);
  first.child.kill('SIGSTOP');
  await assert.rejects(LevelStorage.open(path), refused);
  first.child.kill('SIGCONT');
  await acknowledged(first, 3);
  await first.end('SIGKILL');
  assert.ok(existsSync(lock), 'who is killed leaves its lock behind');
  const storage = await LevelStorage.open(path, { history: 'all' });
  await checkLedger(storage, acknowledgements(first.stdout), () => 1);
  await storage.close();
  assert.ok(!existsSync(lock));
});

test('of many who find a stale lock at once, one gets it', async () => {
  const path = await newLedger();
  const dead = site.startFile(EMBEDDED_WRITER, [path]);
  await acknowledged(dead, 1);
  await dead.end('SIGKILL');
  const rivals = Array.from({ length: 4 }, () => site.startFile(EMBEDDED_WRITER, [path]));
  const results = await Promise.allSettled(rivals.map((rival) => rival.output(/ready/)));
  assert.equal(results.filter((result) => result.status === 'fulfilled').length, 1);
  for (const [i, result] of results.entries()) {
    if (result.status === 'rejected') assert.match(rivals[i]?.stderr ?? '', /ODB_STORAGE_LOCKED/);
  }
  for (const rival of rivals) await rival.end('SIGKILL');
  const storage = await LevelStorage.open(path, { history: 'all' });
  const acks = [dead, ...rivals].flatMap((program) => acknowledgements(program.stdout));
  await checkLedger(storage, acks, () => 2);
  await storage.close();
});

test('kill -9 with undo, trimming and packing under way, and while it is being opened: the last step is there, and all is sound', async () => {
  const path = join(site.directory, 'test.fs');
  const startMs = Date.now();
  const first = await LevelStorage.open(path);
  const transaction = { commitId: Buffer.alloc(16), user: '', description: '', extension: new Uint8Array(0) };
  first.tpcBegin(transaction);
  first.store(transaction, 0 as Oid, ZERO_TID, Buffer.from('the root'));
  first.store(transaction, 1 as Oid, ZERO_TID, Buffer.from('0'));
  await first.commit(transaction);
  await first.close();
  let acknowledged = 0;
  let steps = 0;
  for (let round = 0; round < 10; round++) {
    // Its clock runs, and goes on where the last one may have come to.
    const program = site.startFile(UNDOING_WRITER, [path, String(startMs + round * 1e10)]);
    const isAtOpening = round % 3 === 2;
    await program.output(
      isAtOpening ? /opening\n/ : new RegExp(`ack ${acknowledged + 2 + Math.floor(Math.random() * 30)}\n`),
    );
    await turns(Math.floor(Math.random() * (isAtOpening ? 60 : 300)));
    await program.end('SIGKILL');
    const lines = [...program.stdout.matchAll(/^(ack|undone) (\d+)\n/gm)];
    steps += lines.length;
    const last = lines.at(-1);
    if (last) acknowledged = Number(last[2]) - (last[1] === 'undone' ? 1 : 0);
    const nowMs = startMs + (round + 1) * 1e10;
    const clock = { now: () => nowMs, schedule: () => ({ cancel: () => undefined }) };
    const storage = await LevelStorage.open(path, { history: 'all', clock });
    try {
      const value = Number(
        Buffer.from(storage.load(1 as Oid).data)
          .toString()
          .split(' ')[0],
      );
      // The step that was under way may have been done, or what it undid.
      assert.ok(Math.abs(value - acknowledged) <= 1, `${value} after ${acknowledged} was acknowledged`);
      acknowledged = value;
      for await (const { message } of storage.verify({ references: () => [] })) assert.fail(message);
    } finally {
      await storage.close();
    }
  }
  assert.ok(steps > 50, `${steps} steps`);
});
