import { type Oid, ROOT_OID, strongReferences, type Tid } from 'holdfast/odb';

/** What a transaction has made of an object, as far as that was told. */
export interface KnownRevision {
  readonly tid: Tid;
  /** `undefined`: the object was removed. */
  data: Uint8Array | undefined;
  /** What it keeps alive. */
  references: readonly Oid[];
  /** Whether its data are known: a storage that is being closed publishes, and cannot be read any more. */
  isKnown: boolean;
}

/** All revisions of all objects that were ever published. */
export class Revisions {
  readonly #byOid = new Map<Oid, KnownRevision[]>();
  /** What was restored, and when: a pack may have taken what was there before, with the object. */
  readonly #restored = new Map<Oid, Tid>();

  get oids(): readonly Oid[] {
    return [...this.#byOid.keys()];
  }

  /** Those of an object, the oldest one first. */
  of(oid: Oid): readonly KnownRevision[] {
    return this.#byOid.get(oid) ?? [];
  }

  /** The one that a transaction has made. */
  by(tid: Tid, oid: Oid): KnownRevision | undefined {
    return this.of(oid).find((each) => each.tid === tid);
  }

  add(oid: Oid, revision: KnownRevision, { isRestored }: { readonly isRestored: boolean }): void {
    const revisions = this.#byOid.get(oid);
    if (revisions) revisions.push(revision);
    else this.#byOid.set(oid, [revision]);
    if (isRestored) this.#restored.set(oid, revision.tid);
  }

  /** What came before it may be gone. */
  restoredTid(oid: Oid): Tid {
    return this.#restored.get(oid) ?? (0 as Tid);
  }

  /** All that came after a transaction has never been. */
  forgetAfter(last: Tid): void {
    for (const [oid, revisions] of this.#byOid) {
      const kept = revisions.filter(({ tid }) => tid <= last);
      if (kept.length > 0) this.#byOid.set(oid, kept);
      else this.#byOid.delete(oid);
    }
    for (const [oid, tid] of this.#restored) if (tid > last) this.#restored.delete(oid);
  }

  /**
   * What has to be kept: what is reached from the root, from what was written since `before`, and from `more` records, by way of all
   * revisions that are kept.
   */
  reachable(before: Tid, more: readonly Uint8Array[] = []): Set<Oid> {
    const reached = new Set<Oid>([ROOT_OID]);
    for (const [oid, revisions] of this.#byOid) if ((revisions.at(-1)?.tid ?? 0) >= before) reached.add(oid);
    for (const data of more) for (const oid of strongReferences(data)) reached.add(oid);
    // A set tells of what is added while it is walked.
    for (const oid of reached) {
      const revisions = this.of(oid);
      const restoredTid = this.restoredTid(oid);
      for (const [i, { tid, references }] of revisions.entries()) {
        const endTid = revisions[i + 1]?.tid;
        if ((endTid !== undefined && endTid < before) || tid < restoredTid) continue;
        for (const reference of references) reached.add(reference);
      }
    }
    return reached;
  }
}

/** What a revision with these data holds. */
export function contentOf(data: Uint8Array | undefined): Pick<KnownRevision, 'data' | 'references'> {
  return { data: data && Buffer.from(data), references: data ? strongReferences(data) : [] };
}
