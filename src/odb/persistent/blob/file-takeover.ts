import { constants, rmSync } from 'node:fs';
import { copyFile, lstat, rename, rm, stat } from 'node:fs/promises';
import { BlobError } from '../../errors.js';
import { measureFile } from '../../storage/blob/blob-file.js';
import { isContentPath } from '../../storage/blob/blob-store.js';

/**
 * A file that is made the content of a blob: moved where it can be, else copied, and removed once nothing can fail any more.
 *
 * Until `finish` nothing is lost: `giveBack` has the file where it was, whatever of it is done.
 */
export class FileTakeover {
  readonly #from: string;
  readonly #to: string;
  #state: 'untouched' | 'moved' | 'copied' = 'untouched';

  /** @param from absolute, as `to` is */
  constructor(from: string, to: string) {
    this.#from = from;
    this.#to = to;
  }

  /**
   * Resolves to what the new file is. Where it rejects, all is as it was.
   *
   * @throws BlobError for what is no file, or a file of a database. Errors of the file system.
   */
  async take(): Promise<{ readonly size: number; readonly crc: number }> {
    try {
      if (await this.#isMovable()) await this.#move();
      else await this.#copy();
      // Ordering: what is measured is what is stored, whatever becomes of the file that was copied.
      return await measureFile(this.#to);
    } catch (error) {
      await this.giveBack();
      throw error;
    }
  }

  /** Whether nobody else can know the file by another name, and go on writing it. */
  async #isMovable(): Promise<boolean> {
    const named = await lstat(this.#from);
    const file = named.isSymbolicLink() ? await stat(this.#from) : named;
    if (!file.isFile()) throw new BlobError(`consumeFile: ${this.#from} is no file: only a file can become a content`);
    if (isContentPath(this.#from)) {
      throw new BlobError(
        `consumeFile: ${this.#from} is the content of another blob: copy it, by a stream into open('w')`,
      );
    }
    return file === named && file.nlink === 1;
  }

  async #move(): Promise<void> {
    try {
      await rename(this.#from, this.#to);
      this.#state = 'moved';
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
      await this.#copy();
    }
  }

  async #copy(): Promise<void> {
    this.#state = 'copied';
    await copyFile(this.#from, this.#to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }

  /** The file is not at its path any more. @throws Errors of the file system; it is there still then. */
  finish(): void {
    if (this.#state === 'copied') rmSync(this.#from);
  }

  /** The file is at its path, and nothing else is left. */
  async giveBack(): Promise<void> {
    if (this.#state === 'moved') await rename(this.#to, this.#from);
    else if (this.#state === 'copied') await rm(this.#to, { force: true });
    this.#state = 'untouched';
  }
}
