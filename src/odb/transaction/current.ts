import type { Tid } from '../ids.js';
import type { DataManager, Synchronizer } from './data-manager.js';
import type { Savepoint } from './savepoint.js';
import type { AfterCommitHook, BeforeHook, Transaction } from './transaction.js';
import { type Attempt, currentManager, isolate, type RunOptions, TransactionManager } from './transaction-manager.js';

/**
 * The transaction manager of the current asynchronous context: of the job, of `db.transaction`, of `isolate`, else the
 * process's default one.
 */
export const transaction = {
  /** Begins a transaction; one under way is aborted. Connections of this context take a new view. */
  begin: (): Transaction => currentManager().begin(),
  /** The current transaction; begins one where there is none. */
  get: (): Transaction => currentManager().get(),
  /** Commits; resolves to the tid, or to `undefined` when nothing was changed. */
  commit: (): Promise<Tid | undefined> => currentManager().commit(),
  /** Takes back everything since the last boundary. */
  abort: (): void => currentManager().abort(),
  /** Makes it impossible to commit the transaction: it can only be aborted. */
  doom: (): void => currentManager().doom(),
  /** Whether the transaction was doomed. */
  isDoomed: (): boolean => currentManager().isDoomed(),
  /**
   * Marks the present state, to go back to with `rollback()`, and frees memory: what was changed is kept elsewhere until the commit.
   *
   * `optimistic` accepts participants that cannot go back; only the roll-back fails then.
   */
  savepoint: (optimistic?: boolean): Savepoint => currentManager().savepoint(optimistic),
  /** Adds a participant, which is committed and aborted with the transaction. */
  join: (participant: DataManager): void => currentManager().join(participant),
  /** Adds a line to the description that is stored with the transaction. @throws TypeError (`ARG_NOTE`). */
  note: (text: string): void => currentManager().note(text),
  /** Sets the user that is stored with the transaction, as path and name. */
  setUser: (name: string, path?: string): void => currentManager().setUser(name, path),
  /** Adds a fact that is stored with the transaction: any value that a record may hold, but for persistent objects. */
  setExtendedInfo: (name: string, value: unknown): void => currentManager().setExtendedInfo(name, value),
  /** Calls `hook` before the commit begins; it may change objects. */
  addBeforeCommitHook: (hook: BeforeHook, args?: readonly unknown[]): void =>
    currentManager().get().addBeforeCommitHook(hook, args),
  /** Calls `hook(success, ...args)` once the commit succeeded or failed. */
  addAfterCommitHook: (hook: AfterCommitHook, args?: readonly unknown[]): void =>
    currentManager().get().addAfterCommitHook(hook, args),
  /** Calls `hook` before an abort, not before that of a failed commit. */
  addBeforeAbortHook: (hook: BeforeHook, args?: readonly unknown[]): void =>
    currentManager().get().addBeforeAbortHook(hook, args),
  /** Calls `hook` after an abort. */
  addAfterAbortHook: (hook: BeforeHook, args?: readonly unknown[]): void =>
    currentManager().get().addAfterAbortHook(hook, args),
  /** Tells `synchronizer` of every boundary from now on; of a transaction under way at once. */
  registerSynch: (synchronizer: Synchronizer): void => currentManager().registerSynch(synchronizer),
  /** Tells it no more. */
  unregisterSynch: (synchronizer: Synchronizer): void => currentManager().unregisterSynch(synchronizer),
  /** Runs `fn` under a manager of its own and commits; again after an error that says so. */
  run: <T>(fn: () => T | Promise<T>, options?: RunOptions): Promise<T> => new TransactionManager().run(fn, options),
  /** Up to `count` tries, in a manager of their own. */
  attempts: (count?: number): AsyncGenerator<Attempt, void, void> => new TransactionManager().attempts(count),
  /** Runs `fn` under a manager of its own; what is left uncommitted at its end is aborted. */
  isolate,
} as const;
