import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Oid } from 'holdfast/odb';
import { BlobStore } from '#src/odb/storage/blob/blob-store.js';
import { StorageBlobs } from '#src/odb/storage/blob/storage-blobs.js';
import { LevelPack } from '#src/odb/storage/level/level-pack.js';
import type { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { Marking } from '#src/odb/storage/pack/marking.js';
import type { Checker } from './check-failed.js';
import { SimFiles } from './sim-files.js';
import type { Lie } from './sim-level.js';
import { SimulationFailed, type SimulationOptions, simulate } from './simulation.js';

/** Seeds that once found something, and some that did not. */
const SEEDS = [4, 5, 8, 9, 11, 30, 43, 75, 115, 223, 743, 2605, 3064];
/** So many seeds a broken database may get by with. */
const CANARY_SEEDS = 80;

test('whatever fails and whenever everything ends, a database keeps what it promises', async (t) => {
  for (const seed of SEEDS) await t.test(`seed ${seed}`, () => simulate(seed).then(() => undefined));
});

test('nor does it break a promise where every transaction of some bytes is written in several batches', async (t) => {
  for (const seed of [48, 64, 68, 71, 88, 96])
    await t.test(`seed ${seed}`, () => simulate(seed, { batchSize: 200 }).then(() => undefined));
});

test('nor where a transaction is of two databases', async (t) => {
  for (const seed of [3, 147, 205])
    await t.test(`seed ${seed}`, () => simulate(seed, { databases: 2 }).then(() => undefined));
});

test('nor where commits do not wait for the disk: what the machine takes with it are the last ones', async (t) => {
  let losses = 0;
  for (const seed of [2, 13, 19, 30])
    await t.test(`seed ${seed}`, async () => {
      losses += (await simulate(seed, { databases: 1, durable: false })).losses;
    });
  assert.ok(losses > 0);
});

test('a seed is one run: all that happens in it happens again', async () => {
  for (const seed of [7, 21]) {
    const first = await simulate(seed, { steps: 400 });
    assert.deepEqual(await simulate(seed, { steps: 400 }), first);
    assert.notEqual((await simulate(seed + 1, { steps: 400 })).hash, first.hash);
  }
});

test('a simulation meets all that it is there for: crashes, closings, commits, packs to their end beside them, commits to several databases, openings that fail', async () => {
  const total = { crashes: 0, closes: 0, packsEnded: 0, packsBeside: 0, together: 0, refusals: 0, commits: 0 };
  for (let seed = 100; seed < 108; seed++) {
    const report = await simulate(seed);
    for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += report[name];
  }
  assert.ok(Object.values(total).every((count) => count > 0) && total.commits > 150, JSON.stringify(total));
});

/** A database that breaks a promise, and which checkers may notice. What few seeds notice begins at one that does. */
async function bites(
  options: SimulationOptions,
  checkers: readonly Checker[],
  { firstSeed = 1, seedCount = CANARY_SEEDS } = {},
): Promise<void> {
  for (let seed = firstSeed; seed < firstSeed + seedCount; seed++) {
    try {
      await simulate(seed, options);
    } catch (error) {
      assert.ok(error instanceof SimulationFailed, String(error));
      assert.match(error.message, new RegExp(`^seed ${seed}: [\\s\\S]*The last steps:\n\\d+ `));
      assert.ok(checkers.includes(error.failure.checker), error.message.split('\n', 1)[0]);
      return;
    }
  }
  assert.fail(`${seedCount} seeds noticed nothing`);
}

const LIES: readonly (readonly [name: string, lie: Lie, checkers: readonly Checker[]])[] = [
  ['a disk whose sync does nothing', 'sync', ['durability', 'errors', 'outcome']],
  ['a commit that is published before its flush', 'early', ['durability', 'errors', 'outcome']],
  [
    'a crash that leaves a half of a flush',
    'half',
    ['durability', 'verify', 'errors', 'reachability', 'snapshot isolation', 'totals', 'outcome', 'atomicity'],
  ],
  ['a disk that forgets which oids were reserved', 'oids', ['oids']],
];
for (const [name, lie, checkers] of LIES) test(`noticed: ${name}`, () => bites({ lie }, checkers));

test('noticed: what is written ahead of a large transaction without being made durable', () =>
  bites({ lie: 'beside', batchSize: 200, databases: 1 }, [
    'durability',
    'errors',
    'outcome',
    'reachability',
    'verify',
  ]));

test('noticed: a log that is begun beside writes which do not wait for the disk', () =>
  bites({ lie: 'logs', databases: 1, durable: false }, ['durability', 'errors']));

const TOGETHER: readonly (readonly [name: string, options: SimulationOptions, firstSeed?: number])[] = [
  // Three seeds in a hundred notice it.
  ['a decision that is answered before it is durable', { lie: 'decision' }, 94],
  ['a vote that is answered before it is durable', { lie: 'beside' }],
  [
    'a doubt that is settled before the one is asked who knows',
    {
      sabotage: ({ doubts }) => {
        const { resolve } = doubts;
        doubts.resolve = (commitId) => resolve(commitId, false);
      },
    },
  ],
];
for (const [name, options, firstSeed = 1] of TOGETHER) {
  const checkers: readonly Checker[] = ['atomicity', 'durability', 'outcome', 'errors'];
  test(`noticed: ${name}`, () => bites({ ...options, databases: 2 }, checkers, { firstSeed, seedCount: 200 }));
}

const SABOTAGES: readonly (readonly [
  name: string,
  sabotage: (storage: LevelStorage) => void,
  checkers: readonly Checker[],
])[] = [
  [
    'a coordinator that forgets to check serials',
    (storage) => {
      const { store } = storage;
      storage.store = (transaction, oid, serial, data) =>
        store.call(storage, transaction, oid, currentSerial(storage, oid) ?? serial, data);
    },
    ['snapshot isolation', 'totals'],
  ],
  [
    'a coordinator that forgets what was to be current',
    (storage) => {
      storage.checkCurrentSerial = () => undefined;
    },
    ['snapshot isolation'],
  ],
  [
    'a read of what was committed after the view was taken',
    (storage) => {
      const { loadBefore } = storage;
      storage.loadBefore = (oid) => loadBefore.call(storage, oid, Number.MAX_SAFE_INTEGER as never);
    },
    ['snapshot isolation', 'totals', 'durability'],
  ],
  [
    'a subscriber that is not told of everything',
    (storage) => {
      const { subscribe } = storage;
      let told = 0;
      storage.subscribe = (listener) =>
        subscribe.call(storage, {
          invalidate: (tid, oids) => listener.invalidate(tid, ++told % 3 === 0 ? oids.slice(1) : oids),
          invalidateAll: (tid) => listener.invalidateAll(tid),
        });
    },
    ['snapshot isolation', 'totals', 'tids', 'durability'],
  ],
  [
    'a pack that takes what open snapshots show',
    (storage) => {
      storage.keepSnapshots = () => () => undefined;
    },
    ['reachability', 'errors', 'durability'],
  ],
  [
    'an outcome that is always that nothing happened',
    (storage) => {
      storage.outcome = async () => undefined;
    },
    ['outcome'],
  ],
];
for (const [name, sabotage, checkers] of SABOTAGES) test(`noticed: ${name}`, () => bites({ sabotage }, checkers));

/** Replaces a method of a class for as long as `fn` runs. */
async function replaced<T extends object, K extends keyof T>(
  prototype: T,
  name: K,
  replacement: (method: T[K]) => T[K],
  fn: () => Promise<void>,
): Promise<void> {
  const method = prototype[name];
  prototype[name] = replacement(method);
  try {
    await fn();
  } finally {
    prototype[name] = method;
  }
}

const PACK_CHECKERS: readonly Checker[] = ['reachability', 'errors', 'durability', 'verify'];

test('noticed: a pack that overlooks a reference now and then', async () => {
  let marks = 0;
  const overlooking = (mark: Marking['mark']): Marking['mark'] =>
    function (this: Marking, oid) {
      if (++marks % 20 !== 0) mark.call(this, oid);
    };
  await replaced(Marking.prototype, 'mark', overlooking, () => bites({}, PACK_CHECKERS));
});

test('noticed: a pack that ignores what is committed meanwhile', async () => {
  await replaced(
    Marking.prototype,
    'accept',
    () => () => undefined,
    () => bites({}, PACK_CHECKERS),
  );
});

test('noticed: a pack that removes what was restored since it was decided', async () => {
  const deciding = (sweep: LevelPack['sweep']): LevelPack['sweep'] =>
    function (this: LevelPack, before, decide) {
      return sweep.call(this, before, decide, () => true);
    };
  // Who is told of the commit that restored it does not find it any more.
  const checkers: readonly Checker[] = [...PACK_CHECKERS, 'tids'];
  // A pack decides and removes almost at once: it takes many for somebody to come between.
  await replaced(LevelPack.prototype, 'sweep', deciding, () => bites({}, checkers, { seedCount: 4 * CANARY_SEEDS }));
});

test('noticed: a content of a blob that is named before it is durable', async () => {
  const hasty = (): SimFiles['seal'] => (_path, size) => Promise.resolve(size);
  await replaced(SimFiles.prototype, 'seal', hasty, () => bites({}, ['durability']));
});

test('noticed: contents of blobs that were never committed, and stay', async () => {
  const idle = () => () => new Map();
  await replaced(StorageBlobs.prototype, 'recover', idle, () => bites({}, ['durability']));
});

test('noticed: a pack that takes the contents of former revisions', async () => {
  const forgetful = (retain: BlobStore['retain']): BlobStore['retain'] =>
    function (this: BlobStore, oid, isKept) {
      let kept = 0;
      retain.call(this, oid, (id) => isKept(id) && kept++ === 0);
    };
  await replaced(BlobStore.prototype, 'retain', forgetful, () => bites({}, ['durability', 'errors']));
});

function currentSerial(storage: LevelStorage, oid: Oid) {
  try {
    return storage.load(oid).tid;
  } catch {
    return undefined;
  }
}
