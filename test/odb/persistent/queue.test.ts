import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { CompositeQueue, DB, Persistent, PersistentQueue, persistable, TransactionManager } from 'holdfast/odb';
import { CommitUnderWayError, MergeRefusedError, SerializationError } from '#src/odb/errors.js';
import type { Oid } from '#src/odb/ids.js';
import { makeGhostAgain, type PersistentClass } from '#src/odb/persistent/lifecycle.js';
import { PersistentReference } from '#src/odb/serialize/references.js';
import { RecordJar } from './record-jar.js';

type AnyQueue = PersistentQueue<number> | CompositeQueue<number>;

const queues: [string, () => AnyQueue][] = [
  ['PersistentQueue', () => new PersistentQueue<number>()],
  ['CompositeQueue', () => new CompositeQueue<number>({ bucketSize: 3 })],
  ['CompositeQueue of single items', () => new CompositeQueue<number>({ bucketSize: 1 })],
];

const command = fc.record({
  kind: fc.constantFrom('put', 'put', 'pull', 'pullAt', 'remove', 'at'),
  number: fc.integer({ min: -6, max: 6 }),
});

for (const [name, make] of queues) {
  test(`${name}: answers as an array would, whatever is put and pulled`, () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 80, size: 'max' }), (commands) => {
        const queue = make();
        const model: number[] = [];
        let last = 0;
        for (const { kind, number } of commands) {
          const isThere = number < model.length && number >= -model.length;
          if (kind === 'put') {
            const items = Array.from({ length: Math.abs(number) }, () => last++);
            queue.put(...items);
            model.push(...items);
          } else if (kind === 'pull') {
            if (model.length === 0) assert.throws(() => queue.pull(), { name: 'RangeError', code: 'ARG_INDEX' });
            else assert.equal(queue.pull(), model.shift());
          } else if (kind === 'pullAt') {
            if (isThere) assert.equal(queue.pull(number), model.splice(number, 1)[0]);
            else assert.throws(() => queue.pull(number), { name: 'RangeError', code: 'ARG_INDEX' });
          } else if (kind === 'remove') {
            const item = model.at(number) ?? -1;
            assert.equal(queue.remove(item), model.includes(item));
            if (model.includes(item)) model.splice(model.indexOf(item), 1);
          } else {
            assert.equal(queue.at(number), model.at(number));
            if (isThere) assert.equal(queue.get(number), model.at(number));
            else assert.throws(() => queue.get(number), { name: 'RangeError', code: 'ARG_INDEX' });
          }
          assert.deepEqual([...queue], model);
          assert.deepEqual([queue.length, queue.isEmpty], [model.length, model.length === 0]);
        }
        assert.deepEqual(queue.slice(1, -1), model.slice(1, -1));
        assert.deepEqual(queue.toReversed(), model.toReversed());
      }),
      { numRuns: 60 },
    );
  });

  test(`${name}: a refused change leaves it as it was; what changes nothing marks nothing`, () => {
    const jar = new RecordJar();
    const queue = make();
    queue.put(1, 2, 3, 4);
    const adopted = jar.adopt(queue);
    jar.states.set(adopted._p_oid as Oid, jar.stored(adopted));
    makeGhostAgain(adopted);
    jar.forget();
    queue.put();
    assert.equal(queue.remove(99), false);
    assert.throws(() => queue.pull(4), RangeError);
    assert.throws(() => queue.pull(0.5), RangeError);
    assert.deepEqual([...queue], [1, 2, 3, 4]);
    assert.deepEqual(jar.registered, []);
    if (queue instanceof PersistentQueue) {
      jar.refusal = new CommitUnderWayError('wait');
      assert.throws(() => queue.put(5), CommitUnderWayError);
      assert.throws(() => queue.pull(), CommitUnderWayError);
      assert.deepEqual([...queue], [1, 2, 3, 4]);
    }
  });
}

test('`undefined` can be an item', () => {
  const queue = new PersistentQueue<undefined>();
  queue.put(undefined);
  assert.equal(queue.get(0), undefined);
  assert.equal(queue.length, 1);
  assert.throws(() => queue.get(1), { code: 'ARG_INDEX' });
});

test('a record that is no queue is refused', () => {
  for (const cls of [PersistentQueue, CompositeQueue] as PersistentClass[]) {
    for (const wrong of [[1], {}, { items: 5 }, null]) {
      assert.throws(() => new RecordJar().loaded(cls, wrong), SerializationError);
    }
  }
});

test('a bucket size is a whole number from 1', () => {
  for (const bucketSize of [0, -1, 1.5, Number.NaN]) {
    assert.throws(() => new CompositeQueue({ bucketSize }), { name: 'RangeError', code: 'ARG_BUCKET_SIZE' });
  }
});

test('a queue shows its items, and its buckets', () => {
  assert.match(inspect(new PersistentQueue([1, 2])), /PersistentQueue \{ items: \[ 1, 2 \] \}/);
  assert.match(inspect(new CompositeQueue()), /CompositeQueue \{ bucketSize: 32, buckets: \[\] \}/);
});

class Task extends Persistent {
  constructor(public number: number) {
    super();
  }
}
persistable('test.queue', import.meta, { Task });

test('a put and a pull of a long queue write a bucket each, not the queue', async () => {
  await using db = await DB.open<{ queue: CompositeQueue<Task> }>('memory:');
  const manager = new TransactionManager();
  const connection = db.open({ transactionManager: manager });
  connection.root.queue = new CompositeQueue<Task>();
  const queue = connection.root.queue as CompositeQueue<Task>;
  queue.put(...Array.from({ length: 500 }, (_, i) => new Task(i)));
  await manager.commit();
  const written = async (work: () => unknown) => {
    work();
    const tid = (await manager.commit()) as number;
    for await (const { records } of db.storage.iterate(tid as never))
      return records.map(({ data }) => data?.length ?? 0);
    return assert.fail();
  };
  const put = await written(() => queue.put(new Task(500)));
  assert.equal(put.length, 2, 'the bucket and the task');
  const pull = await written(() => assert.equal(queue.pull().number, 0));
  assert.equal(pull.length, 1);
  const emptying = [...Array(40).keys()].map(() => () => queue.pull());
  for (const work of emptying) for (const bytes of await written(work)) assert.ok(bytes < 1000, String(bytes));
  assert.equal(queue.at(0)?.number, 41);
  assert.equal(queue.at(-1)?.number, 500);
  connection.close();
});

const state = (...items: unknown[]) => ({ items });
const reference = (oid: number) =>
  new PersistentReference({ oid: oid as Oid, className: 'test.queue.Task', kind: 'strong' });

test('pulls of different items merge, of the same one never; what was put follows, the committed first', () => {
  const { resolveConflict } = PersistentQueue;
  assert.deepEqual(resolveConflict(state(1, 2, 3), state(2, 3, 4), state(1, 3, 5)), state(3, 4, 5));
  assert.deepEqual(resolveConflict(state(), state(1), state(2)), state(1, 2));
  assert.deepEqual(resolveConflict(state(1, 2), state(1), state(2)), state());
  assert.throws(() => resolveConflict(state(1, 2), state(2), state(2, 3)), /both pulled the same item/);
  assert.throws(() => resolveConflict(state(1), state(1, 7), state(1, 7)), /both put the same item/);
  assert.throws(() => resolveConflict(state(1), state(1, { a: 1 }), state(1, { a: 1 })), /both put the same item/);
  const [a, b, c] = [reference(1), reference(2), reference(3)];
  assert.deepEqual(resolveConflict(state(a, b), state(b, c), state(a)), state(c));
  assert.throws(() => resolveConflict(state(a), state(a, b), state(a, b)), MergeRefusedError);
  assert.throws(() => resolveConflict(state(a), [], state(a)), /no queue/);
});

test('a bucket that one side emptied, or dropped, is not merged', async () => {
  const QueueBucket = (await import('#src/odb/persistent/queue.js')).QueueBucket as PersistentClass & {
    resolveConflict(base: unknown, committed: unknown, mine: unknown): unknown;
  };
  const merge = (...states: [unknown, unknown, unknown]) => QueueBucket.resolveConflict(...states);
  assert.throws(() => merge(state(1), state(), state(1, 2)), /emptied/);
  assert.throws(() => merge(state(1), state(1, 2), state()), /emptied/);
  assert.deepEqual(merge(state(1, 2), state(1), state(2)), state(), 'it stays in its queue');
  assert.deepEqual(merge(state(), state(1), state(2)), state(1, 2));
  assert.throws(() => merge(state(), { ...state(), isClosed: true }, state(2)), /something else than the items/);
  assert.throws(() => merge(state(), state(2), { ...state(), isClosed: true }), /something else than the items/);
});
