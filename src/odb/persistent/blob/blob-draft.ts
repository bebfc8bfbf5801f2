import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from '../../../base/index.js';
import { BlobInfo } from '../../storage/blob/blob-info.js';
import { TemporaryFolder } from '../../storage/blob/temporary-folder.js';

let ownFolder: TemporaryFolder | undefined;
let fileCount = 0;

/**
 * A path for a new temporary file.
 *
 * @param directory where; without it, a folder of this process among the system's temporary files
 */
export function temporaryPath(directory: string | undefined): string {
  let folder = directory;
  if (folder === undefined) {
    ownFolder ??= new TemporaryFolder('holdfast-blobs-');
    folder = ownFolder.path;
  }
  mkdirSync(folder, { recursive: true });
  return join(folder, `${BlobInfo.of(0, 0).id}-${process.pid}-${++fileCount}`);
}

/**
 * A content that is not committed. It is never changed: who writes makes another one.
 *
 * It belongs to its blob, until its transaction hands it to the storage or saves it for a savepoint: then it belongs to the transaction,
 * which removes it in the end, or gives it back with a new blob whose place is taken away.
 */
export class BlobDraft {
  readonly info: BlobInfo;
  /** Whether the transaction removes it. */
  isOfTransaction = false;
  #path: string | undefined;
  #bytes: Uint8Array | undefined;

  private constructor(info: BlobInfo, path: string | undefined, bytes: Uint8Array | undefined) {
    this.info = info;
    this.#path = path;
    this.#bytes = bytes;
  }

  /** A content in a file, which is the draft's from now on. */
  static ofFile(path: string, { size, crc }: { readonly size: number; readonly crc: number }): BlobDraft {
    return new BlobDraft(BlobInfo.of(size, crc), path, undefined);
  }

  /** A small content, which becomes a file once one is needed. */
  static ofBytes(bytes: Uint8Array): BlobDraft {
    return new BlobDraft(BlobInfo.of(bytes.length, crc32(bytes)), undefined, bytes);
  }

  /** The file with the content; `directory` is where it is made if there is none yet. */
  file(directory: string | undefined): string {
    if (this.#path === undefined) {
      const path = temporaryPath(directory);
      writeFileSync(path, this.#bytes as Uint8Array, { flag: 'wx', mode: 0o600 });
      this.#path = path;
      this.#bytes = undefined;
    }
    return this.#path;
  }

  remove(): void {
    if (this.#path !== undefined) rmSync(this.#path, { force: true });
    this.#bytes = undefined;
  }
}
