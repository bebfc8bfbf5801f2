import { type Oid, ZERO_TID } from '../ids.js';
import type { BlobDraft } from '../persistent/blob/blob-draft.js';
import { SpillFile } from '../storage/spill-file.js';
import { grown, OidIndex } from './oid-index.js';
import type { TemporaryRecord } from './temporary-store.js';

const CAPACITY_MIN = 64;
const NOWHERE = -1;

/** The records of an import, by their oids here. Their data are in a temporary file: some 30 bytes of memory each are all that it takes. */
export class ImportedRecords {
  readonly #oids = new OidIndex();
  readonly #file = new SpillFile();
  #positions = new Float64Array(CAPACITY_MIN).fill(NOWHERE);
  #lengths = new Uint32Array(CAPACITY_MIN);
  /** Contents of blobs that came with them. */
  readonly drafts = new Map<Oid, BlobDraft>();

  /** Takes in an oid whose record is still to come; returns the number by which it is given. */
  expect(oid: Oid): number {
    const number = this.#oids.add(oid);
    if (number === this.#positions.length) {
      this.#positions = grown(this.#positions, 2 * number).fill(NOWHERE, number);
      this.#lengths = grown(this.#lengths, 2 * number);
    }
    return number;
  }

  oidOf(number: number): Oid {
    return this.#oids.at(number);
  }

  /** Whether the record with this number has come. */
  hasCome(number: number): boolean {
    return this.#positions[number] !== NOWHERE;
  }

  /** The record with this number has come. @throws StorageError when the temporary file cannot be written. */
  come(number: number, data: Uint8Array, draft?: BlobDraft): void {
    if (draft) this.drafts.set(this.oidOf(number), draft);
    this.#positions[number] = this.#file.append(data);
    this.#lengths[number] = data.length;
  }

  /** The record of an oid. */
  get(oid: Oid): TemporaryRecord | undefined {
    const number = this.#oids.numberOf(oid);
    return number >= 0 && this.hasCome(number) ? this.#record(number, oid) : undefined;
  }

  *[Symbol.iterator](): Generator<[Oid, TemporaryRecord]> {
    for (let number = 0; number < this.#oids.count; number++) {
      const oid = this.oidOf(number);
      if (this.hasCome(number)) yield [oid, this.#record(number, oid)];
    }
  }

  #record(number: number, oid: Oid): TemporaryRecord {
    const file = this.#file;
    const position = this.#positions[number] as number;
    const length = this.#lengths[number] as number;
    return {
      get data() {
        return file.read(position, length);
      },
      serial: ZERO_TID,
      draft: this.drafts.get(oid),
    };
  }

  /** Lets go of the records; the contents stay. */
  close(): void {
    this.#file.close();
  }

  /** Lets go of the records and the contents: they are not wanted. */
  discard(): void {
    for (const draft of this.drafts.values()) draft.remove();
    this.close();
  }
}
