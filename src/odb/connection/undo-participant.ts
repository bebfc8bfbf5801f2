import type { Tid } from '../ids.js';
import type { Storage } from '../storage/storage.js';
import type { DataManager } from '../transaction/data-manager.js';
import type { Transaction } from '../transaction/transaction.js';
import { StorageShare, storageSortKey } from './storage-share.js';

/** Undoes transactions when the one that it joined is committed. */
export class UndoParticipant implements DataManager {
  readonly #storage: Storage;
  readonly #tids: readonly Tid[];
  #share: StorageShare | undefined;

  constructor(storage: Storage, tids: readonly Tid[]) {
    this.#storage = storage;
    this.#tids = tids;
  }

  /** After the connections of the same storage: what they store is stored first. */
  sortKey(): string {
    return storageSortKey(this.#storage, '~undo');
  }

  abort(): void {}

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
