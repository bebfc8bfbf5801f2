import { CorruptionError, POSKeyError } from '../../errors.js';
import type { Oid } from '../../ids.js';
import type { Problem } from '../verify.js';
import { requireContent } from './blob-file.js';
import { type BlobInfo, blobOf } from './blob-info.js';
import type { BlobStore, PlacedBlob } from './blob-store.js';

/** Blobs whose folders are looked at between two turns of the event loop: others wait that long. */
const STEP_BLOBS = 10;

/** A content that a transaction stores. */
export interface BlobRequest {
  readonly oid: Oid;
  readonly info: BlobInfo;
  /** Where it is; `undefined` where it has to be there already. */
  readonly file: string | undefined;
}

/** What a storage needs of who keeps the contents of its blobs. */
export interface BlobKeeper {
  readonly temporaryDirectory: string;
  /** Puts the contents of a transaction into their places, durably: all, or none. @throws StorageError. Errors of the file system. */
  place(requests: readonly BlobRequest[]): Promise<PlacedBlob[]>;
  /** The path of a content. @throws POSKeyError. CorruptionError. */
  load(oid: Oid, info: BlobInfo): Promise<string>;
  /** Removes all contents that no revision names. @throws the reason of `signal`. */
  collectAll(signal: AbortSignal | undefined): Promise<void>;
  /** Contents that no revision names. */
  orphans(): Iterable<Problem>;
  /** Resolves when nothing is being removed any more. */
  settled(): Promise<void>;
}

/** What {@link StorageBlobs} need of their storage. */
export interface BlobOwner {
  /** Lets others have their turn. */
  turn(): Promise<void>;
  /** All revisions of an object that are kept. */
  revisions(oid: Oid): Iterable<Uint8Array>;
  /** Whether a transaction is about to write the object. */
  isPending(oid: Oid): boolean;
}

/** The contents of the blobs of a storage, which keeps them for as long as a revision names them. */
export class StorageBlobs implements BlobKeeper {
  readonly #store: BlobStore;
  readonly #owner: BlobOwner;

  constructor(store: BlobStore, owner: BlobOwner) {
    this.#store = store;
    this.#owner = owner;
  }

  get temporaryDirectory(): string {
    return this.#store.temporaryDirectory;
  }

  async place(requests: readonly BlobRequest[]): Promise<PlacedBlob[]> {
    const placed: PlacedBlob[] = [];
    try {
      for (const { oid, info, file } of requests) placed.push(await this.#store.place(oid, info, file));
    } catch (error) {
      for (const each of placed) await each.takeBack();
      throw error;
    }
    return placed;
  }

  async load(oid: Oid, info: BlobInfo): Promise<string> {
    const blob = { oid, id: info.id };
    const size = await this.#store.sizeOf(blob);
    if (size === undefined) throw this.#missing(oid, info);
    requireContent(oid, info, { size });
    return this.#store.pathOf(blob);
  }

  /** Reads a content. @throws CorruptionError where it is not the one of the record. As `load`. The reason of `signal`. */
  async check(oid: Oid, info: BlobInfo, signal: AbortSignal | undefined): Promise<void> {
    requireContent(oid, info, await this.#store.measure(await this.load(oid, info), signal));
  }

  #missing(oid: Oid, { id }: BlobInfo): Error {
    if (!this.#kept(oid).has(id)) return new POSKeyError(oid, 'the blob has no such content, or it was packed away');
    return new CorruptionError(`the content of blob oid ${oid} is lost; restore the database from a copy`, { oid });
  }

  /** The contents that revisions of a blob name. */
  #kept(oid: Oid): Set<string> {
    const ids = new Set<string>();
    for (const data of this.#owner.revisions(oid)) {
      const info = blobOf(data);
      if (info) ids.add(info.id);
    }
    return ids;
  }

  /**
   * Removes the contents of these objects that no revision names any more.
   *
   * Ordering: revisions are looked at, and contents removed, in one step. Who is about to write an object may bring an old content of it
   * back, by an undo that was accepted before its revision was dropped: that object is left to the next packing.
   */
  collect(oids: Iterable<Oid>): void {
    for (const oid of oids) {
      if (this.#owner.isPending(oid) || this.#store.idsOf(oid).length === 0) continue;
      const kept = this.#kept(oid);
      this.#store.retain(oid, (id) => kept.has(id));
    }
  }

  async collectAll(signal: AbortSignal | undefined): Promise<void> {
    let count = 0;
    for (const oid of this.#store.oids()) {
      this.collect([oid]);
      if (++count % STEP_BLOBS !== 0) continue;
      await this.#owner.turn();
      signal?.throwIfAborted();
    }
  }

  *orphans(): Generator<Problem> {
    for (const oid of this.#store.oids()) {
      if (this.#owner.isPending(oid)) continue;
      const kept = this.#kept(oid);
      for (const id of this.#store.idsOf(oid)) {
        if (kept.has(id)) continue;
        yield {
          oid,
          message: `the content ${id} of blob oid ${oid} is named by no revision: the next pack removes it`,
        };
      }
    }
  }

  /** What a crash left is removed, but for contents that are named by transactions which may yet happen: those are returned by their ids. */
  recover(inDoubt: ReadonlySet<string>): ReadonlyMap<string, PlacedBlob> {
    return this.#store.recover(({ oid, id }) => this.#kept(oid).has(id) || (inDoubt.has(id) ? 'maybe' : false));
  }

  settled(): Promise<void> {
    return this.#store.settled();
  }
}
