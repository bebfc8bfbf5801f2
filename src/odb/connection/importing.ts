import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { inspect } from 'node:util';
import { argumentTypeError, crc32 } from '../../base/index.js';
import { CorruptionError, StorageError } from '../errors.js';
import { type Oid, ZERO_TID } from '../ids.js';
import { BlobDraft, temporaryPath } from '../persistent/blob/blob-draft.js';
import { type ParsedRecord, readRecord, withReferences } from '../serialize/record.js';
import type { RecordReference } from '../serialize/references.js';
import { requireContent } from '../storage/blob/blob-file.js';
import { type BlobInfo, blobOf, encodeBlobRecord } from '../storage/blob/blob-info.js';
import type { Storage } from '../storage/storage.js';
import { type ExportedRecord, type ExportPart, readExport } from './export-format.js';
import { refuseForeign } from './exporting.js';
import type { TemporaryRecord } from './temporary-store.js';
import { CHUNK_BYTES, pathOf, Tally, type TransferOptions } from './transfer.js';

/** Where an import comes from. */
export type ImportSource = string | URL | AsyncIterable<Uint8Array>;

/** What an import brings: records with oids of this database. */
export interface ImportedObjects {
  readonly top: RecordReference;
  readonly records: ReadonlyMap<Oid, TemporaryRecord>;
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
  readonly #records = new Map<Oid, TemporaryRecord>();
  /** Oids of the file, and those that stand for them here. */
  readonly #oids = new Map<Oid, Oid>();
  /** Oids of the file whose records have not come yet, and what leads to each. */
  readonly #missing = new Map<Oid, string>();
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
    this.#missing.set(part.top, 'its head');
  }

  async #takeRecord({ oid, data }: ExportedRecord): Promise<void> {
    const own = this.#translate(oid);
    if (this.#records.has(own)) throw new CorruptionError(`${this.#name} has the record of oid ${oid} twice`, { oid });
    const parsed = this.#parse(data, oid);
    this.#missing.delete(oid);
    this.#tally.record(data.length);
    if (oid === this.#top) this.#topClassName = parsed.className;
    const info = blobOf(data);
    if (info) {
      this.#records.set(own, { data, serial: ZERO_TID });
      const path = temporaryPath(this.#storage.temporaryDirectory);
      this.#content = { oid, info, path, file: await open(path, 'wx', 0o600), size: 0, crc: 0 };
      if (info.size === 0) await this.#endContent(this.#content);
      return;
    }
    const references = parsed.references.map((reference) => {
      refuseForeign(reference, oid);
      const translated = this.#translate(reference.oid);
      if (reference.kind === 'strong' && !this.#records.has(translated) && reference.oid !== oid) {
        this.#missing.set(reference.oid, `the record of oid ${oid}`);
      }
      return { ...reference, oid: translated };
    });
    this.#records.set(own, { data: withReferences(parsed, references), serial: ZERO_TID });
  }

  #translate(oid: Oid): Oid {
    let own = this.#oids.get(oid);
    if (own === undefined) {
      own = this.#storage.newOid();
      this.#oids.set(oid, own);
    }
    return own;
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
    this.#records.set(this.#translate(oid), { data: encodeBlobRecord(draft.info), serial: ZERO_TID, draft });
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
    for (const [oid, from] of this.#missing) {
      throw new CorruptionError(`${this.#name} has no record of oid ${oid}, to which ${from} leads`, { oid });
    }
    this.#tally.tell();
    const top = this.#translate(this.#top as Oid);
    return { top: { oid: top, className: this.#topClassName, kind: 'strong' }, records: this.#records };
  }

  /** Removes the contents that were made. */
  async discard(): Promise<void> {
    const content = this.#content;
    if (content) {
      await content.file.close();
      BlobDraft.ofFile(content.path, content).remove();
    }
    discardImport(this.#records);
  }
}

/** Removes the contents of an import that is not wanted. */
export function discardImport(records: ReadonlyMap<Oid, TemporaryRecord>): void {
  for (const { draft } of records.values()) draft?.remove();
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
