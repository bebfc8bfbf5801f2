import { Logger, writeUint32 } from '../../base/index.js';
import {
  ClientDisconnected,
  CommitUncertainError,
  ConflictError,
  ReadOnlyError,
  StorageError,
  StorageTransactionError,
} from '../errors.js';
import { type Oid, type Tid, toOid, toTid } from '../ids.js';
import { requireDecider, requireStore, requireTransaction } from '../storage/arguments.js';
import { blobOf } from '../storage/blob/blob-info.js';
import type {
  CommitOutcome,
  ConflictRequest,
  ConflictResolver,
  Decider,
  StorageTransaction,
  VoteOutcome,
} from '../storage/storage.js';
import { newPacket, packetType, readValue, recordsBytes, type WireRecord, writeRecords } from './codec.js';
import { commitPacket, type WireConflict } from './commit-message.js';
import { errorFromWire } from './error-codec.js';
import { HEADER_BYTES, Message, STORES_AHEAD_BYTES } from './messages.js';
import type { ViewBlobs, ViewContent } from './view-blobs.js';
import type { ViewChannel } from './view-channel.js';

const log = new Logger('holdfast.view');

/** Attempts to merge in the client before a conflict is passed on: each may meet commits that came in between. */
const MERGE_ROUNDS_MAX = 20;

/**
 * A transaction of a view.
 *
 * - `open`: collects; stores above a bound are sent ahead.
 * - `deciding`: commit or vote is under way.
 * - `voted`: waits for its second phase.
 * - `failed`: refused; it can only be aborted.
 */
interface OpenTransaction {
  readonly transaction: StorageTransaction;
  phase: 'open' | 'deciding' | 'voted' | 'failed';
  /** How the server knows it; a merged transaction begins anew there. */
  number: number;
  readonly records: WireRecord[];
  readonly checks: { readonly oid: Oid; readonly serial: Tid }[];
  readonly undos: Tid[];
  readonly contents: ViewContent[];
  /** The connection that has the contents; `undefined` until they were sent. */
  contentsEpoch: number | undefined;
  /** Records at the front that were sent ahead, and bytes of the rest. */
  aheadCount: number;
  waitingBytes: number;
  /** The connection that knows what was sent ahead, or voted. */
  epoch: number;
  /** Oids whose stored state is a merge. */
  readonly resolved: Set<Oid>;
  /** Oids that the server merged: their bytes are not known here. */
  readonly resolvedByServer: Set<Oid>;
}

/** What a transaction wrote, for the cache. */
export interface WrittenRecords {
  readonly tid: Tid;
  readonly records: readonly WireRecord[];
  readonly resolvedByServer: ReadonlySet<Oid>;
}

/** What {@link ViewTransactions} needs of its view. */
export interface TransactionsOwner {
  readonly channel: ViewChannel;
  readonly blobs: ViewBlobs;
  readonly name: string;
  readonly isReadOnly: boolean;
  readonly resolver: ConflictResolver | undefined;
  /** Holds while answers that fill the cache are under way; see {@link WrittenRecords}. */
  holdInvalidations(): () => void;
  /** Called at once with the answer to a commit, right after a poll. */
  written(written: WrittenRecords): void;
  /** These objects stood in the way of a commit: what is cached of them may be at fault. */
  distrust(oids: Iterable<Oid>): void;
  outcome(commitId: Uint8Array, signal: AbortSignal | undefined): Promise<Tid | undefined>;
}

/** The transactions of a view: collects stores, sends a commit as one message, merges what the server cannot. */
export class ViewTransactions {
  readonly #owner: TransactionsOwner;
  readonly #open = new Map<StorageTransaction, OpenTransaction>();
  #lastNumber = 0;

  constructor(owner: TransactionsOwner) {
    this.#owner = owner;
  }

  begin(transaction: StorageTransaction): void {
    if (this.#owner.isReadOnly) throw new ReadOnlyError(`${this.#owner.name} is read-only`);
    if (this.#owner.channel.isClosed) throw new ClientDisconnected('the storage was closed');
    requireTransaction(transaction);
    if (this.#open.has(transaction)) throw new StorageTransactionError('the transaction is open already');
    this.#open.set(transaction, {
      transaction,
      phase: 'open',
      number: this.#newNumber(),
      records: [],
      checks: [],
      undos: [],
      contents: [],
      contentsEpoch: undefined,
      aheadCount: 0,
      waitingBytes: 0,
      epoch: this.#owner.channel.hub.epoch,
      resolved: new Set(),
      resolvedByServer: new Set(),
    });
  }

  /** @param content that of a blob, where it is new. */
  store(transaction: StorageTransaction, oid: Oid, serial: Tid, data: Uint8Array, content?: ViewContent): void {
    requireStore(oid, serial, data);
    const open = this.#inPhase(transaction, 'open');
    if (blobOf(data)) this.#owner.blobs.require('store');
    if (content) open.contents.push(content);
    open.records.push({ oid, tid: serial, endTid: undefined, data });
    open.waitingBytes += data.length;
    if (open.waitingBytes >= STORES_AHEAD_BYTES) this.#sendAhead(open);
  }

  check(transaction: StorageTransaction, oid: Oid, serial: Tid): void {
    this.#inPhase(transaction, 'open').checks.push({ oid: toOid(oid), serial: toTid(serial) });
  }

  undo(transaction: StorageTransaction, tid: Tid): void {
    if (!this.#owner.channel.hub.supports.undo) {
      throw new StorageError(`the storage ${this.#owner.name} does not support undo`);
    }
    this.#inPhase(transaction, 'open').undos.push(toTid(tid));
  }

  async commit(transaction: StorageTransaction): Promise<CommitOutcome> {
    const open = this.#inPhase(transaction, 'open');
    const tid = await this.#decide(open, Message.commit);
    this.#open.delete(transaction);
    await this.#owner.blobs.keep(open.contents);
    return { tid, resolved: [...open.resolved] };
  }

  async vote(transaction: StorageTransaction, decider: Decider | undefined): Promise<VoteOutcome> {
    requireDecider(decider);
    const open = this.#inPhase(transaction, 'open');
    await this.#decide(open, Message.vote, decider);
    open.phase = 'voted';
    return { resolved: [...open.resolved] };
  }

  async finish(transaction: StorageTransaction): Promise<Tid> {
    const { channel } = this.#owner;
    const open = this.#inPhase(transaction, 'voted');
    open.phase = 'deciding';
    const release = this.#owner.holdInvalidations();
    try {
      if (open.epoch !== channel.hub.epoch) throw lostVote();
      const tid = await channel.request(
        (id) => numberPacket(Message.finish, id, open.number),
        (packet) => this.#written(open, readValue(packet) as Tid),
        (wasSent, reason) => (wasSent ? this.#uncertain(open, reason) : reason),
      );
      await this.#owner.blobs.keep(open.contents);
      return tid;
    } catch (error) {
      // It could not be made certain there.
      if (error instanceof CommitUncertainError) throw this.#uncertain(open, error);
      // The session that was asked is another than the one that took the vote.
      if (error instanceof StorageTransactionError) throw lostVote();
      throw error;
    } finally {
      release();
      this.#open.delete(transaction);
    }
  }

  async abort(transaction: StorageTransaction): Promise<void> {
    if (this.#open.get(transaction)?.phase === 'deciding') {
      throw new StorageTransactionError('the transaction is being decided: await that first');
    }
    await this.#letGo(transaction, Message.abort);
  }

  /** Puts a voted transaction in doubt; where the connection was lost, the server has done so. */
  async suspend(transaction: StorageTransaction): Promise<void> {
    this.#inPhase(transaction, 'voted');
    await this.#letGo(transaction, Message.suspend);
  }

  async #letGo(transaction: StorageTransaction, type: typeof Message.abort | typeof Message.suspend): Promise<void> {
    const open = this.#open.get(transaction);
    if (open === undefined) return;
    this.#open.delete(transaction);
    const { channel, blobs } = this.#owner;
    if (open.contentsEpoch === channel.hub.epoch) blobs.drop(open.contents);
    const isKnownThere = open.phase === 'voted' || open.aheadCount > 0;
    if (!isKnownThere || open.epoch !== channel.hub.epoch) return;
    try {
      await channel.request(
        (id) => numberPacket(type, id, open.number),
        () => undefined,
      );
    } catch (error) {
      // What the server knew of it ended with the connection.
      if (error instanceof ClientDisconnected) return;
      this.#open.set(transaction, open);
      throw error;
    }
  }

  #inPhase(transaction: StorageTransaction, phase: OpenTransaction['phase']): OpenTransaction {
    const open = this.#open.get(transaction);
    if (open === undefined) throw new StorageTransactionError('the transaction is not open: call tpcBegin first');
    if (open.phase !== phase) {
      throw new StorageTransactionError(`the transaction is ${open.phase}, this needs it to be ${phase}`);
    }
    return open;
  }

  #newNumber(): number {
    this.#lastNumber = (this.#lastNumber + 1) >>> 0;
    return this.#lastNumber;
  }

  #sendAhead(open: OpenTransaction): void {
    if (open.aheadCount === 0) open.epoch = this.#owner.channel.hub.epoch;
    this.#sendSlice(open, open.aheadCount, open.records.length);
    open.waitingBytes = 0;
  }

  /** Has the transaction committed or voted, merging here what the server cannot. Resolves to the tid of a commit. */
  async #decide(
    open: OpenTransaction,
    type: typeof Message.commit | typeof Message.vote,
    decider?: Decider,
  ): Promise<Tid> {
    const { channel, resolver } = this.#owner;
    open.phase = 'deciding';
    if (open.contents.length > 0) await this.#sendContents(open);
    const release = this.#owner.holdInvalidations();
    try {
      for (let round = 0; ; round++) {
        if (open.aheadCount > 0 && open.epoch !== channel.hub.epoch) throw lostAhead();
        if (open.contents.length > 0 && open.contentsEpoch !== channel.hub.epoch) throw lostAhead();
        open.epoch = channel.hub.epoch;
        const answer = await channel.request(
          (id) =>
            commitPacket({
              type,
              id,
              number: open.number,
              canMerge: resolver !== undefined,
              aheadCount: open.aheadCount,
              transaction: open.transaction,
              checks: open.checks,
              records: open.records.slice(open.aheadCount),
              undos: open.undos,
              decider,
            }),
          (packet) => this.#readDecision(open, type, packet),
          (wasSent, reason) => (wasSent && type === Message.commit ? this.#uncertain(open, reason) : reason),
        );
        if (typeof answer === 'number') return answer;
        if (round === MERGE_ROUNDS_MAX) throw answer.error;
        this.#merge(open, answer.conflicts, answer.error);
      }
    } catch (error) {
      open.phase = 'failed';
      if (error instanceof ConflictError) this.#owner.distrust([error.oid]);
      throw error;
    } finally {
      release();
    }
  }

  async #sendContents(open: OpenTransaction): Promise<void> {
    open.contentsEpoch = this.#owner.channel.hub.epoch;
    try {
      await this.#owner.blobs.send(open.contents);
    } catch (error) {
      open.phase = 'failed';
      throw error;
    }
  }

  #readDecision(
    open: OpenTransaction,
    type: typeof Message.commit | typeof Message.vote,
    packet: Uint8Array,
  ): Tid | { readonly error: Error; readonly conflicts: readonly WireConflict[] } {
    if (packetType(packet) === Message.conflict) {
      const [wireError, conflicts] = readValue(packet) as [unknown, WireConflict[]];
      return { error: errorFromWire(wireError), conflicts };
    }
    // It may have waited for a connection: the one that it was answered on knows of it.
    open.epoch = this.#owner.channel.hub.epoch;
    const [resolved, tid] = readValue(packet) as [Oid[], Tid?];
    for (const oid of resolved) {
      open.resolved.add(oid);
      open.resolvedByServer.add(oid);
    }
    return type === Message.commit ? this.#written(open, tid as Tid) : (0 as Tid);
  }

  #written(open: OpenTransaction, tid: Tid): Tid {
    this.#owner.written({ tid, records: open.records, resolvedByServer: open.resolvedByServer });
    return tid;
  }

  /** Replaces the records in conflict by merged ones, based on what is committed. */
  #merge(open: OpenTransaction, conflicts: readonly WireConflict[], refused: Error): void {
    const { resolver } = this.#owner;
    this.#owner.distrust(conflicts.map(([oid]) => oid));
    for (const [oid, baseSerial, committedSerial, base, committed] of conflicts) {
      const index = open.records.findIndex((record) => record.oid === oid);
      const mine = open.records[index];
      if (resolver === undefined || mine === undefined) throw refused;
      const data = this.#resolve(
        resolver,
        { oid, baseSerial, committedSerial, base, committed, mine: mine.data },
        refused,
      );
      if (data === undefined) {
        if (refused instanceof ConflictError && refused.oid !== oid) {
          // The server has not tried this one yet, and may know its class.
          continue;
        }
        throw refused;
      }
      open.records[index] = { oid, tid: committedSerial, endTid: undefined, data };
      open.resolved.add(oid);
    }
    // The server forgot the refused transaction: it is sent anew.
    open.number = this.#newNumber();
    open.aheadCount = 0;
    open.waitingBytes = 0;
    for (let from = 0, bytes = 0, i = 0; i < open.records.length; i++) {
      bytes += (open.records[i] as WireRecord).data.length;
      if (bytes < STORES_AHEAD_BYTES) continue;
      this.#sendSlice(open, from, i + 1);
      from = i + 1;
      bytes = 0;
    }
  }

  /** A resolver that fails, other than by refusing, leaves the conflict as it was. */
  #resolve(resolver: ConflictResolver, request: ConflictRequest, refused: Error): Uint8Array | undefined {
    try {
      return resolver.resolve(request);
    } catch (error) {
      if (error instanceof ConflictError) throw error;
      log.warning(`oid ${request.oid} could not be merged`, error);
      throw refused;
    }
  }

  #sendSlice(open: OpenTransaction, from: number, to: number): void {
    const records = open.records.slice(from, to);
    const packet = newPacket(Message.storeAhead, 0, 4 + recordsBytes(records));
    writeUint32(packet, HEADER_BYTES, open.number);
    writeRecords(packet, HEADER_BYTES + 4, records);
    this.#owner.channel.post(packet);
    open.aheadCount = to;
  }

  #uncertain(open: OpenTransaction, cause: Error): CommitUncertainError {
    const { commitId } = open.transaction;
    return new CommitUncertainError(commitId, ({ signal }) => this.#owner.outcome(commitId, signal), { cause });
  }
}

function numberPacket(
  type: typeof Message.finish | typeof Message.abort | typeof Message.suspend,
  id: number,
  number: number,
): Uint8Array {
  const packet = newPacket(type, id, 4);
  writeUint32(packet, HEADER_BYTES, number);
  return packet;
}

function lostVote(): Error {
  return new ClientDisconnected('the connection was lost between the vote and the end of the transaction');
}

function lostAhead(): Error {
  return new ClientDisconnected('the connection was lost while the transaction was being sent');
}
