import type { Oid, Tid } from '../ids.js';
import type { Revision } from '../storage/storage.js';

/** What an entry costs beside its data. */
const ENTRY_BYTES = 160;

interface Entry {
  readonly oid: Oid;
  revision: Revision;
  /** The next older revision that is cached. */
  older: Entry | undefined;
  /** Read since the last look: spared once. */
  used: boolean;
}

/**
 * Revisions with the time for which they hold, so that old snapshots find theirs too. Bounded by bytes; what has not
 * been read for long goes first ("second chance": a look at each in order of arrival, sparing once what was read).
 */
export class RevisionCache {
  readonly #bytesMax: number;
  readonly #byOid = new Map<Oid, Entry>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Bytes held, with what entries cost. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Number of objects of which a revision is held. */
  get objectCount(): number {
    return this.#byOid.size;
  }

  /** The revision of `oid` that was current just before `before`, if it is held. */
  get(oid: Oid, before: Tid): Revision | undefined {
    for (let entry = this.#byOid.get(oid); entry !== undefined; entry = entry.older) {
      const { revision } = entry;
      if (revision.tid >= before) continue;
      if (revision.endTid !== undefined && revision.endTid < before) return undefined;
      entry.used = true;
      return revision;
    }
    return undefined;
  }

  /** The current revision, if it is held. */
  getCurrent(oid: Oid): Revision | undefined {
    const entry = this.#byOid.get(oid);
    if (entry === undefined || entry.revision.endTid !== undefined) return undefined;
    entry.used = true;
    return entry.revision;
  }

  /** The revision that `tid` wrote, if it is held. */
  getSerial(oid: Oid, tid: Tid): Revision | undefined {
    for (let entry = this.#byOid.get(oid); entry !== undefined; entry = entry.older) {
      if (entry.revision.tid === tid) return entry.revision;
    }
    return undefined;
  }

  /** Holds a revision. One that is larger than a quarter of the cache is not taken. */
  put(oid: Oid, revision: Revision): void {
    const size = revision.data.length + ENTRY_BYTES;
    if (size > this.#bytesMax / 4) return;
    let newer: Entry | undefined;
    let entry = this.#byOid.get(oid);
    while (entry !== undefined && entry.revision.tid > revision.tid) {
      newer = entry;
      entry = entry.older;
    }
    if (entry?.revision.tid === revision.tid) {
      // Known already; what is new may be its end.
      if (entry.revision.endTid === undefined) entry.revision = revision;
      return;
    }
    if (newer !== undefined) {
      // A revision that was current once, and is not: where it ended is not known.
      if (revision.endTid === undefined) return;
      newer.older = { oid, revision, older: entry, used: false };
    } else {
      let older = entry;
      if (older !== undefined && older.revision.endTid === undefined) {
        // It ended at `revision.tid` or before, at a transaction that this cache has not been told of yet.
        this.#bytes -= older.revision.data.length + ENTRY_BYTES;
        older = older.older;
      }
      this.#byOid.delete(oid);
      this.#byOid.set(oid, { oid, revision, older, used: false });
    }
    this.#bytes += size;
    this.#evict();
  }

  /** These objects were changed by `tid`: what was current until then ends there. */
  invalidate(tid: Tid, oids: readonly Oid[]): void {
    for (const oid of oids) {
      const entry = this.#byOid.get(oid);
      if (entry !== undefined && entry.revision.endTid === undefined && entry.revision.tid < tid) {
        entry.revision = { ...entry.revision, endTid: tid };
      }
    }
  }

  /** Drops what is held of an object. */
  drop(oid: Oid): void {
    const entry = this.#byOid.get(oid);
    if (entry === undefined) return;
    this.#byOid.delete(oid);
    this.#discount(entry);
  }

  /** Drops everything that counts as current: it may have been superseded unseen. */
  dropCurrent(): void {
    for (const [oid, entry] of this.#byOid) if (entry.revision.endTid === undefined) this.drop(oid);
  }

  #evict(): void {
    while (this.#bytes > this.#bytesMax) {
      const next = this.#byOid.values().next();
      if (next.done) return;
      const entry = next.value;
      this.#byOid.delete(entry.oid);
      if (entry.used && entry.older === undefined) {
        entry.used = false;
        this.#byOid.set(entry.oid, entry);
      } else if (entry.used) {
        // The newest is spared, its past is not.
        this.#discount(entry.older);
        entry.older = undefined;
        entry.used = false;
        this.#byOid.set(entry.oid, entry);
      } else {
        this.#discount(entry);
      }
    }
  }

  #discount(first: Entry | undefined): void {
    for (let entry = first; entry !== undefined; entry = entry.older) {
      this.#bytes -= entry.revision.data.length + ENTRY_BYTES;
    }
  }
}
