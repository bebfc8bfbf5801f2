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
  doom: (): void => currentManager().doom(),
  isDoomed: (): boolean => currentManager().isDoomed(),
  /** Marks the present state, to go back to with `rollback()`. */
  savepoint: (optimistic?: boolean): Savepoint => currentManager().savepoint(optimistic),
  join: (participant: DataManager): void => currentManager().join(participant),
  note: (text: string): void => currentManager().note(text),
  setUser: (name: string, path?: string): void => currentManager().setUser(name, path),
  setExtendedInfo: (name: string, value: unknown): void => currentManager().setExtendedInfo(name, value),
  addBeforeCommitHook: (hook: BeforeHook, args?: readonly unknown[]): void =>
    currentManager().get().addBeforeCommitHook(hook, args),
  addAfterCommitHook: (hook: AfterCommitHook, args?: readonly unknown[]): void =>
    currentManager().get().addAfterCommitHook(hook, args),
  addBeforeAbortHook: (hook: BeforeHook, args?: readonly unknown[]): void =>
    currentManager().get().addBeforeAbortHook(hook, args),
  addAfterAbortHook: (hook: BeforeHook, args?: readonly unknown[]): void =>
    currentManager().get().addAfterAbortHook(hook, args),
  registerSynch: (synchronizer: Synchronizer): void => currentManager().registerSynch(synchronizer),
  unregisterSynch: (synchronizer: Synchronizer): void => currentManager().unregisterSynch(synchronizer),
  /** Runs `fn` under a manager of its own and commits; again after an error that says so. */
  run: <T>(fn: () => T | Promise<T>, options?: RunOptions): Promise<T> => new TransactionManager().run(fn, options),
  /** Up to `count` tries, in a manager of their own. */
  attempts: (count?: number): AsyncGenerator<Attempt, void, void> => new TransactionManager().attempts(count),
  /** Runs `fn` under a manager of its own; what is left uncommitted at its end is aborted. */
  isolate,
} as const;
