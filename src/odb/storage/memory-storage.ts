import { join } from 'node:path';
import { systemRandom, toHex } from '../../base/index.js';
import { POSKeyError } from '../errors.js';
import { MAX_TID, type Oid, ROOT_OID, type Tid, toOid, toTid, ZERO_TID } from '../ids.js';
import { toCount } from './arguments.js';
import { BaseStorage, type BaseStorageOptions } from './base-storage.js';
import { BlobStore } from './blob/blob-store.js';
import type { StorageBlobs } from './blob/storage-blobs.js';
import { TemporaryFolder } from './blob/temporary-folder.js';
import type { AcceptedTransaction } from './commit-coordinator.js';
import { nextOid } from './next-ids.js';
import type { PackBackend, WalkedObject } from './pack/pack.js';
import type { HistoryEntry, Revision, StorageSupports, TransactionRecord, UndoLogEntry } from './storage.js';
import { dataOrNone, present, REMOVED, trimmedAway, type UndoableRecord } from './undo.js';

/** Objects that a pack looks at in one turn of the event loop. */
const WALK_COUNT = 100;

let storageCount = 0;

interface TemporaryBlobs {
  readonly folder: TemporaryFolder;
  readonly blobs: StorageBlobs;
}

interface MemoryRevision {
  /** Its number among the object's revisions, from 0. */
  readonly n: number;
  readonly tid: Tid;
  readonly data: Uint8Array;
}

/** Keeps everything in memory, with its whole history: for tests, and as the model of what a storage does. */
export class MemoryStorage extends BaseStorage {
  readonly name = `memory:${++storageCount}`;
  readonly identity = `memory-${toHex(systemRandom.bytes(16))}`;
  readonly supports: StorageSupports = { history: true, undo: true, pack: true, blobs: true, locks: true };
  /** Revisions of each object, oldest first. */
  readonly #revisions = new Map<Oid, MemoryRevision[]>();
  #transactions: AcceptedTransaction[] = [];
  /** What transactions before this one superseded was dropped. */
  #trimmedTid = ZERO_TID;
  readonly #tidOfCommit = new Map<string, Tid>();
  #lastTid = ZERO_TID;
  #lastOid = ROOT_OID as number;
  #bytes = 0;
  #files: TemporaryBlobs | undefined;

  constructor(options: BaseStorageOptions = {}) {
    super(options);
    this.start(
      {
        currentTid: (oid) => this.#revisions.get(oid)?.at(-1)?.tid ?? ZERO_TID,
        revision: (oid, tid) => this.#revisions.get(oid)?.find((revision) => revision.tid === tid)?.data,
        written: (tid) => this.#written(tid),
        write: async () => {},
        prepare: async () => {},
        unprepare: async () => {},
        forget: () => {},
        publish: (transaction) => this.#publish(transaction),
      },
      ZERO_TID,
    );
  }

  #publish(accepted: AcceptedTransaction): void {
    const { tid, records, transaction } = accepted;
    for (const { oid, data } of records) {
      const revisions = this.#revisions.get(oid);
      if (revisions) revisions.push({ n: (revisions.at(-1)?.n as number) + 1, tid, data });
      else this.#revisions.set(oid, [{ n: 0, tid, data }]);
      this.#lastOid = Math.max(this.#lastOid, oid);
      this.#bytes += data.length;
    }
    this.#transactions.push(accepted);
    this.#tidOfCommit.set(toHex(transaction.commitId), tid);
    this.#lastTid = tid;
    this.announce(accepted);
  }

  #written(tid: Tid): UndoableRecord[] | undefined {
    const accepted = this.#transactions.find((each) => each.tid === tid);
    return accepted?.records.map(({ oid }) => {
      const revisions = this.#revisions.get(oid) ?? [];
      const index = revisions.findIndex((revision) => revision.tid === tid);
      const superseded = revisions[index]?.n === 0 ? REMOVED : revisions[index - 1]?.data;
      return { oid, data: revisions[index]?.data, superseded };
    });
  }

  #of(oid: Oid): MemoryRevision[] {
    this.requireOpen('load');
    const revisions = this.#revisions.get(toOid(oid));
    if (!revisions) throw new POSKeyError(oid);
    return revisions;
  }

  load(oid: Oid): Revision {
    const { tid, data } = this.#of(oid).at(-1) as MemoryRevision;
    return present(oid, { tid, data, endTid: undefined });
  }

  loadBefore(oid: Oid, before: Tid): Revision | undefined {
    const revisions = this.#of(oid);
    toTid(before);
    let low = 0;
    let high = revisions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((revisions[middle] as MemoryRevision).tid < before) low = middle + 1;
      else high = middle;
    }
    const found = revisions[low - 1];
    const [oldest] = revisions as [MemoryRevision];
    if (!found && oldest.n > 0) throw trimmedAway(oid, before, oldest.tid);
    return found && present(oid, { tid: found.tid, data: found.data, endTid: revisions[low]?.tid });
  }

  loadSerial(oid: Oid, tid: Tid): Uint8Array {
    const found = this.#of(oid).find((revision) => revision.tid === toTid(tid));
    if (!found) throw new POSKeyError(oid, `it has no revision ${tid}`);
    return present(oid, found).data;
  }

  lastTransaction(): Tid {
    return this.#lastTid;
  }

  protected override findOutcome(commitId: Uint8Array): Tid | undefined {
    return this.#tidOfCommit.get(toHex(commitId));
  }

  async history(oid: Oid, size = 1): Promise<HistoryEntry[]> {
    return this.#of(oid)
      .slice()
      .reverse()
      .slice(0, toCount(size))
      .map(({ tid, data }) => {
        const accepted = this.#transactions.find((each) => each.tid === tid) as AcceptedTransaction;
        const { user, description, extension } = accepted.transaction;
        return { tid, user, description, extension, sizeBytes: data.length };
      });
  }

  async undoLog({ before = MAX_TID, size = 20 } = {}): Promise<UndoLogEntry[]> {
    this.requireOpen('undoLog');
    toTid(before);
    return this.#transactions
      .filter(({ tid }) => tid < before && tid >= this.#trimmedTid)
      .reverse()
      .slice(0, toCount(size))
      .map(({ tid, transaction: { user, description, extension } }) => ({ tid, user, description, extension }));
  }

  iterate(from: Tid = ZERO_TID, to: Tid = MAX_TID): AsyncGenerator<TransactionRecord> {
    return this.#transactionsFrom(toTid(from), Math.min(toTid(to), this.lastTransaction()) as Tid);
  }

  async *#transactionsFrom(from: Tid, to: Tid): AsyncGenerator<TransactionRecord> {
    this.requireOpen('iterate');
    for (const { tid, transaction, records } of [...this.#transactions]) {
      if (tid < from || tid > to) continue;
      const { user, description, extension } = transaction;
      yield {
        tid,
        user,
        description,
        extension,
        records: records
          .filter(({ oid }) => this.#has(oid, tid))
          .map(({ oid, data }) => ({ oid, tid, data: dataOrNone(data) })),
      };
    }
  }

  get length(): number {
    return this.#revisions.size;
  }

  get size(): number {
    return this.#bytes;
  }

  #has(oid: Oid, tid: Tid): boolean {
    return this.#revisions.get(oid)?.some((revision) => revision.tid === tid) ?? false;
  }

  protected override get packBackend(): PackBackend {
    const all = this.#revisions;
    const turn = () => this.turn();
    return {
      trim: async (before) => {
        for (const revisions of all.values()) {
          let count = 0;
          while (count + 1 < revisions.length && (revisions[count + 1] as MemoryRevision).tid < before) count++;
          for (const { data } of revisions.splice(0, count)) this.#bytes -= data.length;
        }
        if (before > this.#trimmedTid) this.#trimmedTid = before;
      },
      walk: async function* () {
        let objects: WalkedObject[] = [];
        for (const [oid, revisions] of all) {
          const { tid } = revisions.at(-1) as MemoryRevision;
          objects.push({ oid, tid, revisions: () => revisions.map(({ data }) => data).reverse() });
          if (objects.length < WALK_COUNT) continue;
          yield objects;
          objects = [];
          await turn();
        }
        yield objects;
      },
      revisions: (oid) => (all.get(oid) ?? []).map(({ data }) => data).reverse(),
      sweep: async function* (before, decide) {
        for (const [oid, revisions] of all) {
          if ((revisions.at(-1) as MemoryRevision).tid < before && decide(oid)) all.delete(oid);
        }
        yield all.size;
      },
      tidy: async (before) => {
        this.#transactions = this.#transactions.filter(
          ({ tid, records }) => tid >= before || records.some(({ oid }) => this.#has(oid, tid)),
        );
      },
    };
  }

  get highestOid(): Oid {
    return this.#lastOid as Oid;
  }

  protected override nextOid(above: Oid): Oid {
    const oid = nextOid(Math.max(this.#lastOid, above));
    this.#lastOid = oid;
    return oid;
  }

  protected override get blobs(): StorageBlobs | undefined {
    return this.#files?.blobs;
  }

  /** Contents of blobs are files all the same: in a folder of their own, which goes with the storage. */
  protected override makeBlobs(): StorageBlobs | undefined {
    if (!this.#files) {
      const folder = new TemporaryFolder('holdfast-memory-');
      this.#files = { folder, blobs: this.blobsIn(BlobStore.open(join(folder.path, 'blobs'))) };
    }
    return this.#files.blobs;
  }

  protected override async release(): Promise<void> {
    await this.#files?.blobs.settled();
    this.#files?.folder.remove();
  }
}
