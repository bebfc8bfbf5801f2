import { InvalidSavepointRollbackError, TransactionStateError } from '../errors.js';
import type { DataManager, DataManagerSavepoint } from './data-manager.js';
import type { Transaction } from './transaction.js';

/** A state of a transaction that can be gone back to, any number of times, until the transaction ends. */
export class Savepoint {
  #transaction: Transaction | undefined;
  readonly #parts: { readonly participant: DataManager; readonly savepoint: DataManagerSavepoint }[] = [];

  /** For {@link Transaction}. @throws TransactionStateError when a participant cannot go back and `optimistic` is false. */
  constructor(transaction: Transaction, participants: readonly DataManager[], optimistic: boolean) {
    this.#transaction = transaction;
    for (const participant of participants) {
      if (!participant.savepoint && !optimistic) {
        throw new TransactionStateError(`savepoint: the participant ${participant.sortKey()} has no savepoints`);
      }
      this.#parts.push({ participant, savepoint: participant.savepoint?.() ?? cannotRollBack(participant) });
    }
  }

  /** Whether it can still be rolled back to. */
  get valid(): boolean {
    return this.#transaction !== undefined;
  }

  /**
   * Takes back everything since. Later savepoints become invalid; this one can be used again.
   *
   * @throws InvalidSavepointRollbackError when an earlier one was rolled back to, or the transaction has ended.
   */
  rollback(): void {
    const transaction = this.#transaction;
    if (!transaction) {
      throw new InvalidSavepointRollbackError(
        'this savepoint is void: its transaction has ended, or an earlier savepoint was rolled back to',
      );
    }
    transaction.invalidateSavepointsAfter(this);
    try {
      for (const { savepoint } of this.#parts) savepoint.rollback();
    } catch (error) {
      transaction.failed(error);
      throw error;
    }
  }

  /** For {@link Transaction}: the savepoint can no longer be used. */
  invalidate(): void {
    this.#transaction = undefined;
  }

  /** For {@link Transaction}: `participant` joined after this savepoint; to go back here is to abort it. */
  joined(participant: DataManager, transaction: Transaction): void {
    this.#parts.push({
      participant,
      savepoint: {
        rollback: () => {
          participant.abort(transaction);
          transaction.leave(participant);
        },
      },
    });
  }
}

function cannotRollBack(participant: DataManager): DataManagerSavepoint {
  return {
    rollback() {
      throw new TransactionStateError(`rollback: the participant ${participant.sortKey()} has no savepoints`);
    },
  };
}
