import { inspect, types } from 'node:util';
import type { BaseError } from '../../base/index.js';
import { SerializationError, UnregisteredError } from '../errors.js';
import { RECORD_BYTES_MAX } from '../limits.js';
import { namedPropertyOf } from './array-properties.js';
import type { RecordReference, ReferenceWriter } from './references.js';
import { type Nameable, nameOf, registrationHint, resolveName } from './registry.js';
import { builtinBase, homePrototype, isBuiltin, isUrl } from './runtime-classes.js';
import { BYTE_KINDS, DEPTH_MAX, EXT } from './state-format.js';

const INITIAL_BYTES = 64 * 1024;
const KEPT_BYTES_MAX = 4 * 1024 * 1024;

/** A step on the way into a state: the key of a field or entry, or a place in an array. */
export type PathKey = string | number;

/** Whoever knows what places in a state are called. */
export interface StateOwner {
  statePath(keys: readonly PathKey[]): readonly PathKey[];
}

/**
 * Writes states. Each value has to be looked at before it is written (much of what a language holds cannot be stored, and must not be
 * changed in silence), so looking and writing are one walk.
 */
export class StateEncoder {
  buffer: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  length = 0;
  /** References in the order of first occurrence: the record's table. */
  readonly references: RecordReference[] = [];
  #indexOfReference = new Map<object, number>();
  #containers: Map<object, number> | undefined;
  #first: object | undefined;
  #writer: ReferenceWriter | undefined;
  #root: string | (() => string) = '';
  #owner: StateOwner | undefined;
  /** Keys of the containers that are being written, outermost first; the state itself has none. */
  #path: (string | number | undefined)[] = [];
  /** Key of the value that is being written, within the innermost of them. */
  #key: string | number | undefined = undefined;

  /** Begins a new state. */
  begin(writer: ReferenceWriter | undefined, path: string | (() => string), owner?: StateOwner): void {
    this.#owner = owner;
    this.#writer = writer;
    this.#root = path;
    this.length = 0;
  }

  /** Lets go of what was written, and of those that it was written for: an encoder waits for the next state for as long as it takes. */
  end(): void {
    this.#owner = undefined;
    this.#writer = undefined;
    this.#root = '';
    this.references.length = 0;
    if (this.#indexOfReference.size > 0) this.#indexOfReference = new Map();
    this.#containers = undefined;
    this.#first = undefined;
    this.#path.length = 0;
    this.#key = undefined;
    if (this.buffer.length > KEPT_BYTES_MAX) this.buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  }

  /** Writes one value. @throws SerializationError. UnregisteredError. Both name the path of the culprit. */
  write(value: unknown): void {
    switch (typeof value) {
      case 'string':
        this.#string(value);
        return;
      case 'number':
        this.#number(value);
        return;
      case 'boolean':
        this.#reserve(1);
        this.buffer[this.length++] = value ? 0xc3 : 0xc2;
        return;
      case 'undefined':
        this.#reserve(3);
        this.buffer[this.length++] = 0xd4;
        this.buffer[this.length++] = EXT.undefined;
        this.buffer[this.length++] = 0;
        return;
      case 'object':
        if (value === null) {
          this.#reserve(1);
          this.buffer[this.length++] = 0xc0;
        } else this.#object(value);
        return;
      case 'bigint':
        this.#bigint(value);
        return;
      case 'function':
        this.#named(value);
        return;
      default:
        throw this.#refused(value, 'symbols cannot be stored');
    }
  }

  // ---------------------------------------------------------------- primitives

  #number(value: number): void {
    this.#reserve(9);
    const { buffer } = this;
    if (Number.isInteger(value) && value >= -0x8000_0000 && value <= 0xffff_ffff && !Object.is(value, -0)) {
      if (value >= 0) {
        if (value < 0x80) buffer[this.length++] = value;
        else if (value < 0x100) {
          buffer[this.length++] = 0xcc;
          buffer[this.length++] = value;
        } else if (value < 0x1_0000) {
          buffer[this.length++] = 0xcd;
          buffer[this.length++] = value >>> 8;
          buffer[this.length++] = value;
        } else {
          buffer[this.length++] = 0xce;
          this.#uint32(value);
        }
      } else if (value >= -0x20) buffer[this.length++] = value & 0xff;
      else {
        buffer[this.length++] = 0xd2;
        this.#uint32(value >>> 0);
      }
      return;
    }
    buffer[this.length++] = 0xcb;
    this.length = buffer.writeDoubleBE(value, this.length);
  }

  #uint32(value: number): void {
    const { buffer } = this;
    buffer[this.length++] = value >>> 24;
    buffer[this.length++] = value >>> 16;
    buffer[this.length++] = value >>> 8;
    buffer[this.length++] = value;
  }

  #string(value: string): void {
    const count = value.length;
    if (count < 32) {
      // Short ASCII text, which is nearly all of it, is written here; a call into the runtime costs more.
      this.#reserve(count + 1);
      const { buffer } = this;
      let at = this.length;
      buffer[at++] = 0xa0 | count;
      let i = 0;
      for (; i < count; i++) {
        const code = value.charCodeAt(i);
        if (code >= 0x80) break;
        buffer[at++] = code;
      }
      if (i === count) {
        this.length = at;
        return;
      }
    }
    if (!value.isWellFormed()) throw this.#refused(value, 'it has a lone surrogate, and so is no text');
    const bytes = Buffer.byteLength(value);
    this.#reserve(bytes + 5);
    const { buffer } = this;
    if (bytes < 32) buffer[this.length++] = 0xa0 | bytes;
    else if (bytes < 0x100) {
      buffer[this.length++] = 0xd9;
      buffer[this.length++] = bytes;
    } else if (bytes < 0x1_0000) {
      buffer[this.length++] = 0xda;
      buffer[this.length++] = bytes >>> 8;
      buffer[this.length++] = bytes;
    } else {
      buffer[this.length++] = 0xdb;
      this.#uint32(bytes);
    }
    this.length += buffer.write(value, this.length);
  }

  #bigint(value: bigint): void {
    const magnitude = (value < 0n ? -value : value).toString(16);
    const hex = magnitude.length % 2 === 0 ? magnitude : `0${magnitude}`;
    this.#extension(EXT.bigint, () => {
      this.#bytes(Buffer.from([value < 0n ? 1 : 0]));
      this.#bytes(Buffer.from(hex, 'hex'));
    });
  }

  #named(value: Nameable): void {
    const name = nameOf(value);
    if (name === undefined) {
      const path = this.#where();
      throw new UnregisteredError(
        `${path}: the ${/^class\b/.test(Function.prototype.toString.call(value)) ? 'class' : 'function'} ` +
          `${value.name || '(anonymous)'} has no persistent name; ${registrationHint(value)}`,
        { path },
      );
    }
    this.#extension(EXT.named, () => this.#string(name));
  }

  // ---------------------------------------------------------------- objects

  #object(value: object): void {
    const writer = this.#writer;
    if (writer?.isPersistent(value)) {
      let index = this.#indexOfReference.get(value);
      if (index === undefined) {
        index = this.references.length;
        this.references.push(writer.reference(value, this.#whereNow));
        this.#indexOfReference.set(value, index);
      }
      this.#index(EXT.reference, index);
      return;
    }
    if (this.#seen(value)) return;
    if (this.#path.length >= DEPTH_MAX) throw this.#refused(value, `it is nested more than ${DEPTH_MAX} deep`);
    this.#path.push(this.#key);
    this.#key = undefined;
    const prototype = Object.getPrototypeOf(value) as object | null;
    if (Array.isArray(value)) {
      if (prototype !== Array.prototype) this.#requireBareArray(value, prototype);
      this.#array(value);
    } else {
      if (prototype === Object.prototype) this.#plain(value as Record<string, unknown>);
      else this.#special(value, prototype);
    }
    this.#key = this.#path.pop();
  }

  /** Writes a back-reference if the container has begun already; else gives it its number. */
  #seen(value: object): boolean {
    if (this.#first === undefined) {
      // Most states are one flat object: no table is made for these.
      this.#first = value;
      return false;
    }
    if (!this.#containers) this.#containers = new Map([[this.#first, 0]]);
    const index = this.#containers.get(value);
    if (index === undefined) {
      this.#containers.set(value, this.#containers.size);
      return false;
    }
    this.#index(EXT.back, index);
    return true;
  }

  #array(value: readonly unknown[]): void {
    const count = value.length;
    const named = namedPropertyOf(value);
    if (named !== undefined) throw this.#refusedProperty(value, named);
    this.#reserve(5);
    const { buffer } = this;
    if (count < 16) buffer[this.length++] = 0x90 | count;
    else if (count < 0x1_0000) {
      buffer[this.length++] = 0xdc;
      buffer[this.length++] = count >>> 8;
      buffer[this.length++] = count;
    } else {
      buffer[this.length++] = 0xdd;
      this.#uint32(count);
    }
    for (let i = 0; i < count; i++) {
      this.#key = i;
      this.write(value[i]);
    }
  }

  /** An array of another realm is one like any other; one with a class of its own would come back without that. */
  #requireBareArray(value: readonly unknown[], prototype: object | null): void {
    if (prototype && Object.hasOwn(prototype, 'constructor') && isBuiltin(prototype.constructor)) return;
    throw this.#refused(value, 'its class would be lost, since it extends Array: keep an array in a field instead');
  }

  #plain(value: Record<string, unknown>): void {
    const keys = Object.keys(value);
    const count = keys.length;
    this.#requireNoSymbols(value);
    this.#reserve(5);
    const { buffer } = this;
    if (count < 16) buffer[this.length++] = 0x80 | count;
    else if (count < 0x1_0000) {
      buffer[this.length++] = 0xde;
      buffer[this.length++] = count >>> 8;
      buffer[this.length++] = count;
    } else {
      buffer[this.length++] = 0xdf;
      this.#uint32(count);
    }
    this.#fields(value, keys);
  }

  #fields(value: Record<string, unknown>, keys: readonly string[]): void {
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string;
      this.#key = key;
      this.#string(key);
      this.write(value[key]);
    }
  }

  /** What is no plain object is stored by what it holds; a property that somebody gave it besides would be lost. */
  #requireNoProperties(value: object): void {
    for (const key in value) if (Object.hasOwn(value, key)) throw this.#refusedProperty(value, key);
  }

  #refusedProperty(value: unknown, key: string): BaseError {
    return this.#refused(value, `its property '${key}' would be lost: keep both in a plain object`);
  }

  #requireNoSymbols(value: object): void {
    const [symbol] = Object.getOwnPropertySymbols(value);
    if (symbol !== undefined) throw this.#refused(value, `it has a field named by a symbol, ${String(symbol)}`);
  }

  #special(value: object, prototype: object | null): void {
    if (prototype === null) {
      this.#requireNoSymbols(value);
      this.#extension(EXT.bare, () => this.#fields(value as Record<string, unknown>, Object.keys(value)));
    } else if (prototype === Map.prototype && types.isMap(value)) {
      this.#requireNoProperties(value);
      this.#extension(EXT.map, () => {
        for (const [key, inner] of value) {
          this.#key = typeof key === 'string' || typeof key === 'number' ? key : '(key)';
          this.write(key);
          this.write(inner);
        }
      });
    } else if (prototype === Set.prototype && types.isSet(value)) {
      this.#requireNoProperties(value);
      this.#extension(EXT.set, () => {
        let index = 0;
        for (const inner of value) {
          this.#key = index++;
          this.write(inner);
        }
      });
    } else if (prototype === Date.prototype && types.isDate(value)) {
      this.#requireNoProperties(value);
      const time = value.getTime();
      this.#reserve(11);
      this.buffer[this.length++] = 0xd7;
      this.buffer[this.length++] = EXT.date;
      this.length = this.buffer.writeDoubleBE(time, this.length);
    } else if (prototype === RegExp.prototype && types.isRegExp(value)) {
      this.#requireNoProperties(value);
      const { source, flags } = value;
      this.#extension(EXT.regexp, () => {
        this.#string(source);
        this.#string(flags);
      });
    } else if (prototype === URL.prototype && isUrl(value)) {
      this.#requireNoProperties(value);
      this.#extension(EXT.url, () => this.#string(value.href));
    } else if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) this.#binary(value, prototype);
    else if (value instanceof Error) this.#error(value);
    else this.#instance(value, prototype);
  }

  /** Writes plain data of another realm as what they are in this one; returns whether it is such. */
  #foreign(value: object, prototype: object): boolean {
    const home = homePrototype(prototype);
    if (types.isNativeError(value)) this.#error(value);
    else if (home === Object.prototype) this.#plain(value as Record<string, unknown>);
    else if (home) this.#special(value, home);
    else return false;
    return true;
  }

  #binary(value: ArrayBufferView | ArrayBuffer, prototype: object): void {
    const kind = BYTE_KINDS.indexOf(prototype.constructor.name as (typeof BYTE_KINDS)[number]);
    if (kind < 0) throw this.#refused(value, `a ${prototype.constructor.name} cannot be stored`);
    const bytes = ArrayBuffer.isView(value)
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      : new Uint8Array(value);
    this.#extension(EXT.bytes, () => {
      this.#bytes(Buffer.from([kind]));
      this.#bytes(bytes);
    });
  }

  #error(error: Error): void {
    // The runtime throws errors of classes of its own: their nearest named ancestor stands for them.
    let cls: string | undefined;
    for (
      let at = Object.getPrototypeOf(error) as object | null;
      at && cls === undefined;
      at = Object.getPrototypeOf(at)
    ) {
      cls = nameOf(at.constructor) ?? builtinName(at.constructor);
    }
    const fields: Record<string, unknown> = { message: error.message };
    if (typeof error.stack === 'string') fields['stack'] = error.stack.toWellFormed();
    if (Object.hasOwn(error, 'cause')) fields['cause'] = error.cause;
    if (error instanceof AggregateError) fields['errors'] = error.errors;
    // A getter of the class, which refuses what the runtime has not made.
    if (error instanceof DOMException) fields['code'] = error.code;
    for (const key of Object.keys(error)) fields[key] = (error as unknown as Record<string, unknown>)[key];
    const own = resolvedName(cls ?? 'js.Error');
    if (error.name !== own && !Object.hasOwn(fields, 'name')) fields['name'] = error.name;
    this.#extension(EXT.error, () => {
      this.#string(cls ?? 'js.Error');
      this.#fields(fields, Object.keys(fields));
    });
  }

  #instance(value: object, prototype: object): void {
    const cls = prototype.constructor as Nameable | undefined;
    const name = typeof cls === 'function' && cls.prototype === prototype ? nameOf(cls) : undefined;
    if (name === undefined || name.startsWith('js.')) {
      if (this.#foreign(value, prototype)) return;
      const shown = typeof cls === 'function' ? cls.name || 'an anonymous class' : 'a class of no name';
      if (value instanceof Promise) throw this.#refused(value, 'promises cannot be stored: await it first');
      if (name !== undefined || isBuiltin(cls)) throw this.#refused(value, `a ${shown} cannot be stored`);
      const path = this.#where();
      throw new UnregisteredError(
        `${path}: the class ${shown} has no persistent name; ` +
          (typeof cls === 'function' ? registrationHint(cls) : 'give it one with persistable'),
        { path },
      );
    }
    if ('_p_oid' in value)
      throw this.#refused(value, 'it is a persistent object, and these are plain data: give its oid');
    const base = builtinBase(prototype);
    if (base !== '') {
      throw this.#refused(
        value,
        `its class extends ${base}, of which nothing is stored: keep a ${base} in a field instead`,
      );
    }
    this.#requireNoSymbols(value);
    this.#extension(EXT.instance, () => {
      this.#string(name);
      this.#fields(value as Record<string, unknown>, Object.keys(value));
    });
  }

  // ---------------------------------------------------------------- pieces

  /** An extension whose length is known once `content` has written it. */
  #extension(type: number, content: () => void): void {
    this.#reserve(6);
    this.buffer[this.length] = 0xc9;
    this.buffer[this.length + 5] = type;
    const start = this.length + 6;
    this.length = start;
    content();
    this.buffer.writeUInt32BE(this.length - start, start - 5);
  }

  /** An extension that holds a number. */
  #index(type: number, index: number): void {
    this.#reserve(6);
    const { buffer } = this;
    if (index < 0x100) {
      buffer[this.length++] = 0xd4;
      buffer[this.length++] = type;
      buffer[this.length++] = index;
    } else if (index < 0x1_0000) {
      buffer[this.length++] = 0xd5;
      buffer[this.length++] = type;
      buffer[this.length++] = index >>> 8;
      buffer[this.length++] = index;
    } else {
      buffer[this.length++] = 0xd6;
      buffer[this.length++] = type;
      this.#uint32(index);
    }
  }

  #bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  #reserve(bytes: number): void {
    if (this.length + bytes <= this.buffer.length) return;
    if (this.length + bytes > RECORD_BYTES_MAX) {
      const path = this.#rootPath;
      throw new SerializationError(
        `${path}: its record would be larger than ${RECORD_BYTES_MAX} bytes; let its parts be persistent objects`,
        { path },
      );
    }
    const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.length + bytes));
    larger.set(this.buffer.subarray(0, this.length));
    this.buffer = larger;
  }

  get #rootPath(): string {
    return typeof this.#root === 'string' ? this.#root : this.#root();
  }

  readonly #whereNow = () => this.#where();

  /** Where the value that is being written stands. */
  #where(): string {
    const keys: PathKey[] = [];
    for (const key of this.#path) if (key !== undefined) keys.push(key);
    if (this.#key !== undefined) keys.push(this.#key);
    let path = this.#rootPath;
    for (const key of this.#owner?.statePath(keys) ?? keys) path += typeof key === 'number' ? `[${key}]` : `.${key}`;
    return path;
  }

  #refused(value: unknown, why: string): BaseError {
    const path = this.#where();
    return new SerializationError(`${path}: ${show(value)} cannot be stored: ${why}`, {
      path,
    });
  }
}

/** The name of a built-in class of another realm: that of its like in this one. */
function builtinName(cls: Nameable): string | undefined {
  const name = `js.${cls.name}`;
  return resolveName(name) && isBuiltin(cls) ? name : undefined;
}

function resolvedName(cls: string): string {
  return cls.slice(cls.lastIndexOf('.') + 1);
}

/** A value for a message. What the value's class has for this may fail on what it has not made. */
function show(value: unknown): string {
  try {
    return inspect(value, { depth: 0, maxStringLength: 40 });
  } catch {
    return Object.prototype.toString.call(value);
  }
}
