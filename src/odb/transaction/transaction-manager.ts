import { AsyncLocalStorage } from 'node:async_hooks';
import { inspect } from 'node:util';
import {
  argumentRangeError,
  argumentTypeError,
  type Clock,
  delay,
  type Random,
  requireOptions,
  retryOf,
  systemClock,
  systemRandom,
} from '../../base/index.js';
import { CommitUncertainError, CommitUnderWayError, TransactionStateError } from '../errors.js';
import type { Tid } from '../ids.js';
import type { DataManager, Synchronizer } from './data-manager.js';
import type { Savepoint } from './savepoint.js';
import { requireMethods, Transaction } from './transaction.js';

/** Options of {@link TransactionManager}. */
export interface TransactionManagerOptions {
  /** Require `begin()` before each transaction, instead of beginning one at first use. Default: false. */
  readonly explicit?: boolean;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** Options of `run` and `attempts`. */
export interface RunOptions {
  /** How often a transaction is run again after an error that says so. Default: 3. */
  readonly retries?: number;
  /** Stored with the transaction. */
  readonly note?: string;
  /** Ends the waiting between tries. */
  readonly signal?: AbortSignal;
}

/** One try of `for await (const attempt of transaction.attempts(n))`. */
export interface Attempt {
  /** 1 for the first try. */
  readonly number: number;
  /** Runs `fn` and commits; an error that can be retried ends this attempt and leads to the next one. */
  run<T>(fn: () => T | Promise<T>): Promise<T | undefined>;
}

const SYNCHRONIZER_METHODS: readonly (keyof Synchronizer)[] = ['newTransaction', 'beforeCompletion', 'afterCompletion'];
const MANAGER_OPTIONS = ['explicit', 'clock', 'random'];
const RUN_OPTIONS = ['retries', 'note', 'signal'];

const BACKOFF_MAX_MS = 250;
const LATER_STEP_MS = 200;
const LATER_MAX_MS = 5000;

/** Holds the current transaction of one line of work, and tells its synchronizers of every boundary. */
export class TransactionManager {
  readonly explicit: boolean;
  #current: Transaction | undefined;
  readonly #synchronizers = new Set<Synchronizer>();
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #owner = {
    free: (transaction: Transaction) => {
      if (this.#current === transaction) this.#current = undefined;
    },
    synchronizers: this.#synchronizers as Iterable<Synchronizer>,
  };

  constructor(options: TransactionManagerOptions = {}) {
    requireOptions('TransactionManager', options, MANAGER_OPTIONS);
    this.explicit = options.explicit ?? false;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
  }

  /** Begins a transaction; one that was under way is aborted. @throws CommitUnderWayError. In explicit mode TransactionStateError when one is under way. */
  begin(): Transaction {
    const current = this.#current;
    if (current) {
      if (current.status === 'committing')
        throw new CommitUnderWayError('begin: a commit is under way; await its promise first');
      if (this.explicit) throw new TransactionStateError('begin: a transaction is under way; commit or abort it first');
      current.abort();
    }
    const transaction = new Transaction(this.#owner);
    this.#current = transaction;
    for (const synchronizer of this.#synchronizers) synchronizer.newTransaction(transaction);
    return transaction;
  }

  /** The current transaction; begins one where there is none. @throws TransactionStateError in explicit mode when none was begun. */
  get(): Transaction {
    if (this.#current) return this.#current;
    if (this.explicit) throw new TransactionStateError('no transaction is under way: this manager wants begin() first');
    // Connections took their view at the last boundary, and have been read from since: they must not move now.
    this.#current = new Transaction(this.#owner);
    return this.#current;
  }

  /** The current transaction, if there is one; begins none. */
  get current(): Transaction | undefined {
    return this.#current;
  }

  /** Commits; resolves to the tid, or to `undefined` when nothing was changed. */
  commit(): Promise<Tid | undefined> {
    try {
      return this.get().commit();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Takes back everything since `begin`. */
  abort(): void {
    if (this.explicit) this.get().abort();
    else if (this.#current) this.#current.abort();
    else {
      // Nothing was begun, yet connections are to take a new view, as after any boundary.
      for (const synchronizer of this.#synchronizers) synchronizer.afterCompletion(this.get());
    }
  }

  /** Makes it impossible to commit the current transaction. */
  doom(): void {
    this.get().doom();
  }

  /** Whether the current transaction was doomed. */
  isDoomed(): boolean {
    return this.#current?.isDoomed ?? false;
  }

  /** Marks the present state of the current transaction, to go back to with `rollback()`. */
  savepoint(optimistic = false): Savepoint {
    return this.get().savepoint(optimistic);
  }

  /** Adds a participant to the current transaction. */
  join(participant: DataManager): void {
    this.get().join(participant);
  }

  /** Adds a line to the description of the current transaction. */
  note(text: string): void {
    this.get().note(text);
  }

  /** Sets the user that is stored with the current transaction. */
  setUser(name: string, path?: string): void {
    this.get().setUser(name, path);
  }

  /** Adds a fact that is stored with the current transaction. */
  setExtendedInfo(name: string, value: unknown): void {
    this.get().setExtendedInfo(name, value);
  }

  /** Tells `synchronizer` of every boundary from now on; of a transaction under way at once. @throws TypeError (`ARG_SYNCHRONIZER`). */
  registerSynch(synchronizer: Synchronizer): void {
    requireMethods('ARG_SYNCHRONIZER', synchronizer, SYNCHRONIZER_METHODS);
    this.#synchronizers.add(synchronizer);
    if (this.#current) synchronizer.newTransaction(this.#current);
  }

  /** Tells it no more. */
  unregisterSynch(synchronizer: Synchronizer): void {
    this.#synchronizers.delete(synchronizer);
  }

  /** Runs `fn` with this manager as the current one of its asynchronous context. */
  enter<T>(fn: () => T): T {
    return context.run(this, fn);
  }

  /**
   * Runs `fn` and commits, in this manager; again after an error whose `retry` is not `'never'`, with a wait between.
   *
   * @throws the last error, once `retries` are used up. TypeError (`ARG_FUNCTION`). RangeError (`ARG_RETRIES`).
   */
  async run<T>(fn: () => T | Promise<T>, options: RunOptions = {}): Promise<T> {
    requireFunction(fn);
    requireOptions('run', options, RUN_OPTIONS);
    const { retries = 3 } = options;
    if (!(retries >= 0))
      throw argumentRangeError('ARG_RETRIES', `${inspect(retries)} retries: give a number, 0 or more`);
    let result: { value: T } | undefined;
    for await (const attempt of this.attempts(retries + 1, options)) {
      await attempt.run(async () => {
        if (options.note) this.note(options.note);
        result = { value: await fn() };
      });
    }
    return (result as { value: T }).value;
  }

  /**
   * Up to `count` tries, each to be used with `attempt.run(fn)`; ends after the first that commits.
   *
   * @throws RangeError (`ARG_RETRIES`), with the first step.
   */
  async *attempts(count = 4, options: Pick<RunOptions, 'signal'> = {}): AsyncGenerator<Attempt, void, void> {
    if (!(count >= 1)) throw argumentRangeError('ARG_RETRIES', `${inspect(count)} attempts: give a number, 1 or more`);
    for (let number = 1; ; number++) {
      let failure: { error: unknown; isFinal: boolean } | undefined;
      let done = false;
      yield {
        number,
        run: async (fn) => {
          let transaction: Transaction | undefined;
          try {
            return await this.enter(async () => {
              transaction = this.begin();
              const value = await fn();
              await this.commit();
              done = true;
              return value;
            });
          } catch (error) {
            if (this.#current && this.#current.status !== 'committing') this.#current.abort();
            failure = { error, isFinal: transaction?.hasHappened ?? false };
            return undefined;
          }
        },
      };
      if (done || !failure) return;
      const { error, isFinal } = failure;
      if (isFinal) throw error;
      if (error instanceof CommitUncertainError) {
        if ((await error.outcome(options.signal ? { signal: options.signal } : {})) !== undefined) return;
        if (number >= count) throw error;
        continue;
      }
      const retry = retryOf(error);
      if (retry === 'never' || number >= count) throw error;
      await this.#wait(retry, number, options.signal);
    }
  }

  #wait(retry: 'now' | 'later', tries: number, signal: AbortSignal | undefined): Promise<void> {
    const delayMs =
      retry === 'now'
        ? this.#random.next() * Math.min(2 ** tries, BACKOFF_MAX_MS)
        : Math.min(LATER_STEP_MS * tries, LATER_MAX_MS) * (0.5 + this.#random.next() / 2);
    return delay(this.#clock, delayMs, signal ? { signal } : {});
  }
}

const context = new AsyncLocalStorage<TransactionManager>();

/** @throws TypeError (`ARG_FUNCTION`). */
export function requireFunction(fn: unknown): void {
  if (typeof fn === 'function') return;
  throw argumentTypeError(
    'ARG_FUNCTION',
    `${inspect(fn)} is no function: give one that does the work of the transaction`,
  );
}

/** The manager of code that runs under no other. */
export const defaultManager = new TransactionManager();

/** The manager of the current asynchronous context. */
export function currentManager(): TransactionManager {
  return context.getStore() ?? defaultManager;
}

/** The manager of the current asynchronous context, unless that is the default one. */
export function contextManager(): TransactionManager | undefined {
  return context.getStore();
}

/** Runs `fn` under a manager of its own; what is left uncommitted at its end is aborted. */
export async function isolate<T>(
  fn: (manager: TransactionManager) => T | Promise<T>,
  options?: TransactionManagerOptions,
): Promise<T> {
  requireFunction(fn);
  const manager = new TransactionManager(options);
  try {
    return await manager.enter(() => fn(manager));
  } finally {
    if (manager.current) manager.current.abort();
  }
}
