import type { Oid, Tid } from '../ids.js';
import { SAVED_MEMORY_BYTES_MAX } from '../limits.js';
import type { BlobDraft } from '../persistent/blob/blob-draft.js';
import { SpillFile } from '../storage/spill-file.js';
import type { ImportedRecords } from './imported-records.js';

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
  /** What was imported, oldest first. */
  #imports: readonly ImportedRecords[] = [];
  /** All that was ever imported, rolled back or not: a savepoint may go back to it. */
  readonly #taken: ImportedRecords[] = [];
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

  /** Takes in the records of an import. */
  take(imported: ImportedRecords): void {
    this.#imports = [...this.#imports, imported];
    this.#taken.push(imported);
  }

  get(oid: Oid): TemporaryRecord | undefined {
    return find(oid, this.#records, this.#imports);
  }

  /** @throws StorageError when the temporary file cannot be written. */
  set(oid: Oid, record: TemporaryRecord): void {
    if (this.#memoryBytes + record.data.length <= this.#memoryBytesMax) {
      this.#memoryBytes += record.data.length;
      this.#records.set(oid, record);
      return;
    }
    this.#file ??= new SpillFile();
    this.#records.set(oid, new SpilledRecord(record, this.#file));
  }

  *entries(): Generator<[Oid, TemporaryRecord]> {
    for (const imported of this.#imports) {
      for (const entry of imported) if (!this.#records.has(entry[0])) yield entry;
    }
    yield* this.#records;
  }

  /** A copy to go back to. */
  snapshot(): SavedRecords {
    const records = new Map(this.#records);
    const imports = this.#imports;
    return { records, imports, get: (oid) => find(oid, records, imports) };
  }

  /** Goes back to a snapshot; tells of the oids whose records differ from it, with the records that went. */
  restore({ records, imports }: SavedRecords): Iterable<[Oid, TemporaryRecord]> {
    const changed = [...this.#records].filter(([oid, record]) => records.get(oid) !== record);
    const dropped = this.#imports.slice(imports.length);
    this.#records = new Map(records);
    this.#imports = imports;
    return concatenated(changed, dropped);
  }

  /** Lets go of everything. */
  close(): void {
    this.#records.clear();
    this.#file?.close();
    this.#file = undefined;
    for (const imported of this.#taken) imported.close();
    this.#taken.length = 0;
    this.#imports = [];
  }
}

/** What a savepoint goes back to. */
export interface SavedRecords {
  readonly records: ReadonlyMap<Oid, TemporaryRecord>;
  readonly imports: readonly ImportedRecords[];
  get(oid: Oid): TemporaryRecord | undefined;
}

/** What was changed since it was imported stands in the records. */
function find(
  oid: Oid,
  records: ReadonlyMap<Oid, TemporaryRecord>,
  imports: readonly ImportedRecords[],
): TemporaryRecord | undefined {
  const record = records.get(oid);
  if (record) return record;
  for (const imported of imports) {
    const found = imported.get(oid);
    if (found) return found;
  }
  return undefined;
}

function* concatenated<T>(first: Iterable<T>, others: Iterable<Iterable<T>>): Generator<T> {
  yield* first;
  for (const each of others) yield* each;
}
