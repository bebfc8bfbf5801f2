import { systemRandom } from '../../base/index.js';
import { StorageTransactionError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import { encodePlain } from '../serialize/writer.js';
import type { CommitOutcome, Storage, StorageTransaction, VoteOutcome } from '../storage/storage.js';
import type { Transaction } from '../transaction/transaction.js';

/** The shares of each transaction that is being committed. */
const shares = new WeakMap<Transaction, StorageShare[]>();

/**
 * The part that a storage has in a transaction. All who write to that storage in one transaction have one: two of them could not both be
 * voted, since each would wait for the other.
 */
export class StorageShare {
  readonly #storage: Storage;
  readonly #transaction: StorageTransaction;
  /** Who stored what, as soon as there are several. */
  #writers: Map<Oid, object> | undefined;
  #voting: Promise<VoteOutcome> | undefined;
  #finishing: Promise<Tid> | undefined;
  #aborting: Promise<void> | undefined;

  private constructor(storage: Storage, { user, description, extension }: Transaction) {
    this.#storage = storage;
    this.#transaction = { commitId: systemRandom.bytes(16), user, description, extension: encodePlain(extension) };
    storage.tpcBegin(this.#transaction);
  }

  /** Begins at the storage, or takes part in what was begun there. @throws ReadOnlyError. ClientDisconnected. */
  static begin(transaction: Transaction, storage: Storage): StorageShare {
    const others = shares.get(transaction);
    const known = others?.find((share) => share.#storage === storage);
    if (known) {
      known.#writers ??= new Map();
      return known;
    }
    const share = new StorageShare(storage, transaction);
    if (others) others.push(share);
    else shares.set(transaction, [share]);
    return share;
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
    if (file === undefined) this.#storage.store(this.#transaction, oid, serial, data);
    else this.#storage.storeBlob(this.#transaction, oid, serial, data, file);
  }

  /** Where files that are to become contents of blobs are best made. */
  get temporaryDirectory(): string | undefined {
    return this.#storage.temporaryDirectory;
  }

  checkCurrentSerial(oid: Oid, serial: Tid): void {
    this.#storage.checkCurrentSerial(this.#transaction, oid, serial);
  }

  undo(tid: Tid): void {
    this.#storage.undo(this.#transaction, tid);
  }

  /** Vote and finish in one step, for the only participant. */
  commit(): Promise<CommitOutcome> {
    return this.#storage.commit(this.#transaction);
  }

  vote(): Promise<VoteOutcome> {
    this.#voting ??= this.#storage.tpcVote(this.#transaction);
    return this.#voting;
  }

  finish(): Promise<Tid> {
    this.#finishing ??= this.#storage.tpcFinish(this.#transaction);
    return this.#finishing;
  }

  abort(): Promise<void> {
    this.#aborting ??= this.#storage.tpcAbort(this.#transaction);
    return this.#aborting;
  }
}
