import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { inspect } from 'node:util';
import { argumentTypeError, crc32 } from '../../base/index.js';
import { CorruptionError, StorageError } from '../errors.js';
import type { Oid } from '../ids.js';
import { BlobDraft, temporaryPath } from '../persistent/blob/blob-draft.js';
import { type ParsedRecord, readRecord, withReferences } from '../serialize/record.js';
import type { RecordReference } from '../serialize/references.js';
import { requireContent } from '../storage/blob/blob-file.js';
import { type BlobInfo, blobOf, encodeBlobRecord } from '../storage/blob/blob-info.js';
import type { Storage } from '../storage/storage.js';
import { type ExportedRecord, type ExportPart, readExport } from './export-format.js';
import { refuseForeign } from './exporting.js';
import { ImportedRecords } from './imported-records.js';
import { grown, OidIndex } from './oid-index.js';
import { CHUNK_BYTES, pathOf, Tally, type TransferOptions } from './transfer.js';

/** Where an import comes from. */
export type ImportSource = string | URL | AsyncIterable<Uint8Array>;

/** What an import brings: records with oids of this database. */
export interface ImportedObjects {
  readonly top: RecordReference;
  readonly records: ImportedRecords;
}

/**
 * Reads an export, and gives each object an oid of its own here. Classes need not be known: references are replaced in the records' tables.
 * A weak reference to what is not in the file becomes one to what is gone.
 *
 * @param storage gives oids, and says where the contents of blobs are best made
 * @throws TypeError (`ARG_SOURCE`). StorageError for a file that cannot be read. FormatVersionError. CorruptionError.
 */
export async function readImport(
  storage: Pick<Storage, 'newOid' | 'temporaryDirectory'>,
  source: ImportSource,
  options: TransferOptions,
): Promise<ImportedObjects> {
  const { chunks, name } = importedBytes(source);
  const imported = new Import(storage, name, new Tally(options));
  try {
    for await (const part of readExport(chunks, name, options.signal)) await imported.take(part);
    return imported.finish();
  } catch (error) {
    await imported.discard();
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw new StorageError(`${name} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

/** The content of a blob that is being read. */
interface IncomingContent {
  readonly oid: Oid;
  readonly info: BlobInfo;
  readonly path: string;
  readonly file: FileHandle;
  size: number;
  crc: number;
}

/** What has been read of an export. */
class Import {
  readonly #storage: Pick<Storage, 'newOid' | 'temporaryDirectory'>;
  readonly #name: string;
  readonly #tally: Tally;
  readonly #records = new ImportedRecords();
  /** Oids of the file; each has the number of the oid that stands for it here. */
  readonly #oids = new OidIndex();
  /** What leads to the object with this number, as the number of that one + 1; 0 where nothing does that needs its record. */
  #leading = new Uint32Array(64);
  #top: Oid | undefined;
  #topClassName = '';
  #content: IncomingContent | undefined;

  constructor(storage: Pick<Storage, 'newOid' | 'temporaryDirectory'>, name: string, tally: Tally) {
    this.#storage = storage;
    this.#name = name;
    this.#tally = tally;
  }

  async take(part: ExportPart): Promise<void> {
    if (part.kind === 'content') return this.#takeContent(part.oid, part.data);
    this.#requireContentWhole();
    if (part.kind === 'record') return this.#takeRecord(part);
    this.#top = part.top;
    this.#numberOf(part.top);
  }

  async #takeRecord({ oid, data }: ExportedRecord): Promise<void> {
    const number = this.#numberOf(oid);
    if (this.#records.hasCome(number)) {
      throw new CorruptionError(`${this.#name} has the record of oid ${oid} twice`, { oid });
    }
    const parsed = this.#parse(data, oid);
    this.#tally.record(data.length);
    if (oid === this.#top) this.#topClassName = parsed.className;
    const info = blobOf(data);
    if (info) {
      const path = temporaryPath(this.#storage.temporaryDirectory);
      this.#content = { oid, info, path, file: await open(path, 'wx', 0o600), size: 0, crc: 0 };
      if (info.size === 0) await this.#endContent(this.#content);
      return;
    }
    const references = parsed.references.map((reference) => {
      refuseForeign(reference, oid);
      const to = this.#numberOf(reference.oid);
      if (reference.kind === 'strong' && this.#leading[to] === 0) this.#leading[to] = number + 1;
      return { ...reference, oid: this.#records.oidOf(to) };
    });
    this.#records.come(number, references.length === 0 ? data : withReferences(parsed, references));
  }

  /** The number of an oid of the file, and of the one that it has here. */
  #numberOf(oid: Oid): number {
    const known = this.#oids.numberOf(oid);
    if (known >= 0) return known;
    this.#records.expect(this.#storage.newOid());
    const number = this.#oids.add(oid);
    if (number === this.#leading.length) this.#leading = grown(this.#leading, 2 * number);
    return number;
  }

  #parse(data: Buffer, oid: Oid): ParsedRecord {
    try {
      return readRecord(data);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      const facts = { oid, cause: error };
      throw new CorruptionError(`${this.#name}: the record of oid ${oid} does not decode: ${error.message}`, facts);
    }
  }

  async #takeContent(oid: Oid, piece: Buffer): Promise<void> {
    const content = this.#content;
    if (content?.oid !== oid) {
      throw new CorruptionError(`${this.#name} has a content for oid ${oid} where none belongs`, { oid });
    }
    await content.file.writeFile(piece);
    content.size += piece.length;
    content.crc = crc32(piece, content.crc);
    this.#tally.content(piece.length);
    if (content.size >= content.info.size) await this.#endContent(content);
  }

  async #endContent({ oid, info, path, file, size, crc }: IncomingContent): Promise<void> {
    await file.close();
    requireContent(oid, info, { size, crc });
    const draft = BlobDraft.ofFile(path, { size, crc });
    this.#content = undefined;
    // The content has an id of its own here, as its blob has.
    this.#records.come(this.#numberOf(oid), encodeBlobRecord(draft.info), draft);
  }

  #requireContentWhole(): void {
    const content = this.#content;
    if (!content) return;
    throw new CorruptionError(
      `${this.#name} has ${content.size} bytes of the content of blob oid ${content.oid}, which has ${content.info.size}`,
      { oid: content.oid },
    );
  }

  /** @throws CorruptionError when something is missing. */
  finish(): ImportedObjects {
    this.#requireContentWhole();
    const topNumber = this.#numberOf(this.#top as Oid);
    for (let number = 0; number < this.#oids.count; number++) {
      const from = this.#leading[number] as number;
      if (this.#records.hasCome(number) || (from === 0 && number !== topNumber)) continue;
      const oid = this.#oids.at(number);
      const what = from === 0 ? 'its head' : `the record of oid ${this.#oids.at(from - 1)}`;
      throw new CorruptionError(`${this.#name} has no record of oid ${oid}, to which ${what} leads`, { oid });
    }
    this.#tally.tell();
    const top = this.#records.oidOf(topNumber);
    return { top: { oid: top, className: this.#topClassName, kind: 'strong' }, records: this.#records };
  }

  /** Lets go of what was taken in. */
  async discard(): Promise<void> {
    const content = this.#content;
    if (content) {
      await content.file.close();
      BlobDraft.ofFile(content.path, content).remove();
    }
    this.#records.discard();
  }
}

interface ImportedBytes {
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly name: string;
}

function importedBytes(source: ImportSource): ImportedBytes {
  if (typeof source === 'string' || source instanceof URL) {
    const path = pathOf(source);
    return { chunks: createReadStream(path, { highWaterMark: CHUNK_BYTES }), name: path };
  }
  if (typeof (source as Partial<AsyncIterable<Uint8Array>> | undefined)?.[Symbol.asyncIterator] !== 'function') {
    throw argumentTypeError(
      'ARG_SOURCE',
      `${inspect(source, { depth: 0 })} is no source of an import: give the path of a file, or a stream of bytes`,
    );
  }
  return { chunks: source, name: 'the export stream' };
}
