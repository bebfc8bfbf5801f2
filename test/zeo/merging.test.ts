import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConflictError, DB, Persistent, PersistentMapping, persistable, TransactionManager } from 'holdfast/odb';
import { ClientStorage } from '#src/zeo/index.js';
import { historyOf, type Outcomes, playHistory, subjects } from '../property/merging.js';
import { Site } from '../support/programs.js';
import { ServerProgram } from './server-program.js';

/** A value that a server knows nothing of. */
class Money {
  constructor(
    public amount: number,
    public currency: string,
  ) {}
}

/** An object that a server knows nothing of, whose changes add up. */
class Purse extends Persistent {
  money = new Money(0, 'EUR');

  add(amount: number): void {
    this.money = new Money(this.money.amount + amount, this.money.currency);
  }

  static resolveConflict(base: PurseState, committed: PurseState, mine: PurseState): PurseState {
    const amount = committed.money.amount + mine.money.amount - base.money.amount;
    return { ...committed, money: new Money(amount, mine.money.currency) };
  }
}
interface PurseState {
  readonly money: Money;
}

persistable('test.merging', import.meta, { Money, Purse });

for (const where of ['server', 'client'] as const) {
  test(`all collections merge in the ${where} as they do in memory`, async () => {
    const server = await ServerProgram.start(where === 'server' ? { merges: 'records' } : {});
    const outcomes: Outcomes = { plain: 0, merged: 0, refused: 0 };
    try {
      await using a = await DB.open<{ it: Persistent }>(await ClientStorage.connect(server.address));
      await using b = await DB.open<{ it: Persistent }>(await ClientStorage.connect(server.address));
      for (const subject of subjects) {
        await fc.assert(
          fc.asyncProperty(historyOf(subject), (history) => playHistory([a, b], subject, history, outcomes)),
          { numRuns: 3, endOnFailure: true },
        );
      }
      assert.ok(outcomes.merged > 20 && outcomes.refused > 0, JSON.stringify(outcomes));
      const { resolved } = (await server.stats()).storages['1'] as { resolved: number };
      // Not every change that stood beside another was one of the same record.
      assert.equal(resolved > 0, where === 'server');
    } finally {
      await server.close();
    }
  });
}

test('what the server cannot read is merged by the client that commits', async () => {
  await using site = new Site();
  const { address } = await site.server();
  await using db = await DB.open<{ prices: PersistentMapping<Money>; purse: Purse }>(`zeo://${address}`);
  await db.transaction(({ root }) => {
    root.prices = new PersistentMapping({ tea: new Money(3, 'EUR') });
    root.purse = new Purse();
  });
  const view = () => {
    const manager = new TransactionManager();
    return { manager, root: db.open({ transactionManager: manager }).root };
  };
  const [one, two] = [view(), view()];
  one.root.prices.set('cake', new Money(5, 'EUR'));
  one.root.purse.add(10);
  two.root.prices.set('coffee', new Money(4, 'EUR'));
  two.root.purse.add(1);
  await one.manager.commit();
  await two.manager.commit();
  assert.deepEqual([...two.root.prices.keys()].sort(), ['cake', 'coffee', 'tea']);
  assert.ok(two.root.prices.get('cake') instanceof Money);
  assert.equal(two.root.purse.money.amount, 11);

  one.manager.begin();
  one.root.prices.set('tea', new Money(1, 'EUR'));
  two.root.prices.set('tea', new Money(2, 'EUR'));
  await one.manager.commit();
  await assert.rejects(two.manager.commit(), (error: ConflictError) => {
    assert.ok(error instanceof ConflictError);
    assert.deepEqual([error.oid, error.className], [two.root.prices._p_oid, 'holdfast.PersistentMapping']);
    assert.match(error.reason as string, /both changed the key 'tea'/);
    return true;
  });
  two.manager.abort();
});
