import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import {
  BTree,
  Bucket,
  BucketSet,
  CompositeQueue,
  type DB,
  Length,
  Maximum,
  Minimum,
  Persistent,
  PersistentBlob,
  PersistentList,
  PersistentMapping,
  PersistentQueue,
  persistable,
  RotatingForest,
  TreeSet,
  WeakReference,
} from 'holdfast/odb';

// What every recorded database holds. It may grow, for a version that is new; what an old one holds stays.

/** An object with fields. */
export class Note extends Persistent {
  next: Note | undefined;

  constructor(
    public text: unknown,
    public pages = 1,
  ) {
    super();
  }
}

/** A value that is not persistent. */
export class Point {
  constructor(
    readonly x: number,
    readonly y: number,
  ) {}
}

/** A function that is stored by its name. */
export function twice(n: number): number {
  return 2 * n;
}

persistable('sample', import.meta, { Note, Point, twice });

/** Keys of the tree: more than one node of them. */
const TREE_SIZE = 300;

/** One of each kind of value that a state may hold. */
export function everyValue(): Record<string, unknown> {
  const shared = { name: 'shared' };
  const circle: { self?: unknown } = {};
  circle.self = circle;
  const error = new RangeError('too far', { cause: 'a long way' });
  error.stack = 'RangeError: too far';
  return {
    nothing: undefined,
    none: null,
    truth: [true, false],
    numbers: [0, 127, 128, 255, 256, 65_535, 65_536, 0xffff_ffff, -1, -32, -33, -0x8000_0000],
    doubles: [0.5, -0, 2 ** 32, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
    bigints: [0n, 255n, -256n, 2n ** 100n],
    texts: ['', 'plain', 'grüße 👋', 'x'.repeat(40), 'y'.repeat(300)],
    date: new Date(1_700_000_000_000),
    pattern: /a+b/giu,
    url: new URL('https://example.org/path?query=1'),
    map: new Map<unknown, unknown>([
      ['key', 1],
      [2, new Set(['two'])],
    ]),
    bytes: [
      new Uint8Array([1, 2, 255]).buffer,
      new Uint8Array([3, 4]),
      Buffer.from('buffer'),
      new Float64Array([1.5, -2]),
      new BigInt64Array([-1n]),
    ],
    error,
    point: new Point(3, 4),
    function: twice,
    bare: Object.assign(Object.create(null) as object, { bare: true }),
    shared: [shared, shared],
    circle,
  };
}

/** The root of the recorded database. */
export interface SampleRoot {
  note: Note;
  everything: Note;
  mapping: PersistentMapping;
  list: PersistentList<unknown>;
  tree: BTree<string, number>;
  treeSet: TreeSet<number>;
  bucket: Bucket<string, number>;
  bucketSet: BucketSet<string>;
  length: Length;
  maximum: Maximum;
  minimum: Minimum;
  queue: PersistentQueue<string>;
  compositeQueue: CompositeQueue<number>;
  forest: RotatingForest<string, string>;
  weak: PersistentMapping<WeakReference<Note>>;
  blob: PersistentBlob;
}

/** Fills a new database, in transactions of its own. */
export async function fillSample(db: DB<SampleRoot>): Promise<void> {
  await db.transaction(
    ({ root }) => {
      root.note = new Note('first', 1);
      root.note.next = new Note('second', 2);
      root.everything = new Note(everyValue());
      root.mapping = new PersistentMapping<unknown>([
        ['a', 1],
        ['note', root.note],
      ]);
      root.list = new PersistentList<unknown>([1, 'two', root.note]);
      root.tree = new BTree<string, number>();
      for (let i = 0; i < TREE_SIZE; i++) root.tree.set(`key ${i}`, i);
      root.treeSet = new TreeSet<number>();
      for (let i = 0; i < TREE_SIZE; i++) root.treeSet.add(i);
      root.bucket = new Bucket<string, number>();
      root.bucket.set('b', 2);
      root.bucketSet = new BucketSet<string>();
      root.bucketSet.add('member');
      root.length = new Length(7);
      root.maximum = new Maximum(9);
      root.minimum = new Minimum(-9);
      root.queue = new PersistentQueue<string>();
      root.queue.put('one', 'two');
      root.compositeQueue = new CompositeQueue<number>({ bucketSize: 2 });
      root.compositeQueue.put(1, 2, 3, 4, 5);
      root.forest = new RotatingForest<string, string>({ period: { days: 1 } });
      root.forest.set('k', 'v');
      root.blob = new PersistentBlob('the content of a blob');
      root.weak = new PersistentMapping([['note', new WeakReference(root.note)]]);
    },
    { note: 'everything' },
  );
  await db.transaction(
    ({ root }) => {
      root.note.text = 'changed';
      root.tree.delete('key 5');
      root.length.change(3);
    },
    { note: 'a change' },
  );
  await db.transaction(({ root }) => {
    root.note.pages = 99;
    root.mapping.set('b', new Note('taken back'));
  });
}

/** Asserts that a database holds what {@link fillSample} put there, but for the content of the blob. */
export function checkSample(db: DB<SampleRoot>): void {
  const connection = db.open();
  try {
    const { root } = connection;
    assert.deepEqual([root.note.text, root.note.pages], ['changed', 1]);
    assert.deepEqual([root.note.next?.text, root.note.next?.pages], ['second', 2]);
    assert.deepEqual(root.everything.text, everyValue());
    const [one, other] = (root.everything.text as { shared: [object, object] }).shared;
    assert.equal(one, other, 'what was shared is shared');
    assert.deepEqual([...root.mapping.keys()], ['a', 'note']);
    assert.equal(root.mapping.get('note'), root.note);
    assert.deepEqual([root.list.length, root.list.at(1), root.list.at(2)], [3, 'two', root.note]);
    assert.equal(root.tree.size, TREE_SIZE - 1);
    assert.deepEqual([root.tree.get('key 5'), root.tree.get('key 299')], [undefined, 299]);
    root.tree.check();
    assert.deepEqual([...root.treeSet.keys({ min: 298 })], [298, 299]);
    assert.deepEqual([root.bucket.get('b'), root.bucketSet.has('member')], [2, true]);
    assert.deepEqual([root.length.value, root.maximum.value, root.minimum.value], [10, 9, -9]);
    assert.deepEqual([...root.queue], ['one', 'two']);
    assert.deepEqual([...root.compositeQueue], [1, 2, 3, 4, 5]);
    assert.equal(root.forest.get('k'), 'v');
    assert.equal(root.weak.get('note')?.get(), root.note);
  } finally {
    connection.close();
  }
}

/** Asserts that the blob of the sample has its content. */
export async function checkBlob(db: DB<SampleRoot>): Promise<void> {
  assert.equal(await db.transaction(({ root }) => text(root.blob.open('r'))), 'the content of a blob');
}
