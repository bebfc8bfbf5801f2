import type { Clock } from '../../base/index.js';
import { CorruptionError, StorageError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import { requireStore } from './arguments.js';
import { type BlobInfo, blobOf } from './blob/blob-info.js';
import { hostStorage, type StorageHosting } from './hosting.js';
import type { LockSession } from './lock-table.js';
import type { OldestSnapshot } from './open-snapshots.js';
import type {
  CommitOutcome,
  ConflictResolver,
  Decider,
  HistoryEntry,
  InvalidationListener,
  PackOptions,
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
} from './storage.js';
import { dataOrNone } from './undo.js';
import type { Problem, VerifyOptions } from './verify.js';

/** How the bytes of records are stored. `decode(encode(data))` is `data`; both are synchronous, as reads are. */
export interface RecordTransform {
  /** The bytes to store for a record, at least one. */
  encode(data: Uint8Array): Uint8Array;
  /** The record that bytes were stored for. What it throws becomes a CorruptionError that names the object. */
  decode(stored: Uint8Array): Uint8Array;
}

/**
 * A storage whose records are stored in another form in the storage beneath: compressed, encrypted. Everything that looks at records
 * goes through the transformation: reads and writes, iteration and copies, the references that a pack follows, merges, verification.
 * Contents of blobs are left as they are.
 *
 * The storage beneath is taken over: it is closed with this one. It has to be opened without a conflict resolver, since it would be given
 * transformed records; this one's is put in its place. Where another thread or process owns the data, packing and merging are its business,
 * and it sees transformed records: there, put the transformation beneath what is served, not above the client.
 */
export class TransformStorage implements Storage {
  readonly #storage: Storage;
  readonly #transform: RecordTransform;
  /** Opens a holder of locks of its own, for another client of this storage; missing where the storage beneath has but one. */
  readonly lockSession: (() => LockSession) | undefined;
  #hosting: StorageHosting | undefined;
  #closing: Promise<void> | undefined;

  /** @param options.conflictResolver merges what conflicts; it is given records as they were before they were transformed. */
  constructor(
    storage: Storage,
    transform: RecordTransform,
    options: { readonly conflictResolver?: ConflictResolver | undefined } = {},
  ) {
    this.#storage = storage;
    this.#transform = transform;
    const source = storage as Storage & { readonly lockSession?: () => LockSession };
    this.lockSession = source.lockSession && (() => (source.lockSession as () => LockSession)());
    if (options.conflictResolver) this.useConflictResolver(options.conflictResolver);
  }

  get name(): string {
    return this.#storage.name;
  }

  get identity(): string {
    return this.#storage.identity;
  }

  get supports(): StorageSupports {
    return this.#storage.supports;
  }

  get isReadOnly(): boolean {
    return this.#storage.isReadOnly;
  }

  get clock(): Clock {
    return this.#storage.clock;
  }

  get locks(): StorageLocks | undefined {
    return this.#storage.locks;
  }

  load(oid: Oid): Revision {
    return this.#decoded(oid, this.#storage.load(oid));
  }

  loadBefore(oid: Oid, before: Tid): Revision | undefined {
    const revision = this.#storage.loadBefore(oid, before);
    return revision && this.#decoded(oid, revision);
  }

  loadSerial(oid: Oid, tid: Tid): Uint8Array {
    return this.#decode(this.#storage.loadSerial(oid, tid), oid, tid);
  }

  prefetch(oids: readonly Oid[], before: Tid): Promise<void> {
    return this.#storage.prefetch(oids, before);
  }

  lastTransaction(): Tid {
    return this.#storage.lastTransaction();
  }

  poll(): Tid {
    return this.#storage.poll();
  }

  sync(): Promise<Tid> {
    return this.#storage.sync();
  }

  subscribe(listener: InvalidationListener, options?: SubscribeOptions): () => void {
    return this.#storage.subscribe(listener, options);
  }

  newOid(above?: Oid): Oid {
    return this.#storage.newOid(above);
  }

  get highestOid(): Oid {
    return this.#storage.highestOid;
  }

  tpcBegin(transaction: StorageTransaction): void {
    this.#storage.tpcBegin(transaction);
  }

  store(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array): void {
    requireStore(oid, serial, data);
    this.#storage.store(transaction, oid, serial, this.#encode(data));
  }

  storeBlob(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array, file: string): void {
    this.#storage.storeBlob(transaction, oid, serial, data, file);
  }

  loadBlob(oid: Oid, info: BlobInfo): Promise<string> {
    return this.#storage.loadBlob(oid, info);
  }

  get temporaryDirectory(): string | undefined {
    return this.#storage.temporaryDirectory;
  }

  checkCurrentSerial(transaction: StorageTransaction, oid: Oid, serial: Tid): void {
    this.#storage.checkCurrentSerial(transaction, oid, serial);
  }

  undo(transaction: StorageTransaction, tid: Tid): void {
    this.#storage.undo(transaction, tid);
  }

  commit(transaction: StorageTransaction): Promise<CommitOutcome> {
    return this.#storage.commit(transaction);
  }

  tpcVote(transaction: StorageTransaction, decider?: Decider): Promise<VoteOutcome> {
    return this.#storage.tpcVote(transaction, decider);
  }

  tpcFinish(transaction: StorageTransaction): Promise<Tid> {
    return this.#storage.tpcFinish(transaction);
  }

  tpcAbort(transaction: StorageTransaction): Promise<void> {
    return this.#storage.tpcAbort(transaction);
  }

  get doubts(): StorageDoubts {
    return this.#storage.doubts;
  }

  outcome(commitId: Uint8Array): Promise<Tid | undefined> {
    return this.#storage.outcome(commitId);
  }

  /** The sizes are those of the records, not of what is stored for them. */
  async history(oid: Oid, size?: number): Promise<HistoryEntry[]> {
    const entries = await this.#storage.history(oid, size);
    return entries.map((entry) =>
      entry.sizeBytes === 0 ? entry : { ...entry, sizeBytes: this.loadSerial(oid, entry.tid).length },
    );
  }

  undoLog(options?: { readonly before?: Tid; readonly size?: number }): Promise<UndoLogEntry[]> {
    return this.#storage.undoLog(options);
  }

  iterate(from?: Tid, to?: Tid): AsyncGenerator<TransactionRecord> {
    return this.#decodedTransactions(this.#storage.iterate(from, to));
  }

  async *#decodedTransactions(transactions: AsyncIterable<TransactionRecord>): AsyncGenerator<TransactionRecord> {
    for await (const transaction of transactions) {
      const records = transaction.records.map(({ oid, tid, data }) => ({
        oid,
        tid,
        data: data && this.#decode(data, oid, tid),
      }));
      yield { ...transaction, records };
    }
  }

  pack(options: PackOptions): Promise<void> {
    const references = (stored: Uint8Array) => options.references(this.#decode(stored));
    return this.#storage.pack({ ...options, references });
  }

  keepSnapshots(oldest: OldestSnapshot): () => void {
    return this.#storage.keepSnapshots(oldest);
  }

  useConflictResolver(resolver: ConflictResolver): void {
    this.#storage.useConflictResolver({
      resolve: (request) => {
        const { oid, baseSerial, committedSerial } = request;
        const merged = resolver.resolve({
          ...request,
          base: this.#decode(request.base, oid, baseSerial),
          committed: this.#decode(request.committed, oid, committedSerial),
          mine: this.#decode(request.mine, oid),
        });
        return merged && this.#encode(merged);
      },
    });
  }

  verify(options: VerifyOptions): AsyncIterable<Problem> {
    const references = (stored: Uint8Array) => options.references(this.#decode(stored));
    return this.#storage.verify({ ...options, references });
  }

  attach(): StorageAttachment {
    if (this.#closing) throw new StorageError(`attach: the storage ${this.name} was closed`);
    this.#hosting ??= hostStorage({ storage: this, locks: this.lockSession });
    return this.#hosting.attach();
  }

  get length(): number {
    return this.#storage.length;
  }

  get size(): number {
    return this.#storage.size;
  }

  /** Closes the storage beneath too. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#hosting?.close();
    await this.#storage.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** No bytes say that an object is removed, in every form; the record of a blob names its content to whoever keeps that. */
  #encode(data: Uint8Array): Uint8Array {
    if (data.length === 0 || blobOf(data)) return data;
    const stored = this.#transform.encode(data);
    if (dataOrNone(stored)) return stored;
    throw new TypeError('a transformation of records gave no bytes: that would remove the object');
  }

  #decode(stored: Uint8Array, oid?: Oid, tid?: Tid): Uint8Array {
    if (stored.length === 0 || blobOf(stored)) return stored;
    try {
      return this.#transform.decode(stored);
    } catch (error) {
      const what =
        oid === undefined ? 'a record' : `the record of oid ${oid}${tid === undefined ? '' : ` (tid ${tid})`}`;
      throw new CorruptionError(
        `${what} in ${this.name} cannot be transformed back: ${String(error)}; was it stored with this transformation?`,
        { ...(oid === undefined ? {} : { oid }), ...(tid === undefined ? {} : { tid }), cause: error },
      );
    }
  }

  #decoded(oid: Oid, { data, tid, endTid }: Revision): Revision {
    return { data: this.#decode(data, oid, tid), tid, endTid };
  }
}
