import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import {
  BTree,
  ConflictError,
  type Connection,
  DB,
  Length,
  MergeRefusedError,
  type Oid,
  Persistent,
  PersistentMapping,
  PersistentQueue,
  PersistentReference,
  persistable,
  recordConflictResolver,
  TransactionManager,
  UndoError,
  UnregisteredError,
  WeakReference,
} from 'holdfast/odb';
import { type LogRecord, type LogSink, setLogSink } from '#src/base/index.js';
import type { Tid } from '#src/odb/ids.js';
import { readRecord, readState } from '#src/odb/serialize/reader.js';
import type { RecordReference, ReferenceReader, ReferenceWriter } from '#src/odb/serialize/references.js';
import { writeRecord } from '#src/odb/serialize/writer.js';

let lines: LogRecord[];
let formerSink: LogSink;

beforeEach(() => {
  lines = [];
  formerSink = setLogSink((line) => lines.push(line));
});

afterEach(() => {
  setLogSink(formerSink);
});

interface AccountState {
  balance: number;
  note: unknown;
}

/** Merges as the test says. */
class Account extends Persistent {
  static calls: AccountState[][] = [];
  static merge: (base: AccountState, committed: AccountState, mine: AccountState) => unknown;
  static constructed = 0;

  balance = 0;
  note: unknown = undefined;

  constructor() {
    super();
    Account.constructed++;
  }

  static resolveConflict(...states: [AccountState, AccountState, AccountState]): unknown {
    Account.calls.push(states);
    return Account.merge(...states);
  }
}

/** As an account, but does not merge. */
class Plain extends Persistent {
  balance = 0;
}

/** A value without an identity of its own. */
class Money {
  constructor(
    public amount: number,
    public currency: string,
  ) {}
}

persistable('test.resolution', import.meta, { Account, Plain, Money });

beforeEach(() => {
  Account.calls = [];
  Account.merge = (base, committed, mine) => ({
    ...committed,
    balance: committed.balance + mine.balance - base.balance,
  });
});

interface View<T> {
  readonly manager: TransactionManager;
  readonly connection: Connection<{ it: T }>;
  readonly it: T;
}

/** Two connections that see the same object, each in a transaction of its own. */
async function withTwo<T extends Persistent>(
  it: T,
  work: (one: View<T>, two: View<T>, db: DB<{ it: T }>) => Promise<void>,
): Promise<void> {
  const db = await DB.open<{ it: T }>('memory:');
  await db.transaction(({ root }) => {
    root.it = it;
  });
  const views = [0, 1].map(() => {
    const manager = new TransactionManager();
    const connection = db.open({ transactionManager: manager });
    const object = connection.root.it as T;
    object._p_activate();
    return { manager, connection, it: object };
  }) as [View<T>, View<T>];
  await work(...views, db);
  for (const { manager, connection } of views) {
    manager.abort();
    connection.close();
  }
  await db.close();
}

function setBalance(account: { balance: number }, balance: number): void {
  account.balance = balance;
}

/** What a commit is refused with. */
async function refusal(view: Pick<View<Persistent>, 'manager'>): Promise<ConflictError> {
  try {
    await view.manager.commit();
  } catch (error) {
    assert.ok(error instanceof ConflictError, String(error));
    return error;
  }
  return assert.fail('the commit was not refused');
}

test('a resolver gets what both began with, what is committed, and what is to be; what it returns is stored, and seen at once', () =>
  withTwo(new Account(), async (one, two, db) => {
    const constructed = Account.constructed;
    setBalance(one.it, 5);
    setBalance(two.it, 100);
    await one.manager.commit();
    await two.manager.commit();
    assert.deepEqual(
      Account.calls.map((states) => states.map(({ balance }) => balance)),
      [[0, 5, 100]],
    );
    assert.equal(Account.constructed, constructed, 'no account was made for it');
    assert.equal(two.it.balance, 105);
    assert.equal(await db.transaction(({ root }) => root.it.balance), 105);
    one.manager.begin();
    assert.equal(one.it.balance, 105);
  }));

test('a resolver is also asked where one side wrote the state without changing it', () =>
  withTwo(new Account(), async (one, two) => {
    one.it._p_changed = true;
    setBalance(two.it, 3);
    await one.manager.commit();
    await two.manager.commit();
    assert.equal(Account.calls.length, 1, 'nothing was changed by what is committed');
    one.manager.begin();
    setBalance(one.it, 9);
    two.it._p_changed = true;
    await one.manager.commit();
    await two.manager.commit();
    assert.equal(Account.calls.length, 2, 'nothing was changed by who commits');
    assert.equal(two.it.balance, 9);
  }));

test('a class without a resolver conflicts, even where both states are equal', () =>
  withTwo(new Plain(), async (one, two) => {
    setBalance(one.it, 1);
    setBalance(two.it, 1);
    const baseSerial = two.it._p_serial;
    const committedSerial = await one.manager.commit();
    const { oid, className, reason, ...error } = await refusal(two);
    assert.deepEqual(
      [oid, className, error.baseSerial, error.committedSerial, reason],
      [two.it._p_oid, 'test.resolution.Plain', baseSerial, committedSerial, 'test.resolution.Plain does not merge'],
    );
    two.manager.abort();
    two.it._p_changed = true;
    one.manager.begin();
    one.it._p_changed = true;
    await one.manager.commit();
    await refusal(two);
  }));

test('a resolver that refuses makes a conflict that names the class and says why', () =>
  withTwo(new Account(), async (one, two) => {
    for (const thrown of [
      new MergeRefusedError('not on a Sunday'),
      new ConflictError({ oid: 1 as Oid, baseSerial: 0 as Tid, committedSerial: 0 as Tid, reason: 'not on a Sunday' }),
    ]) {
      Account.merge = () => {
        throw thrown;
      };
      const before = one.it.balance;
      setBalance(one.it, before + 1);
      setBalance(two.it, 50);
      const baseSerial = two.it._p_serial;
      const committedSerial = await one.manager.commit();
      const error = await refusal(two);
      assert.deepEqual(
        [error.oid, error.className, error.baseSerial, error.committedSerial, error.reason],
        [two.it._p_oid, 'test.resolution.Account', baseSerial, committedSerial, 'not on a Sunday'],
      );
      assert.equal(error.cause, thrown);
      assert.equal(error.retry, 'now');
      two.manager.abort();
      assert.equal(two.it.balance, before + 1);
    }
    assert.deepEqual(lines, [], 'a refusal is nothing to be logged');
  }));

const failures: [string, typeof Account.merge, RegExp][] = [
  ['throws something else', () => JSON.parse('{'), /SyntaxError/],
  ['counts on an object with methods', (_, __, mine) => (mine as unknown as Account)._p_activate(), /TypeError/],
  ['returns nothing', () => undefined, /it returned no state/],
  ['is asynchronous', () => Promise.resolve({ balance: 1 }), /SerializationError/],
  ['returns what cannot be stored', () => ({ balance: () => 1 }), /UnregisteredError/],
];
for (const [what, merge, reason] of failures) {
  test(`a resolver that ${what} makes a conflict, which is logged`, () =>
    withTwo(new Account(), async (one, two, db) => {
      Account.merge = merge;
      setBalance(one.it, 1);
      setBalance(two.it, 2);
      await one.manager.commit();
      const error = await refusal(two);
      assert.equal(error.className, 'test.resolution.Account');
      assert.match(error.reason as string, reason);
      assert.equal(lines.length, 1);
      assert.match(lines[0]?.message as string, /test\.resolution\.Account oid \d+: resolveConflict failed/);
      assert.equal(await db.transaction(({ root }) => root.it.balance), 1);
    }));
}

test('references are the same value for the same object, load nothing, and allow no other comparison', () =>
  withTwo(new Account(), async (one, two) => {
    const friend = new Plain();
    one.it.note = { strong: friend, again: [friend], weak: new WeakReference(friend) };
    await one.manager.commit();
    two.manager.begin();
    setBalance(one.it, 1);
    setBalance(two.it, 2);
    await one.manager.commit();
    Account.merge = (base, committed, mine) => {
      const notes = [base, committed, mine].map(
        ({ note }) => note as { strong: PersistentReference; again: PersistentReference[]; weak: PersistentReference },
      );
      for (const { strong, again, weak } of notes) {
        assert.ok(strong instanceof PersistentReference);
        assert.deepEqual({ ...strong }, { oid: friend._p_oid, className: 'test.resolution.Plain', kind: 'strong' });
        assert.equal(strong, notes[0]?.strong);
        assert.equal(again[0], strong);
        assert.equal(weak, notes[0]?.weak);
        assert.equal(weak.kind, 'weak');
        assert.ok(weak.equals(strong));
        assert.throws(() => strong < weak, TypeError);
        assert.throws(() => (strong as unknown) === '1' || (strong as unknown as number) * 1, TypeError);
        assert.throws(() => `${String(strong)}`, TypeError);
      }
      return { ...committed, balance: 77 };
    };
    two.connection.cacheMinimize();
    await two.manager.commit();
    assert.equal(two.it.balance, 77);
    const { strong, again, weak } = two.it.note as { strong: Plain; again: Plain[]; weak: WeakReference };
    assert.equal(strong._p_state, 'ghost', 'nothing was loaded');
    assert.equal(again[0], strong);
    assert.equal(weak.get(), strong);
  }));

test('all kinds of references come through a merge as they were, and their classes need not be known', () => {
  const kinds: RecordReference[] = (['strong', 'weak'] as const).flatMap((kind) => [
    { oid: 7 as Oid, className: 'unknown.Thing', kind },
    { oid: 7 as Oid, className: 'unknown.Thing', kind, databaseName: 'other' },
    { oid: 8 as Oid, className: 'test.resolution.Plain', kind },
    { oid: 8 as Oid, className: 'test.resolution.Plain', kind, databaseName: 'other' },
  ]);
  class Slot {
    constructor(readonly reference: RecordReference) {}
  }
  const writer: ReferenceWriter = {
    isPersistent: (value) => value instanceof Slot,
    reference: (object) => (object as Slot).reference,
  };
  const reader: ReferenceReader = { resolve: (reference) => reference };
  const record = (balance: number) =>
    writeRecord({
      className: 'test.resolution.Account',
      state: { balance, note: kinds.map((kind) => new Slot(kind)) },
      references: writer,
      path: 'it',
    });
  Account.merge = (base, committed, mine) => {
    const notes = [base, committed, mine].map(({ note }) => note as PersistentReference[]);
    assert.equal(new Set(notes.flat()).size, kinds.length, 'each is one value, and another one than the others');
    const [here, there] = notes[0] as [PersistentReference, PersistentReference];
    assert.ok(!here.equals(there), 'an oid in another database is another object');
    return { ...mine, note: notes[1] };
  };
  const merged = recordConflictResolver.resolve({
    oid: 3 as Oid,
    baseSerial: 1 as Tid,
    committedSerial: 2 as Tid,
    base: record(0),
    committed: record(1),
    mine: record(2),
  }) as Uint8Array;
  assert.equal(readRecord(merged).className, 'test.resolution.Account');
  assert.deepEqual(readState(merged, reader), { balance: 2, note: kinds });
});

test('plain values of a class that is not registered here make a conflict that says which', () => {
  const noReferences: ReferenceWriter = { isPersistent: () => false, reference: () => assert.fail() };
  const record = (state: unknown, className = 'holdfast.PersistentMapping') =>
    writeRecord({ className, state, references: noReferences, path: 'it' });
  const known = record(new Map([['price', new Money(1, 'EUR')]]));
  // The same bytes under a name that nobody registered.
  const unknown = Buffer.from(
    known.toString('latin1').replace('test.resolution.Money', 'test.resolution.Mango'),
    'latin1',
  );
  const request = { oid: 3 as Oid, baseSerial: 1 as Tid, committedSerial: 2 as Tid };
  assert.ok(recordConflictResolver.resolve({ ...request, base: known, committed: known, mine: known }));
  assert.throws(
    () => recordConflictResolver.resolve({ ...request, base: known, committed: unknown, mine: known }),
    (error: ConflictError) => {
      assert.ok(error instanceof ConflictError);
      assert.equal(error.className, 'holdfast.PersistentMapping');
      assert.equal(error.reason, undefined, 'somebody else may know it');
      assert.ok(error.cause instanceof UnregisteredError);
      assert.equal(error.cause.persistentName, 'test.resolution.Mango');
      return true;
    },
  );
  const otherClass = record({ balance: 1 }, 'test.resolution.Plain');
  assert.throws(
    () => recordConflictResolver.resolve({ ...request, base: known, committed: otherClass, mine: known }),
    (error: ConflictError) => error.reason === 'its class was changed',
  );
  const nobodys = record({ balance: 1 }, 'unknown.Thing');
  assert.equal(
    recordConflictResolver.resolve({ ...request, base: nobodys, committed: nobodys, mine: nobodys }),
    undefined,
  );
});

test('plain values of registered classes merge by what they hold', () =>
  withTwo(new PersistentMapping({ price: new Money(1, 'EUR') } as Record<string, unknown>), async (one, two) => {
    one.it.set('theirs', new Money(2, 'EUR'));
    two.it.set('ours', new Money(3, 'EUR'));
    await one.manager.commit();
    await two.manager.commit();
    assert.deepEqual(
      [...two.it].sort(),
      Object.entries({ ours: new Money(3, 'EUR'), price: new Money(1, 'EUR'), theirs: new Money(2, 'EUR') }),
    );
    assert.ok(two.it.get('theirs') instanceof Money);
  }));

test('what two made new at the same place merges by the mapping above; both objects have oids of their own', () =>
  withTwo(new PersistentMapping<Plain>(), async (one, two) => {
    one.it.set('a', new Plain());
    two.it.set('b', new Plain());
    await one.manager.commit();
    await two.manager.commit();
    const oids = [...two.it.values()].map((each) => each._p_oid);
    assert.equal(new Set(oids).size, 2);
  }));

const undone: [string, () => Persistent, (it: never, item: string) => unknown, (it: never) => Iterable<unknown>][] = [
  [
    'a mapping',
    () => new PersistentMapping<string>(),
    (it: PersistentMapping<string>, item) => it.set(item, item),
    (it: PersistentMapping<string>) => it.keys(),
  ],
  [
    'a tree',
    () => new BTree<string, string>(),
    (it: BTree<string, string>, item) => it.set(item, item),
    (it: BTree<string, string>) => it.keys(),
  ],
  [
    'a queue',
    () => new PersistentQueue<string>(),
    (it: PersistentQueue<string>, item) => it.put(item),
    (it: PersistentQueue<string>) => it,
  ],
];
for (const [what, make, add, read] of undone) {
  test(`the undo of what was added to ${what} leaves what was added later`, () =>
    withTwo(make(), async ({ manager, it }, _, db) => {
      const tids: Tid[] = [];
      for (const item of ['a', 'b', 'c']) {
        add(it as never, item);
        tids.push((await manager.commit()) as Tid);
      }
      await manager.enter(async () => {
        db.undo(tids[1] as Tid);
        await manager.commit();
      });
      assert.deepEqual([...read(it as never)], ['a', 'c']);
    }));
}

for (const order of ['oldest first', 'newest first'] as const) {
  test(`several changes of a counter are undone in one transaction, ${order}`, () =>
    withTwo(new Length(), async ({ manager, it }, _, db) => {
      const tids: Tid[] = [];
      for (const delta of [1, 10, 100]) {
        it.change(delta);
        tids.push((await manager.commit()) as Tid);
      }
      const undone = [tids[0], tids[1]] as Tid[];
      await manager.enter(async () => {
        db.undoMultiple(order === 'oldest first' ? undone : undone.reverse());
        await manager.commit();
      });
      assert.equal(it.value, 100);
    }));
}

test('the undo of the change between two others is merged by its class, or refused where that refuses', () =>
  withTwo(new Account(), async ({ manager, it }, _, db) => {
    const tids: Tid[] = [];
    for (const balance of [1, 11, 111]) {
      setBalance(it, balance);
      tids.push((await manager.commit()) as Tid);
    }
    await manager.enter(async () => {
      db.undo(tids[1] as Tid);
      await manager.commit();
      assert.equal(it.balance, 101);
      Account.merge = () => {
        throw new MergeRefusedError('that is settled');
      };
      db.undo(tids[0] as Tid);
      await assert.rejects(manager.commit(), (error: UndoError) => {
        assert.ok(error instanceof UndoError);
        assert.match(error.reason, /that is settled/);
        return true;
      });
      manager.abort();
      assert.equal(it.balance, 101);
    });
  }));
