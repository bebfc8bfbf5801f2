import { type Tid, tidToDate } from '../ids.js';
import { decodePlain } from '../serialize/reader.js';
import type { HistoryEntry, UndoLogEntry } from '../storage/storage.js';

/** What a stored transaction says of itself. */
export interface TransactionInfo {
  readonly tid: Tid;
  readonly time: Date;
  /** What `setUser` gave. */
  readonly user: string;
  /** What `note` gave. */
  readonly description: string;
  /** What `setExtendedInfo` gave. */
  readonly extension: Readonly<Record<string, unknown>>;
}

/** A revision of an object: who made it, and when. */
export interface RevisionInfo extends TransactionInfo {
  /** Bytes of the record. */
  readonly sizeBytes: number;
}

/** What a storage says of a transaction, in the form for people. */
export function transactionInfo({ tid, user, description, extension }: UndoLogEntry): TransactionInfo {
  const extended = extension.length === 0 ? {} : (decodePlain(extension) as Record<string, unknown>);
  return { tid, time: tidToDate(tid), user, description, extension: extended };
}

/** The same of a revision. */
export function revisionInfo(entry: HistoryEntry): RevisionInfo {
  return { ...transactionInfo(entry), sizeBytes: entry.sizeBytes };
}
