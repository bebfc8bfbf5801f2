import type { Synchronizer } from '../transaction/data-manager.js';
import type { Transaction } from '../transaction/transaction.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';

/**
 * Tells a connection of the boundaries of a manager's transactions, and holds it weakly: a manager may live as long as the process, and a
 * connection that was forgotten, rather than closed, is not to live as long.
 */
export class BoundaryLink implements Synchronizer {
  readonly #manager: TransactionManager;
  readonly #target: WeakRef<Required<Synchronizer>>;

  constructor(manager: TransactionManager, target: Required<Synchronizer>) {
    this.#manager = manager;
    this.#target = new WeakRef(target);
    manager.registerSynch(this);
  }

  end(): void {
    this.#manager.unregisterSynch(this);
  }

  newTransaction(transaction: Transaction): void {
    this.#reach()?.newTransaction(transaction);
  }

  beforeCommit(transaction: Transaction): void {
    this.#reach()?.beforeCommit(transaction);
  }

  beforeCompletion(transaction: Transaction): void {
    this.#reach()?.beforeCompletion(transaction);
  }

  afterCompletion(transaction: Transaction): void {
    this.#reach()?.afterCompletion(transaction);
  }

  #reach(): Required<Synchronizer> | undefined {
    const target = this.#target.deref();
    if (!target) this.end();
    return target;
  }
}
