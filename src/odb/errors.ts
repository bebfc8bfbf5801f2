import { BaseError, type Retry } from '../base/index.js';
import type { Oid, Tid } from './ids.js';

/** Something is wrong with a transaction; the base of the errors that running it again may cure. */
export abstract class TransactionError extends BaseError {}

/** Facts of a conflict. Tids are `0` where there is none. */
export interface ConflictFacts {
  readonly oid: Oid;
  /** Class of the object, where it is known. */
  readonly className?: string | undefined;
  /** The revision that the failed transaction was based on. */
  readonly baseSerial: Tid;
  /** The revision that stands in its way. */
  readonly committedSerial: Tid;
  /** Why a merge was not possible, where one was tried. */
  readonly reason?: string | undefined;
}

/** Another transaction changed the same object first. Run the transaction again. */
export class ConflictError extends TransactionError {
  readonly code: string = 'ODB_CONFLICT';
  readonly oid: Oid;
  readonly className: string | undefined;
  readonly baseSerial: Tid;
  readonly committedSerial: Tid;
  readonly reason: string | undefined;

  override get retry(): Retry {
    return 'now';
  }

  constructor(facts: ConflictFacts, options?: { cause?: unknown }) {
    super(
      `${facts.className ?? 'object'} oid ${facts.oid} was changed by another transaction ` +
        `(yours is based on serial ${facts.baseSerial}, committed is ${facts.committedSerial}` +
        `${facts.reason ? `; ${facts.reason}` : ''}): run the transaction again`,
      options,
    );
    this.oid = facts.oid;
    this.className = facts.className;
    this.baseSerial = facts.baseSerial;
    this.committedSerial = facts.committedSerial;
    this.reason = facts.reason;
  }
}

/** An object that was read, and named to `readCurrent`, changed meanwhile; or no revision of it is old enough to read. */
export class ReadConflictError extends ConflictError {
  override readonly code: string = 'ODB_READ_CONFLICT';
}

/** Thrown by a class's `resolveConflict` where two changes do not merge; the committer sees a {@link ConflictError}. */
export class MergeRefusedError extends TransactionError {
  readonly code = 'ODB_MERGE_REFUSED';
}

/** No object has this oid (at this time). */
export class POSKeyError extends BaseError {
  readonly code = 'ODB_POS_KEY';
  readonly oid: Oid;
  /** The transaction that removed it, where one did: an undo of its creation, for instance. */
  readonly removedBy: Tid | undefined;

  constructor(oid: Oid, detail = 'it was never stored, or was packed away', removedBy?: Tid) {
    super(`no object has oid ${oid}: ${detail}`);
    this.oid = oid;
    this.removedBy = removedBy;
  }
}

/** A wrong use of a storage, or a failure inside it. */
export class StorageError extends BaseError {
  readonly code: string = 'ODB_STORAGE';
}

/** The calls of a two-phase commit came in the wrong order, or with the wrong transaction. */
export class StorageTransactionError extends StorageError {
  override readonly code: string = 'ODB_STORAGE_TRANSACTION';
}

/** A write to a storage that only reads. */
export class ReadOnlyError extends StorageError {
  override readonly code: string = 'ODB_READ_ONLY';
}

/** A write through a connection that shows the past. */
export class ReadOnlyHistoryError extends ReadOnlyError {
  override readonly code: string = 'ODB_READ_ONLY_HISTORY';
}

/** A transaction cannot be undone: something later stands in the way, or its history is gone. */
export class UndoError extends StorageError {
  override readonly code: string = 'ODB_UNDO';
  /** The transaction that was to be undone. */
  readonly tid: Tid;
  /** The object that stands in the way. */
  readonly oid: Oid | undefined;
  readonly reason: string;

  constructor(facts: { readonly tid: Tid; readonly oid?: Oid; readonly reason: string }) {
    const what = facts.oid === undefined ? '' : `: object oid ${facts.oid}`;
    super(`transaction ${facts.tid} cannot be undone${what}: ${facts.reason}`);
    this.tid = facts.tid;
    this.oid = facts.oid;
    this.reason = facts.reason;
  }
}

/** The stored bytes are not what was written. */
export class CorruptionError extends StorageError {
  override readonly code: string = 'ODB_CORRUPTION';
  readonly oid: Oid | undefined;
  readonly tid: Tid | undefined;

  constructor(message: string, facts: { oid?: Oid; tid?: Tid; cause?: unknown } = {}) {
    super(message, 'cause' in facts ? { cause: facts.cause } : undefined);
    this.oid = facts.oid;
    this.tid = facts.tid;
  }
}

/** A blob was used in a way that its state does not allow: it is open, or its content is not committed. */
export class BlobError extends BaseError {
  readonly code = 'ODB_BLOB';
  readonly oid: Oid | undefined;

  constructor(message: string, oid?: Oid) {
    super(message);
    this.oid = oid;
  }
}

/** Another process has the directory open. */
export class StorageLockedError extends StorageError {
  override readonly code: string = 'ODB_STORAGE_LOCKED';
  readonly path: string;
  readonly pid: number | undefined;

  override get retry(): Retry {
    return 'later';
  }

  /** @param leftBehind the file to remove where the holder is known to be gone; given where nobody here can tell. */
  constructor(path: string, holder: { pid?: number; host?: string } = {}, leftBehind?: string) {
    super(
      `${path} is in use${holder.pid === undefined ? '' : ` by process ${holder.pid}`}` +
        `${holder.host === undefined ? '' : ` on ${holder.host}`}: ` +
        'close it there, or share it through a storage server (runzeo)' +
        `${leftBehind === undefined ? '' : `; if that machine is gone, and does not come back, remove ${leftBehind}`}`,
    );
    this.path = path;
    this.pid = holder.pid;
  }
}

/** The path is no database of ours, and holds something that is not to be overwritten. */
export class NotADatabaseError extends StorageError {
  override readonly code: string = 'ODB_NOT_A_DATABASE';
  readonly path: string;

  constructor(path: string, detail: string) {
    super(`${path} is no holdfast database: ${detail}`);
    this.path = path;
  }
}

/** The data were written by a version that this one cannot read. */
export class FormatVersionError extends StorageError {
  override readonly code: string = 'ODB_FORMAT_VERSION';
}

/** The connection to the storage is gone. What was under way can be run again when it is back. */
export class ClientDisconnected extends StorageError {
  override readonly code: string = 'ODB_CLIENT_DISCONNECTED';

  override get retry(): Retry {
    return 'later';
  }
}

/** The answer to a commit was lost: it may or may not have happened. Ask {@link CommitUncertainError.outcome}. */
export class CommitUncertainError extends StorageError {
  override readonly code: string = 'ODB_COMMIT_UNCERTAIN';
  readonly commitId: Uint8Array;
  readonly #ask: ((options: { signal?: AbortSignal }) => Promise<Tid | undefined>) | undefined;

  constructor(
    commitId: Uint8Array,
    ask?: (options: { signal?: AbortSignal }) => Promise<Tid | undefined>,
    options?: { cause?: unknown },
  ) {
    super(
      'the connection was lost before the answer to a commit came: ask error.outcome(), which resolves to the tid ' +
        'or to undefined, before you run the transaction again',
      options,
    );
    this.commitId = commitId;
    this.#ask = ask;
  }

  /** Waits for the connection; resolves to the tid if the commit happened, to `undefined` if it did not and never will. */
  outcome(options: { signal?: AbortSignal } = {}): Promise<Tid | undefined> {
    if (!this.#ask) throw new StorageError('this error has crossed a wire: ask storage.outcome(error.commitId)');
    return this.#ask(options);
  }
}

/**
 * An object was written by a transaction of several databases that is in doubt here: the database that decided it has to be asked. That
 * is done when both are opened together, and when a connection meets this error while both are.
 */
export class TransactionInDoubtError extends StorageError {
  override readonly code: string = 'ODB_TRANSACTION_IN_DOUBT';
  readonly commitId: Uint8Array;
  readonly oid: Oid | undefined;
  /** Identity of the storage that decided. */
  readonly decider: string;
  /** What that one was called. */
  readonly deciderName: string;

  override get retry(): Retry {
    return 'later';
  }

  constructor(facts: {
    readonly commitId: Uint8Array;
    readonly oid?: Oid;
    readonly decider: string;
    readonly deciderName: string;
    readonly tid: Tid;
  }) {
    const object = facts.oid === undefined ? '' : `oid ${facts.oid} cannot be written: `;
    super(
      `${object}a transaction of several databases (${facts.tid}) is in doubt here, and the database ` +
        `${facts.deciderName} knows whether it happened: open that one together with this (\`databases\`)`,
    );
    this.commitId = facts.commitId;
    this.oid = facts.oid;
    this.decider = facts.decider;
    this.deciderName = facts.deciderName;
  }
}

/** A commit is under way: its manager can do nothing else until the promise settles. */
export class CommitUnderWayError extends TransactionError {
  readonly code = 'ODB_COMMIT_UNDER_WAY';
}

/** A commit failed; the transaction must be aborted before it is used again. `cause` is the first failure. */
export class TransactionFailedError extends TransactionError {
  readonly code = 'ODB_TRANSACTION_FAILED';
}

/** A call that the state of the transaction, or of its manager, does not allow. */
export class TransactionStateError extends TransactionError {
  readonly code = 'ODB_TRANSACTION_STATE';
}

/** The transaction was doomed, and cannot be committed. */
export class DoomedTransaction extends TransactionError {
  readonly code = 'ODB_DOOMED_TRANSACTION';
}

/** The savepoint is no longer part of the transaction. */
export class InvalidSavepointRollbackError extends TransactionError {
  readonly code = 'ODB_INVALID_SAVEPOINT_ROLLBACK';
}

/** A connection, or an object, was used in a state or by a transaction where it cannot be. */
export class ConnectionStateError extends BaseError {
  readonly code = 'ODB_CONNECTION_STATE';
}

/** An object refers to an object that its connection cannot store a reference to. */
export class InvalidObjectReference extends BaseError {
  readonly code = 'ODB_INVALID_OBJECT_REFERENCE';
}

/** A broken object (its class is not registered) cannot be changed. */
export class BrokenModified extends BaseError {
  readonly code = 'ODB_BROKEN_MODIFIED';
}

/** Two things were given the same persistent name. */
export class DuplicateNameError extends BaseError {
  readonly code = 'ODB_DUPLICATE_NAME';
  constructor(readonly persistentName: string) {
    super(`the persistent name '${persistentName}' is taken by something else: give each function and class its own`);
  }
}

/** Names that begin with `holdfast.` or `js.` are ours. */
export class ReservedNameError extends BaseError {
  readonly code = 'ODB_RESERVED_NAME';
  constructor(readonly persistentName: string) {
    super(`'${persistentName}' begins with a reserved prefix ('holdfast.', 'js.'): choose another module name`);
  }
}

/** A function or class has no persistent name, or a stored name belongs to nothing in this process. */
export class UnregisteredError extends BaseError {
  readonly code = 'ODB_UNREGISTERED';
  /** Where the value was found, such as `root.demo.handler`. */
  readonly path: string | undefined;
  /** The stored name that belongs to nothing here. */
  readonly persistentName: string | undefined;

  constructor(message: string, facts: { path?: string; persistentName?: string } = {}) {
    super(message);
    this.path = facts.path;
    this.persistentName = facts.persistentName;
  }
}

/** A value cannot be stored; `path` says where it stands. */
export class SerializationError extends BaseError {
  readonly code = 'ODB_SERIALIZATION';
  readonly path: string | undefined;

  constructor(message: string, facts: { path?: string; cause?: unknown } = {}) {
    super(message, 'cause' in facts ? { cause: facts.cause } : undefined);
    this.path = facts.path;
  }
}

/** An object was changed within a plain value of one of its fields, which nobody notices: the change would be lost. */
export class UnnoticedMutationError extends BaseError {
  readonly code = 'ODB_UNNOTICED_MUTATION';
  readonly oid: Oid;
  /** What was changed, such as `Account oid 12.tags[1]`. */
  readonly path: string;

  constructor(facts: { readonly oid: Oid; readonly path: string }, options?: { cause?: unknown }) {
    super(
      `${facts.path} was changed, and its object was not told: assign the field anew, use a persistent collection ` +
        'in its place, or set _p_changed = true before the change',
      options,
    );
    this.oid = facts.oid;
    this.path = facts.path;
  }
}

/** Something was looked for where it is not. */
export class LookupError extends BaseError {
  readonly code = 'ODB_LOOKUP';
}

/** A peer broke the rules of the protocol. */
export class ProtocolError extends BaseError {
  readonly code: string = 'ODB_PROTOCOL';
}

/** A frame is larger than the receiver takes. */
export class FrameTooLargeError extends ProtocolError {
  override readonly code: string = 'ODB_FRAME_TOO_LARGE';
}

/** The address of a server is taken, or is not this machine's. */
export class AddressInUseError extends BaseError {
  readonly code = 'ODB_ADDRESS_IN_USE';
  constructor(readonly address: string) {
    super(`${address} is in use by another process: choose another port, or end that process`);
  }
}
