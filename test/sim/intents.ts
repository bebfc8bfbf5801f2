import type { Oid, StorageTransaction, Tid } from 'holdfast/odb';
import { toHex } from '#src/base/index.js';

/** What became of a commit, as far as anybody was told. */
type Fate =
  /** It was asked for; no answer came. */
  | 'open'
  /** Acknowledged. */
  | 'committed'
  /** Refused, taken back, or not there after a crash: it must never be seen. */
  | 'refused'
  /** The write failed: it may be found at the next open. */
  | 'doubtful';

/** A commit that was asked for. */
export interface Intent {
  readonly commitId: Uint8Array;
  readonly description: string;
  readonly stores: Map<Oid, Uint8Array>;
  readonly begunMs: number;
  /** It stores what may be there already, or may have been packed away. */
  readonly isRestored: boolean;
  isUndo: boolean;
  /** It was to be committed, or voted. */
  isAsked: boolean;
  isVoted: boolean;
  fate: Fate;
  /** Set once it was published. */
  tid: Tid | undefined;
  /** The storage said that it did not happen, and never will. */
  isDenied: boolean;
  /** It is being finished after it was in doubt. */
  isBeingSettled: boolean;
}

/** All commits that a storage was asked for, in order. */
export class Intents {
  readonly #all: Intent[] = [];
  /** Those that were asked for, by the oids that they store. */
  readonly #asked = new Map<string, Intent[]>();
  readonly #undos: Intent[] = [];
  readonly #byTransaction = new Map<StorageTransaction, Intent>();
  readonly #byCommitId = new Map<string, Intent>();
  readonly #byDescription = new Map<string, Intent>();
  /** How many came before the database was opened last. */
  #countBeforeOpening = 0;

  [Symbol.iterator](): Iterator<Intent> {
    return this.#all.values();
  }

  begin(transaction: StorageTransaction, begunMs: number): void {
    const { commitId, description } = transaction;
    const intent: Intent = {
      commitId,
      description,
      stores: new Map(),
      begunMs,
      isRestored: transaction.tid !== undefined,
      isUndo: false,
      isAsked: false,
      isVoted: false,
      fate: 'open',
      tid: undefined,
      isDenied: false,
      isBeingSettled: false,
    };
    this.#all.push(intent);
    this.#byTransaction.set(transaction, intent);
    this.#byCommitId.set(toHex(commitId), intent);
    this.#byDescription.set(description, intent);
  }

  of(transaction: StorageTransaction): Intent {
    return this.#byTransaction.get(transaction) as Intent;
  }

  withCommitId(commitId: Uint8Array): Intent | undefined {
    return this.#byCommitId.get(toHex(commitId));
  }

  /** The last one of that description. */
  described(description: string): Intent | undefined {
    return this.#byDescription.get(description);
  }

  /** It undoes others: what it stores is not known. */
  undo(transaction: StorageTransaction): void {
    const intent = this.of(transaction);
    if (!intent.isUndo) this.#undos.push(intent);
    intent.isUndo = true;
  }

  /** It is to be decided. */
  ask(intent: Intent): void {
    if (intent.isAsked) return;
    intent.isAsked = true;
    const key = oidsText([...intent.stores.keys()]);
    const others = this.#asked.get(key);
    if (others) others.push(intent);
    else this.#asked.set(key, [intent]);
  }

  /** Which one it may be that has written just these oids: one that is under way. */
  writing(oids: readonly Oid[]): Intent | undefined {
    const asked = this.#asked.get(oidsText(oids)) ?? [];
    // What is in doubt keeps its objects from everybody else.
    const isSettled = ({ isBeingSettled, tid }: Intent) => isBeingSettled && tid === undefined;
    const candidates = [asked, this.#undos];
    for (const isIt of [isSettled, isOpen]) {
      for (const intents of candidates) {
        const intent = intents.findLast((each) => each.isAsked && isIt(each));
        if (intent) return intent;
      }
    }
    return undefined;
  }

  /** The database was opened: what was under way before is so no longer. */
  opened(): void {
    this.#countBeforeOpening = this.#all.length;
  }

  /** Those that are being decided. */
  get underWay(): Intent[] {
    return this.#all.slice(this.#countBeforeOpening).filter((each) => each.isAsked && isOpen(each));
  }

  /** How many came before the first one that may still be under way. */
  get countBeforeOpen(): number {
    const index = this.#all.findIndex((each) => isOpen(each) || each.fate === 'doubtful');
    return index < 0 ? this.#all.length : index;
  }

  from(index: number): readonly Intent[] {
    return this.#all.slice(index);
  }
}

function isOpen({ fate, tid }: Intent): boolean {
  return fate === 'open' && tid === undefined;
}

function oidsText(oids: readonly Oid[]): string {
  return [...oids].sort().join();
}
