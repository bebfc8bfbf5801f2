import { systemRandom, toHex } from '../../base/index.js';
import { POSKeyError, ReadConflictError, StorageError, UndoError } from '../errors.js';
import { MAX_TID, type Oid, type Tid, toOid, toTid, ZERO_TID } from '../ids.js';
import { toCount } from './arguments.js';
import { BaseStorage, type BaseStorageOptions } from './base-storage.js';
import { type BlobInfo, blobOf } from './blob/blob-info.js';
import type { PlacedBlob } from './blob/blob-store.js';
import { OverlayBlobs } from './blob/overlay-blobs.js';
import type { BlobRequest } from './blob/storage-blobs.js';
import type { AcceptedTransaction } from './commit-coordinator.js';
import { MemoryStorage } from './memory-storage.js';
import type { PackBackend } from './pack/pack.js';
import type {
  HistoryEntry,
  Revision,
  Storage,
  StorageSupports,
  StorageTransaction,
  TransactionRecord,
  UndoLogEntry,
} from './storage.js';
import { present, REMOVED, type UndoableRecord } from './undo.js';

/** Options of {@link DemoStorage.open}. */
export interface DemoStorageOptions extends BaseStorageOptions {
  /** Takes what is changed; nobody else may write to it. Default: a new storage in memory. */
  readonly changes?: Storage;
  /** Whether `close` closes the base too. Default: true. */
  readonly closesBase?: boolean;
}

/**
 * Changes that stand over a base, which is never written: to try something on real data, to begin each test from the same ones. Reads fall
 * through to the base, histories and iterations run over both.
 *
 * The base is seen as it was when this storage was opened: what others commit to it from then on is not. Its objects can be changed, merged
 * and undone like any others, its transactions be undone; what comes of it stands in the changes. Oids and tids of the changes are above all
 * of the base.
 *
 * In a transaction of several databases, another one decides where it can; what stays in doubt here does so until a close at most, and is
 * gone with it.
 *
 * Contents of blobs go to the changes; those of the base are read there.
 *
 * Packing drops what is superseded or garbage of the changes, and takes nothing from the base.
 *
 * `close` closes the changes, and the base unless told otherwise.
 */
export class DemoStorage extends BaseStorage {
  readonly name: string;
  readonly identity = `over-${toHex(systemRandom.bytes(16))}`;
  readonly supports: StorageSupports;
  readonly base: Storage;
  readonly changes: Storage;
  #closesBase: boolean;
  /** The last transaction of the base that is seen; the changes come after it. */
  readonly #baseTid: Tid;
  readonly #baseHighestOid: Oid;
  #lastTid: Tid;
  /** Transactions of the changes that are voted, by tid. */
  readonly #voted = new Map<Tid, StorageTransaction>();
  /** What transactions to be undone wrote is being read; resolves to the contents of blobs that come back. */
  readonly #undoing = new WeakMap<StorageTransaction, Promise<BlobRequest[]>[]>();
  readonly #written = new Map<Tid, readonly Oid[]>();
  /** When objects of the base were first changed here, as far as somebody asked. */
  readonly #firstChanges = new Map<Oid, Tid>();
  readonly #blobs: OverlayBlobs;

  private constructor(base: Storage, changes: Storage, options: DemoStorageOptions) {
    super({ clock: changes.clock, readOnly: changes.isReadOnly, ...options });
    this.base = base;
    this.changes = changes;
    this.name = `${changes.name} over ${base.name}`;
    this.#blobs = new OverlayBlobs(base, changes);
    this.#closesBase = options.closesBase ?? true;
    this.#baseTid = base.lastTransaction();
    this.#baseHighestOid = base.highestOid;
    this.#lastTid = Math.max(this.#baseTid, changes.lastTransaction()) as Tid;
    const hasHistory = base.supports.history && changes.supports.history;
    this.supports = {
      history: hasHistory,
      undo: hasHistory,
      pack: changes.supports.pack,
      blobs: changes.supports.blobs,
      locks: true,
    };
    this.start(
      {
        currentTid: (oid) => this.#revisionAt(oid, MAX_TID)?.tid ?? ZERO_TID,
        revision: (oid, tid) => this.#serial(oid, tid),
        written: (tid) => this.#written.get(tid)?.map((oid) => this.#undoable(oid, tid)),
        together: (transactions) => {
          // The changes decide one with contents later than it comes, and those that come after it would pass it.
          const count = transactions.findIndex((each) => this.#hasContents(each));
          return count < 0 ? transactions.length : Math.max(1, count);
        },
        write: async (transactions) => {
          await Promise.all(transactions.map((accepted) => this.#write(accepted)));
        },
        prepare: async (accepted) => {
          // What another database decides may stay in doubt, and must not hold up the changes meanwhile.
          if (accepted.decider !== undefined && accepted.decider !== 'self') return;
          const transaction = this.#begin(accepted);
          await this.#orAbort(transaction, this.changes.tpcVote(transaction));
          this.#voted.set(accepted.tid, transaction);
        },
        unprepare: async ({ tid }) => {
          const voted = this.#takeVoted(tid);
          if (voted) await this.changes.tpcAbort(voted);
        },
        forget: () => {},
        publish: (accepted) => {
          this.#lastTid = accepted.tid;
          this.announce(accepted);
        },
      },
      this.#lastTid,
    );
  }

  /**
   * Opens changes over a base.
   *
   * @throws StorageError when the base was written after the changes were begun: they would stand over what they do not know.
   */
  static async open(base: Storage, options: DemoStorageOptions = {}): Promise<DemoStorage> {
    const changes = options.changes ?? new MemoryStorage(options.clock ? { clock: options.clock } : {});
    const begun = await firstTransaction(changes);
    if (begun !== undefined && base.lastTransaction() >= begun) {
      throw new StorageError(
        `${changes.name} cannot stand over ${base.name}, which was written since: its transaction ${base.lastTransaction()} ` +
          `is not older than the first of the changes, ${begun}; take the base as it was, or begin the changes anew`,
      );
    }
    return new DemoStorage(base, changes, options);
  }

  /** Further changes over these; closing them leaves these as they are. */
  push(options: Omit<DemoStorageOptions, 'closesBase'> = {}): Promise<DemoStorage> {
    return DemoStorage.open(this, { ...options, closesBase: false });
  }

  /** Closes the changes; resolves to the base, which stays open. */
  async pop(): Promise<Storage> {
    this.#closesBase = false;
    await this.close();
    return this.base;
  }

  load(oid: Oid): Revision {
    const revision = this.loadBefore(oid, MAX_TID);
    if (!revision) throw new POSKeyError(oid);
    return revision;
  }

  loadBefore(oid: Oid, before: Tid): Revision | undefined {
    this.requireOpen('load');
    const revision = this.#revisionAt(toOid(oid), toTid(before));
    if (revision) return present(oid, revision);
    // It is there, but was not yet; or it is not there at all.
    if (this.#revisionAt(oid, MAX_TID)) return undefined;
    throw new POSKeyError(oid);
  }

  /** The revision that was current before `before`; its data are {@link REMOVED} where it was removed. */
  #revisionAt(oid: Oid, before: Tid): Revision | undefined {
    const limit = Math.min(before, this.#lastTid + 1) as Tid;
    const newest = revisionBefore(this.changes, oid, (this.#lastTid + 1) as Tid);
    if (newest && newest.tid < limit) return { data: newest.data, tid: newest.tid, endTid: undefined };
    if (newest && limit > this.#baseTid + 1) {
      const older = revisionBefore(this.changes, oid, limit);
      if (older) return older;
    }
    const revision = revisionBefore(this.base, oid, Math.min(limit, this.#baseTid + 1) as Tid);
    if (!revision) return undefined;
    const { data, tid, endTid } = revision;
    if (endTid !== undefined && endTid <= this.#baseTid) return revision;
    return { data, tid, endTid: newest && this.#firstChange(oid, newest.tid) };
  }

  /** The first transaction that changed the object here; `known` is one that did. */
  #firstChange(oid: Oid, known: Tid): Tid {
    const found = this.#firstChanges.get(oid);
    if (found !== undefined) return found;
    let low = this.#baseTid + 1;
    let high = known;
    try {
      // Between two revisions that it finds it halves what is left, so that many are not walked one by one.
      for (;;) {
        const former = revisionBefore(this.changes, oid, high);
        if (!former) break;
        high = former.tid;
        const middle = Math.floor((low + high) / 2) as Tid;
        const early = revisionBefore(this.changes, oid, middle);
        if (early) high = early.tid;
        else low = middle;
      }
    } catch (error) {
      if (!(error instanceof ReadConflictError)) throw error;
      // The first ones were trimmed: all that is known is that none is older than the changes.
      return (this.#baseTid + 1) as Tid;
    }
    this.#firstChanges.set(oid, high);
    return high;
  }

  loadSerial(oid: Oid, tid: Tid): Uint8Array {
    this.requireOpen('loadSerial');
    if (toTid(tid) > this.#lastTid) throw new POSKeyError(oid, `there is no transaction ${tid}`);
    return this.#sideOf(tid).loadSerial(toOid(oid), tid);
  }

  /** Those of the base can be read also where the changes take none. */
  override async loadBlob(oid: Oid, info: BlobInfo): Promise<string> {
    this.requireOpen('loadBlob');
    return this.#blobs.load(oid, info);
  }

  protected override get blobs(): OverlayBlobs | undefined {
    return this.supports.blobs ? this.#blobs : undefined;
  }

  #hasContents({ records }: AcceptedTransaction): boolean {
    return records.some(({ data }) => blobOf(data));
  }

  #sideOf(tid: Tid): Storage {
    return tid <= this.#baseTid ? this.base : this.changes;
  }

  override async prefetch(oids: readonly Oid[] = [], before: Tid = MAX_TID): Promise<void> {
    const atBase = Math.min(before, this.#baseTid + 1) as Tid;
    await Promise.all([this.changes.prefetch(oids, before), this.base.prefetch(oids, atBase)]);
  }

  lastTransaction(): Tid {
    return this.#lastTid;
  }

  protected override async findOutcome(commitId: Uint8Array): Promise<Tid | undefined> {
    const own = await this.changes.outcome(commitId);
    if (own !== undefined) return own <= this.#lastTid ? own : undefined;
    const former = await this.base.outcome(commitId);
    return former !== undefined && former <= this.#baseTid ? former : undefined;
  }

  async history(oid: Oid, size = 1): Promise<HistoryEntry[]> {
    this.requireOpen('history');
    toOid(oid);
    toCount(size);
    const last = this.#lastTid;
    const own = await historyUpTo(this.changes, oid, size, last);
    const entries = own.length < size ? [...own, ...(await historyUpTo(this.base, oid, size, this.#baseTid))] : own;
    if (entries.length === 0 && !this.#revisionAt(oid, MAX_TID)) throw new POSKeyError(oid);
    return entries.slice(0, size);
  }

  /** Those of the base can be undone too. */
  async undoLog({ before = MAX_TID, size = 20 } = {}): Promise<UndoLogEntry[]> {
    this.requireOpen('undoLog');
    const end = Math.min(toTid(before), this.#lastTid + 1) as Tid;
    toCount(size);
    const own = await this.changes.undoLog({ before: end, size });
    if (own.length >= size) return own;
    const atBase = Math.min(end, this.#baseTid + 1) as Tid;
    return [...own, ...(await this.base.undoLog({ before: atBase, size: size - own.length }))];
  }

  iterate(from: Tid = ZERO_TID, to: Tid = MAX_TID): AsyncGenerator<TransactionRecord> {
    return this.#transactions(toTid(from), Math.min(toTid(to), this.#lastTid) as Tid);
  }

  async *#transactions(from: Tid, end: Tid): AsyncGenerator<TransactionRecord> {
    this.requireOpen('iterate');
    const baseEnd = Math.min(end, this.#baseTid) as Tid;
    if (from <= baseEnd) yield* this.base.iterate(from, baseEnd);
    const ownFrom = Math.max(from, this.#baseTid + 1) as Tid;
    if (ownFrom <= end) yield* this.changes.iterate(ownFrom, end);
  }

  override undo(transaction: StorageTransaction, tid: Tid): void {
    super.undo(transaction, tid);
    const reading = this.#readWritten(tid);
    // Told of by the vote.
    reading.catch(() => undefined);
    const others = this.#undoing.get(transaction);
    if (others) others.push(reading);
    else this.#undoing.set(transaction, [reading]);
  }

  protected override placeContents(
    transaction: StorageTransaction,
    requests: readonly BlobRequest[],
  ): Promise<PlacedBlob[]> | undefined {
    const reading = this.#undoing.get(transaction);
    if (!reading) return super.placeContents(transaction, requests);
    return Promise.all(reading).then(
      (undone) => super.placeContents(transaction, [...requests, ...undone.flat()]) ?? [],
    );
  }

  /** Finds out what a transaction wrote; a vote has to know without waiting. Resolves to the contents that an undo of it brings back. */
  async #readWritten(tid: Tid): Promise<BlobRequest[]> {
    if (tid > this.#lastTid) throw new UndoError({ tid, reason: 'there is no such transaction' });
    const contents: BlobRequest[] = [];
    for await (const { records } of this.#sideOf(tid).iterate(tid, tid)) {
      const oids = records.map(({ oid }) => oid);
      this.#written.set(tid, oids);
      for (const oid of oids) {
        const info = blobOf(this.#undoable(oid, tid).superseded);
        if (info) contents.push({ oid, info, file: undefined });
      }
    }
    return contents;
  }

  #undoable(oid: Oid, tid: Tid): UndoableRecord {
    const superseded = () => this.#revisionAt(oid, tid)?.data ?? REMOVED;
    return { oid, data: this.#serial(oid, tid), superseded: orTrimmed(superseded) };
  }

  /** What a transaction wrote, {@link REMOVED} for an object that it removed; `undefined` where that is gone. */
  #serial(oid: Oid, tid: Tid): Uint8Array | undefined {
    return orTrimmed(() => {
      try {
        return this.#sideOf(tid).loadSerial(oid, tid);
      } catch (error) {
        if (!(error instanceof POSKeyError)) throw error;
        return error.removedBy === tid ? REMOVED : undefined;
      }
    });
  }

  /** As the changes have it, with the tid that was given here. */
  #begin({ tid, transaction, records }: AcceptedTransaction): StorageTransaction {
    const { commitId, user, description, extension } = transaction;
    const own: StorageTransaction = { commitId, user, description, extension, tid };
    this.changes.tpcBegin(own);
    for (const { oid, previous, data } of records) {
      const info = blobOf(data);
      const content = info && this.#blobs.draftOf(info);
      if (content === undefined) this.changes.store(own, oid, previous, data);
      else this.changes.storeBlob(own, oid, previous, data, content);
    }
    return own;
  }

  async #write(accepted: AcceptedTransaction): Promise<void> {
    const voted = this.#takeVoted(accepted.tid);
    if (voted) await this.changes.tpcFinish(voted);
    else {
      const transaction = this.#begin(accepted);
      await this.#orAbort(transaction, this.changes.commit(transaction));
    }
  }

  async #orAbort(transaction: StorageTransaction, decision: Promise<unknown>): Promise<void> {
    try {
      await decision;
    } catch (error) {
      await this.changes.tpcAbort(transaction);
      throw error;
    }
  }

  #takeVoted(tid: Tid): StorageTransaction | undefined {
    const transaction = this.#voted.get(tid);
    this.#voted.delete(tid);
    return transaction;
  }

  /** An upper bound: what was changed counts on both sides. */
  get length(): number {
    return this.base.length + this.changes.length;
  }

  get size(): number {
    return this.base.size + this.changes.size;
  }

  get highestOid(): Oid {
    return Math.max(this.#baseHighestOid, this.changes.highestOid) as Oid;
  }

  protected override nextOid(above: Oid): Oid {
    return this.changes.newOid(Math.max(above, this.#baseHighestOid) as Oid);
  }

  /** What is reached is found out over both; the changes drop what is not. */
  protected override get packBackend(): PackBackend | undefined {
    if (!this.changes.supports.pack) return undefined;
    const { changes } = this;
    let stop: AbortSignal | undefined;
    let packedTid: Tid = ZERO_TID;
    const revisions = (oid: Oid) => this.#visibleSince(oid, packedTid);
    return {
      trim: async (before, signal) => {
        // With the sweep, by the changes themselves.
        packedTid = before;
        stop = signal;
      },
      walk: async function* (since) {
        for await (const { records } of changes.iterate(since)) {
          yield records.map(({ oid, tid }) => ({ oid, tid, revisions: () => revisions(oid) }));
        }
      },
      revisions,
      sweep: async function* (before, decide) {
        let count = 0;
        const keeps = (oid: Oid) => {
          count++;
          return !decide(oid);
        };
        await changes.pack({ before, references: () => [], keeps, signal: stop });
        yield count;
      },
      tidy: async () => undefined,
    };
  }

  /** What can be read of an object at `since`, or was written later. */
  *#visibleSince(oid: Oid, since: Tid): Generator<Uint8Array> {
    for (let before = MAX_TID; ; ) {
      const revision = orTrimmed(() => this.#revisionAt(oid, before));
      if (!revision) return;
      if (revision.data.length > 0) yield revision.data;
      // Before the base there is nothing that the changes could reach.
      if (revision.tid < since || revision.tid <= this.#baseTid) return;
      before = revision.tid;
    }
  }

  protected override async release(): Promise<void> {
    await this.changes.close();
    if (this.#closesBase) await this.base.close();
  }
}

/** As `loadBefore`; `undefined` also for what is not there, and {@link REMOVED} for what was removed. */
function revisionBefore(storage: Storage, oid: Oid, before: Tid): Revision | undefined {
  try {
    return storage.loadBefore(oid, before);
  } catch (error) {
    if (!(error instanceof POSKeyError)) throw error;
    return error.removedBy === undefined ? undefined : { data: REMOVED, tid: error.removedBy, endTid: undefined };
  }
}

/** What `read` gives; `undefined` where that was trimmed from history. */
function orTrimmed<T>(read: () => T | undefined): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof ReadConflictError) return undefined;
    throw error;
  }
}

/** The newest `size` revisions that are not newer than `last`. */
async function historyUpTo(storage: Storage, oid: Oid, size: number, last: Tid): Promise<HistoryEntry[]> {
  for (let asked = Math.max(1, size); ; asked *= 2) {
    let entries: HistoryEntry[];
    try {
      entries = await storage.history(oid, asked);
    } catch (error) {
      if (error instanceof POSKeyError) return [];
      throw error;
    }
    const found = entries.filter(({ tid }) => tid <= last);
    // Others may have written to the base since.
    if (found.length >= size || entries.length < asked) return found.slice(0, size);
  }
}

async function firstTransaction(storage: Storage): Promise<Tid | undefined> {
  for await (const { tid } of storage.iterate()) return tid;
  const last = storage.lastTransaction();
  return last === ZERO_TID ? undefined : last;
}
