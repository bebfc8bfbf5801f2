import { type Clock, Logger, type Timer } from '../../../base/index.js';
import { type Oid, type Tid, tidFromDate, ZERO_TID } from '../../ids.js';
import {
  bookkeepingKey,
  decodeEntry,
  encodeEntry,
  olderKey,
  type TransactionEntry,
  transactionKey,
} from './keyspace.js';
import type { Level } from './level-reader.js';

const logger = new Logger('holdfast.storage');

const INTERVAL_MS = 60_000;
const TRANSACTIONS_PER_STEP = 500;

/**
 * Drops superseded revisions once they are old enough, in small steps beside the traffic.
 *
 * The transactions are walked in their order: what one of them superseded, before the horizon, nobody can ask for any more. How far the
 * walk has come is written with each step, so that a crash repeats at most one.
 */
export class HistoryTrimmer {
  readonly #level: Level;
  readonly #clock: Clock;
  readonly #keepMs: number;
  #timer: Timer | undefined;
  #step: Promise<void> | undefined;
  #stopped = false;

  constructor(options: { readonly level: Level; readonly clock: Clock; readonly keepMs: number }) {
    this.#level = options.level;
    this.#clock = options.clock;
    this.#keepMs = options.keepMs;
  }

  start(): void {
    this.#schedule(INTERVAL_MS);
  }

  /** Resolves when no step is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#step;
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = this.#clock.schedule(delayMs, () => {
      this.#step = this.trim().then(
        (count) => this.#schedule(count === TRANSACTIONS_PER_STEP ? 1 : INTERVAL_MS),
        (error: unknown) => {
          logger.error('old revisions could not be trimmed; it is tried again', error);
          this.#schedule(INTERVAL_MS);
        },
      );
    });
  }

  /** Takes one step; resolves to the number of transactions that it looked at. */
  async trim(): Promise<number> {
    const horizonMs = this.#clock.now() - this.#keepMs;
    if (horizonMs <= 0) return 0;
    const marked = await this.#level.get(bookkeepingKey('trimmed'));
    const from = marked === undefined ? ZERO_TID : decodeEntry<Tid>(marked, 'the mark of trimmed history');
    const range = { gt: transactionKey(from), lt: transactionKey(tidFromDate(new Date(horizonMs))) };
    const operations: ({ type: 'del'; key: Buffer } | { type: 'put'; key: Buffer; value: Buffer })[] = [];
    let count = 0;
    let last = from;
    for await (const value of this.#level.values({ ...range, limit: TRANSACTIONS_PER_STEP })) {
      const entry = decodeEntry<TransactionEntry>(value, 'a transaction', last);
      for (let i = 0; i < entry.records.length; i += 2) {
        const n = entry.records[i + 1] as number;
        if (n > 0) operations.push({ type: 'del', key: olderKey(entry.records[i] as Oid, n - 1) });
      }
      last = entry.tid;
      count++;
    }
    if (count > 0) {
      operations.push({ type: 'put', key: bookkeepingKey('trimmed'), value: encodeEntry(last) });
      await this.#level.batch(operations as { type: 'del'; key: Buffer }[], { sync: true });
    }
    return count;
  }
}
