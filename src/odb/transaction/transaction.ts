import { inspect } from 'node:util';
import { argumentTypeError, invariant, Logger } from '../../base/index.js';
import { CommitUnderWayError, DoomedTransaction, TransactionFailedError, TransactionStateError } from '../errors.js';
import type { Tid } from '../ids.js';
import type { DataManager, Synchronizer } from './data-manager.js';
import { Savepoint } from './savepoint.js';

const logger = new Logger('holdfast.transaction');

/**
 * Where a transaction stands.
 *
 * - `active`: may be changed, joined, committed, aborted. A doomed one is active, but refuses to commit.
 * - `committing`: from the end of the before-commit hooks until the commit settles. Nothing else is allowed.
 * - `committed`, `aborted`: over; its manager has let go of it.
 * - `failed`: a commit or a savepoint failed. Only an abort is allowed.
 */
export type TransactionStatus = 'active' | 'committing' | 'committed' | 'aborted' | 'failed';

/** Called before the outcome is known; may change objects. */
export type BeforeHook = (...args: never[]) => unknown;
/** Called with whether the commit succeeded. May not change objects. */
export type AfterCommitHook = (success: boolean, ...args: never[]) => unknown;

interface Hook {
  readonly fn: (...args: unknown[]) => unknown;
  readonly args: readonly unknown[];
}

/** What a transaction tells of its end to the one that manages it. */
export interface TransactionOwner {
  /** The transaction is over: it is nobody's current one any more. */
  free(transaction: Transaction): void;
  readonly synchronizers: Iterable<Synchronizer>;
}

/** One unit of work: all of its participants commit, or none does. */
export class Transaction {
  #status: TransactionStatus = 'active';
  #doomed = false;
  #failure: unknown;
  /** Whether a participant has finished, or may have: it must not be run again. */
  #hasHappened = false;
  /** Whether the before-commit hooks run: objects may be changed, but nothing else be begun. */
  #isPreparing = false;
  readonly #owner: TransactionOwner;
  #participants: DataManager[] = [];
  #savepoints: Savepoint[] = [];
  #beforeCommit: Hook[] = [];
  #afterCommit: Hook[] = [];
  #beforeAbort: Hook[] = [];
  #afterAbort: Hook[] = [];
  #user = '';
  #description = '';
  #extension: Record<string, unknown> = {};

  constructor(owner: TransactionOwner) {
    this.#owner = owner;
  }

  get status(): TransactionStatus {
    return this.#status;
  }

  get isDoomed(): boolean {
    return this.#doomed;
  }

  /** Whether something of it was committed, though the commit may have failed: running it again would do that twice. */
  get hasHappened(): boolean {
    return this.#hasHappened;
  }

  /** Who commits: a path and a name, joined by a space. */
  get user(): string {
    return this.#user;
  }

  /** What the transaction is for, as told by `note`. */
  get description(): string {
    return this.#description;
  }

  /** Further facts that are stored with the transaction. */
  get extension(): Readonly<Record<string, unknown>> {
    return this.#extension;
  }

  /** Adds a line to the description. */
  note(text: string): void {
    if (typeof text !== 'string') throw argumentTypeError('ARG_NOTE', `${inspect(text)} is no note: give a text`);
    const line = text.trim();
    if (line) this.#description = this.#description ? `${this.#description}\n${line}` : line;
  }

  /** Sets the user that is stored with the transaction. */
  setUser(name: string, path = '/'): void {
    if (typeof name !== 'string' || typeof path !== 'string') {
      throw argumentTypeError('ARG_USER', `${inspect([name, path])} are no name and path of a user: give texts`);
    }
    this.#user = `${path} ${name}`;
  }

  /** Stores a further fact with the transaction. `value` must be storable as plain data. */
  setExtendedInfo(name: string, value: unknown): void {
    this.#extension[name] = value;
  }

  /** Adds a participant. @throws TransactionFailedError. CommitUnderWayError. TypeError (`ARG_PARTICIPANT`). */
  join(participant: DataManager): void {
    requireMethods('ARG_PARTICIPANT', participant, PARTICIPANT_METHODS);
    this.#requireUsable('join');
    this.#participants.push(participant);
    // A savepoint made before the participant joined: rolling back to it takes all that the participant did.
    for (const savepoint of this.#savepoints) savepoint.joined(participant, this);
  }

  /** Takes a participant out again: it has nothing to commit after all. */
  leave(participant: DataManager): void {
    this.#participants = this.#participants.filter((other) => other !== participant);
  }

  /** Makes commit impossible; the transaction can only be aborted. */
  doom(): void {
    if (this.#status === 'committing') throw underWay('doom');
    if (this.#status !== 'active')
      throw new TransactionStateError(`a transaction that is ${this.#status} cannot be doomed`);
    this.#doomed = true;
  }

  /**
   * Marks the present state, to go back to with `rollback()`.
   *
   * @param optimistic accept participants that cannot go back; only the roll-back fails then.
   */
  savepoint(optimistic = false): Savepoint {
    this.#requireUsable('savepoint');
    try {
      const savepoint = new Savepoint(this, this.#participants, optimistic);
      this.#savepoints.push(savepoint);
      return savepoint;
    } catch (error) {
      this.#takeBack(error);
      throw error;
    }
  }

  /** For {@link Savepoint}: later savepoints are void once an earlier one was rolled back to. */
  invalidateSavepointsAfter(savepoint: Savepoint): void {
    const index = this.#savepoints.indexOf(savepoint);
    invariant(index >= 0, 'a savepoint rolls back in its own transaction');
    for (const later of this.#savepoints.splice(index + 1)) later.invalidate();
  }

  /** For {@link Savepoint}: a failed roll-back leaves the transaction failed. */
  failed(error: unknown): void {
    this.#fail(error);
  }

  /** Calls `hook` before the commit begins, in order; it may change objects and add hooks. */
  addBeforeCommitHook(hook: BeforeHook, args: readonly unknown[] = []): void {
    this.#beforeCommit.push(hookOf(hook, args));
  }

  /** Calls `hook(success, ...args)` once the commit succeeded or failed. */
  addAfterCommitHook(hook: AfterCommitHook, args: readonly unknown[] = []): void {
    this.#afterCommit.push(hookOf(hook, args));
  }

  /** Calls `hook` before an abort (not before a failed commit's). */
  addBeforeAbortHook(hook: BeforeHook, args: readonly unknown[] = []): void {
    this.#beforeAbort.push(hookOf(hook, args));
  }

  /** Calls `hook` after an abort. */
  addAfterAbortHook(hook: BeforeHook, args: readonly unknown[] = []): void {
    this.#afterAbort.push(hookOf(hook, args));
  }

  /**
   * Commits: resolves to the tid, or to `undefined` when nothing was changed. Where several databases took part, each has a tid of its
   * own for it; this is the latest of them.
   *
   * @throws DoomedTransaction. TransactionFailedError after an earlier failure. CommitUnderWayError. Whatever a participant
   * fails with: the transaction is `failed` then, and has to be aborted.
   */
  async commit(): Promise<Tid | undefined> {
    this.#requireUsable('commit');
    if (this.#isPreparing) throw underWay('commit');
    this.#requireNotDoomed();
    this.#invalidateSavepoints();
    this.#isPreparing = true;
    try {
      // The list may grow while it is worked off.
      for (let i = 0; i < this.#beforeCommit.length; i++) {
        const { fn, args } = this.#beforeCommit[i] as Hook;
        const pending = fn(...args);
        if (pending instanceof Promise) await pending;
      }
      this.#beforeCommit = [];
      this.#requireNotDoomed();
      this.#invalidateSavepoints();
      for (const synchronizer of this.#owner.synchronizers) {
        synchronizer.beforeCommit?.(this);
        synchronizer.beforeCompletion(this);
      }
      this.#isPreparing = false;
    } catch (error) {
      this.#isPreparing = false;
      this.#takeBack(error);
      this.#complete();
      await this.#runAfterCommit(false);
      throw error;
    }
    this.#status = 'committing';
    let tid: Tid | undefined;
    try {
      tid = await this.#commitParticipants();
    } catch (error) {
      this.#fail(error);
      this.#complete();
      await this.#runAfterCommit(false);
      throw error;
    }
    this.#status = 'committed';
    this.#owner.free(this);
    this.#complete();
    await this.#runAfterCommit(true);
    this.#forget();
    return tid;
  }

  /** Takes everything back. Allowed in any state but `committing`. @throws CommitUnderWayError. */
  abort(): void {
    if (this.#status === 'committing' || this.#isPreparing) throw underWay('abort');
    if (this.#status === 'committed' || this.#status === 'aborted') return;
    this.#invalidateSavepoints();
    let failure: { error: unknown } | undefined;
    const attempt = (fn: () => void) => {
      try {
        fn();
      } catch (error) {
        failure ??= { error };
        logger.error('an abort failed in part; the rest was aborted', error);
      }
    };
    for (const hook of this.#beforeAbort) attempt(() => callInAbort(hook));
    this.#beforeAbort = [];
    for (const synchronizer of this.#owner.synchronizers) attempt(() => synchronizer.beforeCompletion(this));
    for (const participant of sorted(this.#participants)) attempt(() => participant.abort(this));
    this.#status = 'aborted';
    this.#owner.free(this);
    for (const synchronizer of this.#owner.synchronizers) attempt(() => synchronizer.afterCompletion(this));
    for (const hook of this.#afterAbort) attempt(() => callInAbort(hook));
    this.#forget();
    if (failure) throw failure.error;
  }

  async #commitParticipants(): Promise<Tid | undefined> {
    const participants = sorted(this.#participants);
    if (participants.length === 0) return undefined;
    const sole = participants.length === 1 ? (participants[0] as DataManager) : undefined;
    let voted = 0;
    try {
      for (const participant of participants) {
        const pending = participant.tpcBegin(this);
        if (pending) await pending;
      }
      // Invariant: no turn passes between the first and the last connection's commit, so that all states are of one instant.
      const pending: Promise<void>[] = [];
      for (const participant of participants) {
        const handed = participant.commit(this);
        if (handed) pending.push(handed);
      }
      if (pending.length > 0) await Promise.all(pending);
      if (sole?.commitOnePhase) return await sole.commitOnePhase(this);
      for (const participant of participants) {
        await participant.tpcVote(this);
        voted++;
      }
    } catch (error) {
      await this.#abortParticipants(participants, voted);
      throw error;
    }
    let tid: Tid | undefined;
    let failure: { error: unknown } | undefined;
    for (const participant of decidersFirst(participants)) {
      const decides = !this.#hasHappened && participant.decides;
      try {
        const own = await participant.tpcFinish(this);
        this.#hasHappened = true;
        if (own !== undefined && (tid === undefined || own > tid)) tid = own;
      } catch (error) {
        if (decides) {
          await this.#abortParticipants(participants, voted);
          throw error;
        }
        failure ??= { error };
        this.#hasHappened = true;
        logger.critical(`a participant (${participant.sortKey()}) failed to finish although it had voted`, error);
      }
    }
    if (failure) throw failure.error;
    return tid;
  }

  async #abortParticipants(participants: readonly DataManager[], voted: number): Promise<void> {
    for (const [index, participant] of participants.entries()) {
      try {
        if (index >= voted) participant.abort(this);
      } catch (error) {
        logger.error(`aborting a participant (${participant.sortKey()}) failed`, error);
      }
      try {
        await participant.tpcAbort(this);
      } catch (error) {
        logger.error(`aborting a participant (${participant.sortKey()}) in its commit failed`, error);
      }
    }
  }

  #complete(): void {
    for (const synchronizer of this.#owner.synchronizers) {
      try {
        synchronizer.afterCompletion(this);
      } catch (error) {
        logger.error('a synchronizer failed after completion', error);
      }
    }
  }

  async #runAfterCommit(success: boolean): Promise<void> {
    for (let i = 0; i < this.#afterCommit.length; i++) {
      const { fn, args } = this.#afterCommit[i] as Hook;
      try {
        const pending = fn(success, ...args);
        if (pending instanceof Promise) await pending;
      } catch (error) {
        logger.error('an after-commit hook failed', error);
      }
    }
    this.#afterCommit = [];
  }

  #requireUsable(what: string): void {
    switch (this.#status) {
      case 'active':
        return;
      case 'committing':
        throw underWay(what);
      case 'failed':
        throw new TransactionFailedError(
          `an earlier commit or savepoint of this transaction failed (${String(this.#failure)}): abort it first`,
          { cause: this.#failure },
        );
      default:
        throw new TransactionStateError(`${what}: this transaction is already ${this.#status}`);
    }
  }

  #fail(error: unknown): void {
    this.#status = 'failed';
    this.#failure = error;
    this.#invalidateSavepoints();
  }

  #invalidateSavepoints(): void {
    for (const savepoint of this.#savepoints.splice(0)) savepoint.invalidate();
  }

  /** Fails before participants were called: what they have changed is taken back now, so that nobody goes on with it. */
  #takeBack(error: unknown): void {
    this.#fail(error);
    for (const participant of sorted(this.#participants)) {
      try {
        participant.abort(this);
      } catch (failure) {
        logger.error(`aborting a participant (${participant.sortKey()}) failed`, failure);
      }
    }
    this.#participants = [];
  }

  #requireNotDoomed(): void {
    if (this.#doomed) throw new DoomedTransaction('the transaction is doomed: it can only be aborted');
  }

  #forget(): void {
    this.#participants = [];
    this.#beforeCommit = [];
    this.#beforeAbort = [];
    this.#afterAbort = [];
  }
}

/** @throws TypeError (`ARG_FUNCTION`). */
function hookOf(fn: unknown, args: readonly unknown[]): Hook {
  if (typeof fn !== 'function') throw argumentTypeError('ARG_FUNCTION', `${inspect(fn)} is no function to be called`);
  return { fn: fn as Hook['fn'], args };
}

/** An abort waits for nobody: what a hook does later is its own business. */
function callInAbort({ fn, args }: Hook): void {
  const pending = fn(...args);
  if (pending instanceof Promise) {
    pending.catch((error: unknown) => logger.error('a hook of an aborted transaction failed', error));
  }
}

const PARTICIPANT_METHODS: readonly (keyof DataManager)[] = [
  'sortKey',
  'abort',
  'tpcBegin',
  'commit',
  'tpcVote',
  'tpcFinish',
  'tpcAbort',
];

/** @throws TypeError with the code. */
export function requireMethods<T extends object>(code: string, object: T, methods: readonly (keyof T)[]): void {
  const missing = methods.find((name) => typeof object?.[name] !== 'function');
  if (missing === undefined) return;
  throw argumentTypeError(code, `${inspect(object, { depth: 0 })} has no method ${String(missing)}`);
}

function underWay(what: string): CommitUnderWayError {
  return new CommitUnderWayError(`${what}: a commit is under way; await its promise first`);
}

function decidersFirst(participants: readonly DataManager[]): readonly DataManager[] {
  return [...participants.filter(({ decides }) => decides), ...participants.filter(({ decides }) => !decides)];
}

function sorted(participants: readonly DataManager[]): readonly DataManager[] {
  if (participants.length < 2) return participants;
  return [...participants].sort((a, b) => (a.sortKey() < b.sortKey() ? -1 : a.sortKey() > b.sortKey() ? 1 : 0));
}
