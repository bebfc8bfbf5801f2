import { Readable } from 'node:stream';
import {
  argumentTypeError,
  asBuffer,
  crc32,
  readUint32,
  readUint64,
  writeUint32,
  writeUint64,
} from '../../base/index.js';
import { CorruptionError, FormatVersionError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';

/*
 * The layout of an export file. Numbers are big-endian.
 *
 *     head     magic(8) version(1) oid(8) tid(8) crc(4)               the top object; what is shown is the state before this tid
 *     entries  kind(1) oid(8) length(4) crc(4) bytes(length) crc(4)   kind 1: the record of an object; kind 2: a piece of the content of the
 *                                                                     blob whose record came last; as many pieces as make up its size
 *     end      0(1) count(8) 0(4) crc(4)                              as many entries were before it
 *
 * Each crc is the CRC-32 of the whole file before it, but for the other crcs: whatever was flipped, left out, put in or moved is noticed at
 * the next one, and a length is believed only after its own. The magic holds both ends of lines, so that one is noticed that was
 * "translated" on its way. Oids are those of the database that it came from; they mean something within the file alone.
 */

const MAGIC = Buffer.from('\x89HFX\r\n\x1a\n', 'latin1');
const VERSION = 1;
const END = 0;
const RECORD = 1;
const CONTENT = 2;

const CRC_BYTES = 4;
const HEAD_BYTES = MAGIC.length + 17;
const ENTRY_HEAD_BYTES = 13;

/** What an export file says first. */
export interface ExportHead {
  readonly kind: 'head';
  /** The object that all others are reached from. */
  readonly top: Oid;
  /** The file shows the state before this transaction. */
  readonly before: Tid;
}

/** The record of an object. */
export interface ExportedRecord {
  readonly kind: 'record';
  readonly oid: Oid;
  readonly data: Buffer;
}

/** A piece of the content of a blob, whose record comes before it. */
export interface ExportedContent {
  readonly kind: 'content';
  readonly oid: Oid;
  readonly data: Buffer;
}

/** What an export file consists of. */
export type ExportPart = ExportHead | ExportedRecord | ExportedContent;

/** Writes the parts of an export file, in their order. */
export class ExportWriter {
  #crc = 0;
  #count = 0;

  head(top: Oid, before: Tid): Buffer {
    const bytes = Buffer.allocUnsafe(HEAD_BYTES + CRC_BYTES);
    MAGIC.copy(bytes);
    bytes[MAGIC.length] = VERSION;
    writeUint64(bytes, MAGIC.length + 1, top);
    writeUint64(bytes, MAGIC.length + 9, before);
    this.#sign(bytes, 0, HEAD_BYTES);
    return bytes;
  }

  record(oid: Oid, data: Uint8Array): Buffer {
    return this.#entry(RECORD, oid, data);
  }

  /** A piece of the content of the blob whose record was written last. */
  content(oid: Oid, data: Uint8Array): Buffer {
    return this.#entry(CONTENT, oid, data);
  }

  #entry(kind: number, oid: Oid, data: Uint8Array): Buffer {
    this.#count++;
    const start = ENTRY_HEAD_BYTES + CRC_BYTES;
    const bytes = Buffer.allocUnsafe(start + data.length + CRC_BYTES);
    this.#entryHead(bytes, kind, oid, data.length);
    bytes.set(data, start);
    this.#sign(bytes, start, start + data.length);
    return bytes;
  }

  end(): Buffer {
    const bytes = Buffer.allocUnsafe(ENTRY_HEAD_BYTES + CRC_BYTES);
    this.#entryHead(bytes, END, this.#count, 0);
    return bytes;
  }

  #entryHead(bytes: Buffer, kind: number, number: number, length: number): void {
    bytes[0] = kind;
    writeUint64(bytes, 1, number);
    writeUint32(bytes, 9, length);
    this.#sign(bytes, 0, ENTRY_HEAD_BYTES);
  }

  #sign(bytes: Buffer, start: number, end: number): void {
    this.#crc = crc32(bytes.subarray(start, end), this.#crc);
    writeUint32(bytes, end, this.#crc);
  }
}

/**
 * Reads an export file: its head, then its records. All has been checked once it ends; what it gave before that may be part of a file
 * that is damaged further on.
 *
 * @param name what the file is called in messages
 * @throws FormatVersionError for what is no export file, or one of a later version. CorruptionError for one that is damaged, or
 * incomplete; it says where. The reason of `signal`, also while the source gives nothing.
 */
export async function* readExport(
  source: AsyncIterable<Uint8Array>,
  name: string,
  signal?: AbortSignal,
): AsyncGenerator<ExportPart> {
  const bytes = new CheckedBytes(source, name, signal);
  try {
    yield await readHead(bytes, name);
    yield* readEntries(bytes, name);
  } finally {
    await bytes.close();
  }
}

async function* readEntries(bytes: CheckedBytes, name: string): AsyncGenerator<ExportedRecord | ExportedContent> {
  for (let count = 0; ; count++) {
    const at = bytes.offset;
    const place = `the head of entry ${count + 1}`;
    if (!bytes.has(ENTRY_HEAD_BYTES + CRC_BYTES)) await bytes.fill(ENTRY_HEAD_BYTES + CRC_BYTES, place);
    const head = bytes.take(ENTRY_HEAD_BYTES, place);
    const kind = head[0] as number;
    const number = safeUint64(head, 1, `${name}, at byte ${at}`);
    const length = readUint32(head, 9);
    if (kind === END) {
      if (number !== count) {
        throw new CorruptionError(`${name} has ${count} entries, and says at byte ${at} that it has ${number}`);
      }
      await bytes.requireEnd();
      return;
    }
    if (kind !== RECORD && kind !== CONTENT) {
      throw new FormatVersionError(
        `${name} has an entry of kind ${kind} at byte ${at}, which this holdfast does not know: use the version that wrote it, or a later one`,
      );
    }
    const oid = number as Oid;
    const what = kind === RECORD ? `the record of oid ${oid}` : `the content of blob oid ${oid}`;
    if (!bytes.has(length + CRC_BYTES)) await bytes.fill(length + CRC_BYTES, what);
    yield { kind: kind === RECORD ? 'record' : 'content', oid, data: bytes.take(length, what, oid) };
  }
}

async function readHead(bytes: CheckedBytes, name: string): Promise<ExportHead> {
  const start = MAGIC.length + 1;
  await bytes.fill(start, 'its head', (found) => {
    if (!MAGIC.subarray(0, found.length).equals(found.subarray(0, MAGIC.length))) throw foreign(name);
  });
  const version = bytes.peek(MAGIC.length);
  if (version !== VERSION) {
    throw new FormatVersionError(
      `${name} has version ${version}, this holdfast reads version ${VERSION}: use the version that wrote it, or a later one`,
    );
  }
  await bytes.fill(HEAD_BYTES + CRC_BYTES, 'its head');
  const head = bytes.take(HEAD_BYTES, 'its head');
  return {
    kind: 'head',
    top: safeUint64(head, start, name) as Oid,
    before: safeUint64(head, start + 8, name) as Tid,
  };
}

function foreign(name: string): FormatVersionError {
  return new FormatVersionError(
    `${name} is no export file of holdfast: such a file is written by exportFile or holdfast export`,
  );
}

function safeUint64(bytes: Buffer, offset: number, place: string): number {
  const value = readUint64(bytes, offset);
  if (!Number.isSafeInteger(value)) throw new CorruptionError(`${place}: ${value} is no oid, tid or count`);
  return value;
}

/** Takes bytes off a stream, each piece with its checksum. */
class CheckedBytes {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #name: string;
  readonly #signal: AbortSignal | undefined;
  /** Rejects when the signal aborts. */
  readonly #aborted: Promise<never> | undefined;
  #buffer: Buffer = Buffer.alloc(0);
  #at = 0;
  /** Where `#buffer` begins in the stream. */
  #base = 0;
  #crc = 0;
  /** Ends the listening for the signal. */
  readonly #done = new AbortController();

  constructor(source: AsyncIterable<Uint8Array>, name: string, signal: AbortSignal | undefined) {
    this.#chunks = source[Symbol.asyncIterator]();
    this.#name = name;
    this.#signal = signal;
    if (!signal) return;
    this.#aborted = new Promise((_, reject) => {
      const stop = () => {
        // What waits for a chunk cannot be told to return: it would wait all the same.
        if (source instanceof Readable) source.destroy();
        reject(signal.reason);
      };
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true, signal: this.#done.signal });
    });
    this.#aborted.catch(() => {});
  }

  /** How many bytes were taken. */
  get offset(): number {
    return this.#base + this.#at;
  }

  has(count: number): boolean {
    return this.#buffer.length - this.#at >= count;
  }

  /** A byte that is there, not taken. */
  peek(index: number): number {
    return this.#buffer[this.#at + index] as number;
  }

  /**
   * Waits until so many bytes are there.
   *
   * @param look is shown what is there, before its being too little is told of
   * @throws CorruptionError when the stream ends before.
   */
  async fill(count: number, what: string, look: (found: Buffer) => void = () => {}): Promise<void> {
    const parts = [this.#buffer.subarray(this.#at)];
    let length = (parts[0] as Buffer).length;
    let isOver = false;
    while (length < count && !isOver) {
      const chunk = await this.#next();
      if (!chunk) isOver = true;
      else {
        parts.push(chunk);
        length += chunk.length;
      }
    }
    this.#base += this.#at;
    this.#at = 0;
    this.#buffer = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    look(this.#buffer);
    if (length < count) {
      throw new CorruptionError(
        `${this.#name} is incomplete: it ends at byte ${this.#base + length}, within ${what}; export it again`,
      );
    }
  }

  /** Takes bytes, and the checksum after them, that are there. @throws CorruptionError when they do not agree. */
  take(count: number, what: string, oid?: Oid): Buffer {
    const end = this.#at + count;
    const bytes = this.#buffer.subarray(this.#at, end);
    this.#crc = crc32(bytes, this.#crc);
    if (this.#crc !== readUint32(this.#buffer, end)) {
      throw new CorruptionError(
        `${this.#name} is damaged at byte ${this.offset}, in ${what}: its checksum does not agree; export it again`,
        oid === undefined ? {} : { oid },
      );
    }
    this.#at = end + CRC_BYTES;
    return bytes;
  }

  /** @throws CorruptionError when more follows. */
  async requireEnd(): Promise<void> {
    if (this.has(1) || (await this.#next())) {
      throw new CorruptionError(`${this.#name} is damaged: it goes on at byte ${this.offset}, after its end`);
    }
  }

  /** Lets go of the stream. */
  async close(): Promise<void> {
    this.#done.abort();
    const ended = this.#chunks.return?.();
    if (!this.#signal?.aborted) await ended;
  }

  async #next(): Promise<Buffer | undefined> {
    for (;;) {
      const next = this.#chunks.next();
      const { done, value } = await (this.#aborted ? Promise.race([next, this.#aborted]) : next);
      if (done) return undefined;
      if (!(value instanceof Uint8Array)) {
        throw argumentTypeError('ARG_SOURCE', `${this.#name} gives ${typeof value}s, not bytes: set no encoding`);
      }
      if (value.length > 0) return asBuffer(value);
    }
  }
}
