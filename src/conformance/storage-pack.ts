import assert from 'node:assert/strict';
import {
  DB,
  type Oid,
  type PackProgress,
  PersistentMapping,
  POSKeyError,
  type Storage,
  StorageError,
  strongReferences,
  type Tid,
  TransactionManager,
  UndoError,
  ZERO_TID,
} from '../odb/index.js';
import { begin, transactions } from './commits.js';
import { Group, type StorageSuite, type Subject } from './subject.js';

type Node = PersistentMapping<unknown>;

/** Objects for the tests, which need records with references. */
class Site {
  readonly db: DB;
  readonly manager = new TransactionManager();
  readonly root: Node;
  readonly #add: (node: Node) => void;

  private constructor(db: DB) {
    this.db = db;
    const connection = db.open({ transactionManager: this.manager });
    this.root = connection.root as unknown as Node;
    this.#add = (node) => connection.add(node);
  }

  static async open(storage: Storage): Promise<Site> {
    return new Site(await DB.open(storage));
  }

  /** Runs and commits; resolves to the tid. */
  async commit(fn: (root: Node) => void): Promise<Tid> {
    await this.manager.run(() => fn(this.root), { retries: 1000 });
    return this.db.lastTransaction();
  }

  /** A stored object that nothing references. */
  add(value: unknown): Node {
    const node = new PersistentMapping<unknown>([['value', value]]);
    this.#add(node);
    return node;
  }
}

/** A new object. */
function node(value: unknown): Node {
  return new PersistentMapping<unknown>([['value', value]]);
}

/** Packing: what is old and what is garbage goes, and nothing else. */
export function testPack(suite: StorageSuite): void {
  const group = new Group(suite, 'pack');

  /** A client that has nothing cached, where there are several: what was read once may be answered for ever. */
  const unseen = async (subject: Subject): Promise<Storage> => (await group.clients(subject, 2))[1] as Storage;

  group.test('superseded revisions go, what is current stays as it is', ['pack'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const [a, b] = [node(0), node('b')];
    await site.commit((root) => root.set('a', a).set('b', b));
    const serials: Tid[] = [];
    for (let i = 1; i <= 5; i++) serials.push(await site.commit(() => a.set('value', i)));
    const before = serials[2] as Tid;
    const serialOfB = b._p_serial;
    await storage.pack({ before, references: strongReferences, onProgress: () => undefined });
    const oid = a._p_oid as Oid;
    assert.deepEqual(
      (await storage.history(oid, 10)).map(({ tid }) => tid),
      serials.slice(1).reverse(),
    );
    assert.equal(storage.load(oid).tid, serials[4]);
    assert.equal(storage.load(b._p_oid as Oid).tid, serialOfB);
    const fresh = await unseen(subject);
    assert.throws(() => fresh.loadBefore(oid, serials[1] as Tid), { code: /ODB_(READ_CONFLICT|POS_KEY)/ });
    assert.equal(fresh.loadBefore(oid, serials[2] as Tid)?.tid, serials[1]);
    await site.db.pack();
    assert.equal((await storage.history(oid, 10)).length, 1);
    // To an earlier time there is nothing left to do.
    await storage.pack({ before, references: strongReferences });
    assert.equal(storage.load(oid).tid, serials[4]);
  });

  group.test('what nothing reaches goes, cycles too', ['pack'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const [kept, left, right, lone] = [node('kept'), node('left'), node('right'), node('lone')];
    await site.commit((root) => {
      left.set('other', right);
      right.set('other', left);
      kept.set('self', kept);
      root.set('kept', kept).set('left', left).set('lone', lone);
    });
    await site.commit((root) => {
      root.delete('left');
      root.delete('lone');
    });
    await site.db.pack();
    const fresh = await unseen(subject);
    for (const { _p_oid } of [left, right, lone]) {
      assert.throws(() => fresh.load(_p_oid as Oid), POSKeyError);
      assert.throws(() => fresh.loadBefore(_p_oid as Oid, fresh.lastTransaction()), POSKeyError);
    }
    assert.ok(fresh.load(kept._p_oid as Oid));
    assert.ok(fresh.load(0 as Oid));
  });

  group.test('what a revision that is kept reaches, stays', ['pack'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const [a, b] = [node('a'), node('b')];
    await site.commit((root) => root.set('a', a.set('b', b)));
    const before = await site.commit((root) => root.set('other', 1));
    const removed = await site.commit((root) => root.delete('a'));
    await storage.pack({ before, references: strongReferences });
    const past = site.db.open({ before: removed, transactionManager: new TransactionManager() });
    assert.equal(((past.root['a'] as Node).get('b') as Node).get('value'), 'b');
    past.close();
    await site.db.pack();
    const fresh = await unseen(subject);
    assert.throws(() => fresh.load(b._p_oid as Oid), POSKeyError);
  });

  group.test(
    'after a pack to an earlier time, what the one before it packed away is not taken for lost',
    ['pack'],
    async (subject) => {
      const { storage } = subject;
      const site = await Site.open(storage);
      const before = await site.commit((root) => root.set('a', 1));
      const made = await site.commit((root) => root.set('b', node('b')).set('c', 1));
      await site.commit((root) => root.delete('b'));
      await site.db.pack();
      await storage.pack({ before, references: strongReferences });
      const tids = (await transactions(storage)).map(({ tid }) => tid);
      assert.equal(tids.at(-1), storage.lastTransaction());
      assert.ok(!tids.includes(made) || (await transactions(storage, made, made))[0]?.records.length === 0);
    },
  );

  group.test(
    'what was packed away cannot be referenced afterwards, nor what it kept alive',
    ['pack'],
    async (subject) => {
      const { storage } = subject;
      const site = await Site.open(storage);
      const [a, b] = [node('a'), node('b')];
      await site.commit((root) => root.set('a', a.set('b', b)).set('other', 1));
      await site.commit((root) => root.delete('a'));
      await site.db.pack();
      const last = storage.lastTransaction();
      for (const gone of [a, b]) {
        await assert.rejects(
          site.commit((root) => root.set('again', gone)),
          POSKeyError,
        );
      }
      // Not even after a pack that was stopped.
      const stopped = { before: last, references: strongReferences, signal: AbortSignal.abort() };
      await assert.rejects(storage.pack(stopped));
      await assert.rejects(
        site.commit((root) => root.set('again', b)),
        POSKeyError,
      );
      await site.db.pack();
      await assert.rejects(
        site.commit((root) => root.set('again', b)),
        POSKeyError,
      );
      assert.equal(storage.lastTransaction(), last);
      await site.commit((root) => root.set('again', node('new')));
    },
  );

  group.test('an object that an undo has removed is no hindrance', ['pack', 'undo'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const made = await site.commit((root) => root.set('a', node('a')));
    site.db.undo(made, site.manager.get());
    await site.manager.commit();
    await storage.pack({ before: made, references: strongReferences });
    await site.db.pack();
    await site.commit((root) => root.set('b', 1));
  });

  group.test('what was written since the time stays, with what it reaches', ['pack'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const target = node('target');
    await site.commit((root) => root.set('target', target));
    const before = await site.commit((root) => root.set('other', 1));
    let young: Node | undefined;
    await site.commit((root) => {
      young = site.add('young').set('target', target);
      root.delete('target');
    });
    await storage.pack({ before, references: strongReferences });
    const fresh = await unseen(subject);
    assert.ok(fresh.load(target._p_oid as Oid));
    assert.ok(storage.load(young?._p_oid as Oid));
    await site.db.pack();
    assert.throws(() => fresh.load(young?._p_oid as Oid), POSKeyError);
  });

  group.test('what a connection shows of the past is kept for it', ['pack'], async ({ storage }) => {
    const site = await Site.open(storage);
    const a = node(1);
    const first = await site.commit((root) => root.set('a', a));
    await site.commit(() => a.set('value', 2));
    const past = site.db.open({ before: (first + 1) as Tid, transactionManager: new TransactionManager() });
    await site.db.pack();
    assert.equal((past.root['a'] as Node).get('value'), 1);
    past.close();
    await site.db.pack();
    assert.equal((await storage.history(a._p_oid as Oid, 10)).length, 1);
  });

  group.test('what an open transaction shows is kept for it, with all that it reaches', ['pack'], async (subject) => {
    const [storage, reading] = (await group.clients(subject, 2)) as [Storage, Storage];
    const site = await Site.open(storage);
    const [a, gone] = [node(1), node('gone')];
    await site.commit((root) => root.set('a', a).set('gone', gone.set('child', node('child'))));
    await reading.sync();
    const reader = await Site.open(reading);
    reader.manager.begin();
    assert.equal(await reading.sync(), storage.lastTransaction());
    await site.commit((root) => {
      a.set('value', 2);
      root.delete('gone');
    });
    await site.db.pack();
    assert.equal((reader.root.get('a') as Node).get('value'), 1);
    assert.equal(((reader.root.get('gone') as Node).get('child') as Node).get('value'), 'child');
    await reading.sync();
    reader.manager.begin();
    assert.equal((reader.root.get('a') as Node).get('value'), 2);
    assert.equal(reader.root.has('gone'), false);
  });

  group.test('afterwards the log and the iteration tell of what is there', ['pack', 'undo'], async ({ storage }) => {
    const site = await Site.open(storage);
    const a = node(0);
    await site.commit((root) => root.set('a', a));
    for (let i = 1; i <= 3; i++) await site.commit(() => a.set('value', i));
    await site.commit((root) => root.delete('a'));
    await site.db.pack();
    assert.deepEqual(await storage.undoLog(), []);
    const later = await site.commit((root) => root.set('b', node('b')));
    assert.deepEqual(
      (await storage.undoLog()).map(({ tid }) => tid),
      [later],
    );
    for (const { tid, records } of await transactions(storage)) {
      for (const { oid } of records) assert.ok(storage.loadSerial(oid, tid));
    }
  });

  group.test('who knows more can keep an object, and is asked of each', ['pack'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const nodes = [node('a'), node('b')];
    await site.commit((root) => root.set('a', nodes[0]).set('b', nodes[1]));
    await site.commit((root) => {
      root.delete('a');
      root.delete('b');
    });
    const [a, b] = nodes.map(({ _p_oid }) => _p_oid) as [Oid, Oid];
    const before = (storage.lastTransaction() + 1) as Tid;
    const asked: Oid[] = [];
    const keeps = (oid: Oid) => {
      asked.push(oid);
      return oid === a;
    };
    try {
      await storage.pack({ before, references: strongReferences, keeps });
    } catch (error) {
      // The data are somebody else's, who cannot ask: nothing may be dropped then.
      assert.ok(error instanceof StorageError, String(error));
      assert.equal((await storage.history(b)).length, 1);
      return;
    }
    assert.deepEqual(asked.sort(), [a, b].sort());
    assert.ok(storage.load(a));
    assert.throws(() => storage.load(b), POSKeyError);
  });

  group.test('what was undone, redone and removed stays as it is', ['pack', 'undo'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const a = node(0);
    await site.commit((root) => root.set('a', a));
    await site.commit(() => a.set('value', 1));
    const late = node('late');
    const made = await site.commit((root) => root.set('late', late));
    for (let i = 0; i < 10; i++) {
      await site.db.transaction(() => site.db.undo(storage.lastTransaction()));
      // Whatever is kept of it: a removal has no record to be looked into.
      if (i % 3 === 0) await storage.pack({ before: made, references: strongReferences });
    }
    const lateOid = late._p_oid as Oid;
    await site.db.pack();
    const fresh = await unseen(subject);
    assert.ok(fresh.load(lateOid), 'an even number of undos');
    site.manager.begin();
    assert.equal((site.root.get('a') as Node).get('value'), 1);
    assert.equal((site.root.get('late') as Node).get('value'), 'late');
  });

  group.test('objects that refer to earlier ones, and to far ones, are all found', ['pack'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    // A chain whose every link leads to an object that was made before it.
    const links = Array.from({ length: 60 }, (_, i) => node(i));
    await site.commit((root) => {
      for (const [i, each] of links.entries()) root.set(`${i}`, each);
    });
    await site.commit((root) => {
      for (const [i, each] of links.entries()) if (i > 0) each.set('next', links[i - 1]);
      for (let i = 0; i < links.length - 1; i++) root.delete(`${i}`);
    });
    const oids = links.map(({ _p_oid }) => _p_oid as Oid);
    await site.db.pack();
    const fresh = await unseen(subject);
    for (const oid of oids) assert.ok(fresh.load(oid));
    await site.commit((root) => root.delete('59'));
    await site.db.pack();
    for (const oid of oids) await assert.rejects(storage.history(oid), POSKeyError);
  });

  group.test('one at a time; it tells how far it is, and can be stopped', ['pack'], async ({ storage }) => {
    const site = await Site.open(storage);
    await site.commit((root) => {
      for (let i = 0; i < 3000; i++) root.set(`${i}`, node(i));
    });
    await site.commit((root) => {
      for (let i = 0; i < 3000; i += 2) root.delete(`${i}`);
    });
    // By the time that the others are asked for, the first may be over: then they are asked for again.
    let reasons: unknown[] = [];
    for (let round = 0; round < 100 && reasons.length === 0; round++) {
      const [first, ...others] = await Promise.allSettled(Array.from({ length: 10 }, () => site.db.pack()));
      assert.equal(first?.status, 'fulfilled');
      reasons = others.flatMap((other) => (other.status === 'rejected' ? [other.reason] : []));
    }
    assert.ok(reasons.length > 0);
    for (const reason of reasons) assert.ok(reason instanceof StorageError, String(reason));
    const stopped = site.db.pack({ signal: AbortSignal.abort(new RangeError('enough')) });
    await assert.rejects(stopped, RangeError);
    await site.db.pack();
    for (let i = 1; i < 3000; i += 2) assert.equal((site.root.get(`${i}`) as Node).get('value'), i);
  });

  group.test('what was superseded since the time can be given back by an undo', ['pack', 'undo'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const a = node(1);
    const made = await site.commit((root) => root.set('a', a));
    const changed = await site.commit(() => a.set('value', 2));
    const undone = await site.db.transaction(() => site.db.undo(changed)).then(() => site.db.lastTransaction());
    const other = await site.commit((root) => root.set('other', node('other')));
    await storage.pack({ before: undone, references: strongReferences });
    const valueOfA = () => {
      site.manager.begin();
      return (site.root.get('a') as Node).get('value');
    };
    assert.equal(valueOfA(), 1);
    // What the first undo had superseded was current until then.
    await site.db.transaction(() => site.db.undo(undone));
    assert.equal(valueOfA(), 2);
    await site.db.transaction(() => site.db.undo(other));
    assert.equal(valueOfA(), 2);
    assert.equal(site.root.has('other'), false);
    // What that one superseded is gone.
    await assert.rejects(
      site.db.transaction(() => site.db.undo(changed)),
      UndoError,
    );
    await assert.rejects(
      site.db.transaction(() => site.db.undo(made)),
      UndoError,
    );
    assert.equal(valueOfA(), 2);
  });

  group.test('transactions that are told of meanwhile are told to the end', ['pack'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const a = node(0);
    await site.commit((root) => root.set('a', a).set('gone', node('gone')));
    for (let i = 1; i <= 20; i++) await site.commit(() => a.set('value', i));
    await site.commit((root) => root.delete('gone'));
    const last = storage.lastTransaction();
    const told = storage.iterate()[Symbol.asyncIterator]();
    const first = await told.next();
    assert.equal(first.done, false);
    await site.db.pack();
    const tids: Tid[] = [];
    for await (const { tid, records } of { [Symbol.asyncIterator]: () => told }) {
      tids.push(tid);
      for (const record of records) assert.equal(record.tid, tid);
    }
    assert.equal(tids.at(-1), last);
    assert.deepEqual(
      tids,
      [...new Set(tids)].sort((x, y) => x - y),
    );
  });

  group.test(
    'one that waits for the end of a vote can be stopped, and holds up no close',
    ['pack'],
    async (subject) => {
      const { storage } = subject;
      const site = await Site.open(storage);
      const tid = await site.commit((root) => root.set('a', node('a')));
      const voted = begin(storage, [[storage.newOid(), ZERO_TID, storage.load(0 as Oid).data]]);
      await storage.tpcVote(voted);
      const stop = new AbortController();
      const options = { before: tid, references: strongReferences };
      const stopped = assert.rejects(storage.pack({ ...options, signal: stop.signal }), RangeError);
      stop.abort(new RangeError('enough'));
      await stopped;
      const closed = assert.rejects(storage.pack(options), StorageError);
      await storage.close();
      await closed;
    },
  );

  group.test('beside those who write, nothing that is reached is lost', ['pack'], async (subject) => {
    const { storage } = subject;
    const site = await Site.open(storage);
    const names = ['a', 'b', 'c', 'd'];
    await site.commit((root) => {
      for (const name of names) root.set(name, new PersistentMapping());
    });
    let isPacking = true;
    const write = async () => {
      // Objects are made, handed on from one mapping to another, and let go of.
      for (let i = 0; isPacking || i < 40; i++) {
        // A storage may commit within one turn of the event loop.
        await new Promise((resolve) => setImmediate(resolve));
        await site.commit((root) => {
          const at = (n: number) => root.get(names[(i + n) % 4] as string) as Node;
          at(0).set(`${i}`, node(i).set('child', node(-i)));
          for (const [key, value] of [...at(1)].slice(0, 5)) {
            at(1).delete(key);
            at(2).set(key, value);
          }
          for (const key of [...at(3).keys()].slice(0, 3)) at(3).delete(key);
        });
      }
    };
    const writing = write();
    let earlier = storage.lastTransaction();
    for (let i = 0; i < 6; i++) {
      const before = earlier;
      earlier = storage.lastTransaction();
      if (i % 2 === 0) await storage.pack({ before, references: strongReferences });
      else await site.db.pack();
      await site.db.storage.sync();
    }
    isPacking = false;
    await writing;
    await site.db.pack();
    const reader = await Site.open(await unseen(subject));
    reader.manager.begin();
    let count = 0;
    for (const name of names) {
      for (const [key, each] of reader.root.get(name) as PersistentMapping<Node>) {
        assert.equal(each.get('value'), Number(key));
        assert.equal((each.get('child') as Node).get('value'), -Number(key));
        count++;
      }
    }
    assert.ok(count > 0);
    let last = ZERO_TID;
    for (const { tid, records } of await transactions(storage)) {
      assert.ok(tid > last, 'in order, and each once');
      last = tid;
      for (const { oid, tid: serial, data } of records) {
        assert.equal(serial, tid);
        assert.deepEqual(data && Buffer.from(data), Buffer.from(storage.loadSerial(oid, tid)));
      }
    }
    assert.equal(last, storage.lastTransaction());
  });

  group.test('it stays so when the data are opened anew', ['pack', 'reopen'], async (subject) => {
    const site = await Site.open(subject.storage);
    const [a, gone] = [node(0), node('gone')];
    await site.commit((root) => root.set('a', a).set('gone', gone));
    for (let i = 1; i <= 3; i++) await site.commit(() => a.set('value', i));
    await site.commit((root) => root.delete('gone'));
    const [oid, goneOid] = [a._p_oid as Oid, gone._p_oid as Oid];
    await site.db.pack();
    const storage = await subject.reopen();
    assert.throws(() => storage.load(goneOid), POSKeyError);
    const again = await Site.open(storage);
    assert.equal((again.root.get('a') as Node).get('value'), 3);
    assert.equal((await storage.history(oid, 10)).length, 1);
    for (const { tid, records } of await transactions(storage)) {
      for (const { oid: each } of records) assert.ok(storage.loadSerial(each, tid));
    }
    const young = node('young');
    await again.commit((root) => root.set('young', young));
    assert.ok((young._p_oid as Oid) > goneOid, 'an oid that was packed away is not given again');
  });

  // Who owns the data packs them: others are not told how far it is, and it goes on without them.
  if (suite.supports.clients === true) return;
  for (const phase of ['trim', 'mark', 'sweep'] as const) {
    group.test(
      `stopped at the first word of its ${phase}, it has dropped nothing but garbage; the next finds the rest`,
      ['pack'],
      async (subject) => {
        const { storage } = subject;
        const site = await Site.open(storage);
        const kept = node('kept').set('child', node('child'));
        const gone = node('gone').set('child', node('child'));
        await site.commit((root) => root.set('kept', kept).set('gone', gone));
        await site.commit((root) => root.delete('gone'));
        const before = (storage.lastTransaction() + 1) as Tid;
        const stop = new AbortController();
        const told: string[] = [];
        let objects = 0;
        const onProgress = (progress: PackProgress) => {
          assert.ok(progress.phase !== told.at(-1) || progress.objects >= objects, 'it counts up');
          objects = progress.objects;
          told.push(progress.phase);
          if (progress.phase === phase) stop.abort(new RangeError('enough'));
        };
        const options = { before, references: strongReferences };
        await assert.rejects(storage.pack({ ...options, onProgress, signal: stop.signal }), RangeError);
        assert.equal(told.at(-1), phase);
        const whole = () => {
          site.manager.begin();
          assert.equal(((site.root.get('kept') as Node).get('child') as Node).get('value'), 'child');
        };
        whole();
        await site.commit((root) => root.set('more', node('more')));
        const phases = new Set<string>();
        await storage.pack({ ...options, onProgress: (progress) => phases.add(progress.phase) });
        assert.deepEqual([...phases], ['trim', 'mark', 'sweep']);
        whole();
        for (const each of [gone, gone.get('child') as Node]) {
          assert.throws(() => storage.load(each._p_oid as Oid), POSKeyError);
        }
      },
    );
  }
}
