import { Readable, type Writable } from 'node:stream';
import { inspect } from 'node:util';
import { argumentTypeError, crc32 } from '../../base/index.js';
import { InvalidObjectReference, POSKeyError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import { readRecord } from '../serialize/record.js';
import type { RecordReference } from '../serialize/references.js';
import { openBlobFile, requireContent } from '../storage/blob/blob-file.js';
import { type BlobInfo, blobOf } from '../storage/blob/blob-info.js';
import { OidSet } from '../storage/pack/oid-set.js';
import type { Storage } from '../storage/storage.js';
import { writeExportFile, writeStream } from './export-file.js';
import { ExportWriter } from './export-format.js';
import { CHUNK_BYTES, pathOf, Tally, type TransferOptions, type TransferProgress } from './transfer.js';

/** Where an export goes: a file, which is there whole or not at all; or a stream, which is ended. */
export type ExportDestination = string | URL | Writable;

/** What is exported, and how it is read. */
export interface ExportRequest extends TransferOptions {
  readonly storage: Storage;
  readonly top: Oid;
  /** The export shows the state before this transaction. */
  readonly before: Tid;
}

/** Objects whose records are asked for together. */
const BATCH_OBJECTS = 500;

/** The bytes of an export, as a stream. */
export function exportStream(request: ExportRequest): Readable {
  return Readable.from(exportChunks(request, new Tally(request)), { objectMode: false });
}

/** Writes an export. Resolves to what it holds. */
export async function exportTo(request: ExportRequest, destination: ExportDestination): Promise<TransferProgress> {
  const tally = new Tally(request);
  const chunks = exportChunks(request, tally);
  if (typeof destination === 'string' || destination instanceof URL)
    await writeExportFile(chunks, pathOf(destination), request.signal);
  else await writeStream(chunks, destination, request.signal);
  return tally.progress;
}

/** @throws TypeError (`ARG_DESTINATION`) */
export function requireDestination(destination: unknown): void {
  if ((typeof destination === 'string' && destination !== '') || destination instanceof URL) return;
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
        tally.record(data.length);
        const blob = blobOf(data);
        if (bytes < CHUNK_BYTES && !blob) continue;
        yield Buffer.concat(parts);
        parts = [];
        bytes = 0;
        if (!blob) continue;
        for await (const piece of contentOf(storage, oid, blob)) {
          tally.content(piece.length);
          yield writer.content(oid, piece);
        }
      }
    }
  }
  parts.push(writer.end());
  tally.tell();
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

/** @throws CorruptionError when it is not the content that was stored. */
async function* contentOf(storage: Storage, oid: Oid, info: BlobInfo): AsyncGenerator<Buffer> {
  const file = await openBlobFile(storage, oid, info);
  let size = 0;
  let crc = 0;
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, size);
      if (bytesRead === 0) break;
      const piece = buffer.subarray(0, bytesRead);
      size += bytesRead;
      crc = crc32(piece, crc);
      yield piece;
    }
  } finally {
    await file.close();
  }
  requireContent(oid, info, { size, crc });
}

/** @throws InvalidObjectReference for a reference to another database. */
export function refuseForeign({ oid, databaseName }: RecordReference, from: Oid): void {
  if (databaseName === undefined) return;
  throw new InvalidObjectReference(
    `oid ${from} references oid ${oid} of the database '${databaseName}': an export holds objects of one database; ` +
      'take the reference out first',
  );
}
