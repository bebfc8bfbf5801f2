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
import { dirname, join } from 'node:path';
import { Logger } from '../../../base/index.js';
import { FormatVersionError, StorageError } from '../../errors.js';
import type { Oid } from '../../ids.js';
import { type BlobInfo, isBlobId } from './blob-info.js';

const logger = new Logger('holdfast.storage');

/*
 * The contents of blobs are files beside the database:
 *
 *     blobs/layout.json                what this is, and in which version
 *     blobs/tmp/…                      what is just being made, or removed; emptied when the database is opened
 *     blobs/pending/‹oid›-‹id›         an empty file for each content that stands in its place, while its transaction is not yet durable
 *     blobs/2/01a/2b3/‹id›             a content. The folders are the oid of its blob, in hexadecimal, in groups of three digits;
 *                                      the first says how many groups there are
 *
 * So no folder has more than 4096 entries, but for that of a blob of which more contents are kept. A file is written under `tmp`, synced,
 * and moved into its place, whose folder is synced, before the transaction that stores it is written; it is never changed, and can only be
 * read. Size and checksum stand in the record of the blob (see `blob-info.ts`).
 *
 * Crash: what a crash leaves under `tmp` and `pending` is removed at the next open, with the contents that no revision names. Where the
 * machine went down, entries of `pending` may be lost: packing looks at all contents.
 */

const MARKER = 'layout.json';
const FORMAT = 'holdfast blobs';
/** The version of the layout. */
const VERSION = 1;
const TEMPORARY = 'tmp';
const PENDING = 'pending';
const GROUP_DIGITS = 3;

/** A content that was put into its place for a transaction. */
export interface PlacedBlob {
  /** The transaction is durable. */
  settle(): Promise<void>;
  /** The transaction will not happen. */
  takeBack(): Promise<void>;
  /** Whether the transaction happened is not known: the next open finds out. */
  leave(): void;
}

/** A content, and the blob that it belongs to. */
export interface StoredBlob {
  readonly oid: Oid;
  readonly id: string;
}

/** Keeps the contents of blobs in a folder. One at a time may write to it. */
export class BlobStore {
  readonly folder: string;
  /** Where files that are to become contents are made, on the same file system. */
  readonly temporaryDirectory: string;
  readonly #pending: string;
  /** Contents that open transactions count on, and how many. */
  readonly #claims = new Map<string, number>();
  readonly #removals = new Set<Promise<void>>();
  #isMade: boolean;

  private constructor(folder: string) {
    this.folder = folder;
    this.temporaryDirectory = join(folder, TEMPORARY);
    this.#pending = join(folder, PENDING);
    this.#isMade = existsSync(join(folder, MARKER));
  }

  /**
   * Opens the folder, which is made once something is put into it.
   *
   * @param folder absolute
   * @throws FormatVersionError for a layout of a later version. StorageError for a folder that is not ours.
   */
  static open(folder: string): BlobStore {
    const store = new BlobStore(folder);
    if (store.#isMade) checkMarker(folder);
    else requireOurs(folder);
    return store;
  }

  /** The path of a content, there or not. */
  pathOf({ oid, id }: StoredBlob): string {
    return join(this.#folderOf(oid), id);
  }

  /** Bytes of a content; `undefined` when it is not there. */
  async sizeOf(blob: StoredBlob): Promise<number | undefined> {
    try {
      return (await stat(this.pathOf(blob))).size;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /**
   * Puts a content into its place, durably. Until one of the methods of the result is called, it is not removed.
   *
   * @param file is linked, or copied, and stays; without it the content has to be there already
   * @throws StorageError. Errors of the file system.
   */
  async place(oid: Oid, info: BlobInfo, file: string | undefined): Promise<PlacedBlob> {
    const blob = { oid, id: info.id };
    this.#claim(blob);
    try {
      const size = await this.sizeOf(blob);
      if (size === info.size) return this.#placed(blob, undefined);
      if (file === undefined) {
        throw new StorageError(`the record of blob oid ${oid} was stored without its content: use storeBlob`);
      }
      await this.#make();
      const mark = join(this.#pending, `${oid}-${info.id}`);
      writeFileSync(mark, '');
      await this.#put(blob, info, file);
      return this.#placed(blob, mark);
    } catch (error) {
      this.#unclaim(blob);
      throw error;
    }
  }

  #placed(blob: StoredBlob, mark: string | undefined): PlacedBlob {
    return {
      settle: async () => {
        this.#unclaim(blob);
        if (mark !== undefined) await rm(mark, { force: true });
      },
      takeBack: async () => {
        this.#unclaim(blob);
        if (mark === undefined || this.#claims.has(keyOf(blob))) return;
        this.#remove(blob);
        await rm(mark, { force: true });
      },
      leave: () => this.#unclaim(blob),
    };
  }

  async #put(blob: StoredBlob, info: BlobInfo, file: string): Promise<void> {
    const draft = join(this.temporaryDirectory, `${info.id}.new`);
    try {
      await linkOrCopy(file, draft);
      const handle = await open(draft, 'r');
      try {
        const { size } = await handle.stat();
        if (size !== info.size) {
          throw new StorageError(
            `the file ${file} has ${size} bytes, and was to be stored as ${info.size}: it was changed`,
          );
        }
        await handle.sync();
      } finally {
        await handle.close();
      }
      await chmod(draft, 0o444);
      const folder = this.#folderOf(blob.oid);
      for (;;) {
        const made = mkdirSync(folder, { recursive: true });
        try {
          renameSync(draft, join(folder, blob.id));
        } catch (error) {
          // The folder of a blob goes with its last content, which may have been now.
          if (isMissing(error) && existsSync(draft)) continue;
          throw error;
        }
        await syncFolders(folder, made);
        return;
      }
    } finally {
      await rm(draft, { force: true });
    }
  }

  /** Removes the contents of a blob that are not kept, and that no open transaction counts on; with the last one its folder. */
  retain(oid: Oid, isKept: (id: string) => boolean): void {
    for (const id of this.idsOf(oid)) {
      const blob = { oid, id };
      if (!isKept(id) && !this.#claims.has(keyOf(blob))) this.#remove(blob);
    }
  }

  /** Ordering: it is out of its place when this returns, so that nobody can begin to count on it. */
  #remove(blob: StoredBlob): void {
    const aside = join(this.temporaryDirectory, `${blob.id}.old`);
    try {
      renameSync(this.pathOf(blob), aside);
    } catch (error) {
      if (!isMissing(error)) logger.warning(`the content ${blob.id} could not be removed`, error);
      return;
    }
    try {
      rmdirSync(this.#folderOf(blob.oid));
    } catch {
      // It has other contents.
    }
    const removal: Promise<void> = rm(aside, { force: true })
      .catch((error: unknown) => logger.warning(`the content ${blob.id} could not be removed`, error))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  /** Resolves when nothing is being removed any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#removals);
  }

  /** The ids of the contents that a blob has. */
  idsOf(oid: Oid): readonly string[] {
    return namesIn(this.#folderOf(oid)).filter(isBlobId);
  }

  /** The blobs that have contents. */
  *oids(): Generator<Oid> {
    for (const count of namesIn(this.folder)) {
      if (/^[1-5]$/.test(count)) yield* this.#oidsBelow(join(this.folder, count), Number(count), '');
    }
  }

  *#oidsBelow(folder: string, groups: number, digits: string): Generator<Oid> {
    if (groups === 0) yield Number.parseInt(digits, 16) as Oid;
    else {
      for (const name of namesIn(folder)) {
        if (/^[0-9a-f]{3}$/.test(name)) yield* this.#oidsBelow(join(folder, name), groups - 1, digits + name);
      }
    }
  }

  #folderOf(oid: Oid): string {
    const digits = oid.toString(16);
    const groups = Math.ceil(digits.length / GROUP_DIGITS);
    const padded = digits.padStart(groups * GROUP_DIGITS, '0');
    const names = Array.from({ length: groups }, (_, i) => padded.slice(i * GROUP_DIGITS, (i + 1) * GROUP_DIGITS));
    return join(this.folder, String(groups), ...names);
  }

  /**
   * Removes what a crash left.
   *
   * @param isNamed whether a revision that is there names the content; `'maybe'` where its transaction is in doubt
   */
  recover(isNamed: (blob: StoredBlob) => boolean | 'maybe'): void {
    if (!this.#isMade) return;
    for (const name of namesIn(this.#pending)) {
      const [oid, id = ''] = name.split('-');
      if (isBlobId(id)) {
        const blob = { oid: Number(oid) as Oid, id };
        const answer = isNamed(blob);
        if (answer === 'maybe') {
          // It stays until the next open at least.
          this.#claim(blob);
          continue;
        }
        if (!answer) this.#remove(blob);
      }
      rmSync(join(this.#pending, name), { force: true });
    }
    for (const name of namesIn(this.temporaryDirectory)) {
      rmSync(join(this.temporaryDirectory, name), { recursive: true, force: true });
    }
  }

  async #make(): Promise<void> {
    if (this.#isMade) return;
    mkdirSync(this.temporaryDirectory, { recursive: true });
    mkdirSync(this.#pending, { recursive: true });
    const draft = join(this.folder, `${MARKER}.new`);
    // Ordering: the marker comes last, so that where it stands everything else has to be.
    writeFileSync(draft, `${JSON.stringify({ format: FORMAT, version: VERSION })}\n`, { flush: true });
    renameSync(draft, join(this.folder, MARKER));
    this.#isMade = true;
    await syncFolders(this.folder, this.folder);
  }

  #claim(blob: StoredBlob): void {
    const key = keyOf(blob);
    this.#claims.set(key, (this.#claims.get(key) ?? 0) + 1);
  }

  #unclaim(blob: StoredBlob): void {
    const key = keyOf(blob);
    const count = this.#claims.get(key) ?? 0;
    if (count > 1) this.#claims.set(key, count - 1);
    else this.#claims.delete(key);
  }
}

function keyOf({ oid, id }: StoredBlob): string {
  return `${oid}-${id}`;
}

/** Gives a file a second name; copies it where that cannot be, since the two stand on different file systems. */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw error;
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

/** Makes the names in a folder durable, and those of the folders above it that were made with it, the topmost being `made`. */
async function syncFolders(folder: string, made: string | undefined): Promise<void> {
  const top = made === undefined ? folder : dirname(made);
  for (let each = folder; ; each = dirname(each)) {
    const handle = await open(each, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (each === top || each === dirname(each)) return;
  }
}

function checkMarker(folder: string): void {
  let marker: { readonly format?: unknown; readonly version?: unknown };
  try {
    marker = JSON.parse(readFileSync(join(folder, MARKER), 'utf8')) as typeof marker;
  } catch (error) {
    throw new StorageError(`${folder} is no folder of blobs: its ${MARKER} cannot be read (${String(error)})`);
  }
  if (marker?.format !== FORMAT || typeof marker.version !== 'number') {
    throw new StorageError(`${folder} is no folder of blobs: its ${MARKER} is not ours`);
  }
  if (marker.version > VERSION) {
    throw new FormatVersionError(
      `${folder} has layout version ${marker.version}, this holdfast reads ${VERSION}: use the version that wrote it, or a later one`,
    );
  }
}

/** Crash: the marker comes last. */
const LEFT_OVER = new Set([TEMPORARY, PENDING, `${MARKER}.new`]);

function requireOurs(folder: string): void {
  const foreign = namesIn(folder).filter((name) => !LEFT_OVER.has(name));
  if (foreign.length === 0) return;
  throw new StorageError(
    `${folder} is no folder of blobs: it has no ${MARKER}, but contains ${foreign.slice(0, 3).join(', ')}; move it away`,
  );
}
