import { Logger, systemRandom } from '../../base/index.js';
import { CommitUncertainError, StorageTransactionError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import { encodePlain } from '../serialize/writer.js';
import type { CommitOutcome, Storage, StorageTransaction, VoteOutcome } from '../storage/storage.js';
import type { Transaction } from '../transaction/transaction.js';

const logger = new Logger('holdfast.connection');

const NO_EXTENSION = encodePlain({});

/** The shares of each transaction that is being committed. */
const sharesOf = new WeakMap<Transaction, Shares>();

/**
 * All shares of one transaction, in the storages that it writes to.
 *
 * One of the storages decides: the first by identity, so that all who commit to the same storages vote in the same order and wait for
 * each other in no circle. Once it has finished, the transaction has happened, and the others finish whatever becomes of them; they
 * stay in doubt where that cannot be known.
 */
class Shares {
  readonly commitId = systemRandom.bytes(16);
  readonly all: StorageShare[] = [];
  /** Whether nobody knows for now if the one that decides has finished. */
  isUnknown = false;
  #finishedCount = 0;

  get decider(): StorageShare {
    return this.all.reduce((first, share) => (share.identity < first.identity ? share : first));
  }

  /** One of those that do not decide has finished. */
  finished(): void {
    this.#finishedCount++;
    if (this.#finishedCount < this.all.length - 1) return;
    // Crash: an outcome that is kept without need takes a few bytes.
    this.decider.storage.doubts.forget(this.commitId).catch(() => {});
  }

  /** What became of it is known at last: ends the doubts of the others. */
  async settle(happened: boolean): Promise<void> {
    const { decider } = this;
    for (const { storage } of this.all) {
      if (storage === decider.storage) continue;
      try {
        await storage.doubts.resolve(this.commitId, happened);
      } catch (error) {
        logger.warning(
          `a transaction stays in doubt in ${storage.name}; it is resolved when that is opened again`,
          error,
        );
      }
    }
  }
}

/**
 * The part that a storage has in a transaction. All who write to that storage in one transaction have one: two of them could not both be
 * voted, since each would wait for the other.
 */
export class StorageShare {
  readonly storage: Storage;
  readonly #shares: Shares;
  readonly #transaction: StorageTransaction;
  /** Who stored what, as soon as there are several. */
  #writers: Map<Oid, object> | undefined;
  #voting: Promise<VoteOutcome> | undefined;
  #isVoted = false;
  #finishing: Promise<Tid | undefined> | undefined;
  #aborting: Promise<void> | undefined;

  private constructor(storage: Storage, shares: Shares, { user, description, extension }: Transaction) {
    this.storage = storage;
    this.#shares = shares;
    this.#transaction = {
      commitId: shares.commitId,
      user,
      description,
      extension: hasFields(extension) ? encodePlain(extension, 'extension') : NO_EXTENSION,
    };
    storage.tpcBegin(this.#transaction);
  }

  /** Begins at the storage, or takes part in what was begun there. @throws ReadOnlyError. ClientDisconnected. */
  static begin(transaction: Transaction, storage: Storage): StorageShare {
    let shares = sharesOf.get(transaction);
    if (!shares) {
      shares = new Shares();
      sharesOf.set(transaction, shares);
    }
    const known = shares.all.find((share) => share.storage === storage);
    if (known) {
      known.#writers ??= new Map();
      return known;
    }
    const share = new StorageShare(storage, shares, transaction);
    shares.all.push(share);
    return share;
  }

  get identity(): string {
    return this.storage.identity;
  }

  /** Whether the transaction has happened once this one has finished. */
  get decides(): boolean {
    return this.#shares.decider === this;
  }

  /**
   * @param file has the content of a blob, if it is a new one
   * @throws StorageTransactionError when another writer of this transaction has stored the object.
   */
  store(writer: object, oid: Oid, serial: Tid, data: Uint8Array, file?: string): void {
    if (this.#writers) {
      const other = this.#writers.get(oid);
      if (other && other !== writer) {
        throw new StorageTransactionError(`oid ${oid} was changed through two connections in one transaction: use one`);
      }
      this.#writers.set(oid, writer);
    }
    if (file === undefined) this.storage.store(this.#transaction, oid, serial, data);
    else this.storage.storeBlob(this.#transaction, oid, serial, data, file);
  }

  /** Where files that are to become contents of blobs are best made. */
  get temporaryDirectory(): string | undefined {
    return this.storage.temporaryDirectory;
  }

  checkCurrentSerial(oid: Oid, serial: Tid): void {
    this.storage.checkCurrentSerial(this.#transaction, oid, serial);
  }

  undo(tid: Tid): void {
    this.storage.undo(this.#transaction, tid);
  }

  /** Vote and finish in one step, for the only participant. */
  commit(): Promise<CommitOutcome> {
    return this.storage.commit(this.#transaction);
  }

  vote(): Promise<VoteOutcome> {
    this.#voting ??= this.#vote();
    return this.#voting;
  }

  async #vote(): Promise<VoteOutcome> {
    const { all, decider } = this.#shares;
    const { identity, name } = decider.storage;
    const outcome = await this.storage.tpcVote(this.#transaction, all.length > 1 ? { identity, name } : undefined);
    this.#isVoted = true;
    return outcome;
  }

  /**
   * The second phase. Where this one decides, it may fail, and the transaction has not happened then; the others do not fail any more.
   *
   * @returns the tid; `undefined` where the storage cannot be told now that the transaction has happened.
   * @throws CommitUncertainError when it cannot be known; its `outcome` tells the others too.
   */
  finish(): Promise<Tid | undefined> {
    this.#finishing ??= this.decides ? this.#decide() : this.#follow();
    return this.#finishing;
  }

  async #decide(): Promise<Tid> {
    try {
      return await this.storage.tpcFinish(this.#transaction);
    } catch (error) {
      if (error instanceof CommitUncertainError) throw this.#uncertain(error, (options) => error.outcome(options));
      try {
        await this.storage.tpcAbort(this.#transaction);
      } catch (cause) {
        throw this.#uncertain(cause, () => this.storage.outcome(this.#shares.commitId));
      }
      throw error;
    }
  }

  #uncertain(
    cause: unknown,
    ask: (options: { signal?: AbortSignal }) => Promise<Tid | undefined>,
  ): CommitUncertainError {
    this.#shares.isUnknown = true;
    const askAndTell = async (options: { signal?: AbortSignal }) => {
      const tid = await ask(options);
      await this.#shares.settle(tid !== undefined);
      return tid;
    };
    return new CommitUncertainError(this.#shares.commitId, askAndTell, { cause });
  }

  async #follow(): Promise<Tid | undefined> {
    const { storage } = this;
    let tid: Tid | undefined;
    try {
      tid = await storage.tpcFinish(this.#transaction);
    } catch (error) {
      // It has happened: all that is left is to tell the storage, once more, or later.
      tid = await storage.doubts.resolve(this.#shares.commitId, true).catch(() => undefined);
      if (tid === undefined) {
        logger.critical(
          `a transaction that has happened is in doubt in ${storage.name}; what it wrote there is not seen until that is opened ` +
            `together with ${this.#shares.decider.storage.name}`,
          error,
        );
        return undefined;
      }
    }
    this.#shares.finished();
    return tid;
  }

  abort(): Promise<void> {
    this.#aborting ??= this.#abort();
    return this.#aborting;
  }

  async #abort(): Promise<void> {
    // One that decided, and failed, has been aborted there, or it is not known.
    if (this.decides && this.#finishing) return;
    if (this.#shares.isUnknown && this.#isVoted) await this.storage.doubts.suspend(this.#transaction);
    else await this.storage.tpcAbort(this.#transaction);
  }
}

/** Orders the participants of a commit: by the storages' identities, so that it is the same order for everybody. */
export function storageSortKey({ identity, name }: Storage, suffix: string): string {
  return `${identity} ${name}:${suffix}`;
}

function hasFields(extension: Readonly<Record<string, unknown>>): boolean {
  for (const _ in extension) return true;
  return false;
}
