import { type Oid, type Storage, type Tid, ZERO_TID } from '../../odb/index.js';
import type { Missed } from '../protocol/connection-messages.js';

/** How far back a new log looks, in µs: further and further until it has enough. */
const WINDOWS_US = [1e6, 10e6, 100e6, 600e6];
/** Transactions that a new log reads at most in one window. */
const READ_MAX = 10_000;

/**
 * The newest transactions of a storage and what they changed, so that a client that was away can be told what it
 * missed instead of forgetting all that it has cached.
 */
export class InvalidationLog {
  readonly #countMax: number;
  /** In order; those before `#first` are dropped. */
  #entries: Missed[] = [];
  #first = 0;
  /** Everything after this tid is in the log. */
  #floor: Tid;
  #lastTid: Tid;

  constructor(options: { readonly lastTid: Tid; readonly countMax: number }) {
    this.#floor = options.lastTid;
    this.#lastTid = options.lastTid;
    this.#countMax = options.countMax;
  }

  /** A log that knows what was committed of late, so that clients get over a restart of their server. */
  static async of(storage: Storage, countMax: number): Promise<InvalidationLog> {
    const lastTid = storage.lastTransaction();
    let found: { readonly floor: Tid; readonly entries: Missed[] } = { floor: lastTid, entries: [] };
    for (const windowUs of WINDOWS_US) {
      const floor = Math.max(lastTid - windowUs, ZERO_TID) as Tid;
      const entries = await readTransactions(storage, (floor + 1) as Tid, lastTid);
      if (entries === undefined) break;
      found = { floor, entries };
      if (entries.length >= countMax || floor === ZERO_TID) break;
    }
    const log = new InvalidationLog({ lastTid: found.floor, countMax });
    for (const { tid, oids } of found.entries) log.add(tid, oids);
    log.#lastTid = lastTid;
    return log;
  }

  /** The newest transaction that was added. */
  get lastTid(): Tid {
    return this.#lastTid;
  }

  /** Adds the next transaction. */
  add(tid: Tid, oids: readonly Oid[]): void {
    this.#entries.push({ tid, oids });
    this.#lastTid = tid;
    if (this.#entries.length - this.#first <= this.#countMax) return;
    this.#floor = (this.#entries[this.#first] as Missed).tid;
    this.#first += 1;
    if (this.#first < this.#countMax) return;
    this.#entries = this.#entries.slice(this.#first);
    this.#first = 0;
  }

  /** Anything may have changed up to `tid`: what was before is of no use any more. */
  addAll(tid: Tid): void {
    this.#entries = [];
    this.#first = 0;
    this.#floor = tid;
    this.#lastTid = tid;
  }

  /** What was committed after `tid`, in order; `undefined` when that is too long ago. */
  since(tid: Tid): readonly Missed[] | undefined {
    if (tid === this.#lastTid) return [];
    if (tid < this.#floor) return undefined;
    let first = this.#entries.length;
    while (first > this.#first && (this.#entries[first - 1] as Missed).tid > tid) first -= 1;
    return this.#entries.slice(first);
  }
}

async function readTransactions(storage: Storage, from: Tid, to: Tid): Promise<Missed[] | undefined> {
  const entries: Missed[] = [];
  for await (const { tid, records } of storage.iterate(from, to)) {
    if (entries.length >= READ_MAX) return undefined;
    entries.push({ tid, oids: records.map(({ oid }) => oid) });
  }
  return entries;
}
