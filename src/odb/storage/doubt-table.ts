import { toHex } from '../../base/index.js';
import { TransactionInDoubtError } from '../errors.js';
import type { Oid } from '../ids.js';
import type { AcceptedTransaction } from './commit-coordinator.js';
import type { Doubt } from './storage.js';

/**
 * Transactions that were voted here, and whose outcome another storage knows: they are neither finished nor aborted until that one is
 * asked. What they are about to write is not seen, and is not written by anybody else.
 */
export class DoubtTable {
  readonly #transactions = new Map<string, AcceptedTransaction>();
  readonly #objects = new Map<Oid, AcceptedTransaction>();

  add(accepted: AcceptedTransaction): void {
    this.#transactions.set(toHex(accepted.transaction.commitId), accepted);
    for (const { oid } of accepted.records) this.#objects.set(oid, accepted);
  }

  get(commitId: Uint8Array): AcceptedTransaction | undefined {
    return this.#transactions.get(toHex(commitId));
  }

  remove(accepted: AcceptedTransaction): void {
    this.#transactions.delete(toHex(accepted.transaction.commitId));
    for (const { oid } of accepted.records) this.#objects.delete(oid);
  }

  [Symbol.iterator](): Iterator<AcceptedTransaction> {
    return this.#transactions.values();
  }

  /** Whether one of them writes the object. */
  has(oid: Oid): boolean {
    return this.#objects.has(oid);
  }

  /** That an object may be written, or relied on. @throws TransactionInDoubtError. */
  require(oid: Oid): void {
    if (this.#objects.size === 0) return;
    const accepted = this.#objects.get(oid);
    if (accepted) throw new TransactionInDoubtError({ oid, ...doubtOf(accepted) });
  }

  list(): Doubt[] {
    return [...this].map(doubtOf);
  }
}

/** What is told of a transaction that is in doubt. */
export function doubtOf({ tid, transaction, records, decider }: AcceptedTransaction): Doubt {
  const { commitId, user, description } = transaction;
  const { identity, name } = decider as Exclude<typeof decider, 'self' | undefined>;
  return { commitId, decider: identity, deciderName: name, tid, user, description, objects: records.length };
}
