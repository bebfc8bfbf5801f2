import { Persistent, persistable } from 'holdfast/odb';

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
