import type { Clock } from '../../base/index.js';
import type { Oid, Tid } from '../ids.js';
import type { RecordReference } from '../serialize/references.js';
import type { Storage } from '../storage/storage.js';
import type { Persistent } from './persistent.js';

/** The connection that an object belongs to, as the object sees it. */
export interface Jar {
  /**
   * Loads the state of a ghost into it.
   * @throws POSKeyError. ReadConflictError. ConnectionStateError. ClientDisconnected.
   */
  activate(object: Persistent): void;
  /** An object that rested was touched. */
  touched(object: Persistent): void;
  /**
   * The object is about to be changed for the first time in this transaction.
   * @throws ConnectionStateError when another manager's transaction is current, or the connection was closed since.
   * CommitUnderWayError.
   */
  register(object: Persistent): void;
  /** The object that a weak reference means, loaded. @throws POSKeyError once it is gone. What `activate` throws. */
  find(reference: RecordReference): Persistent;
  /** Where the contents of blobs are. */
  readonly storage: Pick<Storage, 'loadBlob' | 'temporaryDirectory'>;
  /** The time of the storage. */
  readonly clock: Clock;
  /** The name of the database, for messages. */
  readonly databaseName: string;
  /** Whether the connection was closed, so that nothing can be loaded through it. */
  readonly isClosed: boolean;
}

/** What an object knows of its place in the database. */
export interface Placement {
  readonly jar: Jar;
  readonly oid: Oid;
  readonly serial: Tid;
}
