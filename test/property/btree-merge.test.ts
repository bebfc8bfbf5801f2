import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Bucket, ConflictError, type Connection, DB, MergeRefusedError, TransactionManager } from 'holdfast/odb';
import { SmallTree } from '../odb/persistent/btree/small-trees.js';

type Change = { readonly key: number; readonly value: string | undefined };

const changes = (keyMax: number, maxLength: number): fc.Arbitrary<Change[]> =>
  fc.array(
    fc.record({
      key: fc.nat(keyMax),
      value: fc.option(fc.constantFrom('x', 'y', 'z'), { nil: undefined, freq: 2 }),
    }),
    { maxLength },
  );

function changed(base: ReadonlyMap<number, string>, list: readonly Change[]): Map<number, string> {
  const map = new Map(base);
  for (const { key, value } of list) {
    if (value === undefined) map.delete(key);
    else map.set(key, value);
  }
  return map;
}

const stateOf = (map: ReadonlyMap<number, string>) => Bucket.from(map).getState();

/** Keys whose value is another one, or which are in one of the two alone. */
function touched(base: ReadonlyMap<number, string>, map: ReadonlyMap<number, string>): Set<number> {
  return new Set([...base.keys(), ...map.keys()].filter((key) => base.get(key) !== map.get(key)));
}

test('a merge holds both sides changes, or is refused exactly when the rule says so', () => {
  let mergedCount = 0;
  let refusedCount = 0;
  fc.assert(
    fc.property(changes(12, 14), changes(12, 4), changes(12, 4), (first, theirs, ours) => {
      const base = changed(new Map(), first);
      const committed = changed(base, theirs);
      const mine = changed(base, ours);
      const [byThem, byUs] = [touched(base, committed), touched(base, mine)];
      const expected = changed(
        committed,
        [...byUs].map((key) => ({ key, value: mine.get(key) })),
      );
      const isRefused =
        [...byThem].some((key) => byUs.has(key)) ||
        (base.size > 0 && (committed.size === 0 || mine.size === 0 || expected.size === 0));
      const merge = () => Bucket.resolveConflict(stateOf(base), stateOf(committed), stateOf(mine));
      if (isRefused) {
        refusedCount++;
        assert.throws(merge, MergeRefusedError);
        return;
      }
      mergedCount++;
      assert.deepEqual(merge(), stateOf(expected));
    }),
    { numRuns: 1500 },
  );
  assert.ok(mergedCount > 100 && refusedCount > 100, 'the property tried both outcomes');
});

test('a merge is refused when either side changed what follows the bucket', () => {
  const [b, c] = [{ oid: 1 }, { oid: 2 }];
  const state = (next: unknown, ...keys: number[]) => ({ keys, values: keys, ...(next ? { next } : {}) });
  assert.deepEqual(Bucket.resolveConflict(state(b, 1), state(b, 1, 2), state(b, 0, 1)), state(b, 0, 1, 2));
  for (const [base, committed, mine] of [
    [b, c, b],
    [b, b, c],
    [b, c, c],
    [b, undefined, b],
    [undefined, undefined, b],
  ]) {
    assert.throws(
      () => Bucket.resolveConflict(state(base, 1), state(committed, 1, 2), state(mine, 0, 1)),
      MergeRefusedError,
    );
  }
});

interface Root {
  tree: SmallTree<number, string>;
}

/** One of several transactions that run side by side on one tree. */
class Writer {
  readonly manager = new TransactionManager();
  readonly connection: Connection<Root>;
  snapshot = new Map<number, unknown>();
  local = new Map<number, unknown>();

  constructor(db: DB<Root>) {
    this.connection = db.open({ transactionManager: this.manager }) as Connection<Root>;
  }

  get tree(): SmallTree<number, string> {
    return this.connection.root.tree;
  }

  begin(committed: ReadonlyMap<number, unknown>): void {
    this.manager.begin();
    this.snapshot = new Map(committed);
    this.local = new Map(committed);
  }
}

type Step =
  | { kind: 'set' | 'delete'; writer: number; key: number }
  | { kind: 'commit' | 'abort' | 'minimize' | 'savepoint'; writer: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: fc.record({ kind: fc.constant('set' as const), writer: fc.nat(2), key: fc.nat(60) }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('delete' as const), writer: fc.nat(2), key: fc.nat(60) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('commit' as const), writer: fc.nat(2) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom('abort', 'minimize', 'savepoint'), writer: fc.nat(2) }),
  },
) as fc.Arbitrary<Step>;

test('transactions side by side on one tree lose nothing: each commits all that it did, or conflicts', async () => {
  const counts = { committed: 0, conflicts: 0, merged: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.nat(60), { maxLength: 50 }),
      fc.array(step, { maxLength: 150, size: 'max' }),
      async (initial, steps) => {
        const db = await DB.open<Root>('memory:');
        let valueCount = 0;
        const committed = new Map<number, unknown>();
        await db.transaction(({ root }) => {
          root.tree = new SmallTree();
          for (const key of initial) {
            root.tree.set(key, `first ${key}`);
            committed.set(key, `first ${key}`);
          }
        });
        const writers = [new Writer(db), new Writer(db), new Writer(db)];
        for (const writer of writers) writer.begin(committed);
        for (const { kind, writer: index, ...rest } of steps) {
          const writer = writers[index] as Writer;
          const { key } = rest as { key: number };
          switch (kind) {
            case 'set': {
              // Each value is another one, so that each write is a change.
              const value = `value ${valueCount++}`;
              writer.tree.set(key, value);
              writer.local.set(key, value);
              break;
            }
            case 'delete':
              assert.equal(writer.tree.delete(key), writer.local.delete(key));
              break;
            case 'abort':
              writer.manager.abort();
              writer.begin(committed);
              break;
            case 'minimize':
              writer.connection.cacheMinimize();
              break;
            case 'savepoint': {
              const before = new Map(writer.local);
              const savepoint = writer.manager.get().savepoint();
              writer.tree.set(7, 'to be rolled back');
              writer.tree.delete(8);
              savepoint.rollback();
              assert.deepEqual(new Map(writer.tree), before);
              break;
            }
            case 'commit': {
              const isStale =
                [...committed].length !== writer.snapshot.size ||
                [...committed].some(([k, value]) => writer.snapshot.get(k) !== value);
              try {
                await writer.manager.commit();
              } catch (error) {
                assert.ok(error instanceof ConflictError, String(error));
                counts.conflicts++;
                writer.manager.abort();
                writer.begin(committed);
                break;
              }
              counts.committed++;
              const mine = [...new Set([...writer.snapshot.keys(), ...writer.local.keys()])].filter(
                (k) => writer.snapshot.get(k) !== writer.local.get(k),
              );
              if (isStale && mine.length > 0) counts.merged++;
              for (const k of mine) {
                // First committer wins: nobody else can have committed a change of this key since the snapshot.
                assert.equal(committed.get(k), writer.snapshot.get(k));
                if (writer.local.has(k)) committed.set(k, writer.local.get(k));
                else committed.delete(k);
              }
              writer.begin(committed);
              writer.tree.check();
              assert.deepEqual(
                [...writer.tree],
                [...committed].sort(([a], [b]) => a - b),
              );
            }
          }
        }
        for (const writer of writers) {
          assert.deepEqual(
            [...writer.tree],
            [...writer.local].sort(([a], [b]) => a - b),
          );
          writer.manager.abort();
          writer.connection.close();
        }
        await db.close();
      },
    ),
    { numRuns: 60 },
  );
  assert.ok(counts.conflicts > 20 && counts.merged > 20, `both outcomes were tried: ${JSON.stringify(counts)}`);
});
