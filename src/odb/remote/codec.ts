import { Packr } from 'msgpackr';
import { asBuffer, readUint32, readUint64, writeUint32, writeUint64 } from '../../base/index.js';
import { ProtocolError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import { HEADER_BYTES, type MessageType } from './messages.js';

// Plain MessagePack: no record extension, so that every packet can be read by itself and by other programs.
const packr = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' });

/** Largest number that eight bytes hold and that is still exact. */
const HIGH_WORD_MAX = 0x1f_ffff;

/** A packet of a body that is laid out by hand; the body begins at {@link HEADER_BYTES}. */
export function newPacket(type: MessageType, id: number, bodyBytes: number): Uint8Array {
  const packet = new Uint8Array(HEADER_BYTES + bodyBytes);
  packet[0] = type;
  writeUint32(packet, 1, id);
  return packet;
}

/** A packet whose body is one MessagePack value. */
export function valuePacket(type: MessageType, id: number, value: unknown): Uint8Array {
  const body = packr.pack(value);
  const packet = newPacket(type, id, body.length);
  packet.set(body, HEADER_BYTES);
  return packet;
}

/** A packet whose body is two numbers of eight bytes: oids or tids. */
export function pairPacket(type: MessageType, id: number, first: number, second: number): Uint8Array {
  const packet = newPacket(type, id, 16);
  writeUint64(packet, HEADER_BYTES, first);
  writeUint64(packet, HEADER_BYTES + 8, second);
  return packet;
}

/** The type of a packet; any number may come. */
export function packetType(packet: Uint8Array): number {
  return packet[0] as number;
}

/** The request that a packet belongs to. */
export function packetId(packet: Uint8Array): number {
  return readUint32(packet, 1);
}

/** Reads a body that is one MessagePack value. @throws ProtocolError. */
export function readValue(packet: Uint8Array, offset = HEADER_BYTES): unknown {
  try {
    return packr.unpack(asBuffer(packet).subarray(offset));
  } catch (error) {
    throw new ProtocolError('a packet came whose body cannot be read', { cause: error });
  }
}

/** MessagePack of a value. */
export function packValue(value: unknown): Uint8Array {
  return packr.pack(value);
}

/** Reads laid-out fields one after the other, and refuses to read past the end. @throws ProtocolError. */
export class PacketReader {
  #offset: number;

  constructor(
    readonly packet: Uint8Array,
    offset = HEADER_BYTES,
  ) {
    this.#offset = offset;
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.packet.length - this.#offset;
  }

  uint8(): number {
    this.#need(1);
    return this.packet[this.#offset++] as number;
  }

  uint32(): number {
    this.#need(4);
    this.#offset += 4;
    return readUint32(this.packet, this.#offset - 4);
  }

  uint64(): number {
    this.#need(8);
    if (readUint32(this.packet, this.#offset) > HIGH_WORD_MAX) {
      throw new ProtocolError('a packet came with an integer above 2⁵³');
    }
    this.#offset += 8;
    return readUint64(this.packet, this.#offset - 8);
  }

  oid(): Oid {
    return this.uint64() as Oid;
  }

  tid(): Tid {
    return this.uint64() as Tid;
  }

  /** The next bytes, in place. */
  bytes(length: number): Uint8Array {
    this.#need(length);
    this.#offset += length;
    return this.packet.subarray(this.#offset - length, this.#offset);
  }

  #need(length: number): void {
    if (this.remaining < length) throw new ProtocolError('a packet came that ends too early');
  }
}

/** A record on its way: to be stored on top of the revision `tid`, or a revision of `tid`. */
export interface WireRecord {
  readonly oid: Oid;
  readonly tid: Tid;
  /** Where a loaded revision ends; `undefined` while it is current, and for stores. */
  readonly endTid: Tid | undefined;
  readonly data: Uint8Array;
}

const RECORD_HEADER_BYTES = 28;

/** Bytes that {@link writeRecords} needs. */
export function recordsBytes(records: readonly WireRecord[]): number {
  let bytes = 0;
  for (const { data } of records) bytes += RECORD_HEADER_BYTES + data.length;
  return bytes;
}

/** Writes records to the end of a packet: oid, tid, end (0 for none), length, data, each. */
export function writeRecords(packet: Uint8Array, offset: number, records: readonly WireRecord[]): void {
  let at = offset;
  for (const { oid, tid, endTid, data } of records) {
    writeUint64(packet, at, oid);
    writeUint64(packet, at + 8, tid);
    writeUint64(packet, at + 16, endTid ?? 0);
    writeUint32(packet, at + 24, data.length);
    packet.set(data, at + RECORD_HEADER_BYTES);
    at += RECORD_HEADER_BYTES + data.length;
  }
}

/** Reads the records that fill the rest of a packet. Their data lie in place. */
export function readRecords(reader: PacketReader): WireRecord[] {
  const records: WireRecord[] = [];
  while (reader.remaining > 0) {
    const oid = reader.oid();
    const tid = reader.tid();
    const endTid = reader.tid();
    const length = reader.uint32();
    records.push({ oid, tid, endTid: endTid === 0 ? undefined : endTid, data: reader.bytes(length) });
  }
  return records;
}
