import { text } from 'node:stream/consumers';
import {
  type DB,
  type PersistentBlob,
  type PersistentList,
  type PersistentMapping,
  TransactionManager,
} from 'holdfast/odb';
import { BaseError } from '#src/base/index.js';

/** What is read. */
export interface Root {
  objects: PersistentList<PersistentMapping<unknown>>;
  written: PersistentMapping<PersistentMapping<unknown>>;
  blob: PersistentBlob;
}

/** Reads for as long as it can, in several ways at once, with iterators that are left open in between. */
export function busy(db: DB<Root>): Promise<void>[] {
  const iterate = async () => {
    for (;;) for await (const { records } of db.storage.iterate()) void records.length;
  };
  const walk = async () => {
    for (;;) {
      for await (const each of db.each(({ root }) => root.objects)) {
        void each.size;
      }
    }
  };
  const stream = async () => {
    for (;;) {
      const connection = db.open({ transactionManager: new TransactionManager() });
      await text(connection.root.blob.open('r'));
      connection.close();
    }
  };
  const look = async () => {
    for (;;) {
      const connection = db.open({ transactionManager: new TransactionManager() });
      await db.history(connection.root.objects._p_oid as number, 3);
      await db.undoLog();
      connection.close();
    }
  };
  return [iterate(), walk(), stream(), look()];
}

/** What who reads is told when the database goes: errors of ours. */
export function isExpected(error: unknown): boolean {
  return error instanceof BaseError;
}
