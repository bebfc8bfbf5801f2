import { writeUint64 } from '../../base/index.js';
import { type Oid, type Tid, ZERO_TID } from '../ids.js';
import type { Revision } from '../storage/storage.js';
import { newPacket, PacketReader, pairPacket, readRecords } from './codec.js';
import { HEADER_BYTES, Message } from './messages.js';
import { RevisionCache } from './revision-cache.js';
import type { ViewChannel } from './view-channel.js';
import type { WrittenRecords } from './view-transactions.js';

/** Oids of one request to `prefetch`. */
const PREFETCH_COUNT = 1000;
/** Invalidated oids that are remembered for answers under way; past it, those answers are not cached. */
const HELD_OIDS_MAX = 100_000;

/** The revisions that a view has, and how it gets those that it has not. */
export class ViewRevisions {
  readonly #channel: ViewChannel;
  readonly #cache: RevisionCache;
  /** Answers under way that fill the cache, and what was invalidated since the first of them. */
  #heldCount = 0;
  #heldAll = false;
  readonly #held = new Map<Oid, Tid>();

  /** @param bytesMax what the revisions may take */
  constructor(channel: ViewChannel, bytesMax: number) {
    this.#channel = channel;
    this.#cache = new RevisionCache(bytesMax);
  }

  /** The current revision, if it is here. Asked only while all is known that was published. */
  cachedCurrent(oid: Oid): Revision | undefined {
    return this.#cache.getCurrent(oid);
  }

  /** The revision that was current just before `before`, if it is here. */
  cached(oid: Oid, before: Tid): Revision | undefined {
    return this.#cache.get(oid, before);
  }

  /** The revision of this very transaction, if it is here. */
  cachedSerial(oid: Oid, tid: Tid): Revision | undefined {
    return this.#cache.getSerial(oid, tid);
  }

  /** These may be here in a form that the server does not have. */
  distrust(oids: Iterable<Oid>): void {
    for (const oid of oids) this.#cache.drop(oid);
  }

  /** Asks for a revision, and blocks until the answer is there. */
  fetch(type: typeof Message.load | typeof Message.loadBefore, oid: Oid, before = ZERO_TID): Revision | undefined {
    const packet = this.#channel.call((id) => pairPacket(type, id, oid, before));
    if (packet.length === HEADER_BYTES) return undefined;
    const reader = new PacketReader(packet);
    const tid = reader.tid();
    const endTid = reader.tid();
    const revision: Revision = {
      tid,
      endTid: endTid === 0 ? undefined : endTid,
      data: reader.bytes(reader.remaining),
    };
    // What is current was so when the answer was sent; a later end is in the ring still, past this thread's place in it.
    this.#cache.put(oid, revision);
    return revision;
  }

  /** Fetches what is not here, by some requests at once. */
  async prefetch(oids: readonly Oid[], before: Tid): Promise<void> {
    const wanted = oids.filter((oid) => this.#cache.get(oid, before) === undefined);
    const requests: Promise<void>[] = [];
    for (let i = 0; i < wanted.length; i += PREFETCH_COUNT) {
      requests.push(this.#prefetchSome(wanted.slice(i, i + PREFETCH_COUNT), before));
    }
    await Promise.all(requests);
  }

  async #prefetchSome(oids: readonly Oid[], before: Tid): Promise<void> {
    for (let handled = 0; handled < oids.length; ) {
      const some = oids.slice(handled);
      const release = this.holdInvalidations();
      try {
        handled += await this.#channel.request(
          (id) => {
            const packet = newPacket(Message.prefetch, id, 8 + some.length * 8);
            writeUint64(packet, HEADER_BYTES, before);
            for (const [index, oid] of some.entries()) writeUint64(packet, HEADER_BYTES + 8 + index * 8, oid);
            return packet;
          },
          (packet) => {
            const reader = new PacketReader(packet);
            const count = reader.uint32();
            for (const { oid, tid, endTid, data } of readRecords(reader)) this.#cacheLate(oid, { tid, endTid, data });
            return count;
          },
        );
      } finally {
        release();
      }
    }
  }

  /** From now on until what it returns is called, what is invalidated is remembered: answers are under way. */
  holdInvalidations(): () => void {
    this.#heldCount += 1;
    return () => {
      this.#heldCount -= 1;
      if (this.#heldCount > 0) return;
      this.#held.clear();
      this.#heldAll = false;
    };
  }

  /** Caches a revision that was on its way while this thread went on: it may have been superseded meanwhile. */
  #cacheLate(oid: Oid, revision: Revision): void {
    if (revision.endTid === undefined) {
      if (this.#heldAll || (this.#held.get(oid) ?? ZERO_TID) > revision.tid) return;
    }
    this.#cache.put(oid, revision);
  }

  /** Takes in what this thread has committed. */
  written({ tid, records, resolvedByServer }: WrittenRecords): void {
    for (const { oid, data } of records) {
      if (resolvedByServer.has(oid) || data.length === 0) this.#cache.drop(oid);
      else this.#cacheLate(oid, { tid, endTid: undefined, data });
    }
  }

  /** These were changed by `tid`. */
  invalidate(tid: Tid, oids: readonly Oid[]): void {
    this.#cache.invalidate(tid, oids);
    if (this.#heldCount > 0) {
      if (this.#held.size + oids.length > HELD_OIDS_MAX) this.#heldAll = true;
      else for (const oid of oids) this.#held.set(oid, tid);
    }
  }

  /** Anything may have been changed. */
  invalidateAll(): void {
    this.#cache.dropCurrent();
    if (this.#heldCount > 0) this.#heldAll = true;
  }
}
