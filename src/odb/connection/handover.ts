import type { ObjectCache } from '../cache/object-cache.js';
import type { Oid, Tid } from '../ids.js';
import { draftStored } from '../persistent/blob/blob.js';
import { markStored } from '../persistent/lifecycle.js';
import type { Persistent } from '../persistent/persistent.js';
import type { Changes } from './changes.js';
import type { StorageShare } from './storage-share.js';

/** What one connection hands to its storage in a commit that is under way. */
export class Handover {
  readonly #writer: object;
  readonly #share: StorageShare;
  readonly #cache: ObjectCache;
  readonly #stored: Persistent[] = [];
  #resolved: readonly Oid[] = [];
  /** Records that were handed to the storage. */
  recordCount = 0;

  /** @param writer the connection */
  constructor(writer: object, share: StorageShare, cache: ObjectCache) {
    this.#writer = writer;
    this.#share = share;
    this.#cache = cache;
  }

  /**
   * Stores all changes, and has the serials checked of objects that were only read.
   *
   * @param readCurrent objects with the serials that they have to have still
   */
  store(changes: Changes, readCurrent: ReadonlyMap<Persistent, Tid>): void {
    changes.store(({ data, serial, draft }, oid, object) => {
      this.#share.store(this.#writer, oid, serial, data, draft?.file(this.#share.temporaryDirectory));
      this.recordCount++;
      if (object) this.#stored.push(object);
    });
    if (readCurrent.size === 0) return;
    const written = new Set(this.#stored);
    for (const [object, serial] of readCurrent) {
      if (!written.has(object)) this.#share.checkCurrentSerial(object._p_oid as Oid, serial);
    }
  }

  async vote(): Promise<void> {
    this.#resolved = (await this.#share.vote()).resolved;
  }

  /** Whether the transaction has happened once this part has finished. */
  get decides(): boolean {
    return this.#share.decides;
  }

  async finish(): Promise<Tid | undefined> {
    const tid = await this.#share.finish();
    if (tid === undefined) this.#unload();
    else this.#settle(tid);
    return tid;
  }

  /** Vote and finish in one step. */
  async commit(): Promise<Tid> {
    const { tid, resolved } = await this.#share.commit();
    this.#resolved = resolved;
    this.#settle(tid);
    return tid;
  }

  abort(): Promise<void> {
    return this.#share.abort();
  }

  /** What was stored is not to be seen yet. */
  #unload(): void {
    for (const object of this.#stored) {
      draftStored(object);
      this.#cache.revert(object);
    }
  }

  /** What was stored is of this transaction from now on; what was merged is loaded anew when it is touched. */
  #settle(tid: Tid): void {
    for (const object of this.#stored) {
      const bytes = object._p_estimatedSize;
      markStored(object, tid, bytes);
      draftStored(object);
      // It may have been dropped from memory meanwhile.
      if (object._p_changed !== undefined) this.#cache.used(object._p_oid as Oid, object, bytes);
    }
    for (const oid of this.#resolved) {
      const object = this.#cache.get(oid);
      if (object) this.#cache.revert(object);
    }
  }
}
