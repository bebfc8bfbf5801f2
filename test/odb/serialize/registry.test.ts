import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BTree,
  DB,
  DuplicateNameError,
  nameOf,
  type Oid,
  Persistent,
  PersistentMapping,
  persistable,
  persistableModules,
  ReservedNameError,
  resolveName,
  TransformStorage,
  transaction,
  UnregisteredError,
} from 'holdfast/odb';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

class Account extends Persistent {
  balance = 0;
}
function interest(): number {
  return 0.5;
}
const meta = { url: 'file:///names/bank.js' };
persistable('names.bank', meta, { Account, interest });

test('what persistable names has that name, and the name leads to it; a module is named once', () => {
  assert.deepEqual([nameOf(Account), nameOf(interest)], ['names.bank.Account', 'names.bank.interest']);
  assert.deepEqual([resolveName('names.bank.Account'), resolveName('names.bank.interest')], [Account, interest]);
  persistable('names.bank', meta, { Account, interest });
  assert.equal(persistableModules().filter((url) => url === meta.url).length, 1);
  for (const nothing of ['Account', 'names.bank', 'names.bank.Nothing', 'names.bank.Account.prototype', '__proto__']) {
    assert.equal(resolveName(nothing), undefined);
  }
  assert.equal(nameOf(class {}), undefined);
});

test('one name for two things is refused, and nothing of that call is named', () => {
  const earlier = () => 1;
  const modules = persistableModules().length;
  for (const refused of [
    () => persistable('names.bank', { url: 'file:///other.js' }, { earlier, Account: class Account {} }),
    () =>
      persistable(
        'names.late',
        { url: 'file:///other.js' },
        { earlier },
        { aliases: { 'names.bank.interest': earlier } },
      ),
  ]) {
    assert.throws(refused, (error: DuplicateNameError) => {
      assert.ok(error instanceof DuplicateNameError);
      assert.equal(error.code, 'ODB_DUPLICATE_NAME');
      assert.match(error.persistentName, /^names\.bank\.(Account|interest)$/);
      assert.ok(error.message.includes(error.persistentName));
      return true;
    });
  }
  assert.equal(nameOf(earlier), undefined);
  assert.equal(resolveName('names.late.earlier'), undefined);
  assert.equal(persistableModules().length, modules);
});

test('our own prefixes, what is no name, and what is neither function nor class are refused', () => {
  const fn = () => 1;
  for (const module of ['holdfast', 'js', 'holdfast.mine']) {
    assert.throws(() => persistable(module, meta, { fn }), ReservedNameError, module);
  }
  assert.throws(() => persistable('names', meta, {}, { aliases: { 'js.mine': fn } }), ReservedNameError);
  for (const module of ['', '.', 'a..b', 'a b', '9a', 'a.', 3 as unknown as string]) {
    assert.throws(() => persistable(module, meta, { fn }), { name: 'TypeError', code: 'ARG_PERSISTABLE' });
  }
  for (const wrong of [1, 'fn', {}, undefined, null, new Account()]) {
    const members = { wrong: wrong as unknown as () => void };
    assert.throws(() => persistable('names', meta, members), { name: 'TypeError', code: 'ARG_PERSISTABLE' });
  }
  assert.throws(() => persistable('names', undefined as never, { fn }), { code: 'ARG_PERSISTABLE' });
});

test('a former name leads to what has another one now; what is stored from then on has that', () =>
  transaction.isolate(async () => {
    class Customer extends Persistent {
      rate: unknown = undefined;
    }
    const yearly = () => 12;
    interface Root {
      customer: Customer;
    }
    const aliases = { 'names.ancient.Customer': Customer, 'names.ancient.yearly': yearly };
    persistable('names.present', meta, { Customer, yearly }, { aliases });
    assert.deepEqual([nameOf(Customer), nameOf(yearly)], ['names.present.Customer', 'names.present.yearly']);
    // Records of before, when the module was called otherwise.
    const storage = new MemoryStorage();
    const former = (data: Uint8Array) =>
      Buffer.from(Buffer.from(data).toString('latin1').replaceAll('names.present', 'names.ancient'), 'latin1');
    const before = await DB.open<Root>(new TransformStorage(storage, { encode: former, decode: (data) => data }));
    await before.transaction(({ root }) => {
      root.customer = new Customer();
      root.customer.rate = yearly;
    });
    const names = () =>
      Buffer.from(storage.load(1 as Oid).data)
        .toString('latin1')
        .match(/names\.\w+\.\w+/g);
    assert.deepEqual(names(), ['names.ancient.Customer', 'names.ancient.yearly']);
    await using db = await DB.open<Root>(storage);
    const { customer } = db.open().root;
    assert.ok(customer instanceof Customer);
    assert.equal(customer.rate, yearly);
    assert.equal(customer._p_changed, false);
    customer._p_changed = true;
    await transaction.commit();
    assert.deepEqual(names(), ['names.present.Customer', 'names.present.yearly']);
  }));

test('one thing may have two names: it is stored under the first, and found under both', () => {
  const twice = () => 2;
  persistable('names.one', meta, { twice });
  persistable('names.two', meta, { twice });
  assert.equal(nameOf(twice), 'names.one.twice');
  assert.equal(resolveName('names.two.twice'), twice);
});

test('our own classes and what is built in have names', () => {
  assert.deepEqual([BTree, PersistentMapping, Date.now, TypeError, Map, Set, Date, Error].map(nameOf), [
    'holdfast.BTree',
    'holdfast.PersistentMapping',
    'js.Date.now',
    'js.TypeError',
    'js.Map',
    'js.Set',
    'js.Date',
    'js.Error',
  ]);
});

test('what has no name is refused with its path, and the line to add', () =>
  transaction.isolate(async () => {
    await using db = await DB.open('memory:');
    const { root } = db.open();
    class Nameless extends Persistent {}
    class Value {}
    function later() {}
    const refused: [unknown, string, RegExp][] = [
      [
        { deep: [new Nameless()] },
        'root.it.deep[0]',
        /the class Nameless .*persistable\('nameless', import\.meta, \{ Nameless \}\);$/,
      ],
      [
        { deep: [new Value()] },
        'root.it.deep[0]',
        /the class Value .*persistable\('<module>', import\.meta, \{ Value \}\);$/,
      ],
      [
        new Map([['f', later]]),
        'root.it.f',
        /the function later .*persistable\('<module>', import\.meta, \{ later \}\);$/,
      ],
      [Nameless, 'root.it', /the class Nameless /],
      [() => 1, 'root.it', /the function \(anonymous\) .*persistable\('<module>', import\.meta, \{ name: … \}\);$/],
      [new (class extends Persistent {})(), 'root.it', /the class \(anonymous\) .*\{ name: … \}\);$/],
      [class extends Account {}.prototype.constructor, 'root.it', /the class \(anonymous\) /],
      [new (class Sub extends Account {})(), 'root.it', /the class Sub /],
    ];
    for (const [value, path, message] of refused) {
      root['it'] = value;
      await assert.rejects(transaction.commit(), (error: UnregisteredError) => {
        assert.ok(error instanceof UnregisteredError, String(error));
        assert.equal(error.path, path);
        assert.ok(error.message.startsWith(`${path}: `));
        assert.match(error.message, message);
        return true;
      });
      transaction.abort();
    }
  }));
