import assert from 'node:assert/strict';
import { systemRandom } from '../base/index.js';
import {
  type CommitOutcome,
  ConflictError,
  type Oid,
  type Revision,
  type Storage,
  type StorageTransaction,
  type Tid,
  type TransactionRecord,
  ZERO_TID,
} from '../odb/index.js';

/** A record to be stored: oid, the serial that it is based on, a text or bytes. */
export type Store = readonly [oid: Oid, serial: Tid, data: string | Uint8Array];

/** A new transaction. */
export function newTransaction(facts: Partial<StorageTransaction> = {}): StorageTransaction {
  return {
    commitId: systemRandom.bytes(16),
    user: '',
    description: '',
    extension: new Uint8Array(0),
    ...facts,
  };
}

/** Opens a transaction, and puts records into it. */
export function begin(storage: Storage, stores: readonly Store[], transaction = newTransaction()): StorageTransaction {
  storage.tpcBegin(transaction);
  for (const [oid, serial, data] of stores) storage.store(transaction, oid, serial, bytes(data));
  return transaction;
}

/** Commits what was begun, and aborts it if that fails. */
export async function finish(storage: Storage, transaction: StorageTransaction): Promise<CommitOutcome> {
  try {
    return await storage.commit(transaction);
  } catch (error) {
    await storage.tpcAbort(transaction);
    throw error;
  }
}

/** Commits records. */
export function commit(
  storage: Storage,
  stores: readonly Store[],
  facts: Partial<StorageTransaction> = {},
): Promise<CommitOutcome> {
  return finish(storage, begin(storage, stores, newTransaction(facts)));
}

/** Undoes transactions, in one. */
export async function undo(storage: Storage, tids: readonly Tid[]): Promise<Tid> {
  const transaction = begin(storage, [], newTransaction({ description: 'undo' }));
  for (const tid of tids) storage.undo(transaction, tid);
  return (await finish(storage, transaction)).tid;
}

/** Reads at the newest published transaction, changes, commits; again after a conflict. Returns the number of conflicts. */
export async function change(
  storage: Storage,
  oids: readonly Oid[],
  fn: (texts: readonly string[]) => readonly string[],
): Promise<number> {
  for (let conflicts = 0; ; conflicts++) {
    const revisions = snapshot(storage, oids);
    const texts = fn(revisions.map(({ data }) => text(data)));
    try {
      await commit(
        storage,
        oids.map((oid, i) => [oid, (revisions[i] as Revision).tid, texts[i] as string]),
      );
      return conflicts;
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      await storage.sync();
    }
  }
}

/** The revisions of objects as of one instant. */
export function snapshot(storage: Storage, oids: readonly Oid[]): Revision[] {
  const before = (storage.poll() + 1) as Tid;
  return oids.map((oid) => {
    const revision = storage.loadBefore(oid, before);
    assert.ok(revision, `oid ${oid} is there before ${before}`);
    return revision;
  });
}

/** Makes objects, with one text each. */
export async function make(
  storage: Storage,
  texts: readonly string[],
): Promise<{ readonly oids: readonly Oid[]; readonly tid: Tid }> {
  const oids = texts.map(() => storage.newOid());
  const { tid } = await commit(
    storage,
    oids.map((oid, i) => [oid, ZERO_TID, texts[i] as string]),
  );
  return { oids, tid };
}

/** Bytes as the text that they are. */
export function text(data: Uint8Array): string {
  return Buffer.from(data).toString();
}

/** A text as bytes; bytes as they are. */
export function bytes(data: string | Uint8Array): Uint8Array {
  return typeof data === 'string' ? Buffer.from(data) : data;
}

/** What a test for errors is given: `assert.rejects(promise, having(ConflictError, { oid }))`. */
export function having<E extends Error>(
  errorClass: abstract new (...args: never[]) => E,
  facts: Partial<E>,
): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof errorClass, `${errorClass.name} was expected, not ${String(error)}`);
    for (const [name, value] of Object.entries(facts)) {
      assert.deepEqual((error as unknown as Record<string, unknown>)[name], value, `${name} of ${String(error)}`);
    }
    return true;
  };
}

/** The stored transactions, with both bounds inclusive. */
export async function transactions(storage: Storage, from?: Tid, to?: Tid): Promise<TransactionRecord[]> {
  const all: TransactionRecord[] = [];
  for await (const each of storage.iterate(from, to)) all.push(each);
  return all;
}
