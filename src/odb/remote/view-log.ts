import { delay, systemClock, untilAborted, writeUint32, writeUint64 } from '../../base/index.js';
import { ClientDisconnected } from '../errors.js';
import { MAX_TID, type Oid, type Tid, toOid, toTid } from '../ids.js';
import { requireCommitId, toCount } from '../storage/arguments.js';
import type {
  Doubt,
  HistoryEntry,
  StorageDoubts,
  StorageTransaction,
  TransactionRecord,
  UndoLogEntry,
} from '../storage/storage.js';
import { newPacket, pairPacket, readValue } from './codec.js';
import { HEADER_BYTES, Message } from './messages.js';
import type { WireDoubt } from './session.js';
import type { ViewChannel } from './view-channel.js';

/** Pauses between questions for the outcome of a commit while the server is away. */
const OUTCOME_PAUSE_MS = 200;

/** What a view asks about transactions: those that were, what became of one, and those in doubt. */
export class ViewLog {
  readonly #channel: ViewChannel;
  readonly #suspend: (transaction: StorageTransaction) => Promise<void>;
  readonly #isClosed: () => boolean;

  /** Transactions in doubt. */
  readonly doubts: StorageDoubts = {
    list: () =>
      this.#channel.request(
        (id) => newPacket(Message.doubts, id, 0),
        (packet) => (readValue(packet) as WireDoubt[]).map(doubtFromWire),
      ),
    suspend: (transaction) => this.#suspend(transaction),
    resolve: (commitId, happened) =>
      this.#channel.request(
        (id) => {
          requireCommitId(commitId);
          const packet = newPacket(Message.resolve, id, 1 + commitId.length);
          packet[HEADER_BYTES] = happened ? 1 : 0;
          packet.set(commitId, HEADER_BYTES + 1);
          return packet;
        },
        (packet) => (readValue(packet) as Tid | null) ?? undefined,
      ),
    forget: (commitId) =>
      this.#channel.request(
        (id) => commitIdPacket(Message.forget, id, commitId),
        () => undefined,
      ),
  };

  constructor(
    channel: ViewChannel,
    options: {
      readonly suspend: (transaction: StorageTransaction) => Promise<void>;
      readonly isClosed: () => boolean;
    },
  ) {
    this.#channel = channel;
    this.#suspend = options.suspend;
    this.#isClosed = options.isClosed;
  }

  history(oid: Oid, size = 1): Promise<HistoryEntry[]> {
    return this.#channel.request(
      (id) => {
        const packet = newPacket(Message.history, id, 12);
        writeUint64(packet, HEADER_BYTES, toOid(oid));
        writeUint32(packet, HEADER_BYTES + 8, Math.min(toCount(size), 0xffff_ffff));
        return packet;
      },
      (packet) => readValue(packet) as HistoryEntry[],
    );
  }

  async undoLog({ before = MAX_TID, size = 20 } = {}): Promise<UndoLogEntry[]> {
    toTid(before);
    toCount(size);
    const entries: UndoLogEntry[] = [];
    while (entries.length < size) {
      const older = entries.at(-1)?.tid ?? before;
      const some = await this.#channel.request(
        (id) => {
          const packet = newPacket(Message.undoLog, id, 12);
          writeUint64(packet, HEADER_BYTES, older);
          writeUint32(packet, HEADER_BYTES + 8, Math.min(size - entries.length, 0xffff_ffff));
          return packet;
        },
        (packet) => readValue(packet) as UndoLogEntry[],
      );
      if (some.length === 0) break;
      entries.push(...some);
    }
    return entries;
  }

  /** Transactions from one tid up to another. */
  async *iterate(from: Tid, end: Tid): AsyncGenerator<TransactionRecord> {
    // Each batch is asked for by where it begins: the server keeps nothing between two.
    for (let next = from; next <= end; ) {
      const [isDone, transactions] = await this.#channel.request(
        (id) => pairPacket(Message.iterate, id, next, end),
        (packet) => readValue(packet) as [boolean, WireTransaction[]],
      );
      for (const [tid, user, description, extension, records] of transactions) {
        yield {
          tid,
          user,
          description,
          extension,
          records: records.map(([oid, serial, data]) => ({ oid, tid: serial, data: data ?? undefined })),
        };
        next = (tid + 1) as Tid;
      }
      if (isDone) return;
    }
  }

  outcome(commitId: Uint8Array): Promise<Tid | undefined> {
    return this.#channel.request(
      (id) => commitIdPacket(Message.outcome, id, commitId),
      (packet) => (readValue(packet) as Tid | null) ?? undefined,
    );
  }

  /** Asks for the outcome of a commit until there is an answer, or the signal aborts. */
  async certainOutcome(commitId: Uint8Array, signal: AbortSignal | undefined): Promise<Tid | undefined> {
    for (;;) {
      signal?.throwIfAborted();
      try {
        return await untilAborted(this.outcome(commitId), signal);
      } catch (error) {
        if (!(error instanceof ClientDisconnected) || signal?.aborted || this.#isClosed()) throw error;
      }
      await delay(systemClock, OUTCOME_PAUSE_MS, signal ? { signal } : {});
    }
  }
}

type WireTransaction = readonly [
  tid: Tid,
  user: string,
  description: string,
  extension: Uint8Array,
  records: readonly (readonly [oid: Oid, tid: Tid, data: Uint8Array | null])[],
];

function commitIdPacket(
  type: typeof Message.outcome | typeof Message.forget,
  id: number,
  commitId: Uint8Array,
): Uint8Array {
  requireCommitId(commitId);
  const packet = newPacket(type, id, commitId.length);
  packet.set(commitId, HEADER_BYTES);
  return packet;
}

function doubtFromWire([commitId, decider, deciderName, tid, user, description, objects]: WireDoubt): Doubt {
  return { commitId: new Uint8Array(commitId), decider, deciderName, tid, user, description, objects };
}
