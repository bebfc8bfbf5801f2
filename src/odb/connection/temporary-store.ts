import type { Oid, Tid } from '../ids.js';
import type { BlobDraft } from '../persistent/blob/blob-draft.js';

/** A changed object as it was at a savepoint. */
export interface TemporaryRecord {
  readonly data: Uint8Array;
  /** The stored revision that the change is based on. */
  readonly serial: Tid;
  /** The content of a blob that is not committed. */
  readonly draft?: BlobDraft | undefined;
}

/** The records of changes that have been saved for a savepoint, and so need not stay in memory as objects. */
export class TemporaryStore {
  #records = new Map<Oid, TemporaryRecord>();

  get(oid: Oid): TemporaryRecord | undefined {
    return this.#records.get(oid);
  }

  set(oid: Oid, record: TemporaryRecord): void {
    this.#records.set(oid, record);
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
}
