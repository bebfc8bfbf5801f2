import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  BTree,
  Bucket,
  BucketSet,
  CompositeQueue,
  ConflictError,
  type Connection,
  type DB,
  Length,
  Maximum,
  Minimum,
  type Persistent,
  PersistentMapping,
  PersistentQueue,
  RotatingForest,
  TransactionManager,
  TreeSet,
} from 'holdfast/odb';

/** A collection that several transactions change side by side, and the plainest model of it. */
export interface Subject {
  readonly name: string;
  readonly make: () => Persistent;
  readonly op: fc.Arbitrary<unknown>;
  /** The model of a collection that was just made. */
  readonly start: unknown;
  /** Does it to the collection and to the model; answers are compared. Returns the model afterwards. */
  act(collection: Persistent, model: unknown, op: unknown, newName: () => string): unknown;
  /** What the collection holds, as its model. */
  read(collection: Persistent): unknown;
  /** What both changes together come to, or `undefined` where they must be refused. */
  merge(base: unknown, committed: unknown, mine: unknown): unknown;
  /** Whether they must be accepted otherwise. Trees may also refuse what is kept in one node. */
  readonly isExact: boolean;
  /** How far the result has to be the expected one. Default: in all. */
  same?(actual: unknown, expected: unknown): void;
}

interface SubjectParts<C extends Persistent, Op, M> extends Omit<Subject, 'make' | 'op' | 'start'> {
  readonly make: () => C;
  readonly op: fc.Arbitrary<Op>;
  readonly start: M;
  act(collection: C, model: M, op: Op, newName: () => string): M;
  read(collection: C): M;
  merge(base: M, committed: M, mine: M): M | undefined;
  same?(actual: M, expected: M): void;
}

function subject<C extends Persistent, Op, M>(parts: SubjectParts<C, Op, M>): Subject {
  return parts as unknown as Subject;
}

// ---------------------------------------------------------------- maps and sets

type MapOp<K> = { readonly kind: 'set' | 'insert' | 'delete'; readonly key: K };
type Model<K> = ReadonlyMap<K, string>;

/** Keys of a tree of some buckets: half of them among a few, so that writers meet. */
const treeKey = fc.oneof(fc.nat(200), fc.integer({ min: 90, max: 99 }));

const mapOp = <K>(key: fc.Arbitrary<K>): fc.Arbitrary<MapOp<K>> =>
  fc.record({ kind: fc.constantFrom('set', 'set', 'insert', 'delete', 'delete'), key });

interface AnyMap<K> extends Persistent, Iterable<[K, string]> {
  set(key: K, value: string): unknown;
  setDefault?(key: K, value: string): string;
  insert?(key: K, value: string): boolean;
  has(key: K): boolean;
  delete(key: K): boolean;
}

function actOnMap<K>(map: AnyMap<K>, model: Model<K>, { kind, key }: MapOp<K>, newName: () => string): Model<K> {
  const next = new Map(model);
  if (kind === 'delete') assert.equal(map.delete(key), next.delete(key));
  else if (kind === 'set') {
    // Each value is another one, so that each write is a change.
    const value = newName();
    map.set(key, value);
    next.set(key, value);
  } else {
    const value = newName();
    if (map.insert) assert.equal(map.insert(key, value), !next.has(key));
    else assert.equal(map.setDefault?.(key, value), next.get(key) ?? value);
    if (!next.has(key)) next.set(key, value);
  }
  return next;
}

function touched<K>(base: Model<K>, model: Model<K>): K[] {
  return [...new Set([...base.keys(), ...model.keys()])].filter((key) => base.get(key) !== model.get(key));
}

function mergeMaps<K>(base: Model<K>, committed: Model<K>, mine: Model<K>): Model<K> | undefined {
  const [theirs, ours] = [touched(base, committed), touched(base, mine)];
  if (ours.some((key) => theirs.includes(key))) return undefined;
  const merged = new Map(committed);
  for (const key of ours) {
    if (mine.has(key)) merged.set(key, mine.get(key) as string);
    else merged.delete(key);
  }
  return merged;
}

/** A bucket may be dropped by its tree once it is empty: so that it never becomes so, nor is changed then. */
function mergeBuckets<K>(base: Model<K>, committed: Model<K>, mine: Model<K>): Model<K> | undefined {
  const merged = mergeMaps(base, committed, mine);
  const isEmptied = base.size > 0 && (committed.size === 0 || mine.size === 0 || merged?.size === 0);
  return isEmptied ? undefined : merged;
}

const byKey = <K>(map: Iterable<readonly [K, string]>): Model<K> =>
  new Map([...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));

/** Maps are the same whatever the order of their entries. */
const sameMaps = <K>(actual: Model<K>, expected: Model<K>) => assert.deepEqual(byKey(actual), byKey(expected));

interface AnySet extends Persistent, Iterable<number> {
  insert(key: number): boolean;
  delete(key: number): boolean;
  check(): void;
}

const setSubject = (make: () => AnySet, key: fc.Arbitrary<number>, isExact: boolean): Subject =>
  subject<AnySet, MapOp<number>, Model<number>>({
    name: make().constructor.name,
    make,
    op: mapOp(key),
    start: new Map(),
    act: (set, model, { kind, key }) => {
      const next = new Map(model);
      if (kind === 'delete') assert.equal(set.delete(key), next.delete(key));
      else {
        assert.equal(set.insert(key), !next.has(key));
        next.set(key, 'there');
      }
      return next;
    },
    read: (set) => {
      set.check();
      return new Map([...set].map((key) => [key, 'there']));
    },
    merge: mergeBuckets,
    isExact,
    same: sameMaps,
  });

const mapSubject = (
  make: () => AnyMap<number> & { check?(): void },
  key: fc.Arbitrary<number>,
  isExact: boolean,
): Subject =>
  subject<AnyMap<number> & { check?(): void }, MapOp<number>, Model<number>>({
    name: make().constructor.name,
    make,
    op: mapOp(key),
    start: new Map(),
    act: actOnMap,
    read: (map) => {
      map.check?.();
      return new Map(map);
    },
    // A tree of several buckets merges more than one bucket does.
    merge: isExact ? mergeBuckets : mergeMaps,
    isExact,
    same: sameMaps,
  });

// ---------------------------------------------------------------- numbers

type NumberOp = { readonly kind: 'set' | 'change'; readonly value: number };

const extremeSubject = (make: () => Maximum | Minimum, of: (a: number, b: number) => number): Subject =>
  subject<Maximum | Minimum, NumberOp, number | undefined>({
    name: make().constructor.name,
    make,
    op: fc.record({ kind: fc.constant('set'), value: fc.integer({ min: -9, max: 9 }) }),
    start: undefined,
    act: (extreme, _, { value }) => {
      extreme.set(value);
      return value;
    },
    read: ({ value }) => value,
    merge: (_, committed, mine) => (committed === undefined ? mine : of(committed, mine as number)),
    isExact: true,
  });

// ---------------------------------------------------------------- queues

type QueueOp = { readonly kind: 'put' | 'pull' | 'remove'; readonly number: number };
interface AnyQueue extends Persistent, Iterable<string> {
  readonly length: number;
  put(...items: string[]): void;
  pull(index?: number): string;
  remove(item: string): boolean;
}

const queueParts = {
  op: fc.record<QueueOp>({ kind: fc.constantFrom('put', 'put', 'pull', 'remove'), number: fc.nat(3) }),
  start: [] as readonly string[],
  act: (queue: AnyQueue, model: readonly string[], { kind, number }: QueueOp, newName: () => string) => {
    const next = [...model];
    if (kind === 'put') {
      const items = Array.from({ length: number + 1 }, newName);
      queue.put(...items);
      next.push(...items);
    } else if (number < next.length) {
      const [item] = next.splice(kind === 'pull' ? number : -1 - number, 1) as [string];
      if (kind === 'pull') assert.equal(queue.pull(number), item);
      else assert.ok(queue.remove(item));
    }
    return next;
  },
  read: (queue: AnyQueue) => {
    assert.equal(queue.length, [...queue].length);
    return [...queue];
  },
  merge: (base: readonly string[], committed: readonly string[], mine: readonly string[]) => {
    const pulled = base.filter((item) => !mine.includes(item));
    if (pulled.some((item) => !committed.includes(item))) return undefined;
    return [...committed.filter((item) => !pulled.includes(item)), ...mine.filter((item) => !base.includes(item))];
  },
};

/** The transaction that put an item: names are `transaction.number`. */
const putterOf = (item: string) => item.split('.', 1)[0] as string;

export const subjects: readonly Subject[] = [
  subject({
    name: 'PersistentMapping',
    make: () => new PersistentMapping<string>(),
    op: mapOp(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g')),
    start: new Map<string, string>() as Model<string>,
    act: actOnMap<string>,
    read: (mapping) => new Map(mapping),
    merge: mergeMaps,
    isExact: true,
    same: sameMaps,
  }),
  subject<Length, NumberOp, number>({
    name: 'Length',
    make: () => new Length(),
    op: fc.record({ kind: fc.constantFrom('set', 'change'), value: fc.integer({ min: -9, max: 9 }) }),
    start: 0,
    act: (length, model, { kind, value }) => {
      length[kind](value);
      return kind === 'set' ? value : model + value;
    },
    read: ({ value }) => value,
    merge: (base, committed, mine) => committed + (mine - base),
    isExact: true,
  }),
  extremeSubject(() => new Maximum(), Math.max),
  extremeSubject(() => new Minimum(), Math.min),
  mapSubject(() => new Bucket<number, string>(), fc.nat(9), true),
  setSubject(() => new BucketSet<number>(), fc.nat(9), true),
  mapSubject(() => new BTree<number, string>(), treeKey, false),
  setSubject(() => new TreeSet<number>(), treeKey, false),
  mapSubject(() => new RotatingForest<number, string>({ period: { days: 1000 } }), treeKey, false),
  subject<AnyQueue, QueueOp, readonly string[]>({
    name: 'PersistentQueue',
    make: () => new PersistentQueue<string>(),
    ...queueParts,
    isExact: true,
  }),
  subject<AnyQueue, QueueOp, readonly string[]>({
    name: 'CompositeQueue',
    make: () => new CompositeQueue<string>({ bucketSize: 3 }),
    ...queueParts,
    isExact: false,
    // Items of two transactions may stand among each other; those of one keep their order.
    same: (actual, expected) => {
      assert.deepEqual([...actual].sort(), [...expected].sort());
      for (const putter of new Set(actual.map(putterOf))) {
        const ofPutter = (items: readonly string[]) => items.filter((item) => putterOf(item) === putter);
        assert.deepEqual(ofPutter(actual), ofPutter(expected));
      }
    },
  }),
];

// ---------------------------------------------------------------- transactions side by side

const WRITERS = 3;

type Step =
  | { readonly kind: 'act'; readonly writer: number; readonly op: unknown }
  | { readonly kind: 'commit' | 'abort' | 'minimize'; readonly writer: number };

const writer = fc.nat(WRITERS - 1);

/** What is in the collection at first, and what its writers do, one step at a time. */
export interface History {
  readonly initial: readonly unknown[];
  readonly steps: readonly Step[];
}

export const historyOf = ({ op }: Subject): fc.Arbitrary<History> =>
  fc.record({
    initial: fc.oneof(fc.array(op, { maxLength: 10 }), fc.array(op, { minLength: 150, maxLength: 250 })),
    steps: fc.array(
      fc.oneof(
        { weight: 8, arbitrary: fc.record({ kind: fc.constant('act' as const), writer, op }) },
        { weight: 4, arbitrary: fc.record({ kind: fc.constant('commit' as const), writer }) },
        { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('abort', 'minimize'), writer }) },
      ) as fc.Arbitrary<Step>,
      { minLength: 30, maxLength: 80 },
    ),
  });

/** How commits ended, over several histories. */
export interface Outcomes {
  plain: number;
  merged: number;
  refused: number;
}

/** One of several transactions that run side by side. */
class Writer {
  readonly manager = new TransactionManager();
  readonly connection: Connection<{ it: Persistent }>;
  /** What the transaction began with, and what it sees. */
  base: unknown;
  local: unknown;
  /** Commits that had been made when it began. */
  baseCommits = 0;

  constructor(db: DB<{ it: Persistent }>) {
    this.connection = db.open({ transactionManager: this.manager });
  }

  get it(): Persistent {
    return this.connection.root.it as Persistent;
  }
}

/**
 * Lets several transactions at a time change one collection, through one of the databases each, and demands of every commit: where it
 * succeeds, the collection holds what the transactions come to one after the other, in the order of their commits; it is refused where
 * the rule says so, and only there.
 */
export async function playHistory(
  dbs: readonly DB<{ it: Persistent }>[],
  { make, act, read, merge, isExact, start, same = assert.deepEqual }: Subject,
  { initial, steps }: History,
  outcomes: Outcomes,
): Promise<void> {
  let transactions = 0;
  let names = 0;
  const newName = () => `${transactions}.${names++}`;
  let committed = start;
  let commits = 0;
  await (dbs[0] as DB<{ it: Persistent }>).transaction(({ root }) => {
    const it = make();
    root.it = it;
    for (const op of initial) committed = act(it, committed, op, newName);
  });
  const writers = Array.from({ length: WRITERS }, (_, i) => new Writer(dbs[i % dbs.length] as DB<{ it: Persistent }>));
  const begin = async (each: Writer) => {
    await each.connection.sync();
    each.base = committed;
    each.local = committed;
    each.baseCommits = commits;
    transactions++;
  };
  for (const each of writers) await begin(each);
  for (const step of steps) {
    const each = writers[step.writer] as Writer;
    if (step.kind === 'act') {
      // The items of one transaction go by its name.
      const name = `t${each.baseCommits}w${step.writer}`;
      each.local = act(each.it, each.local, step.op, () => `${name}.${names++}`);
    } else if (step.kind === 'minimize') each.connection.cacheMinimize();
    else if (step.kind === 'abort') {
      each.manager.abort();
      await begin(each);
    } else {
      const isStale = each.baseCommits !== commits;
      const expected = isStale ? merge(each.base, committed, each.local) : each.local;
      try {
        const tid = await each.manager.commit();
        if (tid !== undefined) {
          assert.notEqual(expected, undefined, 'what must be refused was merged');
          outcomes[isStale ? 'merged' : 'plain']++;
          commits++;
        } else assert.deepEqual(each.local, each.base);
        await begin(each);
        const actual = read(each.it);
        same(actual, tid === undefined ? committed : expected);
        committed = actual;
        each.base = actual;
        each.local = actual;
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error;
        assert.ok(isStale, 'nobody else has committed anything');
        assert.ok(!isExact || expected === undefined, `what had to merge was refused: ${error.message}`);
        outcomes.refused++;
        each.manager.abort();
        await begin(each);
      }
    }
  }
  for (const each of writers) {
    same(read(each.it), each.local);
    each.manager.abort();
    each.connection.close();
  }
}
