import { dirname, join } from 'node:path';
import { Logger } from '../../../base/index.js';
import { FormatVersionError, StorageError } from '../../errors.js';
import type { Oid } from '../../ids.js';
import { type BlobFiles, isMissing, machineFiles } from './blob-files.js';
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
const CONTENT_PATH = /[/\\][1-5]([/\\][0-9a-f]{3}){1,5}[/\\][0-9a-f]{32}$/;

/** Whether a path is that of a content in a database, by its form. */
export function isContentPath(path: string): boolean {
  return CONTENT_PATH.test(path);
}

/**
 * A content that was put into its place for a transaction. Where neither is called, because it is not known whether the transaction
 * happened, it stays until the next open, which finds out.
 */
export interface PlacedBlob {
  /** The transaction is durable. */
  settle(): Promise<void>;
  /** The transaction will not happen. */
  takeBack(): Promise<void>;
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
  readonly #files: BlobFiles;
  readonly #pending: string;
  /** Contents that open transactions count on, and how many. */
  readonly #claims = new Map<string, number>();
  readonly #removals = new Set<Promise<void>>();
  /**
   * Folders that are known to be durable, with all above them; but for those of single blobs. Of one that is found that is not known: who
   * made it may have been killed.
   */
  readonly #durable = new Set<string>();
  #isMade: boolean;
  #making: Promise<void> | undefined;

  private constructor(folder: string, files: BlobFiles) {
    this.folder = folder;
    this.#files = files;
    this.temporaryDirectory = join(folder, TEMPORARY);
    this.#pending = join(folder, PENDING);
    this.#isMade = files.exists(join(folder, MARKER));
  }

  /**
   * Opens the folder, which is made once something is put into it.
   *
   * @param folder absolute
   * @throws FormatVersionError for a layout of a later version. StorageError for a folder that is not ours.
   */
  static open(folder: string, files: BlobFiles = machineFiles): BlobStore {
    const store = new BlobStore(folder, files);
    if (store.#isMade) checkMarker(folder, files);
    else requireOurs(folder, files);
    return store;
  }

  /** The path of a content, there or not. */
  pathOf({ oid, id }: StoredBlob): string {
    return join(this.#folderOf(oid), id);
  }

  /** Bytes of a content; `undefined` when it is not there. */
  sizeOf(blob: StoredBlob): Promise<number | undefined> {
    return this.#files.sizeOf(this.pathOf(blob));
  }

  /** Size and checksum of a content, as read. @throws Errors of the file system. The reason of `signal`. */
  measure(path: string, signal: AbortSignal | undefined): Promise<{ readonly size: number; readonly crc: number }> {
    return this.#files.measure(path, signal);
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
    let placed = this.#placed(blob, undefined);
    try {
      const size = await this.sizeOf(blob);
      if (size === info.size) return placed;
      if (file === undefined) {
        throw new StorageError(`the record of blob oid ${oid} was stored without its content: use storeBlob`);
      }
      await this.#make();
      const mark = join(this.#pending, `${oid}-${info.id}`);
      placed = this.#placed(blob, mark);
      this.#files.writeText(mark, '');
      await this.#put(blob, info, file);
      return placed;
    } catch (error) {
      await placed.takeBack();
      throw error;
    }
  }

  #placed(blob: StoredBlob, mark: string | undefined): PlacedBlob {
    return {
      settle: async () => {
        this.#unclaim(blob);
        if (mark !== undefined) await this.#files.removeFile(mark);
      },
      takeBack: async () => {
        this.#unclaim(blob);
        if (mark === undefined || this.#claims.has(keyOf(blob))) return;
        this.#remove(blob);
        await this.#files.removeFile(mark);
      },
    };
  }

  async #put(blob: StoredBlob, info: BlobInfo, file: string): Promise<void> {
    const draft = join(this.temporaryDirectory, `${info.id}.new`);
    const files = this.#files;
    try {
      await files.linkOrCopy(file, draft);
      const size = await files.seal(draft, info.size);
      if (size !== info.size) {
        throw new StorageError(
          `the file ${file} has ${size} bytes, and was to be stored as ${info.size}: it was changed`,
        );
      }
      const folder = this.#folderOf(blob.oid);
      for (;;) {
        files.makeFolder(folder);
        try {
          files.move(draft, join(folder, blob.id));
        } catch (error) {
          // The folder of a blob goes with its last content, which may have been now.
          if (isMissing(error) && files.exists(draft)) continue;
          throw error;
        }
        await this.#syncNames(folder);
        return;
      }
    } finally {
      await files.removeFile(draft);
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
      this.#files.move(this.pathOf(blob), aside);
    } catch (error) {
      if (!isMissing(error)) logger.warning(`the content ${blob.id} could not be removed`, error);
      return;
    }
    try {
      this.#files.removeEmptyFolder(this.#folderOf(blob.oid));
    } catch {
      // It has other contents.
    }
    const removal: Promise<void> = this.#files
      .removeFile(aside)
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
    return this.#files.names(this.#folderOf(oid)).filter(isBlobId);
  }

  /** The blobs that have contents. */
  *oids(): Generator<Oid> {
    for (const count of this.#files.names(this.folder)) {
      if (/^[1-5]$/.test(count)) yield* this.#oidsBelow(join(this.folder, count), Number(count), '');
    }
  }

  *#oidsBelow(folder: string, groups: number, digits: string): Generator<Oid> {
    if (groups === 0) yield Number.parseInt(digits, 16) as Oid;
    else {
      for (const name of this.#files.names(folder)) {
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
   * @returns the contents of those, by their ids.
   */
  recover(isNamed: (blob: StoredBlob) => boolean | 'maybe'): ReadonlyMap<string, PlacedBlob> {
    const uncertain = new Map<string, PlacedBlob>();
    if (!this.#isMade) return uncertain;
    this.#makeWorkFolders();
    for (const name of this.#files.names(this.#pending)) {
      const [oid, id = ''] = name.split('-');
      if (isBlobId(id)) {
        const blob = { oid: Number(oid) as Oid, id };
        const answer = isNamed(blob);
        if (answer === 'maybe') {
          this.#claim(blob);
          uncertain.set(id, this.#placed(blob, join(this.#pending, name)));
          continue;
        }
        if (!answer) this.#remove(blob);
      }
      this.#files.remove(join(this.#pending, name));
    }
    for (const name of this.#files.names(this.temporaryDirectory)) {
      this.#files.remove(join(this.temporaryDirectory, name));
    }
    return uncertain;
  }

  /** Ordering: nobody's content is taken for durable before the marker is, whoever made it. */
  async #make(): Promise<void> {
    if (this.#durable.has(this.folder)) return;
    this.#making ??= this.#makeFolders().finally(() => {
      this.#making = undefined;
    });
    await this.#making;
  }

  async #makeFolders(): Promise<void> {
    const files = this.#files;
    this.#makeWorkFolders();
    if (!this.#isMade) {
      const draft = join(this.folder, `${MARKER}.new`);
      files.writeText(draft, `${JSON.stringify({ format: FORMAT, version: VERSION })}\n`, { durable: true });
      files.move(draft, join(this.folder, MARKER));
      this.#isMade = true;
    }
    await files.syncFolder(this.folder);
    await files.syncFolder(dirname(this.folder));
    this.#durable.add(this.folder);
  }

  /** Crash: of names that were not synced any may be lost, these as well as that of the marker which was made after them. */
  #makeWorkFolders(): void {
    this.#files.makeFolder(this.temporaryDirectory);
    this.#files.makeFolder(this.#pending);
  }

  /** Makes the names in the folder of a blob durable, and that of the folder, and those of the folders above it. */
  async #syncNames(folder: string): Promise<void> {
    await this.#files.syncFolder(folder);
    const above: string[] = [];
    for (let each = dirname(folder); ; each = dirname(each)) {
      await this.#files.syncFolder(each);
      // Ordering: that a folder is there does not make it durable: another who made it may be about to sync its name, or have failed to.
      if (this.#durable.has(each)) break;
      above.push(each);
    }
    for (const each of above) this.#durable.add(each);
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

function checkMarker(folder: string, files: BlobFiles): void {
  let marker: { readonly format?: unknown; readonly version?: unknown };
  try {
    marker = JSON.parse(files.readText(join(folder, MARKER))) as typeof marker;
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

/** Crash: what may be there without the marker. */
const LEFT_OVER = new Set([TEMPORARY, PENDING, `${MARKER}.new`]);

function requireOurs(folder: string, files: BlobFiles): void {
  const foreign = files.names(folder).filter((name) => !LEFT_OVER.has(name));
  if (foreign.length === 0) return;
  throw new StorageError(
    `${folder} is no folder of blobs: it has no ${MARKER}, but contains ${foreign.slice(0, 3).join(', ')}; move it away`,
  );
}
