import { asBuffer, toHex, writeUint32, writeUint64 } from '../../base/index.js';
import { ProtocolError } from '../errors.js';
import type { Oid } from '../ids.js';
import { BlobInfo, blobOf, encodeBlobRecord } from '../storage/blob/blob-info.js';
import { newPacket, type PacketReader } from './codec.js';
import { HEADER_BYTES, Message } from './messages.js';

/*
 * Contents of blobs on their way. Between processes they go in chunks, each of which is a request of its own, so that who sends waits for
 * who takes:
 *
 *     blobChunk   id(16) offset(8) bytes      a part of a content that is to be stored; answered once it is written
 *     dropBlobs   {id(16)}*                   these contents are not going to be stored
 *     readBlob    oid(8) record offset(8) length(4)   answered with that many bytes, fewer at the end
 *
 * Within a process a path is enough:
 *
 *     blobFile    id(16) path                 a content that is to be stored
 *     blobPath    oid(8) record               answered with a path
 *
 * `record` is the record of the blob. The commit that follows names the contents by its records.
 */

const ID_BYTES = 16;
const RECORD_BYTES = encodeBlobRecord(BlobInfo.of(0, 0)).length;

/** Bytes of one chunk. */
export const BLOB_CHUNK_BYTES = 256 * 1024;
/** Chunks of one content that are under way at a time. */
export const BLOB_CHUNKS_UNDER_WAY = 4;

export function blobChunkPacket(id: number, contentId: string, offset: number, chunk: Uint8Array): Uint8Array {
  const packet = newPacket(Message.blobChunk, id, ID_BYTES + 8 + chunk.length);
  writeId(packet, HEADER_BYTES, contentId);
  writeUint64(packet, HEADER_BYTES + ID_BYTES, offset);
  packet.set(chunk, HEADER_BYTES + ID_BYTES + 8);
  return packet;
}

/** @throws ProtocolError. */
export function readBlobChunk(reader: PacketReader): {
  readonly contentId: string;
  readonly offset: number;
  readonly chunk: Uint8Array;
} {
  return { contentId: readId(reader), offset: reader.uint64(), chunk: reader.bytes(reader.remaining) };
}

export function dropBlobsPacket(contentIds: readonly string[]): Uint8Array {
  const packet = newPacket(Message.dropBlobs, 0, contentIds.length * ID_BYTES);
  for (const [index, contentId] of contentIds.entries()) writeId(packet, HEADER_BYTES + index * ID_BYTES, contentId);
  return packet;
}

/** @throws ProtocolError. */
export function readDropBlobs(reader: PacketReader): string[] {
  const contentIds: string[] = [];
  while (reader.remaining > 0) contentIds.push(readId(reader));
  return contentIds;
}

export function readBlobPacket(id: number, oid: Oid, info: BlobInfo, offset: number, length: number): Uint8Array {
  const packet = newPacket(Message.readBlob, id, 8 + RECORD_BYTES + 12);
  writePlace(packet, oid, info);
  writeUint64(packet, HEADER_BYTES + 8 + RECORD_BYTES, offset);
  writeUint32(packet, HEADER_BYTES + 16 + RECORD_BYTES, length);
  return packet;
}

/** @throws ProtocolError. */
export function readReadBlob(reader: PacketReader): {
  readonly oid: Oid;
  readonly info: BlobInfo;
  readonly offset: number;
  readonly length: number;
} {
  const place = readPlace(reader);
  return { ...place, offset: reader.uint64(), length: Math.min(reader.uint32(), BLOB_CHUNK_BYTES) };
}

export function blobFilePacket(contentId: string, path: string): Uint8Array {
  const bytes = Buffer.from(path);
  const packet = newPacket(Message.blobFile, 0, ID_BYTES + bytes.length);
  writeId(packet, HEADER_BYTES, contentId);
  packet.set(bytes, HEADER_BYTES + ID_BYTES);
  return packet;
}

/** @throws ProtocolError. */
export function readBlobFile(reader: PacketReader): { readonly contentId: string; readonly path: string } {
  return { contentId: readId(reader), path: asBuffer(reader.bytes(reader.remaining)).toString() };
}

export function blobPathPacket(id: number, oid: Oid, info: BlobInfo): Uint8Array {
  const packet = newPacket(Message.blobPath, id, 8 + RECORD_BYTES);
  writePlace(packet, oid, info);
  return packet;
}

/** @throws ProtocolError. */
export function readBlobPath(reader: PacketReader): { readonly oid: Oid; readonly info: BlobInfo } {
  return readPlace(reader);
}

function writePlace(packet: Uint8Array, oid: Oid, info: BlobInfo): void {
  writeUint64(packet, HEADER_BYTES, oid);
  packet.set(encodeBlobRecord(info), HEADER_BYTES + 8);
}

function readPlace(reader: PacketReader): { readonly oid: Oid; readonly info: BlobInfo } {
  const oid = reader.oid();
  const info = blobOf(reader.bytes(RECORD_BYTES));
  if (!info) throw new ProtocolError('a content was asked for with what is no record of a blob');
  return { oid, info };
}

function writeId(packet: Uint8Array, at: number, contentId: string): void {
  asBuffer(packet).write(contentId, at, ID_BYTES, 'hex');
}

function readId(reader: PacketReader): string {
  return toHex(reader.bytes(ID_BYTES));
}
