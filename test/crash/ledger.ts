import assert from 'node:assert/strict';
import {
  ClientDisconnected,
  CommitUncertainError,
  ConflictError,
  type Oid,
  type Revision,
  type Storage,
  type StorageTransaction,
  type Tid,
  ZERO_TID,
} from 'holdfast/odb';
import { systemRandom } from '#src/base/index.js';

const ACCOUNTS = Array.from({ length: 8 }, (_, i) => (i + 1) as Oid);
const BALANCE = 1000;
/** How many may write, each in a seat of its own. */
export const SEATS = 12;

/** A commit that was acknowledged. */
export interface Acknowledgement {
  readonly seat: number;
  /** What the counter of the seat is raised to by it. */
  readonly value: number;
  readonly commitId: string;
  readonly tid: Tid;
}

/** The counter of a seat: written by nobody else, and by each of its transactions. */
function counterOf(seat: number): Oid {
  return (100 + seat) as Oid;
}

function newTransaction(): StorageTransaction {
  return { commitId: systemRandom.bytes(16), user: '', description: '', extension: new Uint8Array(0) };
}

/** Puts the accounts and the counters into an empty storage. */
export async function makeLedger(storage: Storage): Promise<void> {
  const transaction = newTransaction();
  storage.tpcBegin(transaction);
  for (const oid of ACCOUNTS) storage.store(transaction, oid, ZERO_TID, Buffer.from(String(BALANCE)));
  for (let seat = 0; seat < SEATS; seat++) storage.store(transaction, counterOf(seat), ZERO_TID, Buffer.from('0'));
  await storage.commit(transaction);
}

function read(storage: Storage, oid: Oid, before: Tid): { readonly serial: Tid; readonly value: number } {
  const { tid, data } = storage.loadBefore(oid, before) as Revision;
  const [value] = Buffer.from(data).toString().split(' ');
  return { serial: tid, value: Number(value) };
}

/**
 * Moves something from one account to another and raises the seat's counter, as one transaction; again after conflicts and after losses
 * of the server. A commit whose answer was lost is asked for, and done again only if it did not happen.
 */
export async function transfer(storage: Storage, seat: number): Promise<Acknowledgement> {
  for (;;) {
    const transaction = newTransaction();
    let value = 0;
    try {
      const before = (storage.poll() + 1) as Tid;
      const [from, to] = twoAccounts();
      const [a, b, counter] = [from, to, counterOf(seat)].map((oid) => read(storage, oid, before)) as [
        Read,
        Read,
        Read,
      ];
      value = counter.value + 1;
      const amount = 1 + Math.floor(Math.random() * 50);
      // Now and then a large one, so that some transactions are in the middle of being written for longer.
      const padding = Math.random() < 0.1 ? ` ${'x'.repeat(200_000)}` : '';
      storage.tpcBegin(transaction);
      storage.store(transaction, from, a.serial, Buffer.from(`${a.value - amount}${padding}`));
      storage.store(transaction, to, b.serial, Buffer.from(String(b.value + amount)));
      storage.store(transaction, counterOf(seat), counter.serial, Buffer.from(String(value)));
      const { tid } = await storage.commit(transaction);
      return { seat, value, commitId: Buffer.from(transaction.commitId).toString('hex'), tid };
    } catch (error) {
      await storage.tpcAbort(transaction);
      if (error instanceof CommitUncertainError) {
        const tid = await error.outcome();
        if (tid !== undefined) {
          await storage.sync();
          return { seat, value, commitId: Buffer.from(transaction.commitId).toString('hex'), tid };
        }
      } else if (!(error instanceof ConflictError || error instanceof ClientDisconnected)) {
        throw error;
      }
      await synced(storage);
    }
  }
}

type Read = ReturnType<typeof read>;

/** Waits until the server is there. */
async function synced(storage: Storage): Promise<void> {
  for (;;) {
    try {
      await storage.sync();
      return;
    } catch (error) {
      if (!(error instanceof ClientDisconnected)) throw error;
      // In a turn of its own: the connection comes about in another thread.
      await new Promise(setImmediate);
    }
  }
}

function twoAccounts(): [Oid, Oid] {
  const from = Math.floor(Math.random() * ACCOUNTS.length);
  const to = (from + 1 + Math.floor(Math.random() * (ACCOUNTS.length - 1))) % ACCOUNTS.length;
  return [ACCOUNTS[from] as Oid, ACCOUNTS[to] as Oid];
}

/** Says that a commit was acknowledged, in a line that is out when this returns. */
export function acknowledge(write: (line: string) => void, { seat, value, commitId, tid }: Acknowledgement): void {
  write(`ack ${seat} ${value} ${commitId} ${tid}\n`);
}

/** The acknowledgements in an output; a last line that was cut off by a kill does not count. */
export function acknowledgements(output: string): Acknowledgement[] {
  return [...output.matchAll(/^ack (\d+) (\d+) ([0-9a-f]{32}) (\d+)\n/gm)].map(([, seat, value, commitId, tid]) => ({
    seat: Number(seat),
    value: Number(value),
    commitId: commitId as string,
    tid: Number(tid) as Tid,
  }));
}

/**
 * Checks that nothing acknowledged is lost, nothing is there twice, and of nothing the half.
 *
 * @param isKilled whether a seat's writer may have been killed between a commit and its acknowledgement, so often.
 */
export async function checkLedger(
  storage: Storage,
  acks: readonly Acknowledgement[],
  isKilled: (seat: number) => number,
): Promise<void> {
  const before = (storage.poll() + 1) as Tid;
  const sum = ACCOUNTS.reduce((total, oid) => total + read(storage, oid, before).value, 0);
  assert.equal(sum, ACCOUNTS.length * BALANCE, 'the total holds');
  for (const { commitId, tid } of acks) {
    assert.equal(await storage.outcome(Buffer.from(commitId, 'hex')), tid, `what was acknowledged as ${tid} is there`);
  }
  let committed = 0;
  for (let seat = 0; seat < SEATS; seat++) {
    const mine = acks.filter((ack) => ack.seat === seat);
    const { value } = read(storage, counterOf(seat), before);
    committed += value;
    const highest = mine.reduce((most, ack) => Math.max(most, ack.value), 0);
    assert.equal(new Set(mine.map((ack) => ack.value)).size, mine.length, `seat ${seat} was told of each raise once`);
    assert.ok(value >= highest, `seat ${seat} was acknowledged ${highest}, and has ${value}`);
    const unheard = value - mine.length;
    assert.ok(unheard >= 0 && unheard <= isKilled(seat), `seat ${seat} has ${value} of ${mine.length} acknowledged`);
  }
  let transactions = 0;
  for await (const { records, tid } of storage.iterate()) {
    transactions++;
    if (transactions > 1) assert.equal(records.length, 3, `transaction ${tid} is whole`);
  }
  assert.equal(transactions, committed + 1, 'there are as many transactions as raises');
}
