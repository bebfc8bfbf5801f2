import { crc32 as zlibCrc32 } from 'node:zlib';

const TWO_32 = 4_294_967_296;

/** Reads eight bytes, big-endian, as a safe integer. */
export function readUint64(bytes: Uint8Array, offset: number): number {
  const high =
    (bytes[offset] as number) * 16_777_216 +
    (((bytes[offset + 1] as number) << 16) | ((bytes[offset + 2] as number) << 8) | (bytes[offset + 3] as number));
  const low =
    (bytes[offset + 4] as number) * 16_777_216 +
    (((bytes[offset + 5] as number) << 16) | ((bytes[offset + 6] as number) << 8) | (bytes[offset + 7] as number));
  return high * TWO_32 + low;
}

/** Writes a safe integer as eight bytes, big-endian. */
export function writeUint64(bytes: Uint8Array, offset: number, value: number): void {
  const high = Math.floor(value / TWO_32);
  const low = value >>> 0;
  bytes[offset] = high >>> 24;
  bytes[offset + 1] = high >>> 16;
  bytes[offset + 2] = high >>> 8;
  bytes[offset + 3] = high;
  bytes[offset + 4] = low >>> 24;
  bytes[offset + 5] = low >>> 16;
  bytes[offset + 6] = low >>> 8;
  bytes[offset + 7] = low;
}

/** Reads four bytes, big-endian. */
export function readUint32(bytes: Uint8Array, offset: number): number {
  return (
    (bytes[offset] as number) * 16_777_216 +
    (((bytes[offset + 1] as number) << 16) | ((bytes[offset + 2] as number) << 8) | (bytes[offset + 3] as number))
  );
}

/** Writes an integer below 2³² as four bytes, big-endian. */
export function writeUint32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}

/** CRC-32 as in zlib and PNG. `value` goes on from an earlier result. */
export function crc32(bytes: Uint8Array, value = 0): number {
  return zlibCrc32(bytes, value);
}

/** The same bytes as a `Buffer`, without a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Whether two byte arrays hold the same bytes. */
export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return asBuffer(a).equals(b);
}

/** Hexadecimal text of bytes. */
export function toHex(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('hex');
}

/** UTF-8 text of a part of a buffer. */
export function readUtf8(buffer: Buffer, start: number, end: number): string {
  // `toString('utf8', …)` without its checks of arguments, which cost as much as the work.
  return (buffer as Buffer & { utf8Slice(start: number, end: number): string }).utf8Slice(start, end);
}
