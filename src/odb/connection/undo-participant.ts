import { inspect } from 'node:util';
import { argumentTypeError } from '../../base/index.js';
import { ReadOnlyError, StorageError } from '../errors.js';
import { type Tid, toTid } from '../ids.js';
import type { Storage } from '../storage/storage.js';
import type { DataManager, DataManagerSavepoint } from '../transaction/data-manager.js';
import type { Transaction } from '../transaction/transaction.js';
import { StorageShare, storageSortKey } from './storage-share.js';

/** Undoes transactions when the one that it joined is committed. */
export class UndoParticipant implements DataManager {
  readonly #storage: Storage;
  readonly #tids: readonly Tid[];
  #share: StorageShare | undefined;

  /**
   * @throws StorageError where the storage has no undo. ReadOnlyError. TypeError, RangeError (`ARG_TID`) for what are no tids.
   */
  constructor(storage: Storage, tids: readonly Tid[]) {
    if (!storage.supports.undo) throw new StorageError(`the storage ${storage.name} does not support undo`);
    if (storage.isReadOnly) throw new ReadOnlyError(`undo: the storage ${storage.name} is read-only`);
    if (!Array.isArray(tids)) {
      throw argumentTypeError(
        'ARG_TID',
        `undoMultiple: ${inspect(tids)} is no array of tids: for a single one there is undo`,
      );
    }
    this.#storage = storage;
    this.#tids = tids.map(toTid);
  }

  /** After the connections of the same storage: what they store is stored first. */
  sortKey(): string {
    return storageSortKey(this.#storage, '~undo');
  }

  abort(): void {}

  /** Nothing is done before the commit: whatever is gone back to, there is nothing to take back. */
  savepoint(): DataManagerSavepoint {
    return { rollback: () => {} };
  }

  tpcBegin(transaction: Transaction): void {
    this.#share = StorageShare.begin(transaction, this.#storage);
  }

  commit(): void {
    for (const tid of this.#tids) this.#share?.undo(tid);
  }

  async tpcVote(): Promise<void> {
    await this.#share?.vote();
  }

  get decides(): boolean {
    return this.#share?.decides ?? false;
  }

  async tpcFinish(): Promise<Tid | undefined> {
    return this.#share?.finish();
  }

  async commitOnePhase(): Promise<Tid | undefined> {
    return (await this.#share?.commit())?.tid;
  }

  async tpcAbort(): Promise<void> {
    await this.#share?.abort();
  }
}
