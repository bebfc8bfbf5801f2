import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommitUnderWayError, POSKeyError, SerializationError } from '#src/odb/errors.js';
import { type Oid, type Tid, tidFromDate } from '#src/odb/ids.js';
import { disown, fill, makeGhost, makeGhostAgain, markStored, recordState } from '#src/odb/persistent/lifecycle.js';
import { ManagedPersistent, Persistent } from '#src/odb/persistent/persistent.js';
import { RecordJar } from './record-jar.js';

interface Loose {
  [field: string]: unknown;
}

/** Keeps its state in a field of its own, as our collections do. */
class Tally extends ManagedPersistent {
  count = 0;

  get value(): number {
    this.readable();
    return this.count;
  }

  add(delta: number): void {
    this.writable();
    this.count += delta;
  }

  override getState(): number {
    this.readable();
    return this.count;
  }

  override setState(state: unknown): void {
    if (typeof state !== 'number') throw new TypeError('not a number');
    this.count = state;
  }

  protected override clearState(): void {
    this.count = 0;
  }
}

test('a new object has no place and no status', () => {
  class Account extends Persistent {
    balance = 1;
  }
  const account = new Account();
  account.balance = 2;
  account._p_changed = true;
  account._p_deactivate();
  account._p_invalidate();
  account._p_activate();
  assert.deepEqual(
    [account._p_oid, account._p_jar, account._p_serial, account._p_changed, account._p_state, account._p_mtime],
    [undefined, undefined, 0, false, 'up-to-date', undefined],
  );
  assert.equal(account._p_estimatedSize, 0);
  assert.equal(account.balance, 2);
  assert.deepEqual(account.getState(), { balance: 2 });
});

test('fill gives serial, size and time of the revision', () => {
  class Account extends Persistent {
    balance = 0;
  }
  const jar = new RecordJar();
  const when = new Date('2024-05-06T07:08:09.010Z');
  const account = jar.ghost(Account, { balance: 1 });
  makeGhostAgain(account);
  fill(account, { balance: 1 }, tidFromDate(when), 77);
  assert.deepEqual(
    [account._p_serial, account._p_estimatedSize, account._p_mtime, account._p_state],
    [tidFromDate(when), 77, when, 'up-to-date'],
  );
});

test('adopt gives a new object its place, and its fields become tracked', () => {
  class Account extends Persistent {
    balance = 0;
    owner = 'Ann';
    inc() {
      this.balance++;
    }
  }
  const jar = new RecordJar();
  const account = new Account();
  account.inc();
  jar.adopt(account);
  assert.deepEqual([account._p_oid, account._p_jar, account._p_serial, account._p_changed], [1, jar, 0, true]);
  account.inc();
  assert.deepEqual(jar.registered, [], 'it counts as changed already');
  assert.deepEqual(jar.stored(account), { balance: 2, owner: 'Ann' });
  markStored(account, 9 as Tid, 50);
  assert.deepEqual([account._p_changed, account._p_serial, account._p_estimatedSize], [false, 9, 50]);
  account.inc();
  assert.deepEqual(jar.registered, [account]);
  assert.equal(account.balance, 3);
  assert.deepEqual(Object.keys(account), ['balance', 'owner']);
});

test('recordState gives the state without a copy, getState a copy', () => {
  class Account extends Persistent {
    balance = 0;
  }
  const account = new RecordJar().adopt(new Account());
  assert.equal(recordState(account), recordState(account));
  assert.notEqual(account.getState(), recordState(account));
  assert.deepEqual(account.getState(), recordState(account));
});

test('objects of a class with changing fields can be adopted in any order', () => {
  class Loosely extends Persistent {}
  const jar = new RecordJar();
  const make = (fields: object) => Object.assign(new Loosely(), fields);
  for (const fields of [{ a: 1, b: 2 }, { b: 3, a: 4, c: 5 }, { c: 6 }, {}, { d: 7, a: 8 }]) {
    const object = jar.adopt(make(fields));
    assert.deepEqual({ ...object }, fields);
    assert.deepEqual(jar.stored(object), fields);
    assert.deepEqual({ ...jar.loaded(Loosely, fields) }, fields);
  }
});

test('disown keeps the values, and the object can be adopted again', () => {
  class Account extends Persistent {
    balance = 0;
    declare later: string;
  }
  const jar = new RecordJar();
  const account = jar.adopt(new Account());
  account.balance = 5;
  disown(account);
  assert.deepEqual(
    [account._p_oid, account._p_jar, account._p_changed, account._p_serial],
    [undefined, undefined, false, 0],
  );
  account.balance++;
  account.later = 'x';
  assert.deepEqual({ ...account }, { balance: 6, later: 'x' });
  assert.deepEqual(account.getState(), { balance: 6, later: 'x' });
  assert.deepEqual(jar.registered, []);
  const other = new RecordJar();
  other.adopt(account);
  assert.equal(account._p_jar, other);
  assert.deepEqual(other.stored(account), { balance: 6, later: 'x' });
  markStored(account, 3 as Tid, 10);
  account.later = 'y';
  assert.deepEqual(other.registered, [account]);
});

test('disown of a ghost loads it first, since no jar could later', () => {
  class Account extends Persistent {
    balance = 0;
  }
  const jar = new RecordJar();
  const account = jar.adopt(new Account());
  jar.states.set(account._p_oid as Oid, { balance: 8 });
  makeGhostAgain(account);
  disown(account);
  assert.equal(account.balance, 8);
});

test('_p_deactivate drops an unchanged state only, _p_invalidate any', () => {
  class Account extends Persistent {
    balance = 0;
  }
  const jar = new RecordJar();
  const account = jar.loaded(Account, { balance: 1 });
  account._p_deactivate();
  assert.equal(account._p_state, 'ghost');
  account.balance = 2;
  account._p_deactivate();
  account._p_changed = undefined;
  assert.deepEqual([account._p_state, account.balance], ['changed', 2]);
  account._p_invalidate();
  assert.deepEqual([account._p_state, account._p_changed, account._p_serial], ['ghost', undefined, 0]);
  assert.equal(account.balance, 1);
  account._p_changed = undefined;
  assert.equal(account._p_state, 'ghost');
});

test('_p_changed = true registers, also a ghost, and _p_changed = false takes the mark away', () => {
  class Account extends Persistent {
    tags: string[] = [];
  }
  const jar = new RecordJar();
  const account = jar.ghost(Account, { tags: [] });
  account.tags.push('unnoticed');
  assert.equal(account._p_changed, false);
  account._p_changed = true;
  account._p_changed = true;
  assert.deepEqual(jar.registered, [account]);
  account._p_changed = false;
  assert.equal(account._p_state, 'up-to-date');
  const ghost = jar.ghost(Account, { tags: ['kept'] });
  ghost._p_changed = true;
  assert.deepEqual([ghost._p_state, ghost.tags], ['changed', ['kept']]);
});

test('markStored leaves an object a ghost that became one meanwhile', () => {
  const jar = new RecordJar();
  const tally = jar.loaded(Tally, 5);
  tally.add(1);
  makeGhostAgain(tally);
  jar.states.set(tally._p_oid as Oid, 6);
  markStored(tally, 9 as Tid, 4);
  assert.equal(tally._p_state, 'ghost');
  assert.equal(tally.value, 6);
});

test('what cannot be loaded says so at every touch, and stays a ghost', () => {
  class Account extends Persistent {
    balance = 0;
  }
  const jar = new RecordJar();
  jar.teach(Account, { balance: 0 });
  const account = makeGhost(Account, jar, 99 as Oid) as Account;
  for (let i = 0; i < 2; i++) {
    assert.throws(() => account.balance, POSKeyError);
    assert.throws(() => {
      account.balance = 1;
    }, POSKeyError);
    assert.throws(() => (account as unknown as Loose)['nothing'], POSKeyError);
  }
  assert.equal(account._p_state, 'ghost');
});

test('the first object of a class that was never seen is loaded when it is made, the second is not', () => {
  class Fresh extends Persistent {
    declare value: number;
  }
  const jar = new RecordJar();
  const first = jar.ghost(Fresh, { value: 1 });
  assert.equal(first._p_state, 'up-to-date');
  assert.deepEqual(Object.keys(first), ['value']);
  assert.equal(jar.ghost(Fresh, { value: 2 })._p_state, 'ghost');
});

test('a first object that cannot be loaded teaches nothing: the next one is loaded', () => {
  class Fresh extends Persistent {
    declare value: number;
  }
  const jar = new RecordJar();
  const lost = makeGhost(Fresh, jar, 99 as Oid);
  assert.equal(lost._p_state, 'ghost');
  assert.throws(() => (lost as Fresh).value, POSKeyError);
  assert.equal(jar.ghost(Fresh, { value: 2 })._p_state, 'up-to-date');
});

test('first objects that refer to each other do not load without end', () => {
  class Link extends Persistent {
    declare next: Link;
    declare name: string;
  }
  const jar = new RecordJar();
  const made = new Map<number, Link>();
  const link = (oid: number): Link => {
    const known = made.get(oid);
    if (known) return known;
    return makeGhost(Link, jar, oid as Oid, (ghost) => made.set(oid, ghost as Link)) as Link;
  };
  // Each record leads to the next one, when it is read.
  jar.activate = (object) => {
    const oid = object._p_oid as Oid;
    jar.loads.push(oid);
    fill(object, { next: link((oid + 1) % 10_000), name: `link ${oid}` }, 5 as Tid, 10);
  };
  assert.equal(link(0).name, 'link 0');
  assert.equal(jar.loads.length, 1);
  assert.equal(link(0).next.next.name, 'link 2');
});

test('makeGhost tells of the ghost before it loads it, so that its references can lead back', () => {
  class Node extends Persistent {
    declare self: Node;
  }
  const jar = new RecordJar();
  let known: Persistent | undefined;
  jar.activate = (object) => fill(object, { self: known }, 5 as Tid, 10);
  const node = makeGhost(Node, jar, 4 as Oid, (ghost) => {
    known = ghost;
  }) as Node;
  assert.equal(node.self, node);
});

test('setState migrates old records without a change, and getState gives another stored form', () => {
  class Person extends Persistent {
    first = '';
    last = '';
    override setState(state: unknown) {
      const { name, ...rest } = state as { name?: string };
      const [first, last] = name?.split(' ') ?? [];
      super.setState(name === undefined ? rest : { ...rest, first, last });
    }
  }
  class Point extends Persistent {
    x = 0;
    y = 0;
    override getState() {
      return [this.x, this.y];
    }
    override setState(state: unknown) {
      [this.x, this.y] = state as [number, number];
    }
  }
  const jar = new RecordJar();
  for (let i = 0; i < 3; i++) {
    const old = jar.ghost(Person, { name: 'Ann Lee', age: 5 });
    assert.deepEqual([old.first, old.last, { ...old }], ['Ann', 'Lee', { age: 5, first: 'Ann', last: 'Lee' }]);
    const point = jar.ghost(Point, [i, 4]);
    assert.deepEqual([point.x, point.y, point._p_changed, Object.keys(point)], [i, 4, false, ['x', 'y']]);
    point.x = 8;
    assert.deepEqual(jar.stored(point), [8, 4]);
    assert.deepEqual(jar.registered.pop(), point);
    point._p_invalidate();
    assert.equal(point.x, i);
  }
  assert.deepEqual(jar.registered, []);
  assert.deepEqual(jar.stored(jar.adopt(Object.assign(new Point(), { x: 1, y: 2 }))), [1, 2]);
});

test('a class that refuses a state leaves a ghost without a trace of it', () => {
  class Strict extends Persistent {
    declare value: number;
    override setState(state: unknown) {
      this.value = 1;
      if ((state as { value: number }).value < 0) {
        (this as unknown as Loose)['half'] = true;
        throw new RangeError('negative');
      }
      super.setState(state);
    }
  }
  const jar = new RecordJar();
  jar.teach(Strict, { value: 1 });
  const strict = jar.ghost(Strict, { value: -1 });
  assert.throws(() => strict.value, RangeError);
  assert.equal(strict._p_state, 'ghost');
  assert.equal(Object.hasOwn(strict, 'half'), false);
  jar.states.set(strict._p_oid as Oid, { value: 7 });
  assert.equal(strict.value, 7);
});

test('a state that is no object of fields is refused by name', () => {
  class Account extends Persistent {
    balance = 0;
  }
  const jar = new RecordJar();
  jar.teach(Account, { balance: 0 });
  for (const state of [5, null, [1], new Map()]) {
    const account = jar.ghost(Account, state);
    assert.throws(
      () => account.balance,
      (error: Error) => error instanceof SerializationError && /Account oid/.test(error.message),
    );
  }
});

test('an object that is frozen before it is stored is refused, and left as it was', () => {
  class Account extends Persistent {
    balance = 3;
  }
  const jar = new RecordJar();
  for (const fix of [Object.freeze, Object.seal, Object.preventExtensions]) {
    const account = fix(new Account()) as Account;
    assert.throws(
      () => jar.adopt(account),
      (error: Error) => error instanceof SerializationError && /a new Account/.test(error.message),
    );
    assert.deepEqual([account._p_oid, account.balance], [undefined, 3]);
  }
  assert.throws(() => jar.adopt(Object.freeze(new Tally()) as Tally), SerializationError);
});

test('a frozen stored object is loaded and changed as ever, and refused when it is to be stored', () => {
  class Account extends Persistent {
    balance = 3;
  }
  const jar = new RecordJar();
  jar.teach(Account, { balance: 3 });
  const account = Object.freeze(jar.ghost(Account, { balance: 4 })) as { balance: number } & Persistent;
  assert.equal(account.balance, 4);
  account.balance = 5;
  assert.throws(
    () => jar.stored(account),
    (error: Error) => error instanceof SerializationError && error.message.includes(`Account oid ${account._p_oid}`),
  );
});

test('a field that cannot be tracked is refused, and the object is left as it was', () => {
  class Account extends Persistent {
    first = 1;
    last = 2;
  }
  const account = new Account();
  Object.defineProperty(account, 'stuck', { value: 3, enumerable: true, configurable: false });
  (account as unknown as Loose)['after'] = 4;
  const jar = new RecordJar();
  assert.throws(() => jar.adopt(account), /Account\.stuck/);
  assert.deepEqual({ ...account }, { first: 1, last: 2, stuck: 3, after: 4 });
  assert.equal(account._p_oid, undefined);
});

test('a managed object loads, registers and goes back to a ghost', () => {
  const jar = new RecordJar();
  const tally = jar.ghost(Tally, 5);
  assert.equal(tally._p_state, 'ghost');
  assert.deepEqual(jar.loads, []);
  assert.equal(tally.value, 5);
  tally.add(2);
  tally.add(2);
  assert.deepEqual(jar.registered, [tally]);
  assert.equal(recordState(tally), 9);
  makeGhostAgain(tally);
  assert.equal(tally.count, 0);
  assert.equal(tally.value, 5);
});

test('a managed object is unchanged when its change is refused, and cleared when its state is', () => {
  const jar = new RecordJar();
  const tally = jar.ghost(Tally, 5);
  jar.refusal = new CommitUnderWayError('wait');
  assert.throws(() => tally.add(1), CommitUnderWayError);
  assert.deepEqual([tally.value, tally._p_state], [5, 'up-to-date']);
  jar.states.set(tally._p_oid as Oid, 'rubbish');
  makeGhostAgain(tally);
  assert.throws(() => tally.value, TypeError);
  assert.deepEqual([tally.count, tally._p_state], [0, 'ghost']);
});

test('a new managed object is adopted with its state', () => {
  const jar = new RecordJar();
  const tally = new Tally();
  tally.add(3);
  jar.adopt(tally);
  tally.add(1);
  assert.deepEqual([tally._p_changed, recordState(tally), jar.registered], [true, 4, []]);
  disown(tally);
  tally.add(1);
  assert.deepEqual([tally.value, tally._p_oid], [5, undefined]);
});

test('a stored managed object takes no fields that it would lose', () => {
  const jar = new RecordJar();
  const tally = jar.loaded(Tally, 5) as Tally & Loose;
  assert.throws(
    () => {
      tally['label'] = 'x';
    },
    { code: 'ARG_UNKNOWN_FIELD' },
  );
  assert.deepEqual(jar.registered, []);
});

test('a class may touch its object while its state is dropped, or refuse to drop it', () => {
  class Curious extends Tally {
    protected override clearState() {
      void this.value;
      super.clearState();
    }
  }
  class Pinned extends Persistent {
    value = 1;
    override _p_deactivate() {}
  }
  const jar = new RecordJar();
  const curious = jar.loaded(Curious, 5);
  curious._p_deactivate();
  assert.deepEqual([curious._p_state, jar.loads.length], ['ghost', 1]);
  const pinned = jar.loaded(Pinned, { value: 2 });
  pinned._p_deactivate();
  assert.equal(pinned._p_state, 'up-to-date');
});
