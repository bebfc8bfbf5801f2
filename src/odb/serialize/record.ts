import { asBuffer, readUtf8 } from '../../base/index.js';
import { CorruptionError, FormatVersionError } from '../errors.js';
import { type Oid, toOid } from '../ids.js';
import { BLOB_CLASS, blobOf } from '../storage/blob/blob-info.js';
import type { RecordReference } from './references.js';

/*
 * The layout of a record:
 *
 *     version      1 byte: 1
 *     names        count, then each: length, UTF-8. The first is the class of the object; then the other classes that references
 *                  name, and names of databases
 *     references   count, then each: oid, index of the class name × 4 + kind, and for the kinds 2 and 3 the index of the database's
 *                  name. Kinds: 0 strong, 1 weak, 2 strong in another database, 3 weak in another database
 *     state        MessagePack (see state-format.ts), to the end
 *
 * The record of a blob has a layout of its own: see blob-info.ts.
 *
 * All numbers are varints: seven bits a byte, the least significant first, the eighth bit set where more follow. Pack, prefetch, export
 * and verification read the table of references alone, and need no class.
 */

/** The version that is written. */
export const RECORD_VERSION = 1;

/** A record taken apart, its state not decoded. */
export interface ParsedRecord {
  readonly className: string;
  readonly references: readonly RecordReference[];
  readonly bytes: Buffer;
  /** Where the state begins; 0 in the record of a blob, which has none. */
  readonly stateOffset: number;
}

const NO_REFERENCES: readonly RecordReference[] = [];
const NAME_CACHE_MAX = 4096;
const nameCache = new Map<number, string>();

/**
 * Takes a record apart.
 *
 * @throws FormatVersionError for a version that this one does not know. CorruptionError for bytes that are no record.
 */
export function readRecord(data: Uint8Array): ParsedRecord {
  const bytes = asBuffer(data);
  if (bytes.length === 0) throw new CorruptionError('a record is empty');
  if (bytes[0] !== RECORD_VERSION) {
    if (blobOf(bytes)) return { className: BLOB_CLASS, references: NO_REFERENCES, bytes, stateOffset: 0 };
    throw new FormatVersionError(
      `a record has version ${bytes[0]}, this holdfast reads version ${RECORD_VERSION}: use the version that wrote it, or a later one`,
    );
  }
  let at = 1;
  const varint = (): number => {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = bytes[at++];
      if (byte === undefined || factor > 2 ** 49) throw new CorruptionError('a record ends within its tables');
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 128;
    }
  };
  const name = (): string => {
    const length = varint();
    const start = at;
    at += length;
    if (at > bytes.length) throw new CorruptionError('a record ends within a name');
    return textOf(bytes, start, at);
  };
  const nameCount = varint();
  if (nameCount === 0 || nameCount > bytes.length) throw new CorruptionError('a record names no class');
  const className = name();
  let names: string[] | undefined;
  if (nameCount > 1) {
    names = [className];
    for (let i = 1; i < nameCount; i++) names.push(name());
  }
  const referenceCount = varint();
  if (referenceCount > bytes.length) throw new CorruptionError('a record has more references than bytes');
  let references = NO_REFERENCES;
  if (referenceCount > 0) {
    const list: RecordReference[] = [];
    const nameAt = (index: number): string => {
      const found = index === 0 ? className : names?.[index];
      if (found === undefined) throw new CorruptionError(`a record has no name ${index}`);
      return found;
    };
    for (let i = 0; i < referenceCount; i++) {
      const oid = varint();
      if (!Number.isSafeInteger(oid)) throw new CorruptionError('a record has a reference whose oid is none');
      const code = varint();
      const kind = (code & 1) === 1 ? 'weak' : 'strong';
      const cls = nameAt(Math.floor(code / 4));
      list.push(
        (code & 2) === 2
          ? { oid: toOid(oid), className: cls, kind, databaseName: nameAt(varint()) }
          : { oid: oid as Oid, className: cls, kind },
      );
    }
    references = list;
  }
  return { className, references, bytes, stateOffset: at };
}

/** Texts of names, by a hash of their bytes: the same few occur in all records. */
function textOf(bytes: Buffer, start: number, end: number): string {
  let hash = end - start;
  for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + (bytes[i] as number)) | 0;
  const cached = nameCache.get(hash);
  if (cached !== undefined && cached.length === end - start) {
    let i = 0;
    while (i < cached.length && cached.charCodeAt(i) === bytes[start + i]) i++;
    if (i === cached.length) return cached;
  }
  const text = readUtf8(bytes, start, end);
  if (nameCache.size < NAME_CACHE_MAX) nameCache.set(hash, text);
  return text;
}

/** What stands before the states of objects that refer to nothing, by their classes: nearly all of it is the same few. */
const leafHeads = new Map<string, Buffer>();

/** Puts a record together from its class, its references, and the bytes of its state. */
export function buildRecord(
  className: string,
  references: readonly RecordReference[],
  state: Buffer,
  stateBytes: number,
): Buffer {
  const head = references.length === 0 ? leafHead(className) : encodeHead(className, references);
  const record = Buffer.allocUnsafe(head.length + stateBytes);
  record.set(head);
  record.set(state.subarray(0, stateBytes), head.length);
  return record;
}

function leafHead(className: string): Buffer {
  let head = leafHeads.get(className);
  if (!head) {
    head = Buffer.from(encodeHead(className, NO_REFERENCES));
    if (leafHeads.size < NAME_CACHE_MAX) leafHeads.set(className, head);
  }
  return head;
}

const TABLES_BYTES = 4096;
let tables = Buffer.allocUnsafeSlow(TABLES_BYTES);

/** The version and the tables of a record, in bytes that the next call uses again. */
function encodeHead(className: string, references: readonly RecordReference[]): Buffer {
  let at = 0;
  const reserve = (bytes: number) => {
    if (at + bytes <= tables.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(tables.length * 2, at + bytes));
    larger.set(tables.subarray(0, at));
    tables = larger;
  };
  const varint = (value: number) => {
    reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      tables[at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    tables[at++] = rest;
  };
  const name = (text: string) => {
    const bytes = Buffer.byteLength(text);
    varint(bytes);
    reserve(bytes);
    at += tables.write(text, at);
  };
  reserve(1);
  tables[at++] = RECORD_VERSION;
  const names = [className];
  const indexOf = (text: string): number => {
    const index = names.indexOf(text);
    return index < 0 ? names.push(text) - 1 : index;
  };
  for (const reference of references) {
    indexOf(reference.className);
    if (reference.databaseName !== undefined) indexOf(reference.databaseName);
  }
  varint(names.length);
  for (const text of names) name(text);
  varint(references.length);
  for (const { oid, className: cls, kind, databaseName } of references) {
    varint(oid);
    varint(indexOf(cls) * 4 + (kind === 'weak' ? 1 : 0) + (databaseName === undefined ? 0 : 2));
    if (databaseName !== undefined) varint(indexOf(databaseName));
  }
  return tables.subarray(0, at);
}

/** The same record with other references in the same places: its state is not touched. */
export function withReferences(record: ParsedRecord, references: readonly RecordReference[]): Buffer {
  const { className, bytes, stateOffset } = record;
  return buildRecord(className, references, bytes.subarray(stateOffset), bytes.length - stateOffset);
}
