import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { ConflictError, type Oid, StorageError, type StorageTransaction, type Tid, ZERO_TID } from 'holdfast/odb';
import { type Deferred, deferred, type LogRecord, type LogSink, setLogSink } from '#src/base/index.js';
import {
  type AcceptedTransaction,
  type CommitBackend,
  CommitCoordinator,
} from '#src/odb/storage/commit-coordinator.js';
import { ManualClock, settled } from '../../support/manual-clock.js';

let lines: LogRecord[];
let formerSink: LogSink;

beforeEach(() => {
  lines = [];
  formerSink = setLogSink((line) => lines.push(line));
});

afterEach(() => {
  setLogSink(formerSink);
});

/** A disk that writes when the test says so, or fails. */
class SlowDisk implements CommitBackend {
  readonly current = new Map<Oid, { tid: Tid; data: Uint8Array }>();
  readonly groups: (readonly AcceptedTransaction[])[] = [];
  readonly published: Tid[] = [];
  readonly prepared = new Set<Tid>();
  readonly writes: Deferred<void>[] = [];
  failsToPrepare = false;
  groupMax = Number.POSITIVE_INFINITY;

  written(): undefined {}

  together(transactions: readonly AcceptedTransaction[]): number {
    return Math.min(transactions.length, this.groupMax);
  }

  currentTid(oid: Oid): Tid {
    return this.current.get(oid)?.tid ?? ZERO_TID;
  }

  revision(oid: Oid, tid: Tid): Uint8Array | undefined {
    const current = this.current.get(oid);
    return current?.tid === tid ? current.data : undefined;
  }

  async write(transactions: readonly AcceptedTransaction[]): Promise<void> {
    const written = deferred();
    this.groups.push(transactions);
    this.writes.push(written);
    await written.promise;
    for (const { tid, records } of transactions)
      for (const { oid, data } of records) this.current.set(oid, { tid, data });
  }

  async prepare({ tid }: AcceptedTransaction): Promise<void> {
    if (this.failsToPrepare) throw new Error('no room');
    this.prepared.add(tid);
  }

  async unprepare({ tid }: AcceptedTransaction): Promise<void> {
    this.prepared.delete(tid);
  }

  forget(): void {}

  publish({ tid }: AcceptedTransaction): void {
    this.published.push(tid);
  }

  /** Ends the write that is under way. */
  async end(error?: Error): Promise<void> {
    const write = this.writes.shift();
    assert.ok(write, 'a write is under way');
    if (error) write.reject(error);
    else write.resolve();
    await settled();
  }
}

const transaction = (): StorageTransaction => ({
  commitId: new Uint8Array(16),
  user: '',
  description: '',
  extension: new Uint8Array(0),
});

function setUp() {
  const disk = new SlowDisk();
  const coordinator = new CommitCoordinator({
    backend: disk,
    clock: new ManualClock(),
    lastTid: ZERO_TID,
    resolver: () => undefined,
  });
  const request = (...stores: [oid: number, serial: Tid][]) => ({
    transaction: transaction(),
    stores: stores.map(([oid, serial]) => ({
      oid: oid as Oid,
      previous: serial,
      data: Buffer.from(`${oid} on ${serial}`),
    })),
    checks: [],
    undos: [],
  });
  return { disk, coordinator, request };
}

test('commits that arrive during a write share the next one, and are published in their order', async () => {
  const { disk, coordinator, request } = setUp();
  const first = coordinator.commit(request([1, ZERO_TID]));
  await settled();
  const others = [2, 3, 4].map((oid) => coordinator.commit(request([oid, ZERO_TID])));
  await settled();
  assert.deepEqual(disk.published, [], 'nothing is seen before it is durable');
  await disk.end();
  const { tid } = await first;
  assert.deepEqual(disk.published, [tid]);
  assert.deepEqual(
    disk.groups.map((group) => group.length),
    [1, 3],
  );
  await disk.end();
  const tids = (await Promise.all(others)).map((outcome) => outcome.tid);
  assert.deepEqual(disk.published, [tid, ...tids]);
});

test('what cannot be written in one is written one after the other; where one fails, those before it have happened', async () => {
  const { disk, coordinator, request } = setUp();
  disk.groupMax = 2;
  const results = Promise.allSettled([1, 2, 3, 4, 5].map((oid) => coordinator.commit(request([oid, ZERO_TID]))));
  await settled();
  await disk.end();
  await disk.end(new Error('the disk is full'));
  const states = (await results).map(({ status }) => status);
  assert.deepEqual(states, ['fulfilled', 'fulfilled', 'rejected', 'rejected', 'rejected']);
  assert.deepEqual(
    disk.groups.map((group) => group.length),
    [2, 2],
  );
  assert.equal(disk.published.length, 2);
});

test('what waits to be written is superseded only by who knows of it', async () => {
  const { disk, coordinator, request } = setUp();
  const first = coordinator.commit(request([1, ZERO_TID]));
  await settled();
  let hasFailed = false;
  const second = coordinator.commit(request([1, ZERO_TID])).catch((error: unknown) => {
    hasFailed = true;
    return error;
  });
  await settled();
  // Told at once, it would run again, read the same old state, and meet the same conflict.
  assert.equal(hasFailed, false, 'the conflict is told once what it conflicts with can be seen');
  await disk.end();
  const { tid } = await first;
  const conflict = await second;
  assert.ok(conflict instanceof ConflictError);
  assert.equal(conflict.committedSerial, tid);
});

test('a write that fails, fails all that was accepted on top of it; the next one may succeed', async () => {
  const { disk, coordinator, request } = setUp();
  const doomed = [1, 2].map((oid) => coordinator.commit(request([oid, ZERO_TID])));
  await settled();
  const stacked = coordinator.commit(request([3, ZERO_TID]));
  const conflicting = coordinator.commit(request([1, ZERO_TID]));
  const results = Promise.allSettled([...doomed, stacked, conflicting]);
  await settled();
  await disk.end(new Error('the disk is full'));
  const [a, b, c, d] = await results;
  for (const result of [a, b, c]) {
    assert.ok(result?.status === 'rejected' && result.reason instanceof StorageError);
    assert.match(result.reason.message, /could not be written.*the disk is full/);
    assert.match(String(result.reason.cause), /the disk is full/);
  }
  assert.ok(d?.status === 'rejected' && d.reason instanceof ConflictError, 'it may be run again at once');
  assert.equal(coordinator.isFailing, true);
  assert.deepEqual(disk.published, []);
  assert.equal(lines.filter((line) => line.level === 'critical').length, 1);
  // Nothing of what failed is in the way.
  const again = coordinator.commit(request([1, ZERO_TID], [2, ZERO_TID], [3, ZERO_TID]));
  await settled();
  await disk.end();
  const { tid } = await again;
  assert.equal(coordinator.isFailing, false);
  assert.deepEqual(disk.published, [tid]);
});

test('a vote waits for what is being written, and does not begin on what failed', async () => {
  const { disk, coordinator, request } = setUp();
  const failing = coordinator.commit(request([1, ZERO_TID]));
  const failed = assert.rejects(failing, StorageError);
  await settled();
  let hasVoted = false;
  const vote = coordinator.vote(request([1, ZERO_TID])).then((accepted) => {
    hasVoted = true;
    return accepted;
  });
  await settled();
  assert.equal(hasVoted, false);
  await disk.end(new Error('the disk is full'));
  await failed;
  const accepted = await vote;
  assert.deepEqual([...disk.prepared], [accepted.tid]);
  const finished = coordinator.finish(accepted);
  await settled();
  await disk.end();
  assert.equal(await finished, accepted.tid);
  assert.equal(disk.currentTid(1 as Oid), accepted.tid);
});

test('a vote that cannot be made durable fails, and holds up nobody', async () => {
  const { disk, coordinator, request } = setUp();
  disk.failsToPrepare = true;
  await assert.rejects(coordinator.vote(request([1, ZERO_TID])), /no room/);
  disk.failsToPrepare = false;
  const next = coordinator.commit(request([1, ZERO_TID]));
  await settled();
  await disk.end();
  await next;
});

test('who waits behind a vote is refused when the storage stops, and drains when all is written', async () => {
  const { disk, coordinator, request } = setUp();
  const accepted = await coordinator.vote(request([1, ZERO_TID]));
  const waiting = assert.rejects(coordinator.commit(request([2, ZERO_TID])), /closed before/);
  coordinator.stop();
  const finished = coordinator.finish(accepted);
  let isDrained = false;
  const drained = coordinator.drain().then(() => {
    isDrained = true;
  });
  await settled();
  assert.equal(isDrained, false);
  await disk.end();
  await Promise.all([finished, waiting, drained]);
});
