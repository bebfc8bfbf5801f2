import {
  asBuffer,
  readUint32,
  readUint64,
  systemRandom,
  toHex,
  writeUint32,
  writeUint64,
} from '../../../base/index.js';

/*
 * The record of a blob, which a storage can tell from all others without knowing any class:
 *
 *     kind     1 byte: 0x62
 *     version  1 byte: 1
 *     size     8 bytes: of the content
 *     crc      4 bytes: CRC-32 of the content
 *     id       16 random bytes: which content it is
 *
 * All numbers are big-endian. A content gets its id when it is made, and never another one: revisions that have the same content, since a
 * transaction was undone, name the same id.
 */

const KIND = 0x62;
const VERSION = 1;
const ID_BYTES = 16;
const RECORD_BYTES = 14 + ID_BYTES;
const ID = /^[0-9a-f]{32}$/;

/** The name of the class of blobs in records. */
export const BLOB_CLASS = 'holdfast.PersistentBlob';

/** What the record of a blob says of its content, which is a file of its own. */
export class BlobInfo {
  /**
   * @param id 32 hexadecimal digits
   * @param size bytes
   * @param crc CRC-32 of the content
   */
  constructor(
    readonly id: string,
    readonly size: number,
    readonly crc: number,
  ) {}

  /** For a new content. */
  static of(size: number, crc: number): BlobInfo {
    return new BlobInfo(toHex(systemRandom.bytes(ID_BYTES)), size, crc);
  }
}

/** Whether a text can be the id of a content. */
export function isBlobId(text: string): boolean {
  return ID.test(text);
}

/** The record of a blob with this content. */
export function encodeBlobRecord({ id, size, crc }: BlobInfo): Buffer {
  const data = Buffer.allocUnsafe(RECORD_BYTES);
  data[0] = KIND;
  data[1] = VERSION;
  writeUint64(data, 2, size);
  writeUint32(data, 10, crc);
  data.write(id, 14, 'hex');
  return data;
}

/** What a record says of the content of a blob; `undefined` for the record of anything else, and for what is no record. */
export function blobOf(data: Uint8Array | undefined): BlobInfo | undefined {
  if (data?.length !== RECORD_BYTES || data[0] !== KIND || data[1] !== VERSION) return undefined;
  const size = readUint64(data, 2);
  if (!Number.isSafeInteger(size)) return undefined;
  return new BlobInfo(toHex(asBuffer(data).subarray(14)), size, readUint32(data, 10));
}

/** The ids of the contents that these records name. */
export function contentIds(records: Iterable<{ readonly data: Uint8Array }>): string[] {
  const ids: string[] = [];
  for (const { data } of records) {
    const info = blobOf(data);
    if (info) ids.push(info.id);
  }
  return ids;
}
