import { test } from 'node:test';
import { DB, Persistent, persistable, transaction } from 'holdfast/odb';

/** A class for the tests of connections. */
export class Account extends Persistent {
  balance = 0;
  friend: Account | undefined = undefined;

  constructor(public owner: string) {
    super();
  }

  deposit(amount: number): void {
    this.balance += amount;
  }
}

persistable('test.bank', import.meta, { Account });

export interface Root {
  ada: Account;
  bob: Account;
}

/** Runs a test with a database in memory that has two accounts, under a manager of its own. */
export function bankTest(name: string, fn: (db: DB<Root>) => Promise<void>): void {
  test(name, () =>
    transaction.isolate(async () => {
      const db = await DB.open<Root>('memory:');
      await db.transaction(({ root }) => {
        root.ada = new Account('Ada');
        root.bob = new Account('Bob');
        root.ada.friend = root.bob;
      });
      await fn(db);
      await db.close();
    }),
  );
}
