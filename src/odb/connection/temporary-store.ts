import type { Oid, Tid } from '../ids.js';
import { SAVED_MEMORY_BYTES_MAX } from '../limits.js';
import type { BlobDraft } from '../persistent/blob/blob-draft.js';
import { SpillFile } from './spill-file.js';

/** A changed object as it was at a savepoint. */
export interface TemporaryRecord {
  readonly data: Uint8Array;
  /** The stored revision that the change is based on. */
  readonly serial: Tid;
  /** The content of a blob that is not committed. */
  readonly draft?: BlobDraft | undefined;
}

/** A record whose data are in a file. */
class SpilledRecord implements TemporaryRecord {
  readonly serial: Tid;
  readonly draft: BlobDraft | undefined;
  readonly #file: SpillFile;
  readonly #position: number;
  readonly #length: number;

  constructor({ data, serial, draft }: TemporaryRecord, file: SpillFile) {
    this.serial = serial;
    this.draft = draft;
    this.#file = file;
    this.#position = file.append(data);
    this.#length = data.length;
  }

  get data(): Uint8Array {
    return this.#file.read(this.#position, this.#length);
  }
}

/**
 * The records of changes that have been saved for a savepoint, and so need not stay in memory as objects. Past a bound their data go to a
 * temporary file.
 */
export class TemporaryStore {
  #records = new Map<Oid, TemporaryRecord>();
  readonly #memoryBytesMax: number;
  #memoryBytes = 0;
  #file: SpillFile | undefined;

  constructor(memoryBytesMax = SAVED_MEMORY_BYTES_MAX) {
    this.#memoryBytesMax = memoryBytesMax;
  }

  /** Bytes of records in memory, those included that were replaced: a savepoint may go back to them. */
  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  /** Bytes that went to a file. */
  get fileBytes(): number {
    return this.#file?.size ?? 0;
  }

  get(oid: Oid): TemporaryRecord | undefined {
    return this.#records.get(oid);
  }

  /** @throws Errors of the file system. */
  set(oid: Oid, record: TemporaryRecord): void {
    if (this.#memoryBytes + record.data.length <= this.#memoryBytesMax) {
      this.#memoryBytes += record.data.length;
      this.#records.set(oid, record);
      return;
    }
    this.#file ??= new SpillFile();
    this.#records.set(oid, new SpilledRecord(record, this.#file));
  }

  entries(): Iterable<[Oid, TemporaryRecord]> {
    return this.#records;
  }

  /** A copy to go back to. */
  snapshot(): ReadonlyMap<Oid, TemporaryRecord> {
    return new Map(this.#records);
  }

  /** Goes back to a snapshot; returns the oids whose records differ from it, with the records that went. */
  restore(snapshot: ReadonlyMap<Oid, TemporaryRecord>): [Oid, TemporaryRecord][] {
    const differing = [...this.#records].filter(([oid, record]) => snapshot.get(oid) !== record);
    this.#records = new Map(snapshot);
    return differing;
  }

  /** Lets go of everything. */
  close(): void {
    this.#records.clear();
    this.#file?.close();
    this.#file = undefined;
  }
}
