import type { Tid } from '../ids.js';
import type { Transaction } from './transaction.js';

/**
 * A participant of a transaction: a connection, or anything else that commits in two phases.
 *
 * It joins with `transaction.join(this)` at its first change. Participants are called in the order of their sort keys:
 * all of them `tpcBegin`, then all `commit`, `tpcVote`, `tpcFinish`; of those that vote, a storage that decides for all is finished
 * first. A failure before anything is finished aborts all of them; one in a later `tpcFinish` is logged CRITICAL, since others have
 * committed, and the rest is finished all the same.
 */
export interface DataManager {
  /** Orders the participants of one commit; the same for the life of the participant. */
  sortKey(): string;
  /** Forgets the changes of a transaction that is not being committed. */
  abort(transaction: Transaction): void;
  tpcBegin(transaction: Transaction): void | Promise<void>;
  /** Hands over all changes. A connection does this without waiting, so that all states are taken at one instant. */
  commit(transaction: Transaction): void | Promise<void>;
  /** Decides: after this, `tpcFinish` does not fail. */
  tpcVote(transaction: Transaction): void | Promise<void>;
  /**
   * Whether the transaction has happened once this participant has finished, and not before: it is finished first, and where that fails,
   * all are aborted. Asked after the vote. Default: false.
   */
  readonly decides?: boolean;
  /** Makes the changes durable and seen; resolves to the tid, if it has one. */
  tpcFinish(transaction: Transaction): Tid | undefined | Promise<Tid | undefined>;
  /** Forgets everything since `tpcBegin`. */
  tpcAbort(transaction: Transaction): void | Promise<void>;
  /**
   * Vote and finish in one step, in place of both where this is the only participant. May fail cleanly; `tpcAbort` is
   * called then.
   */
  commitOnePhase?(transaction: Transaction): Promise<Tid | undefined>;
  /** Marks a state to roll back to. A participant without it makes the transaction's savepoints one-way. */
  savepoint?(): DataManagerSavepoint;
}

/** One participant's part of a savepoint. */
export interface DataManagerSavepoint {
  rollback(): void;
}

/** Told of the boundaries of the transactions of a manager. Calls are synchronous. */
export interface Synchronizer {
  /** A transaction begins by `begin()`. One that begins at first use is not told of: it goes on from the boundary before. */
  newTransaction(transaction: Transaction): void;
  /** A commit is about to begin; the hooks before it have run. An error fails it. */
  beforeCommit?(transaction: Transaction): void;
  /** A commit or an abort is about to begin. */
  beforeCompletion(transaction: Transaction): void;
  /** The transaction has ended, in whatever way. */
  afterCompletion(transaction: Transaction): void;
}
