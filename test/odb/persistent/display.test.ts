import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import type { Oid, Tid } from '#src/odb/ids.js';
import { makeBrokenGhost } from '#src/odb/persistent/broken.js';
import { Length } from '#src/odb/persistent/length.js';
import { fill } from '#src/odb/persistent/lifecycle.js';
import { PersistentList } from '#src/odb/persistent/list.js';
import { PersistentMapping } from '#src/odb/persistent/mapping.js';
import { Persistent } from '#src/odb/persistent/persistent.js';
import { persistable } from '#src/odb/serialize/registry.js';
import { RecordJar } from './record-jar.js';

class Person extends Persistent {
  name = '';
}

class Account extends Persistent {
  balance = 0;
  declare owner: Person;
}

class Own extends Persistent {
  code = 1;
  override toJSON(): unknown {
    return { own: this.code };
  }
}

persistable('display', import.meta, { Account, Person });

function people() {
  const jar = new RecordJar();
  jar.teach(Person, { name: '' });
  const owner = jar.ghost(Person, { name: 'Ann' });
  const account = jar.loaded(Account, { balance: 3, owner });
  jar.forget();
  return { jar, owner, account, person: owner._p_oid as Oid };
}

test('a loaded object is shown with its fields, and objects below by class and oid', () => {
  const { account, person, jar } = people();
  assert.equal(inspect(account), `Account { _p_oid: ${account._p_oid}, balance: 3, owner: <Person oid ${person}> }`);
  assert.deepEqual(jar.loads, []);
});

test('a ghost is shown without being loaded', () => {
  const { owner, jar } = people();
  assert.equal(inspect(owner), `<Person oid ${owner._p_oid}>`);
  assert.equal(inspect([owner]), `[ <Person oid ${owner._p_oid}> ]`);
  assert.deepEqual(jar.loads, []);
});

test('objects below are not walked, wherever they stand, even loaded', () => {
  const { account, owner, jar, person } = people();
  owner._p_activate();
  class Plain {
    constructor(readonly inside: unknown) {}
  }
  const holder = jar.loaded(Account, { list: [owner], map: new Map([['k', owner]]), plain: new Plain(account), owner });
  const short = `<Person oid ${person}>`;
  assert.equal(
    inspect(holder, { breakLength: Number.POSITIVE_INFINITY }),
    `Account { _p_oid: ${holder._p_oid}, list: [ ${short} ], map: Map(1) { 'k' => ${short} }, ` +
      `plain: Plain { inside: <Account oid ${account._p_oid}> }, owner: ${short} }`,
  );
});

test('new objects and their cycles are shown too', () => {
  const a = new Account();
  assert.equal(inspect(a), 'Account { balance: 0 }');
  (a as unknown as { self: Account }).self = a;
  assert.equal(inspect(a), 'Account { balance: 0, self: <Account new> }');
  assert.equal(inspect(new (class Empty extends Persistent {})()), 'Empty {}');
});

test('below the depth that is asked for, an object is shown in short', () => {
  const { account } = people();
  const short = `<Account oid ${account._p_oid}>`;
  assert.equal(inspect({ a: { b: { c: account } } }, { depth: 1 }), '{ a: { b: [Object] } }');
  assert.equal(
    inspect({ a: { b: account } }, { depth: 1, breakLength: Number.POSITIVE_INFINITY }),
    `{ a: { b: ${short} } }`,
  );
});

test('prototypes, classes and what was made past the constructor can be shown', () => {
  assert.equal(inspect(Account.prototype), 'Persistent {}');
  assert.equal(inspect(Object.create(Account.prototype)), '<Account that was never constructed>');
  assert.match(inspect(Account), /^\[class Account extends Persistent\]/);
});

test('an error while one object is shown does not shorten the next one', () => {
  const { account, jar } = people();
  const bad = jar.loaded(Account, {
    bad: {
      [inspect.custom]() {
        throw new RangeError('cannot be shown');
      },
    },
  });
  assert.throws(() => inspect(bad), RangeError);
  assert.match(inspect(account), /balance: 3/);
});

test('collections show what they hold', () => {
  const { owner, jar, person } = people();
  const mapping = jar.adopt(new PersistentMapping<unknown>({ a: 1, owner }));
  assert.equal(
    inspect(mapping),
    `PersistentMapping { _p_oid: ${mapping._p_oid}, entries: Map(2) { 'a' => 1, 'owner' => <Person oid ${person}> } }`,
  );
  assert.equal(inspect(new PersistentList([1, owner])), `PersistentList { items: [ 1, <Person oid ${person}> ] }`);
  assert.equal(inspect(new Length(4)), 'Length { value: 4 }');
});

test('JSON has the fields, and of objects below oid and class', () => {
  const { account, person, jar } = people();
  const expected = { balance: 3, owner: { _p_oid: person, _p_class: 'display.Person' } };
  assert.deepEqual(JSON.parse(JSON.stringify(account)), expected);
  assert.deepEqual(JSON.parse(JSON.stringify({ account: [account] })), { account: [expected] });
  assert.deepEqual(jar.loads, []);
});

test('JSON of a ghost loads it, and it alone', () => {
  const { account, owner, jar, person } = people();
  account._p_deactivate();
  assert.equal(JSON.stringify(owner), '{"name":"Ann"}');
  assert.deepEqual(jar.loads, [person]);
});

test('JSON calls the toJSON that a class has', () => {
  const { jar, owner, person } = people();
  class Money {
    constructor(
      readonly cents: number,
      readonly payer: Persistent,
    ) {}
    toJSON(key: string) {
      return { key, cents: this.cents, payer: this.payer };
    }
  }
  const own = jar.loaded(Own, { code: 7 });
  const account = jar.loaded(Account, {
    own,
    when: new Date(0),
    deep: { money: new Money(5, owner), list: [own, undefined, null, owner] },
    map: new Map([[1, 2]]),
    boxed: Object(4),
  });
  const ref = { _p_oid: person, _p_class: 'display.Person' };
  assert.deepEqual(JSON.parse(JSON.stringify(account)), {
    own: { own: 7 },
    when: '1970-01-01T00:00:00.000Z',
    deep: { money: { key: 'money', cents: 5, payer: ref }, list: [{ own: 7 }, null, null, ref] },
    map: {},
    boxed: 4,
  });
  assert.equal(JSON.stringify(own), '{"own":7}');
});

test('JSON of a cycle of plain values fails as it does without us', () => {
  const cyclic: Record<string, unknown> = {};
  cyclic['self'] = cyclic;
  const account = new RecordJar().loaded(Account, { cyclic });
  assert.throws(() => JSON.stringify(account), { name: 'TypeError', message: /circular/ });
});

test('JSON of collections walks no further than one object', () => {
  const { owner, person, jar } = people();
  const ref = { _p_oid: person, _p_class: 'display.Person' };
  const inner = jar.adopt(new PersistentMapping<unknown>({ owner }));
  const outer = new PersistentMapping<unknown>({ a: 1, inner });
  assert.deepEqual(JSON.parse(JSON.stringify(outer)), {
    a: 1,
    inner: { _p_oid: inner._p_oid, _p_class: 'holdfast.PersistentMapping' },
  });
  assert.deepEqual(JSON.parse(JSON.stringify(inner)), { owner: ref });
  assert.deepEqual(JSON.parse(JSON.stringify(new PersistentList([1, owner]))), [1, ref]);
  assert.deepEqual(JSON.parse(JSON.stringify(new PersistentMapping<string, number>([[1, 'a']]))), [[1, 'a']]);
  assert.equal(JSON.stringify(new Length(3)), '3');
  assert.deepEqual(jar.loads, []);
});

test('an object whose class is not registered is shown by its stored name', () => {
  const jar = new RecordJar();
  const broken = makeBrokenGhost('bank.Gone', jar, 12 as Oid);
  assert.equal(inspect(broken), '<Broken bank.Gone oid 12>');
  fill(broken, new Uint8Array(), 5 as Tid, 0);
  assert.equal(inspect(broken), 'Broken bank.Gone { _p_oid: 12 }');
  const expected = { _p_oid: 12, _p_class: 'bank.Gone' };
  assert.deepEqual(JSON.parse(JSON.stringify(broken)), expected);
  assert.deepEqual(JSON.parse(JSON.stringify(new PersistentList([broken]))), [expected]);
});
