import { pipeline } from 'node:stream/promises';
import { type Connection, type Persistent, PersistentBlob, POSKeyError, type Tid, ZERO_TID } from 'holdfast/odb';
import { CheckFailed } from './check-failed.js';
import type { KeptDatabase } from './database.js';
import { ABSENT, type Effect, itemsText, type Observed } from './history.js';
import {
  ACCOUNT_BALANCE,
  ACCOUNTS,
  type Account,
  accountText,
  CELLS,
  COUNTERS,
  contentFor,
  Node,
  type Root,
  SHELVES,
  type Shelf,
  SLOTS,
  TREE_KEYS,
} from './objects.js';
import type { Scheduler } from './scheduler.js';

/** A database as a transaction sees and changes it; what it reads and does there is noted. */
export class View {
  readonly connection: Connection<Root>;
  /** What the transaction has seen and done. */
  observed!: Observed;
  readonly #kept: KeptDatabase;
  readonly #scheduler: Scheduler;
  /** A node that was seen in a former transaction: by now it may be garbage, or gone. */
  #remembered: Node | undefined;
  #stamps = 0;

  constructor(scheduler: Scheduler, kept: KeptDatabase, connection: Connection<Root>) {
    this.#scheduler = scheduler;
    this.#kept = kept;
    this.connection = connection;
  }

  /** A transaction begins. @param at the last one before the past that it looks at */
  begin(name: string, at?: Tid): void {
    const { ledger, history } = this.#kept;
    this.observed = {
      name,
      floor: at ?? ledger.acknowledgedTid,
      ceiling: at ?? ledger.lastTid,
      ...(at === undefined ? {} : { at }),
      reads: [],
      effects: [],
      current: new Set(),
    };
    history.push(this.observed);
  }

  /** The transaction reads no more. */
  hasRead(): void {
    this.observed.ceiling = this.#kept.ledger.lastTid;
  }

  get #root(): Root {
    return this.connection.root;
  }

  /** Reads all that there is. */
  async lookAtAll(): Promise<void> {
    await this.audit();
    await this.lookAround(1);
    for (const slot of this.#root.slots) this.#walk(slot.node);
    await this.readShelves();
  }

  /** Reads all blobs. */
  async readShelves(): Promise<void> {
    for (const [i, shelf] of this.#root.shelves.entries()) await this.#readShelf(i, shelf);
  }

  // ---------------------------------------------------------------- reading and writing

  #read(key: string, value: string | undefined): void {
    if (this.observed.effects.some((effect) => effect.key === key)) return;
    this.observed.reads.push({ key, value: value ?? ABSENT });
  }

  #effect(effect: Effect): void {
    this.observed.effects.push(effect);
  }

  #set(key: string, value: string | undefined): void {
    this.#effect({ kind: 'set', key, value });
  }

  #stamp(): string {
    return `${this.observed.name}/${++this.#stamps}`;
  }

  #step(): Promise<void> {
    return this.#scheduler.pause(this.observed.name);
  }

  /** Asks that nobody changes it until the commit. */
  #readCurrent(key: string, object: Persistent): void {
    this.connection.readCurrent(object);
    this.observed.current.add(key);
  }

  /** Does something, by chance. */
  async act(): Promise<void> {
    switch (this.#scheduler.below(15)) {
      case 0:
      case 1:
        return this.#transfer();
      case 2:
        return this.audit();
      case 3:
      case 4:
        return this.#writeCells();
      case 5:
        return this.count();
      case 6:
        return this.#queue();
      case 7:
      case 8:
        return this.#tree();
      case 9:
      case 10:
      case 11:
        return this.#graph();
      case 12:
      case 13:
        return this.#shelve();
      default:
        return this.lookAround();
    }
  }

  #account(i: number): Account {
    const account = this.#root.accounts[i] as Account;
    this.#read(`account ${i}`, accountText(account));
    return account;
  }

  async #transfer(): Promise<void> {
    const from = this.#scheduler.below(ACCOUNTS);
    const to = (from + 1 + this.#scheduler.below(ACCOUNTS - 1)) % ACCOUNTS;
    const source = this.#account(from);
    await this.#step();
    const target = this.#account(to);
    await this.#step();
    const amount = 1 + this.#scheduler.below(20);
    source.balance -= amount;
    source.stamp = this.#stamp();
    target.balance += amount;
    target.stamp = this.#stamp();
    this.#set(`account ${from}`, accountText(source));
    this.#set(`account ${to}`, accountText(target));
  }

  /** Adds up the accounts. */
  async audit(): Promise<void> {
    let total = 0;
    for (const [i, account] of this.#root.accounts.entries()) {
      total += account.balance;
      this.#read(`account ${i}`, accountText(account));
      if (this.#scheduler.chance(0.5)) await this.#step();
    }
    if (total !== ACCOUNTS * ACCOUNT_BALANCE) {
      throw new CheckFailed('totals', `the accounts held ${total} in ${this.observed.name}`);
    }
  }

  async #writeCells(): Promise<void> {
    const read = this.#scheduler.below(CELLS);
    const written = this.#scheduler.below(CELLS);
    const cells = this.#root.cells;
    const other = cells[read] as Persistent & { stamp: string };
    this.#read(`cell ${read}`, other.stamp);
    if (this.#scheduler.chance(0.4)) this.#readCurrent(`cell ${read}`, other);
    await this.#step();
    const cell = cells[written] as Persistent & { stamp: string };
    if (this.#scheduler.chance(0.7)) this.#read(`cell ${written}`, cell.stamp);
    cell.stamp = this.#stamp();
    this.#set(`cell ${written}`, cell.stamp);
  }

  /** Adds to a counter. */
  async count(): Promise<void> {
    const i = this.#scheduler.below(COUNTERS);
    const counter = this.#root.counters[i] as Root['counters'][number];
    this.#read(`counter ${i}`, String(counter.value));
    await this.#step();
    const amount = 1 + this.#scheduler.below(9);
    counter.change(amount);
    this.#effect({ kind: 'add', key: `counter ${i}`, amount });
  }

  async #queue(): Promise<void> {
    const key = this.#scheduler.pick(['queue', 'smallQueue'] as const);
    const queue = this.#root[key];
    this.#read(key, itemsText([...queue]));
    await this.#step();
    if (queue.length > 12 || (!queue.isEmpty && this.#scheduler.chance(0.5))) {
      const item = queue.pull(this.#scheduler.chance(0.7) ? 0 : this.#scheduler.below(queue.length));
      this.#effect({ kind: 'pull', key, item });
    } else {
      for (let count = 1 + this.#scheduler.below(3); count > 0; count--) {
        const item = this.#stamp();
        queue.put(item);
        this.#effect({ kind: 'put', key, item });
      }
    }
  }

  async #tree(): Promise<void> {
    const { tree } = this.#root;
    // Some touch a few keys anywhere, some a range: so that leaves are split, and emptied.
    const isRange = this.#scheduler.chance(0.3);
    const isRemoval = this.#scheduler.chance(0.4);
    const first = this.#scheduler.below(TREE_KEYS);
    const count = isRange ? 10 + this.#scheduler.below(60) : 1 + this.#scheduler.below(3);
    for (let i = 0; i < count; i++) {
      const key = isRange ? (first + i) % TREE_KEYS : this.#scheduler.below(TREE_KEYS);
      this.#read(`tree ${key}`, tree.get(key));
      if (!isRange) await this.#step();
      if (!isRemoval) {
        const value = this.#stamp();
        tree.set(key, value);
        this.#set(`tree ${key}`, value);
      } else if (tree.delete(key)) this.#set(`tree ${key}`, undefined);
    }
  }

  /** Walks the graph, and moves parts of it about. */
  async #graph(): Promise<void> {
    const i = this.#scheduler.below(SLOTS);
    const slot = this.#root.slots[i] as Root['slots'][number];
    this.#read(`slot ${i}`, slot.stamp);
    const seen = this.#walk(slot.node);
    await this.#step();
    const other = this.#remembered;
    this.#remembered = seen.length > 0 && this.#scheduler.chance(0.8) ? this.#scheduler.pick(seen) : undefined;
    if (other && this.#scheduler.chance(0.7)) {
      // It may have been packed away, and then this commit has to be refused.
      slot.node = other;
      // Where the transaction that made it did not happen, this one makes it.
      if (other._p_serial === ZERO_TID) this.observed.hasNewNodes = true;
    } else if (seen.length > 0 && this.#scheduler.chance(0.5)) {
      const parent = this.#scheduler.pick(seen);
      if (this.#scheduler.chance(0.3)) parent.kids = parent.kids.slice(1);
      else
        parent.kids = [
          ...parent.kids.slice(-2),
          this.#scheduler.chance(0.5) ? this.#node() : this.#scheduler.pick(seen),
        ];
    } else slot.node = this.#scheduler.chance(0.2) ? undefined : this.#node();
    slot.stamp = this.#stamp();
    this.#set(`slot ${i}`, slot.stamp);
  }

  // ---------------------------------------------------------------- blobs

  async #readShelf(i: number, shelf: Shelf): Promise<void> {
    const { stamp, blob } = shelf;
    if (this.observed.effects.some(({ key }) => key === `shelf ${i}`)) return;
    this.#read(`shelf ${i}`, stamp);
    if (!blob) return;
    const path = await blob.committed();
    const content = this.#kept.disk.blobs.read(path);
    if (!content?.equals(contentFor(stamp))) {
      const found = content === undefined ? 'nothing' : `${content.length} bytes, not ${contentFor(stamp).length}`;
      throw new CheckFailed('durability', `the content of ${stamp} was read in ${this.observed.name}: ${found}`);
    }
  }

  /** Reads a blob, and writes it, puts another in its place, or takes it away. */
  async #shelve(): Promise<void> {
    const i = this.#scheduler.below(SHELVES);
    const shelf = this.#root.shelves[i] as Shelf;
    await this.#readShelf(i, shelf);
    await this.#step();
    const stamp = this.#stamp();
    const { blob } = shelf;
    if (blob && this.#scheduler.chance(0.4)) await this.#scheduler.outside(written(blob, contentFor(stamp)));
    else if (blob && this.#scheduler.chance(0.2)) shelf.blob = undefined;
    else shelf.blob = new PersistentBlob(contentFor(stamp));
    shelf.stamp = stamp;
    this.#set(`shelf ${i}`, stamp);
  }

  // ---------------------------------------------------------------- the graph

  #node(): Node {
    this.observed.hasNewNodes = true;
    const node = new Node();
    node.label = this.#stamp();
    return node;
  }

  /** All nodes that are reached from one. */
  #walk(from: Node | undefined): Node[] {
    const seen = new Set<Node>(from ? [from] : []);
    const packs = this.#kept.ledger.packCount;
    for (const node of seen) {
      try {
        for (const kid of node.kids) seen.add(kid);
      } catch (error) {
        if (!(error instanceof POSKeyError)) throw error;
        // What only a former state reaches may be packed away under the feet of one who still looks at that.
        if (packs === 0 || this.#kept.ledger.isReachable(error.oid)) {
          throw new CheckFailed('reachability', `${this.observed.name} reached what is not there`, { cause: error });
        }
        throw error;
      }
    }
    return [...seen];
  }

  /** Reads everything but the graph and the blobs. @param wholeTree how often the tree is among that, by chance */
  async lookAround(wholeTree = 0.3): Promise<void> {
    for (const [i, cell] of this.#root.cells.entries()) {
      this.#read(`cell ${i}`, cell.stamp);
      if (this.#scheduler.chance(0.3)) await this.#step();
    }
    for (const [i, counter] of this.#root.counters.entries()) this.#read(`counter ${i}`, String(counter.value));
    for (const key of ['queue', 'smallQueue'] as const) this.#read(key, itemsText([...this.#root[key]]));
    await this.#step();
    if (!this.#scheduler.chance(wholeTree)) return;
    const { tree } = this.#root;
    tree.check();
    const values = new Map(tree.entries());
    for (let key = 0; key < TREE_KEYS; key++) this.#read(`tree ${key}`, values.get(key));
  }
}

/** Writes the content of a blob. */
async function written(blob: PersistentBlob, content: Buffer): Promise<void> {
  await pipeline([content], blob.open('w'));
}
