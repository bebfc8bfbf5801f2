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
   * Calls `changed` for each object changed since `cursor`, with the transaction; `lost` instead, where that cannot be
   * told. Returns the new cursor.
   */
  read(cursor: number, changed: (oid: Oid, tid: Tid) => void, lost: () => void): number {
    const { end } = this;
    if (cursor < this.#first) {
      lost();
      return end;
    }
    for (let i = cursor - this.#first; i < this.#entries.length; i++) {
      const { tid, oids } = this.#entries[i] as { tid: Tid; oids: readonly Oid[] | undefined };
      if (!oids) {
        lost();
        return end;
      }
      for (const oid of oids) changed(oid, tid);
    }
    return end;
  }

  #push(tid: Tid, oids: readonly Oid[] | undefined): void {
    this.#entries.push({ tid, oids });
    if (this.#entries.length > 2 * ENTRIES_MAX) {
      this.#entries = this.#entries.slice(ENTRIES_MAX);
      this.#first += ENTRIES_MAX;
    }
  }
}
