import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { SiblingWatch } from '#src/async/sibling-watch.js';
import { setLogSink } from '#src/base/index.js';
import { type LockSession, LockTable } from '#src/odb/storage/lock-table.js';
import { ManualClock, settled } from '../support/manual-clock.js';

let table: LockTable;
let clock: ManualClock;
let buried: string[];
let watches: SiblingWatch[];
let formerSink: ReturnType<typeof setLogSink>;

beforeEach(() => {
  table = new LockTable();
  clock = new ManualClock();
  buried = [];
  watches = [];
  formerSink = setLogSink(() => {});
});

afterEach(async () => {
  for (const watch of watches) await watch.close();
  assert.equal(clock.pending, 0, 'no timer is left behind');
  setLogSink(formerSink);
});

/** As in the database: who is deactivated is not deactivated again. */
function buryOnce(gone: string, by: string): boolean {
  if (buried.some((line) => line.startsWith(`${gone} `))) return false;
  buried.push(`${gone} by ${by}`);
  return true;
}

/** A process with a dispatcher in it. */
async function dispatcher(uuid: string, bury?: (uuid: string) => Promise<boolean>) {
  const session: LockSession = table.session();
  const watch = new SiblingWatch({
    locks: session,
    uuid,
    clock,
    bury: bury ?? (async (gone) => buryOnce(gone, uuid)),
  });
  watches.push(watch);
  const isOurs = await watch.takeOwnLock();
  return { session, watch, isOurs };
}

test('a sibling whose session ends is buried once its grace is over, by one of the others', async () => {
  const [a, b, c] = [await dispatcher('a'), await dispatcher('b'), await dispatcher('c')];
  for (const { watch } of [a, c]) watch.follow(['a', 'b', 'c']);
  await settled();
  b.session.close();
  await clock.advance(4999);
  assert.deepEqual(buried, []);
  await clock.advance(2);
  assert.deepEqual(buried, ['b by a']);
  await clock.advance(20_000);
  assert.equal(buried.length, 1, 'nobody buries it again');
});

test('a sibling that comes back in time is left alone', async () => {
  const [a, b] = [await dispatcher('a'), await dispatcher('b')];
  a.watch.follow(['a', 'b']);
  await settled();
  b.session.close();
  await clock.advance(3000);
  const again = await dispatcher('b');
  assert.equal(again.isOurs, true);
  await clock.advance(60_000);
  assert.deepEqual(buried, []);
});

test('the same UUID is refused to a second process while the first lives', async () => {
  const first = await dispatcher('a');
  assert.equal(first.isOurs, true);
  const second = dispatcher('a');
  await settled();
  await clock.advance(2000);
  assert.equal((await second).isOurs, false);
  await first.watch.close();
  assert.equal((await dispatcher('a')).isOurs, true);
});

test('a sibling that was gone before the watch began is found, with more patience', async () => {
  const a = await dispatcher('a');
  a.watch.follow(['a', 'gone']);
  await settled();
  await clock.advance(14_999);
  assert.deepEqual(buried, []);
  await clock.advance(2);
  assert.deepEqual(buried, ['gone by a']);
});

test('a burial that fails is tried again, and another sibling takes over from one that dies at it', async () => {
  let failures = 0;
  const a = await dispatcher('a', async (uuid) => {
    failures++;
    if (failures < 3) throw new Error('disconnected');
    return buryOnce(uuid, 'a');
  });
  const b = await dispatcher('b');
  a.watch.follow(['a', 'b']);
  await settled();
  b.session.close();
  await clock.advance(5000);
  assert.deepEqual([failures, buried], [1, []]);
  await clock.advance(10_000);
  assert.deepEqual([failures, buried], [3, ['b by a']]);

  const neverEnds = await dispatcher('c', () => new Promise(() => {}));
  const d = await dispatcher('d');
  const e = await dispatcher('e');
  neverEnds.watch.follow(['c', 'd', 'e']);
  e.watch.follow(['c', 'd', 'e']);
  await settled();
  d.session.close();
  await clock.advance(5000);
  assert.deepEqual(buried, ['b by a'], 'c is at it');
  watches = watches.filter((watch) => watch !== neverEnds.watch);
  neverEnds.session.close();
  await clock.advance(5000);
  assert.deepEqual(buried.toSorted(), ['b by a', 'c by e', 'd by e']);
});

test('a sibling that is no longer active is watched no longer', async () => {
  const [a, b] = [await dispatcher('a'), await dispatcher('b')];
  a.watch.follow(['a', 'b']);
  await settled();
  b.session.close();
  a.watch.follow(['a']);
  await clock.advance(60_000);
  assert.deepEqual(buried, []);
});

test('dispatchers of one process, which share a session, never bury each other', async () => {
  const session = table.session();
  const bury = async (gone: string) => buryOnce(gone, 'a housemate');
  for (const uuid of ['a', 'b']) {
    const watch = new SiblingWatch({ locks: session, uuid, clock, bury });
    watches.push(watch);
    assert.equal(await watch.takeOwnLock(), true);
  }
  for (const watch of watches) watch.follow(['a', 'b']);
  await clock.advance(60_000);
  assert.deepEqual(buried, []);
  const other = table.session();
  assert.equal(await other.tryLock('dispatcher:a'), false);
  assert.equal(await other.tryLock('dispatcher:b'), false);
});

test('each watches those that follow it in the order of UUIDs, and not all of a large crowd', async () => {
  const watched: string[] = [];
  const session = table.session();
  const watch = new SiblingWatch({
    locks: {
      ...session,
      tryLock: async () => false,
      lock: async () => {},
      unlock: async () => {},
      watch: (name) => {
        watched.push(name);
        return () => watched.splice(watched.indexOf(name), 1);
      },
    },
    uuid: 'm',
    clock,
    bury: async () => false,
  });
  watches.push(watch);
  watch.follow([...'abcdefghijklmnop'].reverse());
  assert.deepEqual(
    watched,
    [...'nopabcde'].map((uuid) => `dispatcher:${uuid}`),
  );
  watch.follow(['m', 'z', 'n']);
  assert.deepEqual(watched.toSorted(), ['dispatcher:n', 'dispatcher:z']);
});
