import type { Oid, Tid } from '../ids.js';
import type { InvalidationListener } from '../storage/storage.js';

const ENTRIES_MAX = 2048;

/**
 * What was published lately, in order, for any number of connections that read it at their own pace: each keeps a cursor.
 * Whoever falls behind the oldest entry has to invalidate everything.
 */
export class InvalidationLog implements InvalidationListener {
  /** Changed oids, by transaction; `undefined` where everything may have changed. */
  #entries: { readonly tid: Tid; readonly oids: readonly Oid[] | undefined }[] = [];
  #first = 0;

  /** The cursor of one who has read everything. */
  get end(): number {
    return this.#first + this.#entries.length;
  }

  invalidate(tid: Tid, oids: readonly Oid[]): void {
    this.#push(tid, oids);
  }

  invalidateAll(tid: Tid): void {
    this.#push(tid, undefined);
  }

  /**
   * Calls `changed` for each object changed since `cursor` by transactions up to `until`, with the transaction; `lost` instead, where
   * that cannot be told. Returns the new cursor.
   *
   * What is newer than the view that is taken has to be told of with a later one: an object dropped now would be loaded again as it was,
   * and never be told of again.
   */
  read(cursor: number, until: Tid, changed: (oid: Oid, tid: Tid) => void, lost: () => void): number {
    if (cursor < this.#first) {
      lost();
      cursor = this.#first;
    }
    let isLost = false;
    for (; cursor < this.end; cursor++) {
      const { tid, oids } = this.#entries[cursor - this.#first] as { tid: Tid; oids: readonly Oid[] | undefined };
      if (tid > until) break;
      if (isLost) continue;
      if (oids) for (const oid of oids) changed(oid, tid);
      else {
        lost();
        isLost = true;
      }
    }
    return cursor;
  }

  #push(tid: Tid, oids: readonly Oid[] | undefined): void {
    this.#entries.push({ tid, oids });
    if (this.#entries.length > 2 * ENTRIES_MAX) {
      this.#entries = this.#entries.slice(ENTRIES_MAX);
      this.#first += ENTRIES_MAX;
    }
  }
}
