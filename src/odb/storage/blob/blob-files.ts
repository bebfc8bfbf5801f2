import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { chmod, constants, copyFile, link, open, rm, stat } from 'node:fs/promises';
import { measureFile } from './blob-file.js';

/**
 * The files as far as the contents of blobs need them: the machine's, or those of a simulation, which forgets what was not synced.
 *
 * All throw, or reject with, errors of the file system (`code` is `ENOENT` and the like) unless they say otherwise.
 */
export interface BlobFiles {
  exists(path: string): boolean;
  /** What is in a folder; nothing where there is none. */
  names(folder: string): string[];
  /** @throws where there is no such file. */
  readText(path: string): string;
  /** Makes a file with this text; a durable one has it when this returns, if it is still there after a crash. */
  writeText(path: string, text: string, options?: { readonly durable: boolean }): void;
  /** Makes a folder, and those above it, where they are missing. */
  makeFolder(folder: string): void;
  /** Moves a file; what is at the new path is replaced. */
  move(from: string, to: string): void;
  /** Removes a file, or a folder with all that is in it, if it is there. */
  remove(path: string): void;
  /** Removes a folder. @throws where it is not empty. */
  removeEmptyFolder(folder: string): void;

  /** Bytes of a file; `undefined` where there is none. */
  sizeOf(path: string): Promise<number | undefined>;
  /** Gives a file a second name, or copies it where that cannot be. */
  linkOrCopy(from: string, to: string): Promise<void>;
  /** Resolves to how many bytes a file has; where they are `size`, makes them durable, and lets nobody write it any more. */
  seal(path: string, size: number): Promise<number>;
  /** Size and checksum of a file. @throws the reason of `signal`, too. */
  measure(path: string, signal?: AbortSignal): Promise<{ readonly size: number; readonly crc: number }>;
  /** Removes a file, if it is there. */
  removeFile(path: string): Promise<void>;
  /** Makes the names in a folder durable. */
  syncFolder(folder: string): Promise<void>;
}

/** Whether an error says that there is no such file. */
export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

/** The machine's. */
export const machineFiles: BlobFiles = {
  exists: existsSync,
  names(folder) {
    try {
      return readdirSync(folder);
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  },
  readText: (path) => readFileSync(path, 'utf8'),
  writeText: (path, text, { durable } = { durable: false }) => writeFileSync(path, text, { flush: durable }),
  makeFolder: (folder) => void mkdirSync(folder, { recursive: true }),
  move: renameSync,
  remove: (path) => rmSync(path, { recursive: true, force: true }),
  removeEmptyFolder: (folder) => rmdirSync(folder),
  async sizeOf(path) {
    try {
      return (await stat(path)).size;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  },
  linkOrCopy,
  async seal(path, size) {
    const handle = await open(path, 'r');
    try {
      const found = (await handle.stat()).size;
      if (found === size) {
        await handle.sync();
        await chmod(path, 0o444);
      }
      return found;
    } finally {
      await handle.close();
    }
  },
  measure: measureFile,
  removeFile: (path) => rm(path, { force: true }),
  async syncFolder(folder) {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

/** Gives a file a second name; copies it where that cannot be, since the two stand on different file systems. */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (isMissing(error)) throw error;
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }
}
