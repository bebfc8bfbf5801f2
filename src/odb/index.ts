/**
 * The object database: classes whose instances persist, transactions, collections, storages in memory and on disk.
 *
 * @packageDocumentation
 */

// Lets storages be attached to from other threads.
import './remote/index.js';

export {
  BaseError,
  type Clock,
  type Duration,
  type LogLevel,
  type LogRecord,
  type LogSink,
  type Retry,
  retryOf,
  type Size,
  setLogLevel,
  setLogSink,
} from '../base/index.js';
export { type ClassCount, type ClassStatisticsOptions, classStatistics } from './class-statistics.js';
export { type MergeableClass, recordConflictResolver } from './connection/conflict-resolution.js';
export { Connection } from './connection/connection.js';
export type { CachedClass, CachedObject, ConnectionInfo } from './connection/connection-register.js';
export type { Databases } from './connection/connection-set.js';
export type { ExportDestination } from './connection/exporting.js';
export type { ImportSource } from './connection/importing.js';
export type { RootView } from './connection/root-view.js';
export { type RevisionInfo, type TransactionInfo, transactionInfo } from './connection/transaction-info.js';
export type { TransferOptions, TransferProgress } from './connection/transfer.js';
export { DB } from './db.js';
export type { DBOptions, DBPackOptions, OpenOptions } from './db-options.js';
export {
  AddressInUseError,
  BlobError,
  BrokenModified,
  ClientDisconnected,
  CommitUncertainError,
  CommitUnderWayError,
  ConflictError,
  type ConflictFacts,
  ConnectionStateError,
  CorruptionError,
  DoomedTransaction,
  DuplicateNameError,
  FormatVersionError,
  FrameTooLargeError,
  InvalidObjectReference,
  InvalidSavepointRollbackError,
  LookupError,
  MergeRefusedError,
  NotADatabaseError,
  POSKeyError,
  ProtocolError,
  ReadConflictError,
  ReadOnlyError,
  ReadOnlyHistoryError,
  ReservedNameError,
  SerializationError,
  StorageError,
  StorageLockedError,
  StorageTransactionError,
  TransactionError,
  TransactionFailedError,
  TransactionInDoubtError,
  TransactionStateError,
  UndoError,
  UnnoticedMutationError,
  UnregisteredError,
} from './errors.js';
export { MAX_TID, type Oid, ROOT_OID, type Tid, tidFromDate, tidToDate, toOid, toTid, ZERO_TID } from './ids.js';
export { type BlobMode, PersistentBlob } from './persistent/blob/blob.js';
export { Broken } from './persistent/broken.js';
export { BTree } from './persistent/btree/btree.js';
export { Bucket } from './persistent/btree/bucket.js';
export { BucketSet } from './persistent/btree/bucket-set.js';
export { compareKeys, type Key } from './persistent/btree/keys.js';
export { CollectionChangedError, type RangeOptions } from './persistent/btree/range.js';
export { TreeSet } from './persistent/btree/tree-set.js';
export { Maximum, Minimum } from './persistent/extremes.js';
export type { Jar } from './persistent/jar.js';
export { Length } from './persistent/length.js';
export { PersistentList } from './persistent/list.js';
export { PersistentMapping } from './persistent/mapping.js';
export { ManagedPersistent, Persistent } from './persistent/persistent.js';
export { CompositeQueue, PersistentQueue } from './persistent/queue.js';
export { RotatingForest, type RotatingForestOptions } from './persistent/rotating-forest.js';
export { WeakReference } from './persistent/weak-reference.js';
export { checkedReferences, readOpaqueState, readRecord, strongReferences, UnknownNamed } from './serialize/reader.js';
export { PersistentReference } from './serialize/references.js';
export { nameOf, persistable, persistableModules, registerInternal, resolveName } from './serialize/registry.js';
export { BlobInfo, blobOf, encodeBlobRecord } from './storage/blob/blob-info.js';
export { type CopyOptions, type CopyProgress, copyTransactions } from './storage/copy.js';
export { DemoStorage, type DemoStorageOptions } from './storage/demo-storage.js';
export type {
  CommitOutcome,
  ConflictRequest,
  ConflictResolver,
  DataRecord,
  Decider,
  Doubt,
  HistoryEntry,
  InvalidationListener,
  PackOptions,
  PackProgress,
  Revision,
  Storage,
  StorageAttachment,
  StorageDoubts,
  StorageLocks,
  StorageSupports,
  StorageTransaction,
  SubscribeOptions,
  TransactionRecord,
  UndoLogEntry,
  VoteOutcome,
} from './storage/storage.js';
export { type RecordTransform, TransformStorage } from './storage/transform-storage.js';
export { openStorage, registerScheme, type SchemeFacts, type StorageOptions } from './storage/uri.js';
export type { Problem, VerifyOptions, VerifyProgress } from './storage/verify.js';
export { transaction } from './transaction/current.js';
export type { DataManager, DataManagerSavepoint, Synchronizer } from './transaction/data-manager.js';
export type { Savepoint } from './transaction/savepoint.js';
export type { Transaction, TransactionStatus } from './transaction/transaction.js';
export {
  type Attempt,
  contextManager,
  currentManager,
  defaultManager,
  isolate,
  type RunOptions,
  TransactionManager,
  type TransactionManagerOptions,
} from './transaction/transaction-manager.js';
export type { TransactionFilter } from './undo-log.js';
