import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { POSKeyError, StorageError } from '../../errors.js';
import type { Oid } from '../../ids.js';
import type { Storage } from '../storage.js';
import { linkOrCopy } from './blob-files.js';
import type { BlobInfo } from './blob-info.js';
import type { PlacedBlob } from './blob-store.js';
import type { BlobKeeper, BlobRequest } from './storage-blobs.js';

/** A content that transactions under way are about to store. */
interface Draft {
  readonly file: string;
  /** How many of them. */
  count: number;
}

let draftCount = 0;

/**
 * The contents of blobs of changes that stand over a base: the changes take the new ones, those of the base are read there. What a
 * transaction stores is held under a name of its own until that is over, since it may be stored late: after a vote that stayed in doubt.
 *
 * A record of the changes has its content there too, also where an undo has brought back one of the base: so that the changes are whole
 * by themselves, and can be copied.
 */
export class OverlayBlobs implements BlobKeeper {
  readonly #base: Storage;
  readonly #changes: Storage;
  readonly #drafts = new Map<string, Draft>();

  constructor(base: Storage, changes: Storage) {
    this.#base = base;
    this.#changes = changes;
  }

  get temporaryDirectory(): string {
    return this.#changes.temporaryDirectory as string;
  }

  /** The file of a content that is to be stored; `undefined` where none is. */
  draftOf({ id }: BlobInfo): string | undefined {
    return this.#drafts.get(id)?.file;
  }

  async place(requests: readonly BlobRequest[]): Promise<PlacedBlob[]> {
    const placed: PlacedBlob[] = [];
    try {
      for (const request of requests) placed.push(await this.#hold(request));
    } catch (error) {
      for (const each of placed) await each.takeBack();
      throw error;
    }
    return placed;
  }

  async #hold({ oid, info, file }: BlobRequest): Promise<PlacedBlob> {
    const path = await this.#make(oid, info, file);
    // Another transaction may hold the same content, and have made its file meanwhile.
    const known = this.#drafts.get(info.id);
    if (known) {
      known.count++;
      await rm(path, { force: true });
    } else this.#drafts.set(info.id, { file: path, count: 1 });
    const letGo = () => this.#letGo(info);
    return { settle: letGo, takeBack: letGo };
  }

  async #letGo({ id }: BlobInfo): Promise<void> {
    const draft = this.#drafts.get(id) as Draft;
    if (--draft.count > 0) return;
    this.#drafts.delete(id);
    await rm(draft.file, { force: true });
  }

  async #make(oid: Oid, info: BlobInfo, file: string | undefined): Promise<string> {
    await mkdir(this.temporaryDirectory, { recursive: true });
    const path = join(this.temporaryDirectory, `${info.id}-${process.pid}-${++draftCount}.held`);
    try {
      if (file === undefined) await this.#takeStored(oid, info, path);
      else await linkOrCopy(file, path);
      const { size } = await stat(path);
      if (size === info.size) return path;
      throw new StorageError(
        `the file ${file ?? path} has ${size} bytes, and was to be stored as ${info.size}: it was changed`,
      );
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  async #takeStored(oid: Oid, info: BlobInfo, path: string): Promise<void> {
    for (let tries = 0; ; tries++) {
      let stored: string;
      try {
        stored = await this.load(oid, info);
      } catch (error) {
        if (!(error instanceof POSKeyError)) throw error;
        throw new StorageError(`the record of blob oid ${oid} was stored without its content: use storeBlob`);
      }
      try {
        return await linkOrCopy(stored, path);
      } catch (error) {
        // A client's cache may have dropped the file between the two.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || tries >= 3) throw error;
      }
    }
  }

  async load(oid: Oid, info: BlobInfo): Promise<string> {
    if (this.#changes.supports.blobs) {
      try {
        return await this.#changes.loadBlob(oid, info);
      } catch (error) {
        if (!(error instanceof POSKeyError)) throw error;
      }
    }
    return this.#base.loadBlob(oid, info);
  }

  /** The changes have done so, when they are packed. */
  async collectAll(): Promise<void> {}

  /** Those of the changes are told of by a verification of these. */
  orphans(): readonly [] {
    return [];
  }

  async settled(): Promise<void> {}
}
