import type { InvalidationLog } from '../cache/invalidation-log.js';
import type { CacheLimits } from '../cache/object-cache.js';
import type { DB } from '../db.js';
import type { Tid } from '../ids.js';
import type { Storage } from '../storage/storage.js';
import { contextManager, currentManager, type TransactionManager } from '../transaction/transaction-manager.js';
import type { Connection } from './connection.js';

/** The database of a connection, as the connection sees it. */
export interface ConnectionOwner {
  readonly db: DB;
  readonly databaseName: string;
  readonly storage: Storage;
  readonly invalidations: InvalidationLog;
  readonly cacheLimits: Readonly<CacheLimits>;
  /** The databases that are open together with this one, itself among them. */
  readonly databases: ReadonlyMap<string, DB>;
  /** Whether objects of this database may refer to objects of others. */
  readonly crossReferences: boolean;
  readonly detectMutations: boolean;
  /** Larger records are warned about. */
  readonly largeRecordBytes: number;
  /** Has the databases that are open together end each other's doubts, as far as they can. */
  settleDoubts(): Promise<void>;
  giveBack(connection: Connection): void;
}

/** How a connection is opened, for `DB`. */
export interface ConnectionOpening {
  readonly manager: TransactionManager;
  /** The caller named the manager, rather than being in its context. */
  readonly managerWasNamed: boolean;
  /** The connection shows the past, for ever: revisions before this tid. */
  readonly before?: Tid | undefined;
}

/** Whether the current transaction manager is the one that the connection belongs to. */
export function isCurrent({ manager, managerWasNamed }: ConnectionOpening): boolean {
  return manager === (managerWasNamed ? (contextManager() ?? manager) : currentManager());
}
