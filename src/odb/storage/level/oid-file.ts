import { crc32, readUint32, readUint64, writeUint32, writeUint64 } from '../../../base/index.js';
import type { SmallFile } from './disk.js';

const BYTES = 12;

/**
 * Says up to which oid they are reserved: none of them is given out again, whatever happens.
 *
 *     oid(8) crc(4)
 *
 * It is beside LevelDB, since an oid is given out at once, and LevelDB writes only in the background.
 */
export class OidFile {
  readonly #file: SmallFile;
  readonly #durable: boolean;

  /** @param options.durable - whether what is written has to outlast a power cut. */
  constructor(file: SmallFile, options: { readonly durable: boolean }) {
    this.#file = file;
    this.#durable = options.durable;
  }

  /** The highest reserved oid; `undefined` when there is nothing, or nothing sound. */
  read(): number | undefined {
    const bytes = this.#file.read(BYTES);
    if (!bytes || crc32(bytes.subarray(0, 8)) !== readUint32(bytes, 8)) return undefined;
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
    this.#file.write(bytes);
    if (this.#durable) this.#file.sync();
  }

  close(): void {
    this.#file.close();
  }
}
