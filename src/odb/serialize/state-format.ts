/**
 * States are MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md), with these extension types for what it has no type
 * for. A container is whatever has an identity: containers are numbered in the order in which they begin, and one that occurs again
 * is a back-reference to its number.
 */
export const EXT = {
  /** No data. */
  undefined: 0x00,
  /** Index into the record's table of references, unsigned, 1, 2 or 4 bytes. */
  reference: 0x01,
  /** Number of a container that began earlier, unsigned, 1, 2 or 4 bytes. */
  back: 0x02,
  /** Sign byte (0 or 1), then the magnitude, big-endian. */
  bigint: 0x03,
  /** Float64 of ms since the epoch. Container, as are all that follow but `named`. */
  date: 0x04,
  /** Two strings: source and flags. */
  regexp: 0x05,
  /** String. */
  url: 0x06,
  /** Pairs of values. */
  map: 0x07,
  /** Values. */
  set: 0x08,
  /** Byte: index into `BYTE_KINDS`; then the bytes, in the machine's (little-endian) order. */
  bytes: 0x09,
  /** String: the name of a registered function or class. */
  named: 0x0a,
  /** String: class name; then pairs of string and value: own fields. */
  instance: 0x0b,
  /** String: class name; then pairs of string and value: message, stack, cause and own fields. */
  error: 0x0c,
  /** Pairs of string and value: an object without a prototype. */
  bare: 0x0d,
} as const;

/** What holds bytes. New ones are added at the end: the index is stored. */
export const BYTE_KINDS = [
  'ArrayBuffer',
  'DataView',
  'Buffer',
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
] as const;

/**
 * Containers nest no deeper than this: neither a deep state nor a damaged record can exhaust the stack. Half of a thread's stack, by
 * default, is enough for it, whatever the containers are.
 */
export const DEPTH_MAX = 500;
