import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BTree, ConflictError, DB } from 'holdfast/odb';
import { ClientStorage } from '#src/zeo/index.js';
import { ServerProgram } from './server-program.js';

interface Root {
  tree: BTree<number, string>;
}

interface Race {
  readonly clients: number;
  readonly commitsEach: number;
  readonly keysPerCommit: number;
  /** Whether the keys of one commit lie far from each other, over the whole tree. */
  readonly isSpread: boolean;
}

/**
 * Lets clients add keys of their own to one tree, all at the same time, each running again what conflicts; resolves to how often they
 * met: conflicts and merges. Demands that the tree is sound, and holds the keys of all commits that succeeded, and no others.
 */
async function race({ clients, commitsEach, keysPerCommit, isSpread }: Race): Promise<number> {
  const server = await ServerProgram.start({ merges: 'records' });
  const dbs: DB<Root>[] = [];
  try {
    for (let i = 0; i < clients; i++) dbs.push(await DB.open<Root>(await ClientStorage.connect(server.address)));
    const [first] = dbs as [DB<Root>];
    await first.transaction(({ root }) => {
      root.tree = new BTree();
    });
    await Promise.all(dbs.map((db) => db.storage.sync()));
    let conflicts = 0;
    const expected = new Map<number, string>();
    const work = async (db: DB<Root>, client: number): Promise<void> => {
      for (let round = 0; round < commitsEach; round++) {
        const place = client * commitsEach + round;
        const keys = Array.from({ length: keysPerCommit }, (_, i) =>
          isSpread ? i * clients * commitsEach + place : place * keysPerCommit + i,
        );
        const value = `client ${client}, round ${round}`;
        let tries = 0;
        await db.transaction(
          ({ root }) => {
            if (tries++ > 0) conflicts++;
            for (const key of keys) assert.ok(root.tree.insert(key, value));
          },
          { retries: 200 },
        );
        for (const key of keys) expected.set(key, value);
      }
    };
    await Promise.all(dbs.map(work));
    // What failed for good leaves nothing behind.
    const refused = (dbs[1] ?? first).transaction(
      ({ root }) => {
        root.tree.set(-1, 'never');
        throw new ConflictError({
          oid: root.tree._p_oid as never,
          baseSerial: 1 as never,
          committedSerial: 2 as never,
        });
      },
      { retries: 0 },
    );
    await assert.rejects(refused, ConflictError);
    for (const db of dbs) {
      const connection = db.open();
      await connection.sync();
      connection.root.tree.check();
      assert.deepEqual(new Map(connection.root.tree), new Map([...expected].sort(([a], [b]) => a - b)));
      connection.close();
    }
    const { resolved } = (await server.stats()).storages['1'] as { resolved: number };
    return conflicts + resolved;
  } finally {
    await Promise.all(dbs.map((db) => db.close()));
    await server.close();
  }
}

test('one client alone meets nobody', async () => {
  assert.equal(await race({ clients: 1, commitsEach: 20, keysPerCommit: 20, isSpread: true }), 0);
});

for (const [what, options] of [
  ['two clients', { clients: 2, commitsEach: 20, keysPerCommit: 10, isSpread: true }],
  ['nineteen clients', { clients: 19, commitsEach: 4, keysPerCommit: 5, isSpread: false }],
  [
    'clients whose transactions of 50 keys touch many buckets',
    { clients: 4, commitsEach: 10, keysPerCommit: 50, isSpread: true },
  ],
] as const) {
  test(`${what} add to one tree at once: nothing is lost, each gets through`, async () => {
    assert.ok((await race(options)) > 0, 'they met');
  });
}
