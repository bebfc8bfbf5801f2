import { MAX_TID, type Tid } from '../ids.js';

/** Tells before which transaction the oldest open snapshot of somebody reads; `undefined` while none is open. */
export type OldestSnapshot = () => Tid | undefined;

/** The snapshots that are open, as those tell who have them. */
export class OpenSnapshots {
  readonly #sources = new Set<OldestSnapshot>();

  /** Begins to ask somebody. Returns the function that ends it. */
  keep(oldest: OldestSnapshot): () => void {
    // One may be given twice: each ends by itself.
    const source = () => oldest();
    this.#sources.add(source);
    return () => {
      this.#sources.delete(source);
    };
  }

  /** Whether there is nobody to ask. */
  get isEmpty(): boolean {
    return this.#sources.size === 0;
  }

  /** Before which transaction the oldest snapshot reads; `MAX_TID` where there is none. */
  oldest(): Tid {
    let oldest: Tid = MAX_TID;
    for (const source of this.#sources) {
      const before = source();
      if (before !== undefined && before < oldest) oldest = before;
    }
    return oldest;
  }
}
