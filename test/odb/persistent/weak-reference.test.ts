import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { inspect } from 'node:util';
import {
  type Connection,
  ConnectionStateError,
  DB,
  InvalidObjectReference,
  PersistentMapping,
  TransactionManager,
  transaction,
  WeakReference,
} from 'holdfast/odb';
import { Account } from '../connection/bank.js';

interface Root {
  ada?: Account;
  weak: WeakReference<Account>;
  inside: { list: WeakReference<Account>[] };
}

let db: DB<Root>;

/** A connection of its own, with nothing loaded. */
function openAnew(): Connection<Root> {
  const connection = db.open({ transactionManager: new TransactionManager() });
  connection.cacheMinimize();
  return connection;
}

beforeEach(async () => {
  db = await DB.open<Root>('memory:');
});

afterEach(async () => {
  transaction.abort();
  await db.close();
});

test('a weak reference gives its object, also after it was loaded, and the identical one', async () => {
  await db.transaction(({ root }) => {
    const ada = new Account('Ada');
    root.ada = ada;
    root.weak = new WeakReference(ada);
    root.inside = { list: [new WeakReference(ada), root.weak] };
    assert.equal(root.weak.get(), ada);
    assert.equal(root.weak.oid, undefined);
  });
  const { root } = openAnew();
  assert.ok(root.weak instanceof WeakReference);
  assert.equal(root.weak.oid, root.ada?._p_oid);
  assert.equal(root.weak.get(), root.ada);
  assert.equal(root.ada?.owner, 'Ada');
  const [a, b] = root.inside.list;
  assert.equal(b?.get(), root.ada);
  assert.ok(a?.equals(b as WeakReference) && root.weak.equals(new WeakReference(root.ada as Account)));
  assert.ok(!root.weak.equals(new WeakReference(new Account('Bob'))));
});

test('it keeps nothing: a pack takes what nothing else reaches', async () => {
  const ada = new Account('Ada');
  await db.transaction(({ root }) => {
    root.ada = ada;
    root.weak = new WeakReference(ada);
  });
  await db.pack();
  const connection = db.open();
  assert.equal(connection.root.weak.get()?.owner, 'Ada');
  delete connection.root.ada;
  await transaction.commit();
  connection.cacheMinimize();
  assert.equal(connection.root.weak.get()?.owner, 'Ada', 'it is there until the pack');
  await db.pack();
  const fresh = openAnew();
  assert.equal(fresh.root.weak.get(), undefined);
  assert.equal(fresh.root.weak.oid, ada._p_oid);
  // The reference itself is stored again as it was.
  await db.transaction(({ root }) => {
    root.inside = { list: [root.weak] };
  });
  assert.equal(openAnew().root.inside.list[0]?.oid, ada._p_oid);
});

test('storing a weak reference to a new object stores the object', async () => {
  await db.transaction(({ root }) => {
    root.weak = new WeakReference(new Account('nobody else has it'));
  });
  assert.equal(db.open().root.weak.get()?.owner, 'nobody else has it');
});

test('it belongs to its connection, and shows what that one sees', async () => {
  await db.transaction(({ root }) => {
    root.ada = new Account('Ada');
    root.weak = new WeakReference(root.ada);
  });
  const other = new TransactionManager();
  const { root } = db.open({ transactionManager: other });
  const { weak } = root;
  const here = db.open();
  here.root.weak = weak;
  await assert.rejects(transaction.commit(), InvalidObjectReference);
  transaction.abort();
  await db.transaction((connection) => {
    (connection.root.ada as Account).owner = 'Ada L.';
  });
  assert.equal(weak.get()?.owner, 'Ada');
  other.begin();
  assert.equal(weak.get()?.owner, 'Ada L.');
  const closed = openAnew();
  const kept = closed.root.weak;
  closed.close();
  assert.throws(() => kept.get(), ConnectionStateError);
});

test('it refuses what is not persistent, and shows itself without a load', async () => {
  assert.throws(() => new WeakReference({} as never), { code: 'ARG_PERSISTENT' });
  assert.throws(() => new WeakReference(undefined as never), { code: 'ARG_PERSISTENT' });
  assert.equal(inspect(new WeakReference(new PersistentMapping())), 'WeakReference <PersistentMapping new>');
  await db.transaction(({ root }) => {
    root.ada = new Account('Ada');
    root.weak = new WeakReference(root.ada);
  });
  const { root } = openAnew();
  const oid = root.ada?._p_oid;
  assert.equal(inspect(root.weak), `WeakReference <Account oid ${oid}>`);
  assert.equal(JSON.stringify(root.weak), `{"_p_oid":${oid},"_p_class":"test.bank.Account"}`);
  assert.equal(root.ada?._p_changed, undefined, 'nothing was loaded');
});
