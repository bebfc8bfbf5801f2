import { type Clock, Logger, systemClock } from '../../base/index.js';
import { ReadOnlyError, StorageError, StorageTransactionError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import {
  type AcceptedTransaction,
  type CommitBackend,
  CommitCoordinator,
  type StoreRequest,
} from './commit-coordinator.js';
import { hostStorage, type StorageHosting } from './hosting.js';
import { type LockSession, LockTable } from './lock-table.js';
import { type PackBackend, pack } from './pack/pack.js';
import type {
  CommitOutcome,
  ConflictResolver,
  HistoryEntry,
  InvalidationListener,
  PackOptions,
  Revision,
  Storage,
  StorageAttachment,
  StorageSupports,
  StorageTransaction,
  TransactionRecord,
  UndoLogEntry,
  VoteOutcome,
} from './storage.js';
import { type Problem, type VerifyOptions, verifyByReading } from './verify.js';

const logger = new Logger('holdfast.storage');

/** Options of every storage that holds its data itself. */
export interface BaseStorageOptions {
  readonly clock?: Clock;
  readonly readOnly?: boolean;
  /** Merges what conflicts; without one, every conflict is an error. */
  readonly conflictResolver?: ConflictResolver;
}

/**
 * How far a transaction has come.
 *
 * - `open`: takes stores and checks.
 * - `deciding`: a vote or a commit is under way. Nothing is allowed but to wait for it.
 * - `voted`: is to be finished or aborted.
 * - `failed`: is to be aborted.
 */
type Phase = 'open' | 'deciding' | 'voted' | 'failed';

interface OpenTransaction {
  phase: Phase;
  readonly stores: StoreRequest[];
  readonly checks: { oid: Oid; serial: Tid }[];
  readonly undos: Tid[];
  accepted: AcceptedTransaction | undefined;
  /** Settles when a vote or a commit is decided. Never rejects. */
  decided: Promise<unknown> | undefined;
}

/** What storages that hold their data themselves have in common: the order of calls, the commit path, locks, attaching. */
export abstract class BaseStorage implements Storage {
  abstract readonly name: string;
  abstract readonly supports: StorageSupports;
  readonly clock: Clock;
  readonly #readOnly: boolean;
  #resolver: ConflictResolver | undefined;
  readonly #transactions = new Map<StorageTransaction, OpenTransaction>();
  readonly #listeners = new Set<InvalidationListener>();
  readonly #lockTable = new LockTable();
  readonly locks: LockSession = this.#lockTable.session();
  #coordinator: CommitCoordinator | undefined;
  #hosting: StorageHosting | undefined;
  #closing: Promise<void> | undefined;
  #packing: { readonly done: Promise<void>; readonly stop: AbortController } | undefined;

  constructor(options: BaseStorageOptions) {
    this.clock = options.clock ?? systemClock;
    this.#readOnly = options.readOnly ?? false;
    this.#resolver = options.conflictResolver;
  }

  /** For subclasses, once they know their last transaction: begins to take commits. */
  protected start(backend: CommitBackend, lastTid: Tid): void {
    this.#coordinator = new CommitCoordinator({ backend, clock: this.clock, lastTid, resolver: () => this.#resolver });
  }

  /** For subclasses: tells of a published transaction. */
  protected announce({ tid, records }: AcceptedTransaction): void {
    if (this.#listeners.size === 0) return;
    const oids = records.map(({ oid }) => oid);
    for (const listener of this.#listeners) {
      try {
        listener.invalidate(tid, oids);
      } catch (error) {
        // The transaction is durable by now: nothing may come between it and its answer.
        logger.critical(`a subscriber of ${this.name} failed to take note of transaction ${tid}`, error);
      }
    }
  }

  /** Gives the storage what merges conflicts. */
  setConflictResolver(resolver: ConflictResolver): void {
    this.#resolver = resolver;
  }

  get isReadOnly(): boolean {
    return this.#readOnly || (this.#coordinator?.isFailing ?? false);
  }

  abstract load(oid: Oid): Revision;
  abstract loadBefore(oid: Oid, before: Tid): Revision | undefined;
  abstract loadSerial(oid: Oid, tid: Tid): Uint8Array;
  abstract lastTransaction(): Tid;
  abstract outcome(commitId: Uint8Array): Promise<Tid | undefined>;
  abstract history(oid: Oid, size?: number): Promise<HistoryEntry[]>;
  abstract undoLog(options?: { readonly before?: Tid; readonly size?: number }): Promise<UndoLogEntry[]>;
  abstract iterate(from?: Tid, to?: Tid): AsyncIterable<TransactionRecord>;
  abstract get length(): number;
  abstract get size(): number;
  /** For subclasses: an oid that nobody has. */
  protected abstract nextOid(): Oid;
  /** For subclasses: releases what they hold. All that was accepted has been written. */
  protected abstract release(): Promise<void>;
  /** For subclasses: how they are packed, if they can be. */
  protected get packBackend(): PackBackend | undefined {
    return undefined;
  }

  /** For subclasses: how other threads can read for themselves, if they can. */
  protected get reader(): { readonly module: string; readonly data: unknown } | undefined {
    return undefined;
  }

  async prefetch(): Promise<void> {}

  poll(): Tid {
    return this.lastTransaction();
  }

  async sync(): Promise<Tid> {
    return this.lastTransaction();
  }

  subscribe(listener: InvalidationListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  newOid(): Oid {
    this.#requireWritable('newOid');
    return this.nextOid();
  }

  /** Opens a holder of locks of its own, for another client of this storage. */
  lockSession(): LockSession {
    return this.#lockTable.session();
  }

  tpcBegin(transaction: StorageTransaction): void {
    this.#requireWritable('tpcBegin');
    if (this.#transactions.has(transaction)) {
      throw new StorageTransactionError('tpcBegin: this transaction is under way already');
    }
    this.#transactions.set(transaction, {
      phase: 'open',
      stores: [],
      checks: [],
      undos: [],
      accepted: undefined,
      decided: undefined,
    });
  }

  store(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array): void {
    this.#require(transaction, 'open', 'store').stores.push({ oid, serial, data });
  }

  checkCurrentSerial(transaction: StorageTransaction, oid: Oid, serial: Tid): void {
    this.#require(transaction, 'open', 'checkCurrentSerial').checks.push({ oid, serial });
  }

  undo(transaction: StorageTransaction, tid: Tid): void {
    if (!this.supports.undo) throw new StorageError(`the storage ${this.name} does not support undo`);
    this.#require(transaction, 'open', 'undo').undos.push(tid);
  }

  async commit(transaction: StorageTransaction): Promise<CommitOutcome> {
    const open = this.#require(transaction, 'open', 'commit');
    open.phase = 'deciding';
    try {
      const outcome = await this.#decide(open, this.#commits.commit({ transaction, ...open }));
      this.#transactions.delete(transaction);
      return outcome;
    } catch (error) {
      open.phase = 'failed';
      throw error;
    }
  }

  async tpcVote(transaction: StorageTransaction): Promise<VoteOutcome> {
    const open = this.#require(transaction, 'open', 'tpcVote');
    open.phase = 'deciding';
    try {
      open.accepted = await this.#decide(open, this.#commits.vote({ transaction, ...open }));
    } catch (error) {
      open.phase = 'failed';
      throw error;
    }
    open.phase = 'voted';
    return { resolved: open.accepted.resolved };
  }

  async tpcFinish(transaction: StorageTransaction): Promise<Tid> {
    const { accepted } = this.#require(transaction, 'voted', 'tpcFinish');
    this.#transactions.delete(transaction);
    return this.#commits.finish(accepted as AcceptedTransaction);
  }

  async tpcAbort(transaction: StorageTransaction): Promise<void> {
    const open = this.#transactions.get(transaction);
    if (!open) return;
    if (open.phase === 'deciding') {
      throw new StorageTransactionError('tpcAbort: this transaction is being decided; await its vote first');
    }
    this.#transactions.delete(transaction);
    if (open.accepted) await this.#commits.abort(open.accepted);
  }

  async pack(options: PackOptions): Promise<void> {
    this.#requireWritable('pack');
    const backend = this.packBackend;
    if (!backend) throw new StorageError(`the storage ${this.name} does not support packing`);
    if (this.#packing) throw new StorageError(`the storage ${this.name} is being packed already: wait for its end`);
    const stop = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    const done = pack(
      backend,
      {
        clock: this.clock,
        begin: (marking) => this.#commits.watch(marking),
        release: (oid) => this.#commits.release(oid),
        end: () => this.#commits.unwatch(),
      },
      { ...options, signal },
    );
    this.#packing = { done: done.catch(() => {}), stop };
    try {
      await done;
    } finally {
      this.#packing = undefined;
    }
  }

  async *verify(options: VerifyOptions): AsyncGenerator<Problem> {
    this.requireOpen('verify');
    yield* verifyByReading(this, options);
  }

  attach(): StorageAttachment {
    this.requireOpen('attach');
    this.#hosting ??= hostStorage({ storage: this, locks: () => this.lockSession(), reader: this.reader });
    return this.#hosting.attach();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#packing?.stop.abort(new StorageError(`the storage ${this.name} was closed while it was packed`));
    await this.#packing?.done;
    await this.#hosting?.close();
    this.#coordinator?.stop();
    // Ordering: those who wait for their turn are let go when what is voted is aborted; what they were about to vote comes next.
    await this.#abortAll();
    await Promise.all([...this.#transactions.values()].map(({ decided }) => decided));
    await this.#abortAll();
    await this.#coordinator?.drain();
    this.locks.close();
    await this.release();
  }

  async #abortAll(): Promise<void> {
    for (const [transaction, { phase }] of [...this.#transactions]) {
      if (phase !== 'deciding') await this.tpcAbort(transaction);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @throws StorageError after close. */
  protected requireOpen(what: string): void {
    if (this.#closing) throw new StorageError(`${what}: the storage ${this.name} was closed`);
  }

  #decide<T>(open: OpenTransaction, decision: Promise<T>): Promise<T> {
    open.decided = decision.catch(() => {});
    return decision;
  }

  get #commits(): CommitCoordinator {
    return this.#coordinator as CommitCoordinator;
  }

  #requireWritable(what: string): void {
    this.requireOpen(what);
    if (this.#readOnly) throw new ReadOnlyError(`${what}: the storage ${this.name} was opened to be read only`);
  }

  #require(transaction: StorageTransaction, phase: Phase, what: string): OpenTransaction {
    const open = this.#transactions.get(transaction);
    if (!open) throw new StorageTransactionError(`${what}: this transaction is not under way (tpcBegin comes first)`);
    if (open.phase !== phase) {
      throw new StorageTransactionError(`${what}: this transaction is ${open.phase}, and has to be ${phase} for that`);
    }
    return open;
  }
}
