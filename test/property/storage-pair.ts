import assert from 'node:assert/strict';
import fc from 'fast-check';
import { appendResolver } from 'holdfast/conformance';
import { MAX_TID, type Oid, type Storage, type StorageTransaction, type Tid, ZERO_TID } from 'holdfast/odb';
import type { Clock } from '#src/base/index.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

const OIDS = [0, 1, 2, 3, 70_000] as Oid[];

/** A store or a check: of which object, on top of which of its revisions (0: none; 1: the current one; 2: the one before; …). */
interface Change {
  readonly object: number;
  readonly back: number;
  readonly data: string;
}

/** Something that is done to both. */
export type Command =
  | { readonly kind: 'commit'; readonly stores: readonly Change[]; readonly checks: readonly Change[] }
  | { readonly kind: 'vote'; readonly stores: readonly Change[]; readonly ends: 'finish' | 'abort' }
  /** All that is given are started in one turn. */
  | { readonly kind: 'together'; readonly transactions: readonly (readonly Change[])[] }
  /** Of which of the last transactions, in turn. */
  | { readonly kind: 'undo'; readonly backs: readonly number[] }
  | { readonly kind: 'newOids'; readonly count: number }
  | { readonly kind: 'reopen' }
  /** Closed by a transaction that is voted and will never be finished. */
  | { readonly kind: 'reopen voted'; readonly stores: readonly Change[] }
  /** What a process that was killed would have left. */
  | { readonly kind: 'crash' };

const change: fc.Arbitrary<Change> = fc.record({
  object: fc.nat(OIDS.length - 1),
  // Most are based on what is current.
  back: fc.oneof({ weight: 6, arbitrary: fc.constant(1) }, fc.nat(4)),
  data: fc.oneof(fc.string({ maxLength: 12 }), fc.constantFrom('', '!no', 'x'.repeat(70_000))),
});
const stores = fc.array(change, { maxLength: 4 });
/** Any of them. */
export const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('commit' as const), stores, checks: fc.array(change, { maxLength: 1 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('vote' as const),
      stores,
      ends: fc.constantFrom('finish' as const, 'abort' as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('together' as const),
      transactions: fc.array(stores, { minLength: 2, maxLength: 5 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('undo' as const),
      // Most undo the last one.
      backs: fc.oneof({ weight: 2, arbitrary: fc.constant([0]) }, fc.array(fc.nat(4), { minLength: 1, maxLength: 3 })),
    }),
  },
  fc.record({ kind: fc.constant('newOids' as const), count: fc.integer({ min: 1, max: 5000 }) }),
  fc.constant({ kind: 'reopen' as const }),
  fc.record({ kind: fc.constant('reopen voted' as const), stores }),
  fc.constant({ kind: 'crash' as const }),
);

/** Where the real one is. */
export interface Place {
  open(clock: Clock): Promise<Storage>;
  /** Goes on elsewhere, with what was committed so far, or as a crash leaves it. */
  reopen(storage: Storage, how: 'close' | 'crash', clock: Clock): Promise<Storage>;
  /** Removes what is left. */
  remove(): Promise<void>;
}

/** The model and the real one, to which the same is done. */
export class Pair {
  nowMs = 1_700_000_000_000;
  readonly clock = { now: () => this.nowMs, schedule: () => ({ cancel: () => undefined }) };
  readonly model = new MemoryStorage({ clock: this.clock, conflictResolver: appendResolver });
  real!: Storage;
  readonly #place: Place;
  readonly #commitIds: Uint8Array[] = [];
  readonly #given = new Set<Oid>();

  private constructor(place: Place) {
    this.#place = place;
  }

  /** Does all of the commands to both, and compares them after each. */
  static async run(place: Place, commands: readonly Command[]): Promise<void> {
    const pair = new Pair(place);
    pair.real = await place.open(pair.clock);
    try {
      for (const each of commands) {
        await pair.run(each);
        await pair.compare();
      }
    } finally {
      await pair.real.close();
      await pair.model.close();
      await place.remove();
    }
  }

  async #reopen(how: 'close' | 'crash'): Promise<void> {
    this.real = await this.#place.reopen(this.real, how, this.clock);
  }

  async run(command: Command): Promise<void> {
    // Later by more than all transactions of one command: so both give the same tids, whatever they were asked in between.
    this.nowMs += 1;
    switch (command.kind) {
      case 'commit':
        return this.#both(async (storage, [transaction]) => {
          this.#begin(storage, transaction as StorageTransaction, command.stores, command.checks);
          return this.#settle(storage, transaction as StorageTransaction, () =>
            storage.commit(transaction as StorageTransaction),
          );
        }, 1);
      case 'vote':
        return this.#both(async (storage, [transaction]) => {
          const only = transaction as StorageTransaction;
          this.#begin(storage, only, command.stores);
          return this.#settle(storage, only, async () => {
            const { resolved } = await storage.tpcVote(only);
            if (command.ends === 'finish') return { resolved, tid: await storage.tpcFinish(only) };
            await storage.tpcAbort(only);
            return { resolved };
          });
        }, 1);
      case 'together':
        return this.#both(async (storage, transactions) => {
          for (const [i, each] of transactions.entries())
            this.#begin(storage, each, command.transactions[i] as readonly Change[]);
          return Promise.all(transactions.map((each) => this.#settle(storage, each, () => storage.commit(each))));
        }, command.transactions.length);
      case 'undo': {
        const log = await this.model.undoLog({ size: 5 });
        if (log.length === 0) return;
        return this.#both(async (storage, [transaction]) => {
          const only = transaction as StorageTransaction;
          this.#begin(storage, only, []);
          for (const back of command.backs) storage.undo(only, (log[back % log.length] as { tid: Tid }).tid);
          return this.#settle(storage, only, () => storage.commit(only));
        }, 1);
      }
      case 'newOids':
        for (let i = 0; i < command.count; i++) {
          const oid = this.real.newOid();
          assert.ok(!this.#given.has(oid), `oid ${oid} was given twice`);
          this.#given.add(oid);
        }
        return;
      case 'reopen':
        return this.#reopen('close');
      case 'reopen voted': {
        const transaction = this.#newTransaction();
        this.#begin(this.real, transaction, command.stores);
        const former = this.real;
        await former.tpcVote(transaction).catch(() => undefined);
        await this.#reopen('close');
        // One that became a base is open still: who asks for the outcome would wait for it.
        return former.tpcAbort(transaction);
      }
      case 'crash':
        return this.#reopen('crash');
    }
  }

  /** Does the same to both, and compares what comes of it. */
  async #both(
    fn: (storage: Storage, transactions: StorageTransaction[]) => Promise<unknown>,
    count: number,
  ): Promise<void> {
    const transactions = Array.from({ length: count }, () => this.#newTransaction());
    const expected = await fn(this.model, transactions);
    assert.deepEqual(await fn(this.real, transactions), expected);
  }

  #newTransaction(): StorageTransaction {
    const commitId = Buffer.alloc(16);
    commitId.writeUInt32BE(this.#commitIds.length);
    this.#commitIds.push(commitId);
    return {
      commitId,
      user: `u${this.#commitIds.length}`,
      description: '',
      extension: new Uint8Array([this.#commitIds.length]),
    };
  }

  #begin(
    storage: Storage,
    transaction: StorageTransaction,
    stores: readonly Change[],
    checks: readonly Change[] = [],
  ): void {
    storage.tpcBegin(transaction);
    for (const { object, back, data } of stores) {
      const oid = OIDS[object] as Oid;
      storage.store(transaction, oid, this.#serial(oid, back), Buffer.from(data));
    }
    for (const { object, back } of checks) {
      const oid = OIDS[object] as Oid;
      storage.checkCurrentSerial(transaction, oid, this.#serial(oid, back));
    }
  }

  /** Serials come from before the command: the model has them all. */
  #serial(oid: Oid, back: number): Tid {
    const tids = this.#tids.get(oid) ?? [];
    return back === 0 ? ZERO_TID : (tids.at(-back) ?? tids[0] ?? ZERO_TID);
  }

  readonly #tids = new Map<Oid, Tid[]>();

  async #settle(storage: Storage, transaction: StorageTransaction, fn: () => Promise<unknown>): Promise<unknown> {
    try {
      return await fn();
    } catch (error) {
      await storage.tpcAbort(transaction);
      const { code, oid, baseSerial, committedSerial, reason } = error as Record<string, unknown>;
      return { code, oid, baseSerial, committedSerial, reason };
    }
  }

  /** Compares all that can be seen of both. */
  async compare(): Promise<void> {
    assert.equal(this.real.lastTransaction(), this.model.lastTransaction());
    const instants = new Set<Tid>([1 as Tid, MAX_TID]);
    for (const oid of OIDS) {
      const tids = await this.model.history(oid, 1000).then(
        (entries) => entries.map((entry) => entry.tid).reverse(),
        () => [],
      );
      this.#tids.set(oid, tids);
      for (const tid of tids) instants.add(tid).add((tid + 1) as Tid);
    }
    for (const oid of OIDS) {
      same(this.real, this.model, (storage) => storage.load(oid));
      for (const instant of instants) same(this.real, this.model, (storage) => storage.loadBefore(oid, instant));
      for (const tid of this.#tids.get(oid) ?? [])
        same(this.real, this.model, (storage) => storage.loadSerial(oid, tid));
      const history = (storage: Storage) => storage.history(oid, 5).then(plain, codeOf);
      assert.deepEqual(await history(this.real), await history(this.model));
    }
    for (const commitId of this.#commitIds) {
      assert.equal(await this.real.outcome(commitId), await this.model.outcome(commitId));
    }
    assert.deepEqual(plain(await this.real.undoLog({ size: 7 })), plain(await this.model.undoLog({ size: 7 })));
    assert.deepEqual(await told(this.real), await told(this.model));
  }
}

/** Buffers and other bytes are alike. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}

function codeOf(error: unknown): unknown {
  return (error as { code?: string }).code ?? String(error);
}

function same(real: Storage, model: Storage, fn: (storage: Storage) => unknown): void {
  const [seen, expected] = [real, model].map((storage) => {
    try {
      return plain(fn(storage));
    } catch (error) {
      return codeOf(error);
    }
  });
  assert.deepEqual(seen, expected);
}

async function told(storage: Storage): Promise<unknown[]> {
  const all: unknown[] = [];
  for await (const each of storage.iterate()) all.push(plain(each));
  return all;
}
