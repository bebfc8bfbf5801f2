import {
  BTree,
  CompositeQueue,
  type DB,
  Length,
  Persistent,
  type PersistentBlob,
  PersistentQueue,
  persistable,
} from 'holdfast/odb';

/** An account of the bank; each change of it has a stamp of its own. */
export class Account extends Persistent {
  balance = 0;
  stamp = '';
}

/** Holds one value. */
export class Cell extends Persistent {
  stamp = '';
}

/** Holds a part of the graph; what was in it before may become garbage. */
export class Slot extends Persistent {
  stamp = '';
  node: Node | undefined = undefined;
}

/** Holds a blob, whose content the stamp tells. */
export class Shelf extends Persistent {
  stamp = '';
  blob: PersistentBlob | undefined = undefined;
}

/** A node of the graph. */
export class Node extends Persistent {
  label = '';
  kids: Node[] = [];
}

persistable('simulation', import.meta, { Account, Cell, Slot, Shelf, Node });

/** What the root holds. */
export interface Root {
  [name: string]: unknown;
  accounts: Account[];
  cells: Cell[];
  slots: Slot[];
  shelves: Shelf[];
  counters: Length[];
  tree: BTree<number, string>;
  queue: CompositeQueue<string>;
  smallQueue: PersistentQueue<string>;
}

export type SimDB = DB<Root>;

export const ACCOUNTS = 5;
export const ACCOUNT_BALANCE = 100;
export const CELLS = 5;
export const SLOTS = 4;
export const SHELVES = 3;
export const COUNTERS = 2;
/** Keys of the tree are below this; it begins with the even ones, which is more than a leaf holds. */
export const TREE_KEYS = 220;

/** How an account reads. */
export function accountText({ balance, stamp }: Account): string {
  return `${balance} ${stamp}`;
}

/** The content of the blob on a shelf with this stamp: some are larger than others. */
export function contentFor(stamp: string): Buffer {
  return Buffer.alloc(1 + ((stamp.length * 37 + stamp.charCodeAt(stamp.length - 1) * 101) % 3000), `${stamp}; `);
}

/** Makes an object with these fields. */
function made<T extends object>(object: T, fields: Partial<T>): T {
  return Object.assign(object, fields);
}

/** Fills an empty root. Returns what everything reads like then. */
export function populate(root: Root): Map<string, string> {
  const texts = new Map<string, string>();
  const row = <T>(count: number, make: (i: number) => T) => Array.from({ length: count }, (_, i) => make(i));
  root.accounts = row(ACCOUNTS, (i) => {
    const account = made(new Account(), { balance: ACCOUNT_BALANCE, stamp: 'new' });
    texts.set(`account ${i}`, accountText(account));
    return account;
  });
  root.cells = row(CELLS, (i) => {
    texts.set(`cell ${i}`, 'new');
    return made(new Cell(), { stamp: 'new' });
  });
  root.slots = row(SLOTS, (i) => {
    texts.set(`slot ${i}`, 'new');
    return made(new Slot(), { stamp: 'new' });
  });
  root.shelves = row(SHELVES, (i) => {
    texts.set(`shelf ${i}`, 'new');
    return made(new Shelf(), { stamp: 'new' });
  });
  root.counters = row(COUNTERS, (i) => {
    texts.set(`counter ${i}`, '0');
    return new Length();
  });
  const keys = row(TREE_KEYS / 2, (i) => i * 2);
  for (const key of keys) texts.set(`tree ${key}`, 'new');
  root.tree = BTree.from<number, string>(keys.map((key) => [key, 'new']));
  root.queue = new CompositeQueue<string>({ bucketSize: 4 });
  root.smallQueue = new PersistentQueue<string>();
  return texts;
}

/** Whether two who change it at the same time merge. */
export function isMerged(key: string): boolean {
  return key.startsWith('tree ');
}
