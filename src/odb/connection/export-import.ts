import { createReadStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { argumentTypeError } from '../../base/index.js';
import { CorruptionError, InvalidObjectReference, POSKeyError, StorageError } from '../errors.js';
import { type Oid, type Tid, ZERO_TID } from '../ids.js';
import { readRecord, withReferences } from '../serialize/record.js';
import type { RecordReference } from '../serialize/references.js';
import { OidSet } from '../storage/pack/oid-set.js';
import type { Storage } from '../storage/storage.js';
import { type ExportedRecord, ExportWriter, readExport } from './export-format.js';
import type { TemporaryRecord } from './temporary-store.js';

/** How far an export or an import is. */
export interface TransferProgress {
  readonly objects: number;
  /** Bytes of their records. */
  readonly bytes: number;
}

/** Options of {@link Connection.exportFile} and {@link Connection.importFile}. */
export interface TransferOptions {
  /** Stops it. */
  readonly signal?: AbortSignal | undefined;
  /** Told how far it is, now and then and at the end. */
  readonly onProgress?: ((progress: TransferProgress) => void) | undefined;
}

/** Where an export goes: a file, which is there whole or not at all; or a stream, which is ended. */
export type ExportDestination = string | URL | Writable;

/** Where an import comes from. */
export type ImportSource = string | URL | AsyncIterable<Uint8Array>;

/** What is exported, and how it is read. */
export interface ExportRequest extends TransferOptions {
  readonly storage: Storage;
  readonly top: Oid;
  /** The export shows the state before this transaction. */
  readonly before: Tid;
}

/** Objects whose records are asked for together. */
const BATCH_OBJECTS = 500;
/** Bytes that are passed on together. */
const CHUNK_BYTES = 256 * 1024;

// ---------------------------------------------------------------- export

/** The bytes of an export, as a stream. */
export function exportStream(request: ExportRequest): Readable {
  return Readable.from(exportChunks(request, new Tally(request)), { objectMode: false });
}

/** Writes an export. Resolves to what it holds. */
export async function exportTo(request: ExportRequest, destination: ExportDestination): Promise<TransferProgress> {
  const tally = new Tally(request);
  const chunks = exportChunks(request, tally);
  if (typeof destination === 'string' || destination instanceof URL) await writeFile(chunks, pathOf(destination));
  else await writeStream(chunks, destination, request.signal);
  return tally.progress;
}

/** @throws TypeError (`ARG_DESTINATION`) */
export function requireDestination(destination: unknown): void {
  if (typeof destination === 'string' || destination instanceof URL) return;
  if (typeof (destination as Writable | undefined)?.write === 'function') return;
  throw argumentTypeError(
    'ARG_DESTINATION',
    `${inspect(destination, { depth: 0 })} is no place for an export: give the path of a file, or a stream to write to`,
  );
}

/** Everything that the top object reaches, itself first. */
async function* exportChunks(request: ExportRequest, tally: Tally): AsyncGenerator<Buffer> {
  const { storage, top, before } = request;
  const writer = new ExportWriter();
  const reached = new OidSet();
  const pending = new OidSet();
  let parts = [writer.head(top, before)];
  let bytes = 0;
  reached.add(top);
  for (let page = [top]; page.length > 0; page = pending.takePage()) {
    for (let start = 0; start < page.length; start += BATCH_OBJECTS) {
      const batch = page.slice(start, start + BATCH_OBJECTS);
      await storage.prefetch(batch, before);
      for (const oid of batch) {
        const data = exportedRecord(request, oid);
        for (const reference of readRecord(data).references) {
          refuseForeign(reference, oid);
          if (reference.kind === 'strong' && reached.add(reference.oid)) pending.add(reference.oid);
        }
        parts.push(writer.record(oid, data));
        bytes += data.length;
        tally.count(data.length);
        if (bytes < CHUNK_BYTES) continue;
        yield Buffer.concat(parts);
        parts = [];
        bytes = 0;
      }
    }
  }
  parts.push(writer.end());
  tally.end();
  yield Buffer.concat(parts);
}

function exportedRecord({ storage, top, before }: ExportRequest, oid: Oid): Uint8Array {
  try {
    const revision = storage.loadBefore(oid, before);
    if (revision) return revision.data;
  } catch (error) {
    if (!(error instanceof POSKeyError) || oid === top) throw error;
  }
  throw new POSKeyError(
    oid,
    oid === top
      ? 'it was made after the transaction began that is to export it'
      : `the object that is exported, oid ${top}, leads to it all the same; holdfast verify tells more`,
  );
}

function refuseForeign({ oid, databaseName }: RecordReference, from: Oid): void {
  if (databaseName === undefined) return;
  throw new InvalidObjectReference(
    `oid ${from} references oid ${oid} of the database '${databaseName}': an export holds objects of one database; ` +
      'take the reference out first',
  );
}

async function writeStream(
  chunks: AsyncIterable<Buffer>,
  destination: Writable,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await pipeline(chunks, destination, signal ? { signal } : {});
  } catch (error) {
    // Rather than the error of a pipeline that was stopped.
    signal?.throwIfAborted();
    throw error;
  }
}

/** Writes a file that is there once it is whole and on the disk. */
async function writeFile(chunks: AsyncIterable<Buffer>, path: string): Promise<void> {
  const part = `${path}.part`;
  const file = await open(part, 'w').catch((error: unknown) => {
    throw new StorageError(`the export file ${path} cannot be written: ${(error as Error).message}`, { cause: error });
  });
  try {
    try {
      for await (const chunk of chunks) await file.writeFile(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

// ---------------------------------------------------------------- import

/** What an import brings: records with oids of this database. */
export interface ImportedObjects {
  readonly top: RecordReference;
  readonly records: ReadonlyMap<Oid, TemporaryRecord>;
}

/**
 * Reads an export, and gives each object an oid of its own here. Classes need not be known: references are replaced in the records' tables.
 * A weak reference to what is not in the file becomes one to what is gone.
 *
 * @param newOid gives an oid that nobody has
 * @throws TypeError (`ARG_SOURCE`). StorageError for a file that cannot be read. FormatVersionError. CorruptionError.
 */
export async function readImport(
  source: ImportSource,
  newOid: () => Oid,
  options: TransferOptions,
): Promise<ImportedObjects> {
  const { chunks, name } = importedBytes(source);
  const records = new Map<Oid, TemporaryRecord>();
  /** Oids of the file, and those that stand for them here. */
  const oids = new Map<Oid, Oid>();
  /** Oids of the file whose records have not come yet, and what leads to each. */
  const missing = new Map<Oid, string>();
  const tally = new Tally(options);
  let top: Oid | undefined;
  let topClassName = '';
  const translate = (oid: Oid): Oid => {
    let own = oids.get(oid);
    if (own === undefined) {
      own = newOid();
      oids.set(oid, own);
    }
    return own;
  };
  const take = ({ oid, data }: ExportedRecord): void => {
    const own = translate(oid);
    if (records.has(own)) throw new CorruptionError(`${name} has the record of oid ${oid} twice`, { oid });
    const parsed = parse(data, oid, name);
    missing.delete(oid);
    const references = parsed.references.map((reference) => {
      refuseForeign(reference, oid);
      const translated = translate(reference.oid);
      if (reference.kind === 'strong' && !records.has(translated) && reference.oid !== oid) {
        missing.set(reference.oid, `the record of oid ${oid}`);
      }
      return { ...reference, oid: translated };
    });
    records.set(own, { data: withReferences(parsed, references), serial: ZERO_TID });
    if (oid === top) topClassName = parsed.className;
    tally.count(data.length);
  };
  try {
    for await (const part of readExport(chunks, name, options.signal)) {
      if (part.kind === 'record') take(part);
      else {
        top = part.top;
        missing.set(top, 'its head');
      }
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw new StorageError(`${name} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  for (const [oid, from] of missing) {
    throw new CorruptionError(`${name} has no record of oid ${oid}, to which ${from} leads`, { oid });
  }
  tally.end();
  return { top: { oid: translate(top as Oid), className: topClassName, kind: 'strong' }, records };
}

function parse(data: Buffer, oid: Oid, name: string): ReturnType<typeof readRecord> {
  try {
    return readRecord(data);
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    throw new CorruptionError(`${name}: the record of oid ${oid} does not decode: ${error.message}`, {
      oid,
      cause: error,
    });
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

function pathOf(place: string | URL): string {
  return typeof place === 'string' ? place : fileURLToPath(place);
}

// ---------------------------------------------------------------- both

/** Counts, tells how far it is now and then, and stops when it is told to. */
class Tally {
  readonly #options: TransferOptions;
  #objects = 0;
  #bytes = 0;

  constructor(options: TransferOptions) {
    this.#options = options;
    options.signal?.throwIfAborted();
  }

  get progress(): TransferProgress {
    return { objects: this.#objects, bytes: this.#bytes };
  }

  /** One more object. */
  count(bytes: number): void {
    this.#objects++;
    this.#bytes += bytes;
    if (this.#objects % 1000 !== 0) return;
    this.#options.signal?.throwIfAborted();
    this.end();
  }

  end(): void {
    this.#options.onProgress?.(this.progress);
  }
}
