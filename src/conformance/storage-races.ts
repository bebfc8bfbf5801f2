import assert from 'node:assert/strict';
import {
  DB,
  type InvalidationListener,
  type Oid,
  PersistentMapping,
  type Storage,
  type StorageTransaction,
  type Tid,
  TransactionManager,
} from '../odb/index.js';
import { begin, change, commit, make, snapshot, text } from './commits.js';
import { Group, type StorageSuite } from './subject.js';

/** How often two objects are raised together. */
const RAISES = 500;

/** What several clients see of each other: invalidations, and races named after what they would break. */
export function testRaces(suite: StorageSuite): void {
  const group = new Group(suite, 'races');

  group.test('every transaction is told once, in order, before its tid can be seen', [], async (subject) => {
    const { storage } = subject;
    const clients = await group.clients(subject, 3);
    const told = new Map<Storage, { tid: Tid; oids: readonly Oid[] }[]>();
    for (const client of new Set(clients)) {
      const list: { tid: Tid; oids: readonly Oid[] }[] = [];
      told.set(client, list);
      client.subscribe({
        invalidate: (tid, oids) => {
          assert.ok(client.lastTransaction() <= tid, 'a tid is seen only after it was told');
          list.push({ tid, oids: [...oids] });
        },
        invalidateAll: () => assert.fail('so little is told one by one'),
      });
    }
    const { oids, tid } = await make(
      storage,
      Array.from({ length: 12 }, () => '0'),
    );
    const outcomes = await Promise.all(oids.map((oid, i) => commit(clients[i % 3] as Storage, [[oid, tid, `${i}`]])));
    const expected = new Map<Tid, readonly Oid[]>([
      [tid, [...oids]],
      ...outcomes.map((each, i) => [each.tid, [oids[i] as Oid]] as const),
    ]);
    for (const [client, list] of told) {
      await client.sync();
      assert.deepEqual(
        list.map((each) => each.tid),
        [...expected.keys()].sort((a, b) => a - b),
      );
      for (const each of list) {
        assert.deepEqual(
          [...each.oids].sort((a, b) => a - b),
          expected.get(each.tid),
        );
      }
      assert.equal(client.lastTransaction(), list.at(-1)?.tid);
    }
  });

  group.test('who has unsubscribed is told nothing; nor is anybody of what failed', [], async ({ storage }) => {
    let [mine, others] = [0, 0];
    const count = (fn: () => void): InvalidationListener => ({ invalidate: fn, invalidateAll: fn });
    const end = storage.subscribe(count(() => mine++));
    storage.subscribe(count(() => others++));
    const { oids, tid } = await make(storage, ['x']);
    assert.deepEqual([mine, others], [1, 1]);
    end();
    end();
    await commit(storage, [[oids[0] as Oid, tid, 'y']]);
    assert.deepEqual([mine, others], [1, 2]);
    await assert.rejects(commit(storage, [[oids[0] as Oid, tid, 'z']]));
    await storage.sync();
    assert.deepEqual([mine, others], [1, 2]);
  });

  group.test('each subscription ends by itself, and one that fails is in nobody’s way', [], async (subject) => {
    const { storage } = subject;
    const [, reader] = (await group.clients(subject, 2)) as [Storage, Storage];
    let told = 0;
    const listener: InvalidationListener = { invalidate: () => told++, invalidateAll: () => told++ };
    const fails = () => {
      throw new RangeError('it did not take note');
    };
    reader.subscribe({ invalidate: fails, invalidateAll: fails });
    const ends = [reader.subscribe(listener), reader.subscribe(listener)];
    const { oids, tid } = await make(storage, ['0']);
    const [oid] = oids as [Oid];
    await reader.sync();
    assert.equal(told, 2);
    assert.equal(reader.lastTransaction(), tid);
    ends[0]?.();
    const { tid: second } = await commit(storage, [[oid, tid, '1']]);
    await reader.sync();
    assert.equal(told, 3);
    assert.equal(reader.lastTransaction(), second);
    assert.equal(text(reader.load(oid).data), '1');
  });

  group.test('after a sync, what anybody has committed can be read', [], async (subject) => {
    const [a, b] = (await group.clients(subject, 2)) as [Storage, Storage];
    const { oids } = await make(a, ['0']);
    const [oid] = oids as [Oid];
    for (let i = 1; i <= 30; i++) {
      const [writer, reader] = i % 2 ? [a, b] : [b, a];
      await writer.sync();
      const { tid } = await commit(writer, [[oid, writer.load(oid).tid, `${i}`]]);
      assert.ok((await reader.sync()) >= tid);
      assert.equal(text(reader.load(oid).data), `${i}`);
      assert.equal(text(snapshot(reader, [oid])[0]?.data ?? Buffer.from('')), `${i}`);
    }
  });

  group.test('those who wait for the end of a vote come one after the other', [], async (subject) => {
    const { storage } = subject;
    const { oids } = await make(storage, ['0', '0', '0', '0']);
    const [first, second, third, fourth] = oids.map((oid) => begin(storage, [[oid, storage.load(oid).tid, '1']])) as [
      StorageTransaction,
      StorageTransaction,
      StorageTransaction,
      StorageTransaction,
    ];
    await storage.tpcVote(first);
    let isThirdVoted = false;
    const voting = storage.tpcVote(second);
    const votingThird = storage.tpcVote(third).then(() => {
      isThirdVoted = true;
    });
    const committing = storage.commit(fourth);
    const tids = [await storage.tpcFinish(first)];
    await voting;
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    assert.ok(!isThirdVoted, 'a vote waits for the end of the one before it');
    tids.push(await storage.tpcFinish(second));
    await votingThird;
    tids.push(await storage.tpcFinish(third));
    await committing;
    assert.deepEqual(tids, [...tids].sort());
  });

  group.test('lost update: what many raise has in the end been raised by each', [], async (subject) => {
    const clients = await group.clients(subject, 4);
    const { oids } = await make(subject.storage, ['0']);
    let conflicts = 0;
    await Promise.all(
      clients.map(async (client) => {
        await client.sync();
        for (let i = 0; i < 15; i++) conflicts += await change(client, oids, ([text]) => [`${Number(text) + 1}`]);
      }),
    );
    await subject.storage.sync();
    assert.equal(text(subject.storage.load(oids[0] as Oid).data), '60');
    assert.ok(conflicts > 0, 'they got into each other’s way');
  });

  group.test(
    'torn read: objects that are raised together are read equal, by everybody at any time',
    [],
    async (subject) => {
      const clients = await group.clients(subject, 4);
      const { oids } = await make(subject.storage, ['0', '0', '0']);
      await Promise.all(clients.map((client) => client.sync()));
      const writers = clients.slice(0, 2).map(async (client) => {
        for (let i = 0; i < 25; i++) {
          await change(client, oids, (texts) => texts.map((each) => `${Number(each) + 1}`));
          await new Promise(setImmediate);
        }
      });
      let isOver = false;
      const readers = clients.slice(2).map(async (client) => {
        let [last, reads] = [0, 0];
        while (!isOver) {
          const texts = snapshot(client, oids).map(({ data }) => text(data));
          assert.equal(new Set(texts).size, 1, `torn: ${texts.join(' ')}`);
          assert.ok(Number(texts[0]) >= last, 'time goes on');
          last = Number(texts[0]);
          reads++;
          await new Promise(setImmediate);
        }
        return reads;
      });
      await Promise.all(writers).finally(() => {
        isOver = true;
      });
      for (const reads of await Promise.all(readers)) assert.ok(reads > 5);
      await subject.storage.sync();
      assert.deepEqual(
        snapshot(subject.storage, oids).map(({ data }) => text(data)),
        ['50', '50', '50'],
      );
    },
  );

  group.test(
    'lost invalidation: two objects that are raised together are equal, though one is read anew',
    [],
    async (subject) => {
      const [writing, reading] = (await group.clients(subject, 2)) as [Storage, Storage];
      type Root = { a: PersistentMapping<number>; b: PersistentMapping<number> };
      const open = async (storage: Storage) => {
        const manager = new TransactionManager();
        const db = await DB.open<Root>(storage);
        return { manager, connection: db.open({ transactionManager: manager }) };
      };
      const writer = await open(writing);
      await writer.manager.run(() => {
        writer.connection.root.a = new PersistentMapping([['count', 0]]);
        writer.connection.root.b = new PersistentMapping([['count', 0]]);
      });
      await reading.sync();
      const reader = await open(reading);
      let isOver = false;
      const write = async () => {
        for (let i = 1; i <= RAISES; i++) {
          await writer.manager.run(() => {
            writer.connection.root.a.set('count', i);
            writer.connection.root.b.set('count', i);
          });
        }
        isOver = true;
      };
      const read = async () => {
        let last = 0;
        for (let round = 0; !isOver; round++) {
          reader.manager.begin();
          const { a, b } = reader.connection.root;
          // One of the two leaves the cache in each round, and is loaded as of a view that may be old by then.
          (round % 2 === 0 ? a : b)._p_deactivate();
          const first = (round % 4 < 2 ? a : b).get('count') as number;
          await new Promise(setImmediate);
          assert.deepEqual([a.get('count'), b.get('count')], [first, first]);
          assert.ok(first >= last, 'time goes on');
          last = first;
        }
      };
      await Promise.all([write(), read()]);
      await reading.sync();
      reader.manager.begin();
      assert.equal(reader.connection.root.a.get('count'), RAISES);
    },
  );

  group.test('double spending: what is moved about stays as much as it was', [], async (subject) => {
    const clients = await group.clients(subject, 4);
    const { oids } = await make(
      subject.storage,
      Array.from({ length: 5 }, () => '100'),
    );
    await Promise.all(clients.map((client) => client.sync()));
    await Promise.all(
      clients.map(async (client, seat) => {
        for (let i = 0; i < 12; i++) {
          const pair = [oids[(seat + i) % 5] as Oid, oids[(seat + 2 * i + 1 + ((seat + i) % 5)) % 5] as Oid];
          if (pair[0] === pair[1]) continue;
          await change(client, pair, ([from, to]) => [`${Number(from) - seat - 1}`, `${Number(to) + seat + 1}`]);
          const sum = snapshot(client, oids).reduce((total, { data }) => total + Number(text(data)), 0);
          assert.equal(sum, 500);
        }
      }),
    );
  });
}
