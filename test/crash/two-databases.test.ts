import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Databases, DB, type PersistentBlob, TransactionInDoubtError } from 'holdfast';
import { strongReferences } from 'holdfast/odb';
import { type LogSink, setLogSink } from '#src/base/index.js';
import { type Program, Site } from '../support/programs.js';

const WRITER = fileURLToPath(new URL('./pair-writer.js', import.meta.url));

interface Root {
  value: number;
  blob: PersistentBlob;
}

let site: Site;
let opened: DB<Root>[];
let formerSink: LogSink;

beforeEach(() => {
  site = new Site();
  opened = [];
  // What is in doubt is warned of.
  formerSink = setLogSink(() => undefined);
});

afterEach(async () => {
  await closeAll();
  await site[Symbol.asyncDispose]();
  setLogSink(formerSink);
});

async function closeAll(): Promise<void> {
  for (const db of opened.splice(0)) await db.close();
}

async function open(uri: string, databases: Databases = new Map()): Promise<DB<Root>> {
  const db = await DB.open<Root>(uri, { databases, databaseName: uri });
  opened.push(db);
  return db;
}

const read = (db: DB<Root>) => db.transaction(({ root }) => root.value ?? 0);

/** What both hold once they are open together. */
async function values(uris: readonly string[]): Promise<number[]> {
  const databases: Databases = new Map();
  const found: number[] = [];
  for (const uri of uris) await open(uri, databases);
  for (const db of opened) {
    assert.deepEqual(await db.doubts(), []);
    found.push(await read(db));
  }
  await closeAll();
  return found;
}

const lastAck = (program: Program) => Number([...program.stdout.matchAll(/^ack (\d+)\n/gm)].at(-1)?.[1] ?? 0);

/** The steps of a commit to two databases, in their order. */
const STEPS = ['decider.tpcVote', 'follower.tpcVote', 'decider.tpcFinish', 'follower.tpcFinish'].flatMap((call) => [
  `${call}.before`,
  `${call}.after`,
]);
const HAS_HAPPENED = STEPS.indexOf('decider.tpcFinish.after');
/** Between them the follower has voted, and not finished. */
const IN_DOUBT = [STEPS.indexOf('follower.tpcVote.after'), STEPS.indexOf('follower.tpcFinish.before')] as const;

test('kill -9 at each step of a commit to two databases on the disk: it has happened in both, or in none', async () => {
  for (const [i, step] of STEPS.entries()) {
    const uris = ['a', 'b'].map((name) => join(site.directory, `${step}-${name}.fs`));
    const writer = site.startFile(WRITER, [...uris, '2', step]);
    assert.equal((await writer.exited).signal, 'SIGKILL', writer.stderr);
    assert.equal(lastAck(writer), 1);
    const expected = i < HAS_HAPPENED ? 1 : 2;
    if (i >= IN_DOUBT[0] && i <= IN_DOUBT[1]) {
      // Each by itself: one of them does not know, refuses the object to writers, and shows what was before.
      let inDoubtCount = 0;
      for (const uri of uris) {
        const db = await open(uri);
        const doubts = await db.doubts();
        inDoubtCount += doubts.length;
        assert.equal(await read(db), doubts.length > 0 ? 1 : expected, step);
        if (doubts.length > 0) {
          const writing = db.transaction(
            ({ root }) => {
              root.value = 9;
            },
            { retries: 0 },
          );
          await assert.rejects(writing, TransactionInDoubtError);
        }
        await closeAll();
      }
      assert.equal(inDoubtCount, 1, step);
    }
    assert.deepEqual(await values(uris), [expected, expected], step);
  }
});

test('kill -9 at each step of a commit of blobs to two databases: both have the new content, or both the former one, and no other', async () => {
  for (const [i, step] of STEPS.entries()) {
    const uris = ['a', 'b'].map((name) => join(site.directory, `${step}-blobs-${name}.fs`));
    const writer = site.startFile(WRITER, [...uris, '2', step, 'blobs']);
    assert.equal((await writer.exited).signal, 'SIGKILL', writer.stderr);
    const expected = i < HAS_HAPPENED ? 1 : 2;
    // Each by itself first: the one that is in doubt must not remove what it may yet need, whatever it packs.
    for (const uri of uris) {
      await (await open(uri)).pack();
      await closeAll();
    }
    assert.deepEqual(await values(uris), [expected, expected], step);
    for (const uri of uris) {
      const db = await open(uri);
      await db.pack();
      assert.equal(await db.transaction(({ root }) => contentOf(root.blob)), `content ${expected}`, step);
      const problems: string[] = [];
      for await (const { message } of db.storage.verify({ references: strongReferences })) problems.push(message);
      assert.deepEqual(problems, [], step);
      await closeAll();
      const contents = readdirSync(join(uri, 'blobs'), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name !== 'layout.json')
        .map(({ name }) => name);
      assert.equal(contents.length, 1, `${step}: ${contents}`);
    }
  }
});

async function contentOf(blob: PersistentBlob): Promise<string> {
  let content = '';
  for await (const chunk of await blob.open('r')) content += String(chunk);
  return content;
}

test('kill -9 at any instant of many commits to two databases leaves them alike, with all that was acknowledged', async () => {
  const uris = ['a', 'b'].map((name) => join(site.directory, `${name}.fs`));
  let acknowledged = 0;
  for (let round = 0; round < 3; round++) {
    const writer = site.startFile(WRITER, [...uris, '100000']);
    await writer.output(new RegExp(`ack ${acknowledged + 3 + Math.floor(Math.random() * 20)}\n`));
    for (let i = Math.floor(Math.random() * 200); i > 0; i--) await new Promise(setImmediate);
    await writer.end('SIGKILL');
    const [a, b] = await values(uris);
    assert.equal(a, b);
    const last = lastAck(writer);
    assert.ok(a === last || a === last + 1, `${a}, acknowledged ${last}`);
    acknowledged = a as number;
  }
});

test('a client that is killed between two servers leaves one in doubt, until anybody opens both', async () => {
  const servers = [await site.server({ file: 'a.fs' }), await site.server({ file: 'b.fs' })];
  const uris = servers.map(({ address }) => `zeo://${address}`);
  let expected = 0;
  for (const step of ['follower.tpcVote.after', 'decider.tpcFinish.after']) {
    const writer = site.startFile(WRITER, [...uris, '2', step]);
    assert.equal((await writer.exited).signal, 'SIGKILL', writer.stderr);
    expected += step === 'decider.tpcFinish.after' ? 2 : 1;
    assert.deepEqual(await values(uris), [expected, expected], step);
  }
  // Whoever comes next goes on.
  const next = site.startFile(WRITER, [...uris, '1']);
  await next.output(/done/);
  assert.equal((await next.exited).code, 0);
  assert.deepEqual(await values(uris), [expected + 1, expected + 1]);
});

test('a server that is killed after it voted is told when it is back, by the client that goes on', async () => {
  const servers = [await site.server({ file: 'a.fs' }), await site.server({ file: 'b.fs' })];
  const uris = servers.map(({ address }) => `zeo://${address}`);
  const writer = site.startFile(WRITER, [...uris, '100000']);
  for (let round = 0; round < 2; round++) {
    const seen = lastAck(writer);
    await writer.output(new RegExp(`ack ${seen + 3 + Math.floor(Math.random() * 10)}\n`));
    const server = servers[round % 2] as (typeof servers)[number];
    await server.program.end('SIGKILL');
    const file = round % 2 === 0 ? 'a.fs' : 'b.fs';
    servers[round % 2] = await site.server({ file, port: server.port });
  }
  await writer.output(new RegExp(`ack ${lastAck(writer) + 3}\n`));
  await writer.end('SIGKILL');
  const [a, b] = await values(uris);
  assert.equal(a, b);
  assert.ok((a as number) >= lastAck(writer));
});

test('two processes that commit to the same two databases in opposite order wait for each other in no circle', async () => {
  const servers = [await site.server({ file: 'a.fs' }), await site.server({ file: 'b.fs' })];
  const uris = servers.map(({ address }) => `zeo://${address}`) as [string, string];
  // By another name, so that names cannot give the order.
  const others = uris.map((uri) => uri.replace('127.0.0.1', 'localhost')).reverse();
  const writers = [site.startFile(WRITER, [...uris, '30']), site.startFile(WRITER, [...others, '30'])];
  for (const writer of writers) {
    await writer.output(/done/, 'stdout', 60_000);
    assert.equal((await writer.exited).code, 0, writer.stderr);
  }
  assert.deepEqual(await values(uris), [60, 60]);
});
