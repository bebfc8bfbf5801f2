import { pipeline } from 'node:stream/promises';
import {
  ConflictError,
  type Connection,
  type DataManager,
  type Persistent,
  PersistentBlob,
  POSKeyError,
  type Savepoint,
  type Tid,
  TransactionManager,
} from 'holdfast/odb';
import type { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { CheckFailed } from './check-failed.js';
import { ABSENT, type Effect, itemsText, type Observed } from './history.js';
import type { Ledger } from './ledger.js';
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
  type SimDB,
  SLOTS,
  TREE_KEYS,
} from './objects.js';
import type { Scheduler } from './scheduler.js';
import type { SimFiles } from './sim-files.js';

/** The part of a simulation that lasts from one opening of the database to its end. */
export interface Life {
  readonly scheduler: Scheduler;
  readonly ledger: Ledger;
  readonly storage: LevelStorage;
  readonly db: SimDB;
  /** All transactions, of all lives. */
  readonly history: Observed[];
  /** Where the contents of blobs are read. */
  readonly files: SimFiles;
  /** Whether clients come to their end. */
  isEnding: boolean;
  /** Whether the database is being closed, under whoever still uses it. */
  isClosing: boolean;
}

/** Codes of errors that a transaction can meet through no fault of anybody's. */
const REFUSALS = new Set([
  'ODB_CONFLICT',
  'ODB_READ_CONFLICT',
  'ODB_UNDO',
  'ODB_POS_KEY',
  'ODB_READ_ONLY',
  // The content of a blob could not be put into its place.
  'EIO',
  'ENOSPC',
]);

class Refused extends Error {
  readonly code = 'SIM_REFUSED';
}

/** One who uses the database: a line of transactions, through a connection of its own. */
export class Client {
  readonly #life: Life;
  readonly #scheduler: Scheduler;
  readonly #name: string;
  readonly #manager: TransactionManager;
  #connection: Connection<Root>;
  #current!: Observed;
  /** A node that was seen in a former transaction: by now it may be garbage, or gone. */
  #remembered: Node | undefined;
  #stamps = 0;

  constructor(life: Life, name: string) {
    this.#life = life;
    this.#scheduler = life.scheduler;
    this.#name = name;
    this.#manager = new TransactionManager({ clock: life.scheduler, random: life.scheduler.random });
    this.#connection = life.db.open({ transactionManager: this.#manager });
  }

  /** Runs until the life ends, or so many transactions were run. */
  async run(count: number): Promise<void> {
    for (let i = 0; i < count && !this.#life.isEnding && !this.#life.isClosing; i++) {
      await this.#scheduler.pause(this.#name);
      if (this.#life.isClosing) break;
      if (this.#scheduler.chance(0.05)) this.#reopen();
      if (this.#scheduler.chance(0.08)) await this.#past();
      else if (this.#scheduler.chance(0.1)) await this.#undo();
      else await this.#transaction();
    }
    this.close();
  }

  /** Reads everything in one transaction, and commits one of its own: so that what came before can be checked. */
  async lookAtAll(): Promise<void> {
    this.#begin(this.#newName());
    await this.#audit(this.#root);
    await this.#lookAround(this.#root, 1);
    for (const slot of this.#root.slots) this.#walk(slot.node);
    for (const [i, shelf] of this.#root.shelves.entries()) await this.#readShelf(i, shelf);
    this.#current.ceiling = this.#life.ledger.lastTid;
    await this.#count();
    await this.#commit(0);
  }

  close(): void {
    this.#manager.abort();
    this.#connection.close();
  }

  #reopen(): void {
    this.#manager.abort();
    this.#connection.close();
    this.#connection = this.#life.db.open({ transactionManager: this.#manager });
    this.#remembered = undefined;
  }

  // ---------------------------------------------------------------- transactions

  #begin(name: string): void {
    this.#manager.begin();
    this.#manager.note(name);
    const { ledger, history } = this.#life;
    this.#current = {
      name,
      floor: ledger.acknowledgedTid,
      ceiling: ledger.lastTid,
      reads: [],
      effects: [],
      current: new Set(),
    };
    history.push(this.#current);
  }

  #newName(): string {
    return `${this.#name}.${this.#life.history.length}`;
  }

  async #transaction(): Promise<void> {
    this.#begin(this.#newName());
    try {
      await this.#act();
      let savepoint: { readonly savepoint: Savepoint; readonly effects: number } | undefined;
      while (this.#scheduler.chance(0.4)) {
        if (this.#scheduler.chance(0.4)) {
          savepoint = { savepoint: this.#manager.savepoint(), effects: this.#current.effects.length };
        }
        await this.#act();
        if (savepoint && this.#scheduler.chance(0.4)) {
          savepoint.savepoint.rollback();
          this.#current.effects.length = savepoint.effects;
        }
      }
      this.#current.ceiling = this.#life.ledger.lastTid;
      if (this.#scheduler.chance(0.1)) {
        this.#scheduler.note(`${this.#current.name} aborts`);
        this.#manager.abort();
        return;
      }
      await this.#commit();
    } catch (error) {
      this.#current.ceiling = this.#life.ledger.lastTid;
      await this.#failed(error);
    }
  }

  /** @param company how often others take part, by chance */
  async #commit(company = 0.15): Promise<void> {
    const { scheduler } = this.#life;
    if (scheduler.chance(company)) this.#manager.join(this.#participant());
    scheduler.note(`${this.#current.name} commits`);
    const tid = await this.#manager.commit();
    if (tid !== this.#current.tid) {
      throw new CheckFailed('tids', `${this.#current.name} was told ${tid}, and the storage said ${this.#current.tid}`);
    }
  }

  /** Takes part in the commit, so that it is voted, and may refuse. */
  #participant(): DataManager {
    const isWilling = this.#scheduler.chance(0.7);
    const step = (what: string) => this.#scheduler.pause(`${this.#name} ${what}`);
    return {
      sortKey: () => this.#scheduler.pick(['!', '~~']),
      abort: () => undefined,
      tpcBegin: () => undefined,
      commit: () => undefined,
      tpcVote: async () => {
        await step('votes');
        if (!isWilling) throw new Refused('the other participant is not willing');
      },
      tpcFinish: () => step('finishes').then(() => undefined),
      tpcAbort: () => step('takes its vote back'),
    };
  }

  async #failed(error: unknown): Promise<void> {
    const { scheduler, ledger, storage } = this.#life;
    if (error instanceof CheckFailed) throw error;
    const { code, cause } = error as { code?: string; cause?: unknown };
    scheduler.note(`${this.#current.name} fails: ${code ?? String(error)}`);
    this.#manager.abort();
    if (this.#life.isClosing) return;
    if (code === 'SIM_REFUSED' || (code !== undefined && REFUSALS.has(code))) return;
    // A write of the disk failed.
    if (code === 'ODB_COMMIT_UNCERTAIN' || (code === 'ODB_STORAGE' && cause !== undefined)) {
      if (!scheduler.chance(0.5)) return;
      try {
        await ledger.askOutcome(storage, this.#current.name);
      } catch (refusal) {
        if ((refusal as { code?: string }).code !== 'ODB_STORAGE') throw refusal;
      }
      return;
    }
    throw new CheckFailed('errors', `${this.#current.name} met ${String(error)}`, { cause: error });
  }

  async #undo(): Promise<void> {
    const { history, db } = this.#life;
    const undoable = history.filter((each) => each.tid !== undefined && isUndoable(each)).slice(-12);
    if (undoable.length === 0) return;
    const undone = this.#scheduler.pick(undoable);
    this.#begin(this.#newName());
    this.#scheduler.note(`${this.#current.name} undoes ${undone.name}`);
    try {
      db.undo(undone.tid as Tid, this.#manager.get());
      this.#current.undoes = undone.tid as Tid;
      await this.#commit();
    } catch (error) {
      await this.#failed(error);
    }
  }

  // ---------------------------------------------------------------- reading and writing

  #read(key: string, value: string | undefined): void {
    if (this.#current.effects.some((effect) => effect.key === key)) return;
    this.#current.reads.push({ key, value: value ?? ABSENT });
  }

  #effect(effect: Effect): void {
    this.#current.effects.push(effect);
  }

  #set(key: string, value: string | undefined): void {
    this.#effect({ kind: 'set', key, value });
  }

  get #root(): Root {
    return this.#connection.root;
  }

  #stamp(): string {
    return `${this.#current.name}/${++this.#stamps}`;
  }

  #step(): Promise<void> {
    return this.#scheduler.pause(this.#name);
  }

  /** Asks that nobody changes it until the commit. */
  #readCurrent(key: string, object: Persistent): void {
    this.#connection.readCurrent(object);
    this.#current.current.add(key);
  }

  async #act(): Promise<void> {
    switch (this.#scheduler.below(15)) {
      case 0:
      case 1:
        return this.#transfer();
      case 2:
        return this.#audit(this.#root);
      case 3:
      case 4:
        return this.#writeCells();
      case 5:
        return this.#count();
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
        return this.#look();
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

  async #audit(root: Root): Promise<void> {
    let total = 0;
    for (const [i, account] of root.accounts.entries()) {
      total += account.balance;
      this.#read(`account ${i}`, accountText(account));
      if (this.#scheduler.chance(0.5)) await this.#step();
    }
    if (total !== ACCOUNTS * ACCOUNT_BALANCE) {
      throw new CheckFailed('totals', `the accounts held ${total} in ${this.#current.name}`);
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

  async #count(): Promise<void> {
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
    if (this.#current.effects.some(({ key }) => key === `shelf ${i}`)) return;
    this.#read(`shelf ${i}`, stamp);
    if (!blob) return;
    const path = await blob.committed();
    const content = this.#life.files.read(path);
    if (!content?.equals(contentFor(stamp))) {
      const found = content === undefined ? 'nothing' : `${content.length} bytes, not ${contentFor(stamp).length}`;
      throw new CheckFailed('durability', `the content of ${stamp} was read in ${this.#current.name}: ${found}`);
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
    this.#current.hasNewNodes = true;
    const node = new Node();
    node.label = this.#stamp();
    return node;
  }

  /** All nodes that are reached from one. */
  #walk(from: Node | undefined): Node[] {
    const seen = new Set<Node>(from ? [from] : []);
    const packs = this.#life.ledger.packCount;
    for (const node of seen) {
      try {
        for (const kid of node.kids) seen.add(kid);
      } catch (error) {
        if (!(error instanceof POSKeyError)) throw error;
        // What only a former state reaches may be packed away under the feet of one who still looks at that.
        if (packs === 0 || this.#life.ledger.isReachable(error.oid)) {
          throw new CheckFailed('reachability', `${this.#current.name} reached what is not there`, { cause: error });
        }
        throw error;
      }
    }
    return [...seen];
  }

  async #look(): Promise<void> {
    await this.#lookAround(this.#root);
  }

  async #lookAround(root: Root, wholeTree = 0.3): Promise<void> {
    for (const [i, cell] of root.cells.entries()) {
      this.#read(`cell ${i}`, cell.stamp);
      if (this.#scheduler.chance(0.3)) await this.#step();
    }
    for (const [i, counter] of root.counters.entries()) this.#read(`counter ${i}`, String(counter.value));
    for (const key of ['queue', 'smallQueue'] as const) this.#read(key, itemsText([...root[key]]));
    await this.#step();
    if (!this.#scheduler.chance(wholeTree)) return;
    const { tree } = root;
    tree.check();
    const values = new Map(tree.entries());
    for (let key = 0; key < TREE_KEYS; key++) this.#read(`tree ${key}`, values.get(key));
  }

  // ---------------------------------------------------------------- the past

  /** Looks at a former state, through a connection of its own. */
  async #past(): Promise<void> {
    const { ledger, history, db } = this.#life;
    const at = ledger.somePublished();
    if (at === undefined) return;
    const manager = new TransactionManager({ clock: this.#scheduler });
    const connection = db.open({ transactionManager: manager, before: (at + 1) as Tid });
    const name = `${this.#newName()} at ${at}`;
    this.#current = { name, floor: at, ceiling: at, at, reads: [], effects: [], current: new Set() };
    history.push(this.#current);
    try {
      // Before it was filled there is nothing to be seen.
      if (connection.root.accounts !== undefined) {
        await this.#audit(connection.root);
        await this.#lookAround(connection.root);
        for (const [i, shelf] of connection.root.shelves.entries()) await this.#readShelf(i, shelf);
      }
    } catch (error) {
      const { code } = error as { code?: string };
      const isGone = at < ledger.horizon && (code === 'ODB_POS_KEY' || error instanceof ConflictError);
      const isUnread = code === 'EIO';
      if (!isGone && !isUnread && !this.#life.isClosing) throw error;
      this.#scheduler.note(`${name} is gone`);
    }
    connection.close();
  }
}

/** Writes the content of a blob. */
async function written(blob: PersistentBlob, content: Buffer): Promise<void> {
  await pipeline([content], blob.open('w'));
}

/** Whether an undo of it can be followed: what was put into a queue is not taken out again, and no node that others may have taken up is unmade. */
function isUndoable({ effects, name, undoes, hasNewNodes }: Observed): boolean {
  if (undoes !== undefined) return true;
  return (
    name !== 'populate' &&
    effects.length > 0 &&
    !hasNewNodes &&
    effects.every(({ kind }) => kind === 'set' || kind === 'add')
  );
}
