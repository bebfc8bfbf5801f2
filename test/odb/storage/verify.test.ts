import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ClassicLevel } from 'classic-level';
import {
  checkedReferences,
  DB,
  type Oid,
  openStorage,
  PersistentBlob,
  PersistentMapping,
  type Problem,
  type Storage,
  type VerifyOptions,
  type VerifyProgress,
  ZERO_TID,
} from 'holdfast/odb';
import { systemRandom } from '#src/base/index.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';

type Node = PersistentMapping<unknown>;

let folder: string;
let sound: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-verify-'));
  sound = join(folder, 'sound.fs');
  const db = await DB.open<Record<string, Node>>(sound, { history: 'all' });
  await write(db);
  await db.close();
});

after(() => rmSync(folder, { recursive: true, force: true }));

/** Objects in a chain, changed several times; one that was removed, one that was undone. */
async function write(db: DB<Record<string, Node>>): Promise<void> {
  await db.transaction(({ root }) => {
    let last: Node | undefined;
    for (let i = 0; i < 5; i++) last = new PersistentMapping<unknown>(Object.entries({ i, last }));
    root['chain'] = last as Node;
  });
  for (let i = 0; i < 4; i++) await db.transaction(({ root }) => root['chain']?.set('value', 'x'.repeat(i * 100)));
  await db.transaction(({ root }) => {
    root['undone'] = new PersistentMapping();
  });
  await db.transaction(() => db.undo(db.lastTransaction()));
}

async function problems(storage: Storage, options: Partial<VerifyOptions> = {}): Promise<Problem[]> {
  const found: Problem[] = [];
  for await (const problem of storage.verify({ references: checkedReferences, ...options })) found.push(problem);
  return found;
}

/** What opening and verifying says of a database on the disk. */
async function told(path: string): Promise<string[]> {
  let storage: LevelStorage;
  try {
    storage = await LevelStorage.open(path, { readOnly: true });
  } catch (error) {
    return [(error as Error).message];
  }
  try {
    return (await problems(storage)).map(({ message }) => message);
  } finally {
    await storage.close();
  }
}

test('a sound database has no problems: on the disk, in memory, after a pack', async () => {
  assert.deepEqual(await told(sound), []);
  const memory = await DB.open<Record<string, Node>>('memory:');
  await write(memory);
  assert.deepEqual(await problems(memory.storage), []);
  await memory.pack();
  assert.deepEqual(await problems(memory.storage), []);
  await memory.close();
  const packed = join(folder, 'packed.fs');
  cpSync(sound, packed, { recursive: true });
  const db = await DB.open(packed);
  await db.pack();
  assert.deepEqual(await problems(db.storage), []);
  await db.close();
  assert.deepEqual(await told(packed), []);
});

test('it tells how far it is, and can be stopped', async () => {
  const storage = await LevelStorage.open(sound, { readOnly: true });
  const phases = new Set<string>();
  assert.deepEqual(await problems(storage, { onProgress: ({ phase }) => phases.add(phase) }), []);
  // Who references what is not there is asked for when there is such a thing.
  assert.deepEqual([...phases], ['transactions', 'objects']);
  const signal = AbortSignal.abort(new RangeError('enough'));
  await assert.rejects(problems(storage, { signal }), RangeError);
  await storage.close();
});

/** Does something to every entry of LevelDB, each in a copy of its own. */
async function withEach(
  name: string,
  change: (level: ClassicLevel<Buffer, Buffer>, key: Buffer, value: Buffer) => Promise<void>,
  check: (key: Buffer, messages: readonly string[]) => void,
): Promise<void> {
  const open = async (path: string) => {
    const level = new ClassicLevel<Buffer, Buffer>(join(path, 'level'), {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
    });
    await level.open();
    return level;
  };
  const copy = join(folder, `${name}.fs`);
  cpSync(sound, copy, { recursive: true });
  const level = await open(copy);
  const entries = await level.iterator().all();
  await level.close();
  assert.ok(entries.length > 20);
  for (const [key, value] of entries) {
    rmSync(copy, { recursive: true });
    cpSync(sound, copy, { recursive: true });
    const damaged = await open(copy);
    await change(damaged, key, value);
    await damaged.close();
    check(key, await told(copy));
  }
}

test('an entry that is lost is told of, whichever it is', () =>
  withEach(
    'lost',
    (level, key) => level.del(key),
    (key, messages) => {
      // Outcomes of commits leave no trace elsewhere; that nothing was trimmed is what there is without a mark.
      if (key[0] === 5 || key[0] === 0) return;
      assert.ok(messages.length > 0, `the entry ${key.toString('hex')}`);
    },
  ));

test('an entry with a flipped bit is told of, whichever it is', () =>
  withEach(
    'flipped',
    (level, key, value) => {
      const flipped = Buffer.from(value);
      const at = Math.floor(Math.random() * flipped.length);
      flipped[at] = (flipped[at] as number) ^ (1 << Math.floor(Math.random() * 8));
      return level.put(key, flipped);
    },
    (key, messages) => assert.ok(messages.length > 0, `the entry ${key.toString('hex')}`),
  ));

for (const uri of ['memory:', 'disk']) {
  test(`records that do not decode, and references to nothing, are told of by oid (${uri})`, async () => {
    const storage = await openStorage(uri === 'disk' ? join(folder, 'records.fs') : uri);
    const transaction = {
      commitId: systemRandom.bytes(16),
      user: '',
      description: '',
      extension: new Uint8Array(0),
    };
    const from = await openStorage('memory:');
    const db = await DB.open<Record<string, Node>>(from);
    await write(db);
    const [root, chain] = [from.load(0 as Oid), from.load(1 as Oid)];
    storage.tpcBegin(transaction);
    storage.store(transaction, 0 as Oid, ZERO_TID, Buffer.from(root.data));
    storage.store(transaction, 5 as Oid, ZERO_TID, Buffer.from(chain.data).subarray(0, -1));
    storage.store(transaction, 6 as Oid, ZERO_TID, Buffer.from('no record'));
    storage.store(transaction, 7 as Oid, ZERO_TID, Buffer.from(chain.data));
    await storage.commit(transaction);
    const found = await problems(storage);
    const of = (oid: number) => found.filter((problem) => problem.oid === oid).map(({ message }) => message);
    assert.match(of(5)[0] ?? '', /the record of oid 5 .* does not decode/);
    assert.match(of(6)[0] ?? '', /the record of oid 6 .* does not decode/);
    assert.match(of(7)[0] ?? '', /oid 7 references oid \d+, which is not there/);
    await storage.close();
    await db.close();
  });
}

test('a verification that is stopped while it reads the content of a blob ends with the reason', async () => {
  const path = join(folder, 'stopped.fs');
  const db = await DB.open<{ photo: PersistentBlob }>(path);
  await db.transaction(({ root }) => {
    root.photo = new PersistentBlob(Buffer.alloc(1_000_000));
  });
  const stop = new AbortController();
  const reason = new Error('enough');
  const onProgress = ({ phase }: VerifyProgress) => {
    if (phase === 'objects') stop.abort(reason);
  };
  const reading = async () => {
    for await (const { message } of db.storage.verify({
      references: checkedReferences,
      signal: stop.signal,
      onProgress,
    })) {
      assert.fail(message);
    }
  };
  await assert.rejects(reading, reason);
  await db.close();
});
