import {
  CommitUncertainError,
  type Oid,
  type PackOptions,
  POSKeyError,
  readRecord,
  type StorageTransaction,
  type Tid,
  tidFromDate,
} from 'holdfast/odb';
import { crc32 } from '#src/base/index.js';
import { OUTCOME_AGE_MAX_MS, SNAPSHOT_AGE_MAX_MS } from '#src/odb/limits.js';
import { blobOf } from '#src/odb/storage/blob/blob-info.js';
import type { BlobStore } from '#src/odb/storage/blob/blob-store.js';
import type { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { OpenSnapshots } from '#src/odb/storage/open-snapshots.js';
import { OidSet } from '#src/odb/storage/pack/oid-set.js';
import { type Checker, CheckFailed } from './check-failed.js';
import { type Intent, Intents } from './intents.js';
import { contentOf, type KnownRevision, Revisions } from './revisions.js';
import type { Scheduler } from './scheduler.js';
import type { SimFiles } from './sim-files.js';
import type { End } from './sim-level.js';

/** Classes whose records a merge may have made: what is committed need not be what was stored. */
const MERGED_CLASS = /^holdfast\./;

/** The clock on the wall is set back by no more than this. */
export const CLOCK_STEP_MAX_MS = 60_000;

/** A pack that is under way. */
interface PackWatch {
  readonly before: Tid;
  /** Revisions and intents from here on came meanwhile. */
  readonly intentsBegin: number;
}

/**
 * Everything that a storage was asked for, has promised and has shown, over all crashes; and whether that agrees.
 */
export class Ledger {
  readonly #scheduler: Scheduler;
  #isClosing = false;
  readonly #keepMs: number | undefined;
  readonly #intents = new Intents();
  readonly #revisions = new Revisions();
  #published: Tid[] = [];
  readonly #descriptions = new Map<Tid, string>();
  #oids = new OidSet();
  /** Garbage that was packed away. */
  readonly #gone = new Set<Oid>();
  /** What was superseded before this may be gone. */
  #packedTid = 0 as Tid;
  #snapshots = new OpenSnapshots();
  #packs = 0;
  #packsEnded = 0;
  #packsBeside = 0;

  /** The contents of blobs. */
  readonly #files: SimFiles;
  #blobs!: BlobStore;
  /** The last transactions may be lost. */
  #mayLose = false;
  #mayForgetOids = false;
  /** Contents may be there that no revision names: the next pack that comes to its end takes them. */
  #mayHaveOrphans = false;

  constructor(scheduler: Scheduler, files: SimFiles, keepMs: number | undefined) {
    this.#scheduler = scheduler;
    this.#files = files;
    this.#keepMs = keepMs;
  }

  /** The first promise that was found broken: who is told of it within a storage may not be able to throw it further. */
  failure: CheckFailed | undefined;

  /** The newest transaction that was acknowledged. */
  acknowledgedTid = 0 as Tid;

  /** Tells that so many transactions are lost that came after one, as they may be where commits do not wait for the disk. */
  onLost: ((last: Tid, count: number) => void) | undefined;

  /** Tells of each transaction that is known to be committed: by the answer to it, or because it was found after a crash. `isLate` where it was in doubt. */
  onCommitted: ((description: string, tid: Tid, isLate?: boolean) => void) | undefined;

  get commitCount(): number {
    return this.#published.length;
  }

  get lastTid(): Tid {
    return this.#published.at(-1) ?? (0 as Tid);
  }

  /** A transaction that was published, at random. */
  somePublished(): Tid | undefined {
    return this.#published.length === 0 ? undefined : this.#scheduler.pick(this.#published);
  }

  /** What transactions before this one superseded may be gone. */
  get horizon(): Tid {
    const kept = this.#keepMs === undefined ? 0 : this.#scheduler.latestMs - this.#keepMs;
    return Math.max(this.#packedTid, kept > 0 ? tidFromDate(new Date(kept)) : 0) as Tid;
  }

  // ---------------------------------------------------------------- listening

  /** Listens to what a storage is asked for, and to what it tells: before anybody else does. */
  listen(storage: LevelStorage, blobs: BlobStore): void {
    this.#blobs = blobs;
    const {
      tpcBegin,
      store,
      storeBlob,
      undo,
      commit,
      tpcVote,
      tpcFinish,
      tpcAbort,
      newOid,
      pack,
      keepSnapshots,
      close,
    } = storage;
    this.#isClosing = false;
    this.#intents.opened();
    this.#snapshots = new OpenSnapshots();
    storage.keepSnapshots = (oldest) => {
      const ends = [this.#snapshots.keep(oldest), keepSnapshots.call(storage, oldest)];
      return () => {
        for (const end of ends) end();
      };
    };
    storage.close = () => {
      this.#isClosing = true;
      return close.call(storage);
    };
    storage.tpcBegin = (transaction) => {
      this.#intents.begin(transaction, this.#scheduler.latestMs);
      tpcBegin.call(storage, transaction);
    };
    storage.store = (transaction, oid, serial, data) => {
      this.#intents.of(transaction).stores.set(oid, data);
      store.call(storage, transaction, oid, serial, data);
    };
    storage.storeBlob = (transaction, oid, serial, data, file) => {
      this.#intents.of(transaction).stores.set(oid, data);
      storeBlob.call(storage, transaction, oid, serial, data, file);
    };
    storage.undo = (transaction, tid) => {
      this.#intents.undo(transaction);
      undo.call(storage, transaction, tid);
    };
    storage.commit = async (transaction) => {
      const outcome = await this.#decided(transaction, commit.call(storage, transaction));
      this.#acknowledged(this.#intents.of(transaction), outcome.tid, outcome.resolved);
      return outcome;
    };
    let resolved: readonly Oid[] = [];
    storage.tpcVote = async (transaction, decider) => {
      const outcome = await this.#decided(transaction, tpcVote.call(storage, transaction, decider));
      this.#intents.of(transaction).isVoted = true;
      resolved = outcome.resolved;
      return outcome;
    };
    storage.tpcAbort = async (transaction) => {
      await tpcAbort.call(storage, transaction);
      const intent = this.#intents.of(transaction);
      // A storage that is being closed leaves it in doubt, unless it decides itself.
      if (intent?.isVoted && intent.tid === undefined && !this.#isClosing) intent.fate = 'refused';
    };
    storage.tpcFinish = async (transaction) => {
      const tid = await this.#decided(transaction, tpcFinish.call(storage, transaction));
      this.#acknowledged(this.#intents.of(transaction), tid, resolved);
      return tid;
    };
    this.#listenToDoubts(storage);
    storage.newOid = () => {
      const oid = newOid.call(storage);
      if (!this.#oids.add(oid)) this.#fail('oids', `oid ${oid} was given twice`);
      return oid;
    };
    storage.pack = (options) => this.#pack(storage, options, () => pack.call(storage, options));
    storage.subscribe({
      invalidate: (tid, oids) => {
        const intent =
          this.#intents.writing(oids) ??
          this.#fail('tids', `${tid} was published, and nobody had asked for it (oids ${oids})`);
        this.#publish(
          tid,
          intent,
          oids.map((oid) => [oid, this.#isClosing ? undefined : dataOf(storage, oid, tid)] as const),
        );
      },
      invalidateAll: (tid) => {
        this.#fail('tids', `everything was said to have changed, up to ${tid}: nothing was missed`);
      },
    });
  }

  #listenToDoubts({ doubts }: LevelStorage): void {
    const { resolve } = doubts;
    doubts.resolve = async (commitId, happened) => {
      const intent = this.#intents.withCommitId(commitId);
      if (!intent) return resolve(commitId, happened);
      intent.isBeingSettled = happened;
      const tid = await resolve(commitId, happened);
      if (tid === undefined) intent.fate = 'refused';
      else if (intent.fate !== 'committed') this.#acknowledged(intent, tid, [], true);
      return tid;
    };
  }

  /** A promise was broken. */
  #fail(checker: Checker, message: string, options?: { cause?: unknown }): never {
    const failure = new CheckFailed(checker, message, options);
    this.failure ??= failure;
    throw failure;
  }

  async #decided<T>(transaction: StorageTransaction, decision: Promise<T>): Promise<T> {
    const intent = this.#intents.of(transaction);
    this.#intents.ask(intent);
    try {
      return await decision;
    } catch (error) {
      const { cause } = error as Error;
      const isRefused = cause === undefined && !(error instanceof CommitUncertainError) && !intent.isVoted;
      intent.fate = isRefused ? 'refused' : 'doubtful';
      throw error;
    }
  }

  #acknowledged(intent: Intent, tid: Tid, resolved: readonly Oid[], isLate = false): void {
    intent.fate = 'committed';
    intent.tid = tid;
    if (this.#descriptions.has(tid)) this.#descriptions.set(tid, intent.description);
    else {
      this.#fail('tids', `${intent.description} was acknowledged as ${tid}, which was not published`);
    }
    this.acknowledgedTid = Math.max(this.acknowledgedTid, tid) as Tid;
    this.onCommitted?.(intent.description, tid, isLate);
    for (const [oid, data] of intent.stores) {
      const revision = this.#revisions.by(tid, oid);
      const isMerged = resolved.includes(oid) || (isLate && isMergeable(revision?.data));
      const isRight = revision && (!revision.isKnown || isMerged || sameBytes(revision.data, data));
      if (!isRight) this.#fail('durability', `${intent.description} stored oid ${oid}; ${tid} has it otherwise`);
    }
  }

  #publish(tid: Tid, intent: Intent, records: readonly (readonly [Oid, Uint8Array | undefined])[]): void {
    const last = this.lastTid;
    if (tid <= last) this.#fail('tids', `${tid} was published after ${last}`);
    this.#published.push(tid);
    this.#descriptions.set(tid, intent.description);
    for (const [oid, data] of records) {
      this.#checkContent(oid, tid, data);
      const { isRestored } = intent;
      if (isRestored) this.#gone.delete(oid);
      this.#revisions.add(oid, { tid, ...contentOf(data), isKnown: !this.#isClosing }, { isRestored });
    }
  }

  /** Whether a commit of this description was begun here. */
  hasTakenPart(description: string): boolean {
    return this.#intents.described(description) !== undefined;
  }

  /** The tid of a commit that is known to be there. */
  tidOf(description: string): Tid | undefined {
    return this.#intents.described(description)?.tid;
  }

  /** What all commits were called that were asked for here. */
  *descriptions(): Generator<string> {
    for (const { description } of this.#intents) yield description;
  }

  // ---------------------------------------------------------------- after a crash

  /**
   * Everything has ended at once.
   *
   * @param options.isDurable whether all commits have waited for the disk
   * @param options.areOidsDurable whether all oids were reserved so that the disk had that
   */
  crashed(end: End, options: { readonly isDurable: boolean; readonly areOidsDurable: boolean }): void {
    if (end === 'machine' && !options.isDurable) this.#mayLose = true;
    if (end === 'machine' && !options.areOidsDurable) this.#mayForgetOids = true;
    // A process that ends leaves its marks of what was under way; of a machine that goes down, some may be lost.
    if (end === 'machine') this.#mayHaveOrphans = true;
  }

  /** Checks what was found at open: all that was published, whole; and of the rest, whole transactions that were asked for. */
  async checkRecovered(storage: LevelStorage): Promise<void> {
    const { horizon } = this;
    const last = this.lastTid;
    const missing = new Set(this.#published);
    for await (const { tid, description, records } of storage.iterate()) {
      if (missing.delete(tid)) {
        if (description !== this.#descriptions.get(tid)) {
          this.#fail('durability', `${tid} was ${this.#descriptions.get(tid)}, and is ${description}`);
        }
        for (const { oid, data } of records) {
          const revision = this.#revisions.by(tid, oid);
          if (revision && !revision.isKnown) Object.assign(revision, contentOf(data), { isKnown: true });
          else if (!revision || !sameBytes(revision.data, data)) {
            this.#fail('durability', `${tid} wrote oid ${oid}, and it is not what it was before the end`);
          }
        }
      } else if (tid <= last) {
        this.#fail('durability', `${tid} (${description}) was found, and it was never published before ${last}`);
      } else this.#found(tid, description, records);
    }
    if (this.#mayLose) this.#lose(missing);
    if (this.#mayForgetOids) this.#forgetOids();
    for (const tid of missing) {
      if (tid > horizon) this.#fail('durability', `${tid} (${this.#descriptions.get(tid)}) is lost`);
    }
    if (storage.lastTransaction() < this.lastTid) {
      this.#fail('durability', `the last transaction is ${storage.lastTransaction()}, and was ${this.lastTid}`);
    }
    const doubts = new Set((await storage.doubts.list()).map(({ description }) => description));
    await this.#checkOutcomes(storage, doubts);
    for (const intent of this.#intents) {
      if (intent.tid === undefined && !doubts.has(intent.description)) intent.fate = 'refused';
    }
    if (!this.#mayHaveOrphans) this.checkOrphans();
  }

  /** Forgets the last transactions, as far as they are missing. */
  #lose(missing: Set<Tid>): void {
    this.#mayLose = false;
    let last = this.#published.length;
    while (last > 0 && missing.delete(this.#published[last - 1] as Tid)) last--;
    const lastTid = (this.#published[last - 1] ?? 0) as Tid;
    const lost = this.#published.splice(last);
    for (const tid of lost) this.#descriptions.delete(tid);
    this.#revisions.forgetAfter(lastTid);
    for (const intent of this.#intents) if (intent.tid !== undefined && intent.tid > lastTid) intent.tid = undefined;
    this.acknowledgedTid = Math.min(this.acknowledgedTid, lastTid) as Tid;
    // A pack may be lost too.
    this.#gone.clear();
    this.onLost?.(lastTid, lost.length);
  }

  /** Oids that nothing was stored with may be given again. */
  #forgetOids(): void {
    this.#mayForgetOids = false;
    this.#oids = new OidSet();
    for (const oid of this.#revisions.oids) this.#oids.add(oid);
  }

  #found(
    tid: Tid,
    description: string,
    records: readonly { readonly oid: Oid; readonly data: Uint8Array | undefined }[],
  ): void {
    const intent = this.#intents.described(description);
    const fate = intent?.isAsked ? intent.fate : 'refused';
    if (!intent || fate === 'refused' || fate === 'committed') {
      this.#fail('durability', `${tid} (${description}) was found, and was ${fate}`);
    }
    if (intent.isDenied) {
      this.#fail('outcome', `${tid} (${description}) was found, and it had been said that it never will`);
    }
    const written = new Map(records.map(({ oid, data }) => [oid, data]));
    for (const [oid, data] of intent.stores) {
      const found = written.get(oid);
      if (!written.has(oid) || !(sameBytes(found, data) || isMergeable(found))) {
        this.#fail('durability', `${tid} (${description}) was found without its oid ${oid}, or with another's`);
      }
    }
    if (!intent.isUndo && written.size !== intent.stores.size) {
      this.#fail('durability', `${tid} (${description}) was found with more than it stored`);
    }
    intent.tid = tid;
    this.#publish(tid, intent, [...written]);
    this.onCommitted?.(description, tid);
  }

  async #checkOutcomes(storage: LevelStorage, doubts: ReadonlySet<string>): Promise<void> {
    const since = this.#scheduler.latestMs - OUTCOME_AGE_MAX_MS + CLOCK_STEP_MAX_MS;
    for (const intent of this.#intents) {
      if (intent.begunMs < since || !intent.isAsked || doubts.has(intent.description)) continue;
      const tid = await storage.outcome(intent.commitId);
      if (tid !== intent.tid) {
        const expected = intent.tid ?? 'that it did not happen';
        this.#fail('outcome', `of ${intent.description} it says ${tid ?? 'that it did not happen'}, not ${expected}`);
      }
      if (tid === undefined) intent.isDenied = true;
    }
  }

  /** Asks for the outcome of a commit whose write failed. */
  async askOutcome(storage: LevelStorage, description: string): Promise<Tid | undefined> {
    const intent = this.#intents.described(description);
    if (!intent) return undefined;
    const tid = await storage.outcome(intent.commitId);
    if (tid === undefined) intent.isDenied = true;
    return tid;
  }

  // ---------------------------------------------------------------- reading

  /** Reads an object as of some time, and compares. */
  checkSomeRevision(storage: LevelStorage): void {
    const { oids } = this.#revisions;
    if (oids.length === 0) return;
    const oid = this.#scheduler.pick(oids);
    const revisions = this.#revisions.of(oid);
    const index = this.#scheduler.below(revisions.length);
    if (!this.#revisions.reachable(this.horizon).has(oid)) return;
    this.#checkRevision(storage, oid, revisions, index);
  }

  #checkRevision(storage: LevelStorage, oid: Oid, revisions: readonly KnownRevision[], index: number): void {
    const { tid, data } = revisions[index] as KnownRevision;
    const endTid = revisions[index + 1]?.tid;
    if (endTid !== undefined && endTid < this.horizon) return;
    if (tid < this.#revisions.restoredTid(oid)) return;
    let found: Uint8Array | undefined;
    try {
      const revision = storage.loadBefore(oid, (tid + 1) as Tid);
      found = revision?.data;
      if (revision && (revision.tid !== tid || revision.endTid !== endTid)) {
        this.#fail(
          'durability',
          `oid ${oid} at ${tid} until ${endTid} is given as of ${revision.tid} until ${revision.endTid}`,
        );
      }
    } catch (error) {
      if (error instanceof CheckFailed) throw error;
      if (!(error instanceof POSKeyError && data === undefined)) {
        this.#fail('reachability', `oid ${oid} at ${tid} cannot be read: ${String(error)}`, { cause: error });
      }
    }
    if (!sameBytes(found, data)) this.#fail('durability', `oid ${oid} at ${tid} reads otherwise than before`);
    this.#checkContent(oid, tid, data);
  }

  // ---------------------------------------------------------------- blobs

  /** The content that a record names has to stand in its place. */
  #checkContent(oid: Oid, tid: Tid, data: Uint8Array | undefined): void {
    const info = blobOf(data);
    if (!info) return;
    const content = this.#files.read(this.#blobs.pathOf({ oid, id: info.id }));
    if (content?.length === info.size && crc32(content) === info.crc) return;
    this.#fail(
      'durability',
      `the content of blob oid ${oid} at ${tid} is ${content ? 'not what it was' : 'not there'}`,
    );
  }

  /** What never became part of the database must not stay. */
  checkOrphans(): void {
    for (const oid of this.#blobs.oids()) {
      const named = new Set(this.#revisions.of(oid).map(({ data }) => blobOf(data)?.id));
      for (const { stores, fate } of this.#intents) if (fate !== 'refused') named.add(blobOf(stores.get(oid))?.id);
      for (const id of this.#blobs.idsOf(oid)) {
        if (!named.has(id))
          this.#fail('durability', `the content ${id} of oid ${oid} is there, and nobody committed it`);
      }
    }
  }

  /** Reads everything that has to be there. */
  checkAll(storage: LevelStorage): void {
    for (const oid of this.#revisions.reachable(this.horizon)) {
      if (this.#gone.has(oid)) this.#fail('reachability', `oid ${oid} was packed away, and is reached now`);
      const revisions = this.#revisions.of(oid);
      for (const index of revisions.keys()) this.#checkRevision(storage, oid, revisions, index);
    }
  }

  /** Whether an object has to be there, as far as is known. */
  isReachable(oid: Oid): boolean {
    return this.#revisions.reachable(this.horizon).has(oid);
  }

  // ---------------------------------------------------------------- packing

  /** Packs that have begun. */
  get packCount(): number {
    return this.#packs;
  }

  /** Packs that came to their end. */
  get packsEnded(): number {
    return this.#packsEnded;
  }

  /** Those of them beside which something was committed. */
  get packsBeside(): number {
    return this.#packsBeside;
  }

  /**
   * An object without references that is garbage, or was packed away, and its last state. Not one that is about to be changed, as an undo
   * may do that gives it back to those who referenced it: who restores it would overwrite that.
   */
  someGarbage(): { readonly oid: Oid; readonly data: Uint8Array } | undefined {
    const { underWay } = this.#intents;
    if (underWay.some(({ isUndo }) => isUndo)) return undefined;
    const reached = this.#revisions.reachable(this.horizon);
    for (const { stores } of underWay) for (const oid of stores.keys()) reached.add(oid);
    const garbage: { readonly oid: Oid; readonly data: Uint8Array }[] = [];
    for (const oid of this.#revisions.oids) {
      const { data, references } = this.#revisions.of(oid).at(-1) as KnownRevision;
      if (data !== undefined && references.length === 0 && !reached.has(oid)) garbage.push({ oid, data });
    }
    return garbage.length === 0 ? undefined : this.#scheduler.pick(garbage);
  }

  async #pack(storage: LevelStorage, options: PackOptions, pack: () => Promise<void>): Promise<void> {
    // What open snapshots show is kept, unless they are older than an hour.
    const expiredMs = Math.max(0, this.#scheduler.now() - SNAPSHOT_AGE_MAX_MS);
    const kept = Math.max(this.#snapshots.oldest(), Math.floor(expiredMs * 1000));
    const before = Math.min(options.before, kept) as Tid;
    const watch: PackWatch = { before, intentsBegin: this.#intents.countBeforeOpen };
    this.#packedTid = Math.max(this.#packedTid, before) as Tid;
    this.#packs++;
    const publishedCount = this.#published.length;
    await pack();
    this.#packsEnded++;
    if (this.#published.length > publishedCount) this.#packsBeside++;
    if (!this.#isClosing) this.#checkPacked(storage, watch);
  }

  /** What was garbage before the pack, and was not taken up meanwhile, is gone; everything else is there. */
  #checkPacked(storage: LevelStorage, { before, intentsBegin }: PackWatch): void {
    this.checkAll(storage);
    const meanwhile = this.#intents.from(intentsBegin);
    // What an undo brings back is not known here: a pack may have kept what only that would have referenced.
    if (meanwhile.some(({ isUndo }) => isUndo)) return;
    const reached = this.#revisions.reachable(
      before,
      meanwhile.flatMap(({ stores }) => [...stores.values()]),
    );
    // What was accepted is kept by this pack, also if it could not be written.
    for (const { stores } of meanwhile) for (const oid of stores.keys()) reached.add(oid);
    for (const oid of this.#revisions.oids) {
      if (reached.has(oid) || this.#gone.has(oid)) continue;
      if (dataIfAny(storage, oid) === undefined) this.#gone.add(oid);
      else this.#fail('reachability', `oid ${oid} was garbage before ${before}, and is there after the pack`);
    }
  }
}

function dataOf(storage: LevelStorage, oid: Oid, tid: Tid): Uint8Array | undefined {
  try {
    return storage.loadSerial(oid, tid);
  } catch (error) {
    // An undo may remove an object.
    if (error instanceof POSKeyError && error.message.includes('removed')) return undefined;
    throw error;
  }
}

function dataIfAny(storage: LevelStorage, oid: Oid): Uint8Array | undefined {
  try {
    return storage.load(oid).data;
  } catch (error) {
    if (error instanceof POSKeyError) return undefined;
    throw error;
  }
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if ((a?.length ?? 0) === 0 || (b?.length ?? 0) === 0) return (a?.length ?? 0) === (b?.length ?? 0);
  return Buffer.compare(a as Uint8Array, b as Uint8Array) === 0;
}

function isMergeable(data: Uint8Array | undefined): boolean {
  return data !== undefined && data.length > 0 && MERGED_CLASS.test(readRecord(data).className);
}
