import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BTree,
  type Connection,
  DB,
  Persistent,
  PersistentList,
  PersistentMapping,
  persistable,
  setLogSink,
  TransactionManager,
  transaction,
  UnnoticedMutationError,
  WeakReference,
} from 'holdfast/odb';

class Note extends Persistent {
  tags: string[] = ['a'];
  facts: Record<string, unknown> = { seen: new Map([['x', [1]]]), days: new Set([1]), at: new Date(0) };
  next: Note | undefined = undefined;
  weak: WeakReference<Note> | undefined = undefined;
  [name: string]: unknown;
}

/** Stores something else than its fields. */
class Temperature extends Persistent {
  celsius = 20;
  history: number[] = [];

  override getState(): unknown {
    return { kelvin: this.celsius + 273, past: this.history };
  }

  override setState(state: unknown): void {
    const { kelvin, past } = state as { kelvin: number; past: number[] };
    super.setState({ celsius: kelvin - 273, history: past });
  }
}

/** Old records lack a field. */
class Grown extends Persistent {
  static defaults = { labels: [] as string[] };
  declare labels: string[];
  name = 'grown';
}

persistable('test.mutations', import.meta, { Note, Temperature, Grown });

interface Root {
  note: Note;
  other: Note;
  temperature: Temperature;
  grown: Grown;
  plain: { list: number[] };
  list: PersistentList<number[]>;
  tree: BTree<string, string[]>;
}

/** Runs a test with a database that detects mutations, under a manager of its own; everything is a ghost at first. */
function mutationTest(name: string, fn: (connection: Connection<Root>, db: DB<Root>) => Promise<void>, options = {}) {
  test(name, () =>
    transaction.isolate(async () => {
      const db = await DB.open<Root>('memory:', { detectMutations: true, ...options });
      await db.transaction(({ root }) => {
        root.note = new Note();
        root.other = new Note();
        root.note.next = root.other;
        root.note.weak = new WeakReference(root.other);
        root.temperature = new Temperature();
        root.grown = new Grown();
        root.plain = { list: [1] };
        root.list = new PersistentList([[1], [2]]);
        root.tree = new BTree();
        root.tree.set('k', ['v']);
      });
      const connection = db.open();
      connection.cacheMinimize();
      await fn(connection, db);
      await db.close();
    }),
  );
}

async function assertFound(path: RegExp): Promise<void> {
  await assert.rejects(transaction.commit(), (error: UnnoticedMutationError) => {
    assert.ok(error instanceof UnnoticedMutationError, String(error));
    assert.equal(error.code, 'ODB_UNNOTICED_MUTATION');
    assert.equal(error.retry, 'never');
    assert.match(error.path, path);
    assert.ok(error.message.startsWith(error.path));
    return true;
  });
  transaction.abort();
}

mutationTest(
  'a change within a plain value is found at commit, by object and field, and taken back',
  async (connection) => {
    const { note, temperature, grown, list, tree } = connection.root;
    const changes: [() => void, RegExp][] = [
      [() => note.tags.push('b'), /^Note oid \d+\.tags\[1\]$/],
      [() => note.tags.splice(0, 1, 'z'), /^Note oid \d+\.tags\[0\]$/],
      [() => (note.facts['seen'] as Map<string, number[]>).get('x')?.push(2), /\.facts\.seen\.x\[1\]$/],
      [() => (note.facts['seen'] as Map<string, number[]>).set('y', []), /\.facts\.seen\.y$/],
      [() => (note.facts['days'] as Set<number>).add(2), /\.facts\.days$/],
      [() => (note.facts['at'] as Date).setTime(1), /\.facts\.at$/],
      [() => delete note.facts['at'], /\.facts\.at$/],
      [() => Object.assign(note.facts, { fresh: connection.root.other }), /\.facts\.fresh$/],
      [() => Object.assign(note.facts, { fresh: new Note() }), /\.facts\.fresh$/],
      [() => Object.assign(note.facts, { bad: () => 1 }), /\.facts\.bad$/],
      [() => temperature.history.push(1), /^Temperature oid \d+\.past\[0\]$/],
      [() => grown.labels.push('x'), /^Grown oid \d+\.labels\[0\]$/],
      [() => connection.root.plain.list.push(2), /^root\.plain\.list\[1\]$/],
      [() => list.at(1)?.push(3), /^PersistentList oid \d+\[1\]\[1\]$/],
      [() => tree.get('k')?.push('w'), /oid \d+/],
    ];
    for (const [change, path] of changes) {
      change();
      await assertFound(path);
      // What was not noticed is gone, as everything else of the aborted transaction.
      assert.equal(await transaction.commit(), undefined);
    }
    assert.deepEqual(note.tags, ['a']);
  },
);

mutationTest('reading, defaults, other stored forms, and objects made anew are no changes', async (connection) => {
  const { note, other, temperature, grown, list, tree } = connection.root;
  for (let round = 0; round < 2; round++) {
    assert.deepEqual(
      [note.tags, temperature.celsius, grown.labels, list.at(0), tree.get('k')],
      [['a'], 20, [], [1], ['v']],
    );
    assert.equal(note.next, other);
    assert.equal(note.weak?.get(), other);
    note['_v_cache'] = [round];
    assert.equal(await transaction.commit(), undefined);
    connection.cacheMinimize();
  }
});

mutationTest(
  'a change that the object was told of is stored, with all that was changed within',
  async (connection, db) => {
    const { note } = connection.root;
    note.tags.push('b');
    note._p_changed = true;
    note.tags.push('c');
    await transaction.commit();
    note.facts = { ...note.facts, n: 1 };
    await transaction.commit();
    assert.deepEqual(await db.transaction(({ root }) => [root.note.tags, root.note.facts['n']]), [['a', 'b', 'c'], 1]);
    note.tags.push('d');
    await assertFound(/\.tags\[3\]$/);
  },
);

mutationTest('shared values are found in the object that shows them', async (connection) => {
  const { note } = connection.root;
  const shared = ['s'];
  note.facts = { one: shared, two: shared };
  await transaction.commit();
  assert.equal(await transaction.commit(), undefined);
  shared.push('t');
  await assertFound(/\.facts\.one\[1\]$/);
});

mutationTest('a savepoint finds them too, before it saves anything', async (connection) => {
  const { note, other } = connection.root;
  other.tags = ['told'];
  note.tags.push('b');
  assert.throws(() => transaction.savepoint(), UnnoticedMutationError);
  transaction.abort();
  other.tags = ['told'];
  transaction.savepoint();
  other.tags.push('after the savepoint');
  await assertFound(/\.tags\[1\]$/);
});

mutationTest('the cache drops no object with such a change: it is found first', async (connection) => {
  const { note } = connection.root;
  note.tags.push('b');
  assert.throws(() => connection.cacheMinimize(), UnnoticedMutationError);
  assert.equal(note._p_changed, false);
  transaction.abort();
  assert.equal(note._p_changed, undefined);
});

mutationTest('a connection is not closed with such a change', async (connection) => {
  connection.root.note.tags.push('b');
  assert.throws(() => connection.close(), UnnoticedMutationError);
  transaction.abort();
  connection.close();
});

mutationTest('db.transaction throws it, does not run again, and leaves nothing behind', async (_, db) => {
  let runs = 0;
  const change = db.transaction(({ root }) => {
    runs++;
    root.note.tags.push('b');
  });
  await assert.rejects(change, UnnoticedMutationError);
  assert.equal(runs, 1);
  assert.deepEqual(await db.transaction(({ root }) => root.note.tags), ['a']);
});

mutationTest('an abort tells of what it takes back that nobody was told of', async (connection) => {
  const { note } = connection.root;
  const told: string[] = [];
  const sink = setLogSink(({ message }) => told.push(message));
  try {
    note.tags.push('b');
    transaction.abort();
  } finally {
    setLogSink(sink);
  }
  assert.deepEqual(note.tags, ['a']);
  assert.match(told.join(), /Note oid \d+\.tags\[1\]/);
});

mutationTest('what was merged or changed by others is no change of ours', async (connection, db) => {
  const mapping = new PersistentMapping<number[]>({ a: [1] });
  connection.add(mapping);
  await transaction.commit();
  mapping.set('mine', [2]);
  await db.transaction((other) =>
    (other.get(Number(mapping._p_oid)) as PersistentMapping<number[]>).set('theirs', [3]),
  );
  await transaction.commit();
  await db.transaction((other) =>
    (other.get(Number(mapping._p_oid)) as PersistentMapping<number[]>).set('theirs', [4]),
  );
  transaction.begin();
  assert.deepEqual([...mapping.keys()].sort(), ['a', 'mine', 'theirs']);
  assert.equal(await transaction.commit(), undefined);
});

mutationTest(
  'without the option nothing is looked for, and nothing is found',
  async (connection) => {
    const { note } = connection.root;
    note.tags.push('b');
    assert.equal(await transaction.commit(), undefined);
    assert.deepEqual(note.tags, ['a', 'b']);
    connection.cacheMinimize();
    assert.deepEqual(note.tags, ['a']);
  },
  { detectMutations: false },
);

test('a manager of its own finds them as well', async () => {
  const db = await DB.open<Root>('memory:', { detectMutations: true });
  const manager = new TransactionManager({ explicit: true });
  const connection = db.open({ transactionManager: manager });
  manager.begin();
  manager.enter(() => {
    connection.root.note = new Note();
  });
  await manager.commit();
  manager.begin();
  connection.root.note.tags.push('b');
  await assert.rejects(manager.commit(), UnnoticedMutationError);
  manager.abort();
  manager.begin();
  assert.deepEqual(connection.root.note.tags, ['a']);
  await manager.commit();
  await db.close();
});
