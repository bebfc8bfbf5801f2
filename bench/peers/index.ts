import { BTree, type DB, TransactionManager } from 'holdfast/odb';
import { type Bench, perSecond } from '../harness.js';
import { Item } from '../support/objects.js';
import { withDatabase, withDirectory } from '../support/places.js';
import { type Entry, findStores, type Store } from './stores.js';

const BATCH = 1000;
/** About as much as the record of an item. */
const VALUE_BYTES = 160;

/** How does holdfast compare with stores of bytes, which know no objects? Sample by sample in turn. Resolves to the peers that are not here. */
export async function peers(bench: Bench): Promise<readonly string[]> {
  const { stores, missing } = await findStores();
  await withDatabase(
    async (db) => {
      const ours = new Ours(db);
      for (const [name, open] of stores) {
        await withDirectory(async (directory) => {
          const store = await open(directory);
          await compare(bench, ours, name, store);
          await store.close();
        });
      }
      ours.close();
    },
    { cacheSize: 200_000, history: 'none' },
  );
  return missing;
}

async function compare(bench: Bench, ours: Ours, name: string, store: Store): Promise<void> {
  const commits = bench.size(1000, 30);
  const keys = shuffled(bench.size(100_000, 2000));
  await ours.fill(keys);
  for (let start = 0; start < keys.length; start += BATCH)
    await store.write(entriesOf(keys.slice(start, start + BATCH)));

  const rows: readonly (readonly [string, number, () => unknown, () => unknown])[] = [
    [
      'durable commits of one object',
      commits,
      () => ours.commitOneByOne(commits),
      async () => {
        for (let i = 0; i < commits; i++) await store.write(entriesOf([`one ${i}`]));
      },
    ],
    [
      'add 1,000 in one durable commit',
      BATCH,
      () => ours.add(BATCH),
      () => store.write(entriesOf(Array.from({ length: BATCH }, (_, i) => `new ${i}`))),
    ],
    ['get by key, cold objects', keys.length, () => ours.look(keys, true), () => look(store, keys)],
    ['get by key, warm', keys.length, () => ours.look(keys, false), () => look(store, keys)],
    ['walk in the order of keys, cold objects', keys.length, () => ours.walk(true), () => store.count()],
    ['walk in the order of keys, warm', keys.length, () => ours.walk(false), () => store.count()],
  ];
  for (const [title, count, own, other] of rows) {
    const [mine, theirs]: [number[], number[]] = [[], []];
    await bench.samples(async () => {
      mine.push(await perSecond(count, own));
      theirs.push(await perSecond(count, other));
    });
    bench.row(`${title}: holdfast`, '/s', mine);
    bench.row(`${title}: ${name}`, '/s', theirs);
    bench.ratio(`… holdfast against ${name}`, mine, theirs);
  }
}

function look(store: Store, keys: readonly string[]): void {
  for (const key of keys) if (store.get(key)?.length !== VALUE_BYTES) throw new Error(`${key} is missing`);
}

function entriesOf(keys: readonly string[]): Entry[] {
  return keys.map((key) => [key, Buffer.alloc(VALUE_BYTES, key)]);
}

/** Keys in an order that is the same in every run, and none that a walk would take. */
function shuffled(count: number): string[] {
  // Coprime to the counts that are used: each key once.
  return Array.from({ length: count }, (_, i) => `key ${String((i * 7919) % count).padStart(8, '0')}`);
}

/** The same work with objects of holdfast: a B-tree of items. */
class Ours {
  readonly #manager = new TransactionManager();
  readonly #connection;

  constructor(db: DB) {
    this.#connection = db.open({ transactionManager: this.#manager });
  }

  async fill(keys: readonly string[]): Promise<void> {
    const tree = new BTree<string, Item>();
    for (const key of keys) tree.set(key, new Item());
    this.#connection.root.set('tree', tree);
    await this.#manager.commit();
  }

  async commitOneByOne(count: number): Promise<void> {
    const item = this.#tree.get('key 00000000') as Item;
    for (let i = 0; i < count; i++) {
      item.count++;
      await this.#manager.commit();
    }
  }

  async add(count: number): Promise<void> {
    this.#connection.root.set(
      'new',
      Array.from({ length: count }, () => new Item()),
    );
    await this.#manager.commit();
  }

  look(keys: readonly string[], isCold: boolean): void {
    if (isCold) this.#connection.cacheMinimize();
    const tree = this.#tree;
    for (const key of keys) if (tree.get(key)?.price !== 2.5) throw new Error(`${key} is missing`);
  }

  walk(isCold: boolean): number {
    if (isCold) this.#connection.cacheMinimize();
    let sum = 0;
    for (const item of this.#tree.values()) sum += item.price;
    return sum;
  }

  close(): void {
    this.#connection.close();
  }

  get #tree(): BTree<string, Item> {
    return this.#connection.root.get('tree') as BTree<string, Item>;
  }
}
