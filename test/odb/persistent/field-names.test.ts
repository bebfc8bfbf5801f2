import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SerializationError } from '#src/odb/errors.js';
import { Persistent } from '#src/odb/persistent/persistent.js';
import { RecordJar } from './record-jar.js';

interface Loose {
  [field: string]: unknown;
}

test('volatile attributes are never stored, mark no change, and vanish with the state', () => {
  class Report extends Persistent {
    text = '';
    declare _v_cache: string | undefined;
  }
  const jar = new RecordJar();
  const report = jar.ghost(Report, { text: 'long' });
  report._v_cache = 'short';
  assert.equal(report._p_state, 'up-to-date', 'the state is loaded, for the attribute to belong to');
  report._v_cache += 'er';
  assert.equal(report._v_cache, 'shorter');
  assert.deepEqual(jar.registered, []);
  assert.deepEqual(Object.keys(report), ['text']);
  assert.deepEqual(jar.stored(report), { text: 'long' });
  report._p_deactivate();
  assert.equal(report._v_cache, undefined);
  assert.equal('_v_cache' in report, false);
  assert.equal(report._p_state, 'ghost');
});

test('volatile attributes of a new object stay with it when it is adopted, and vanish later', () => {
  class Report extends Persistent {
    _v_cache = ['a'];
    text = 'x';
    _v_other = 2;
    constructor() {
      super();
      (this as unknown as Loose)['_v_assigned'] = 3;
    }
  }
  const jar = new RecordJar();
  const report = jar.adopt(new Report());
  assert.deepEqual(
    [report._v_cache, report._v_other, (report as unknown as Loose)['_v_assigned'], Object.keys(report)],
    [['a'], 2, 3, ['text']],
  );
  assert.deepEqual(jar.stored(report), { text: 'x' });
  jar.states.set(report._p_oid as never, { text: 'y' });
  report._p_invalidate();
  assert.deepEqual([report.text, report._v_cache, report._v_other], ['y', undefined, undefined]);
});

test('names of persistence, then, constructor and the hooks of the state are no fields', () => {
  class Account extends Persistent {
    balance = 0;
  }
  const jar = new RecordJar();
  // biome-ignore lint/suspicious/noThenProperty: what must be no field
  const account = jar.loaded(Account, { balance: 1, then: 5, _p_oid: 7, constructor: 8, _v_x: 9 }) as Account & Loose;
  assert.deepEqual(Object.keys(account), ['balance']);
  assert.deepEqual([account['then'], account.constructor, account['_v_x']], [undefined, Account, undefined]);
  for (const name of ['then', '_p_mine']) {
    assert.throws(
      () => {
        account[name] = 1;
      },
      { name: 'TypeError', code: 'ARG_RESERVED_FIELD' },
    );
  }
  class Thenable extends Persistent {
    // biome-ignore lint/suspicious/noThenProperty: what is refused
    then = 5;
  }
  assert.throws(() => jar.adopt(new Thenable()), SerializationError);
  const loaded = jar.loaded(Account, { balance: 1, getState: 5, setState: 6 });
  assert.deepEqual(loaded.getState(), { balance: 1, getState: 5, setState: 6 });
  const hiding = Object.assign(new Account(), { getState: 5 as never });
  assert.throws(() => jar.adopt(hiding), SerializationError);
});

test('keys of any kind are fields, and none of them is run as code', () => {
  const keys = [
    'my-key',
    'with space',
    '',
    '0',
    '12',
    '__proto__',
    'toString',
    'hasOwnProperty',
    'prototype',
    'class',
    'ключ',
    '\u2028',
    'a;}+(globalThis.hit=1)+function(){ return 1',
    'x }; globalThis.hit = 2; return function(){',
    '*/ globalThis.hit = 3; /*',
    '$',
    '_',
  ];
  class Bag extends Persistent {}
  const jar = new RecordJar();
  const state = Object.fromEntries(keys.map((key, index) => [key, index]));
  const ghosts = [jar.ghost(Bag, state), jar.ghost(Bag, state)] as unknown as Loose[];
  for (const bag of ghosts) {
    for (const [index, key] of keys.entries()) assert.equal(bag[key], index, `reading ${JSON.stringify(key)}`);
    assert.deepEqual(Object.keys(bag), Object.keys(state));
    for (const [index, key] of keys.entries()) bag[key] = -index;
    const stored = jar.stored(bag as unknown as Bag) as Loose;
    assert.deepEqual(
      Object.entries(stored),
      Object.keys(state).map((key) => [key, -keys.indexOf(key)]),
    );
    assert.ok(bag instanceof Bag, 'a field named __proto__ changes no prototype');
  }
  assert.equal((globalThis as Loose)['hit'], undefined);
});

test('a field named like a member of Object.prototype reads undefined where the record lacks it', () => {
  class Bag extends Persistent {}
  const jar = new RecordJar();
  const first = jar.loaded(Bag, { toString: 1, valueOf: 2 }) as unknown as Loose;
  (first as unknown as Bag)._p_delete('valueOf');
  assert.equal(first['valueOf'], undefined);
});

test('an object with more keys than are compiled works all the same', () => {
  class Wide extends Persistent {}
  const state = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`k${i}`, i]));
  const jar = new RecordJar();
  jar.teach(Wide, state);
  const wide = jar.ghost(Wide, state) as unknown as Loose;
  assert.deepEqual({ ...wide }, state);
  wide['k499'] = 'changed';
  assert.equal((jar.stored(wide as unknown as Wide) as Loose)['k499'], 'changed');
});

test('symbol attributes are neither stored nor noticed', () => {
  const mark = Symbol('mark');
  class Account extends Persistent {
    balance = 0;
  }
  const jar = new RecordJar();
  const account = jar.loaded(Account, { balance: 1 }) as Account & { [mark]?: number };
  account[mark] = 5;
  assert.equal(account[mark], 5);
  assert.equal(account._p_changed, false);
  assert.deepEqual(Reflect.ownKeys({ ...account }), ['balance']);
  assert.deepEqual(jar.stored(account), { balance: 1 });
});
