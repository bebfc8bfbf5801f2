import { BaseError } from '../../base/index.js';
import * as errors from '../errors.js';

type ErrorClass = abstract new (...args: never[]) => BaseError;

/** Every error of the object database, by the code that travels. */
const CLASS_BY_CODE: ReadonlyMap<string, ErrorClass> = new Map<string, ErrorClass>([
  ['ODB_CONFLICT', errors.ConflictError],
  ['ODB_READ_CONFLICT', errors.ReadConflictError],
  ['ODB_MERGE_REFUSED', errors.MergeRefusedError],
  ['ODB_POS_KEY', errors.POSKeyError],
  ['ODB_STORAGE', errors.StorageError],
  ['ODB_STORAGE_TRANSACTION', errors.StorageTransactionError],
  ['ODB_READ_ONLY', errors.ReadOnlyError],
  ['ODB_READ_ONLY_HISTORY', errors.ReadOnlyHistoryError],
  ['ODB_UNDO', errors.UndoError],
  ['ODB_CORRUPTION', errors.CorruptionError],
  ['ODB_BLOB', errors.BlobError],
  ['ODB_STORAGE_LOCKED', errors.StorageLockedError],
  ['ODB_NOT_A_DATABASE', errors.NotADatabaseError],
  ['ODB_FORMAT_VERSION', errors.FormatVersionError],
  ['ODB_CLIENT_DISCONNECTED', errors.ClientDisconnected],
  ['ODB_COMMIT_UNCERTAIN', errors.CommitUncertainError],
  ['ODB_TRANSACTION_IN_DOUBT', errors.TransactionInDoubtError],
  ['ODB_COMMIT_UNDER_WAY', errors.CommitUnderWayError],
  ['ODB_TRANSACTION_FAILED', errors.TransactionFailedError],
  ['ODB_DOOMED_TRANSACTION', errors.DoomedTransaction],
  ['ODB_INVALID_SAVEPOINT_ROLLBACK', errors.InvalidSavepointRollbackError],
  ['ODB_TRANSACTION_STATE', errors.TransactionStateError],
  ['ODB_CONNECTION_STATE', errors.ConnectionStateError],
  ['ODB_INVALID_OBJECT_REFERENCE', errors.InvalidObjectReference],
  ['ODB_BROKEN_MODIFIED', errors.BrokenModified],
  ['ODB_DUPLICATE_NAME', errors.DuplicateNameError],
  ['ODB_RESERVED_NAME', errors.ReservedNameError],
  ['ODB_UNREGISTERED', errors.UnregisteredError],
  ['ODB_SERIALIZATION', errors.SerializationError],
  ['ODB_UNNOTICED_MUTATION', errors.UnnoticedMutationError],
  ['ODB_LOOKUP', errors.LookupError],
  ['ODB_PROTOCOL', errors.ProtocolError],
  ['ODB_FRAME_TOO_LARGE', errors.FrameTooLargeError],
  ['ODB_ADDRESS_IN_USE', errors.AddressInUseError],
]);

/** Fields that are no facts: they travel in their own place, or not at all. */
const NOT_FACTS = new Set(['code', 'name', 'message', 'stack', 'cause']);

/** An error as it travels: code, message, facts. Never a stack. */
export type WireError = readonly [code: string, message: string, facts: Readonly<Record<string, unknown>>];

/** Code, message and facts of anything that was thrown. */
export function errorToWire(error: unknown): WireError {
  if (!(error instanceof Error)) return ['', String(error), {}];
  const code: unknown = (error as { code?: unknown }).code;
  if (!(error instanceof BaseError)) {
    const argumentError = error instanceof TypeError ? 'TypeError' : error instanceof RangeError ? 'RangeError' : '';
    return [typeof code === 'string' && argumentError ? code : '', error.message, { [ARGUMENT_ERROR]: argumentError }];
  }
  const facts: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(error)) {
    if (!NOT_FACTS.has(key) && isPlainFact(value)) facts[key] = value;
  }
  return [error.code, error.message, facts];
}

/** The error that was sent: of the same class, with the same code, message and facts. */
export function errorFromWire(wire: unknown): Error {
  const [code, message, facts] = parseWireError(wire);
  const ErrorClass = CLASS_BY_CODE.get(code);
  if (ErrorClass === undefined) {
    if (facts[ARGUMENT_ERROR] === 'TypeError') return Object.assign(new TypeError(message), code ? { code } : {});
    if (facts[ARGUMENT_ERROR] === 'RangeError') return Object.assign(new RangeError(message), code ? { code } : {});
    return new errors.StorageError(code ? `${message} (${code})` : message);
  }
  if (ErrorClass === errors.CommitUncertainError) {
    const { commitId } = facts;
    return new errors.CommitUncertainError(commitId instanceof Uint8Array ? commitId : new Uint8Array(0));
  }
  // The facts are at hand, not the arguments that they were made from: a plain error is given the class.
  const error = Reflect.construct(Error, [message], ErrorClass) as Error;
  Object.defineProperty(error, 'name', { value: ErrorClass.name, configurable: true, writable: true });
  for (const [key, value] of [['code', code] as const, ...Object.entries(facts)]) {
    Object.defineProperty(error, key, { value, configurable: true, enumerable: true, writable: true });
  }
  // A constructor that was passed by leaves no trace of who called it.
  Error.captureStackTrace(error, errorFromWire);
  return error;
}

const ARGUMENT_ERROR = '$argumentError';

function parseWireError(wire: unknown): WireError {
  if (Array.isArray(wire)) {
    const [code, message, facts] = wire as unknown[];
    if (typeof code === 'string' && typeof message === 'string' && typeof facts === 'object' && facts !== null) {
      return [code, message, facts as Record<string, unknown>];
    }
  }
  return ['ODB_PROTOCOL', 'an error came that cannot be read', {}];
}

function isPlainFact(value: unknown): boolean {
  return (
    value === undefined ||
    value === null ||
    typeof value === 'string' ||
    typeof value === 'number' ||
    typeof value === 'boolean' ||
    value instanceof Uint8Array ||
    (Array.isArray(value) && value.every(isPlainFact))
  );
}
