import { readUtf8 } from '../../base/index.js';
import { CorruptionError, UnregisteredError } from '../errors.js';
import { resolveName } from './registry.js';
import { BYTE_KINDS, DEPTH_MAX, EXT } from './state-format.js';

const KEY_CACHE_COUNT = 2048;
const KEY_CACHED_MAX = 24;

const NO_BYTES = Buffer.alloc(0);
const NOTHING: unknown[] = [];

/** Texts of keys that were read before: records of one class repeat them. */
const keyCache: (string | undefined)[] = new Array(KEY_CACHE_COUNT);

/** What to make of a class or function name that nothing has here. */
export type UnknownName = (name: string) => unknown;

/** Reads states. */
export class StateDecoder {
  #buffer: Buffer = NO_BYTES;
  #at = 0;
  #end = 0;
  #depth = 0;
  #references: readonly unknown[] = NOTHING;
  #containers: unknown[] = NOTHING;
  #unknownName: UnknownName = refuseUnknownName;

  /**
   * Reads one value that fills `bytes` from `start` to the end.
   *
   * @throws CorruptionError for bytes that are no state. UnregisteredError for a name that nothing has here.
   */
  read(
    bytes: Buffer,
    start: number,
    references: readonly unknown[],
    unknownName: UnknownName = refuseUnknownName,
  ): unknown {
    this.#buffer = bytes;
    this.#at = start;
    this.#end = bytes.length;
    this.#depth = 0;
    this.#references = references;
    this.#containers = [];
    this.#unknownName = unknownName;
    try {
      const value = this.#value();
      if (this.#at !== this.#end) throw this.#damaged('there are bytes after its end');
      return value;
    } finally {
      // A decoder waits for the next record, and must not keep the objects of this one alive.
      this.#buffer = NO_BYTES;
      this.#references = this.#containers = NOTHING;
    }
  }

  #value(): unknown {
    const byte = this.#byte();
    if (byte < 0x80) return byte;
    if (byte < 0x90) return this.#object(byte & 0x0f);
    if (byte < 0xa0) return this.#array(byte & 0x0f);
    if (byte < 0xc0) return this.#text(byte & 0x1f);
    if (byte >= 0xe0) return byte - 0x100;
    switch (byte) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xcb:
        return this.#float64();
      case 0xcc:
        return this.#byte();
      case 0xcd:
        return this.#uint(2);
      case 0xce:
        return this.#uint(4);
      case 0xd2:
        return this.#uint(4) | 0;
      case 0xd4:
        return this.#smallExtension(1);
      case 0xd5:
        return this.#smallExtension(2);
      case 0xd6:
        return this.#smallExtension(4);
      case 0xd7:
        return this.#date();
      case 0xd9:
        return this.#text(this.#byte());
      case 0xda:
        return this.#text(this.#uint(2));
      case 0xdb:
        return this.#text(this.#uint(4));
      case 0xdc:
        return this.#array(this.#uint(2));
      case 0xdd:
        return this.#array(this.#uint(4));
      case 0xde:
        return this.#object(this.#uint(2));
      case 0xdf:
        return this.#object(this.#uint(4));
      case 0xc9:
        return this.#extension();
      default:
        throw this.#damaged(`it has no type 0x${byte.toString(16)}`);
    }
  }

  #byte(): number {
    if (this.#at >= this.#end) throw this.#damaged('it ends too early');
    return this.#buffer[this.#at++] as number;
  }

  #uint(bytes: 2 | 4): number {
    const at = this.#take(bytes);
    return bytes === 2 ? this.#buffer.readUInt16BE(at) : this.#buffer.readUInt32BE(at);
  }

  #float64(): number {
    return this.#buffer.readDoubleBE(this.#take(8));
  }

  /** Moves over `count` bytes; returns where they begin. */
  #take(count: number): number {
    const at = this.#at;
    if (at + count > this.#end) throw this.#damaged('it ends too early');
    this.#at = at + count;
    return at;
  }

  #text(bytes: number): string {
    const at = this.#take(bytes);
    return readUtf8(this.#buffer, at, at + bytes);
  }

  /** Text that is likely to have been read before. */
  #key(): string {
    const byte = this.#byte();
    if (byte < 0xa0 || byte >= 0xa0 + KEY_CACHED_MAX) {
      this.#at--;
      const key = this.#value();
      if (typeof key !== 'string') throw this.#damaged('a key is no text');
      return key;
    }
    const count = byte & 0x1f;
    const at = this.#take(count);
    const buffer = this.#buffer;
    let hash = count;
    for (let i = 0; i < count; i++) hash = (Math.imul(hash, 31) + (buffer[at + i] as number)) | 0;
    const slot = hash & (KEY_CACHE_COUNT - 1);
    const cached = keyCache[slot];
    if (cached !== undefined && cached.length === count) {
      let i = 0;
      while (i < count && cached.charCodeAt(i) === buffer[at + i]) i++;
      if (i === count) return cached;
    }
    const key = readUtf8(buffer, at, at + count);
    if (key.length === count) keyCache[slot] = key;
    return key;
  }

  #array(count: number): unknown[] {
    if (count > this.#end - this.#at) throw this.#damaged('it ends too early');
    const array: unknown[] = new Array(count);
    this.#begin(array);
    for (let i = 0; i < count; i++) array[i] = this.#value();
    this.#depth--;
    return array;
  }

  #object(count: number): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    this.#begin(object);
    for (let i = 0; i < count; i++) this.#field(object);
    this.#depth--;
    return object;
  }

  #field(object: Record<string, unknown>): void {
    const key = this.#key();
    const value = this.#value();
    if (key === '__proto__') {
      Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
    } else object[key] = value;
  }

  #begin(container: unknown): void {
    if (++this.#depth > DEPTH_MAX) throw this.#damaged(`it is nested more than ${DEPTH_MAX} deep`);
    this.#containers.push(container);
  }

  #smallExtension(bytes: 1 | 2 | 4): unknown {
    const type = this.#byte();
    const index = bytes === 1 ? this.#byte() : this.#uint(bytes);
    switch (type) {
      case EXT.reference:
        if (index >= this.#references.length) throw this.#damaged(`it has no reference ${index}`);
        return this.#references[index];
      case EXT.back:
        if (index >= this.#containers.length) throw this.#damaged(`it has no container ${index}`);
        return this.#containers[index];
      case EXT.undefined:
        return undefined;
      default:
        throw this.#damaged(`it has no extension type ${type}`);
    }
  }

  #date(): Date {
    if (this.#byte() !== EXT.date) throw this.#damaged('eight bytes are no date');
    const date = new Date(this.#float64());
    this.#containers.push(date);
    return date;
  }

  #extension(): unknown {
    const bytes = this.#uint(4);
    const type = this.#byte();
    const end = this.#at + bytes;
    if (end > this.#end) throw this.#damaged('it ends too early');
    const value = this.#extensionValue(type, end);
    if (this.#at !== end) throw this.#damaged(`an extension of type ${type} has a wrong length`);
    return value;
  }

  #extensionValue(type: number, end: number): unknown {
    switch (type) {
      case EXT.map: {
        const map = new Map<unknown, unknown>();
        this.#begin(map);
        while (this.#at < end) {
          const key = this.#value();
          map.set(key, this.#value());
        }
        this.#depth--;
        return map;
      }
      case EXT.set: {
        const set = new Set<unknown>();
        this.#begin(set);
        while (this.#at < end) set.add(this.#value());
        this.#depth--;
        return set;
      }
      case EXT.bigint: {
        const sign = this.#byte();
        const hex = this.#buffer.toString('hex', this.#take(end - this.#at), end);
        const magnitude = BigInt(`0x${hex || '0'}`);
        return sign === 1 ? -magnitude : magnitude;
      }
      case EXT.regexp:
      case EXT.url: {
        const index = this.#containers.push(undefined) - 1;
        const text = this.#string();
        const value = type === EXT.url ? this.#url(text) : this.#regexp(text, this.#string());
        this.#containers[index] = value;
        return value;
      }
      case EXT.bytes:
        return this.#binary(end);
      case EXT.named: {
        const name = this.#string();
        return resolveName(name) ?? this.#unknownName(name);
      }
      case EXT.instance:
      case EXT.error:
        return this.#instance(type, end);
      case EXT.bare: {
        const bare = Object.create(null) as Record<string, unknown>;
        this.#begin(bare);
        while (this.#at < end) this.#field(bare);
        this.#depth--;
        return bare;
      }
      default:
        throw this.#damaged(`it has no extension type ${type}`);
    }
  }

  #string(): string {
    const value = this.#value();
    if (typeof value !== 'string') throw this.#damaged('text is missing');
    return value;
  }

  #url(text: string): URL {
    if (!URL.canParse(text)) throw this.#damaged('a URL is none');
    return new URL(text);
  }

  #regexp(source: string, flags: string): RegExp {
    try {
      return new RegExp(source, flags);
    } catch {
      throw this.#damaged('a pattern is none');
    }
  }

  #binary(end: number): unknown {
    const kind = BYTE_KINDS[this.#byte()];
    const start = this.#take(end - this.#at);
    // A copy: typed arrays want their own alignment, and the record need not live as long as they do.
    const bytes = Uint8Array.prototype.slice.call(this.#buffer, start, end);
    const { buffer } = new Uint8Array(bytes);
    const value = kind === undefined ? undefined : bytesOfKind(kind, buffer);
    if (value === undefined) throw this.#damaged('it has bytes of an unknown kind');
    this.#containers.push(value);
    return value;
  }

  #instance(type: number, end: number): object {
    const index = this.#containers.length;
    if (++this.#depth > DEPTH_MAX) throw this.#damaged(`it is nested more than ${DEPTH_MAX} deep`);
    this.#containers.push(undefined);
    const name = this.#string();
    const named = resolveName(name) as { prototype?: object } | undefined;
    const cls = isPlainClass(named) ? named : (this.#unknownName(name) as { prototype?: object });
    let object: Record<string, unknown>;
    if (type === EXT.error) {
      // An error proper is one that the constructor of Error made.
      object = new Error() as unknown as Record<string, unknown>;
      Object.setPrototypeOf(object, cls.prototype ?? Error.prototype);
      delete object['stack'];
    } else object = Object.create(cls.prototype ?? Object.prototype) as Record<string, unknown>;
    this.#containers[index] = object;
    while (this.#at < end) {
      const key = this.#key();
      const hidden = type === EXT.error && HIDDEN_OF_ERRORS.has(key);
      const value = this.#value();
      Object.defineProperty(object, key, { value, writable: true, enumerable: !hidden, configurable: true });
    }
    this.#depth--;
    return object;
  }

  #damaged(why: string): CorruptionError {
    return new CorruptionError(`a state cannot be read at byte ${this.#at}: ${why}`);
  }
}

const HIDDEN_OF_ERRORS = new Set(['message', 'stack', 'cause', 'errors', 'name']);

/** Whether plain values of it can be stored: it is no mere function, nor has become a persistent class since. */
function isPlainClass(named: { prototype?: object } | undefined): named is { prototype: object } {
  return named?.prototype !== undefined && !('_p_oid' in named.prototype);
}

function refuseUnknownName(name: string): never {
  throw new UnregisteredError(
    resolveName(name) === undefined
      ? `'${name}' names nothing in this process: import the module that registers it with persistable('${name.split('.')[0]}', …)`
      : `'${name}' is no class of plain values in this process, and a record has one: give what has the name now another one`,
    { persistentName: name },
  );
}

function bytesOfKind(kind: (typeof BYTE_KINDS)[number], buffer: ArrayBuffer): unknown {
  switch (kind) {
    case 'ArrayBuffer':
      return buffer;
    case 'DataView':
      return new DataView(buffer);
    case 'Buffer':
      return Buffer.from(buffer);
    default: {
      const cls = globalThis[kind] as { new (buffer: ArrayBuffer): unknown; BYTES_PER_ELEMENT: number };
      return buffer.byteLength % cls.BYTES_PER_ELEMENT === 0 ? new cls(buffer) : undefined;
    }
  }
}
