import { type Oid, recordConflictResolver, type Storage, type StorageSupports, type Tid } from '../../odb/index.js';
import { type LockSession, SessionStats } from '../../odb/remote/index.js';
import { invalidateAllPacket, invalidatePacket, type Missed } from '../protocol/connection-messages.js';
import { encodeFrame } from '../protocol/framing.js';
import { InvalidationLog } from './invalidation-log.js';
import type { ServerConnection } from './server-connection.js';

/** A storage that keeps the locks of several clients apart; one that is itself a client cannot. */
interface LockSource {
  lockSession(): LockSession;
}

function hasLockSessions(storage: Storage): storage is Storage & LockSource {
  return typeof (storage as Partial<LockSource>).lockSession === 'function';
}

/** One storage of a server, with the clients that use it. */
export class ServedStorage {
  readonly storage: Storage;
  readonly connections = new Set<ServerConnection>();
  readonly stats = new SessionStats();
  readonly isReadOnly: boolean;
  readonly #lockSource: LockSource | undefined;
  readonly #log: InvalidationLog;
  readonly #unsubscribe: () => void;

  private constructor(storage: Storage, log: InvalidationLog) {
    this.storage = storage;
    this.isReadOnly = storage.isReadOnly;
    // Of the classes that are known here; those that only clients know are merged by these.
    storage.useConflictResolver(recordConflictResolver);
    this.#lockSource = storage.supports.locks && hasLockSessions(storage) ? storage : undefined;
    this.#log = log;
    this.#unsubscribe = storage.subscribe({
      invalidate: (tid, oids) => this.#invalidate(tid, oids),
      invalidateAll: (tid) => this.#invalidateAll(tid),
    });
  }

  /** Begins to serve a storage. `queueSize` transactions are remembered for clients that come back. */
  static async open(storage: Storage, queueSize: number): Promise<ServedStorage> {
    const early: Missed[] = [];
    let isAll = false;
    const stop = storage.subscribe({
      invalidate: (tid, oids) => void early.push({ tid, oids }),
      invalidateAll: () => {
        isAll = true;
      },
    });
    const log = await InvalidationLog.of(storage, queueSize);
    stop();
    // What was committed while the log was read.
    for (const { tid, oids } of early) if (tid > log.lastTid) log.add(tid, oids);
    if (isAll) log.addAll(storage.lastTransaction());
    return new ServedStorage(storage, log);
  }

  get supports(): StorageSupports {
    return { ...this.storage.supports, locks: this.#lockSource !== undefined };
  }

  /** Locks for one more session, where the storage has them. */
  newLocks(): LockSession | undefined {
    return this.#lockSource?.lockSession();
  }

  /** The newest transaction that clients were told of. */
  get lastTid(): Tid {
    return this.#log.lastTid;
  }

  /** What a client has missed that was last told of `tid`; `undefined` when that is too long ago. */
  missedSince(tid: Tid): readonly Missed[] | undefined {
    return this.#log.since(tid);
  }

  /** Stops. The storage stays open. */
  close(): void {
    this.#unsubscribe();
  }

  #invalidate(tid: Tid, oids: readonly Oid[]): void {
    this.#log.add(tid, oids);
    if (this.connections.size === 0) return;
    const frame = encodeFrame(0, invalidatePacket(tid, oids));
    for (const connection of this.connections) connection.publish(frame);
  }

  #invalidateAll(tid: Tid): void {
    this.#log.addAll(tid);
    const frame = encodeFrame(0, invalidateAllPacket(tid));
    for (const connection of this.connections) connection.publish(frame);
  }
}
