import { closeSync, constants, fdatasyncSync, openSync, readSync, writeSync } from 'node:fs';
import { crc32, readUint32, readUint64, writeUint32, writeUint64 } from '../../../base/index.js';

const BYTES = 12;

/**
 * Says up to which oid they are reserved: none of them is given out again, whatever happens.
 *
 *     oid(8) crc(4)
 *
 * It is beside LevelDB, since an oid is given out at once, and LevelDB writes only in the background.
 */
export class OidFile {
  readonly #fd: number;
  readonly #durable: boolean;

  /** @param options.durable - whether what is written has to outlast a power cut. */
  constructor(path: string, options: { readonly durable: boolean }) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT);
    this.#durable = options.durable;
  }

  /** The highest reserved oid; `undefined` when there is nothing, or nothing sound. */
  read(): number | undefined {
    const bytes = Buffer.alloc(BYTES);
    if (readSync(this.#fd, bytes, 0, BYTES, 0) !== BYTES) return undefined;
    if (crc32(bytes.subarray(0, 8)) !== readUint32(bytes, 8)) return undefined;
    return readUint64(bytes, 0);
  }

  /**
   * Reserves oids.
   *
   * @throws Errors of the file system; none is reserved then.
   */
  write(oid: number): void {
    const bytes = Buffer.alloc(BYTES);
    writeUint64(bytes, 0, oid);
    writeUint32(bytes, 8, crc32(bytes.subarray(0, 8)));
    writeSync(this.#fd, bytes, 0, BYTES, 0);
    if (this.#durable) fdatasyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
