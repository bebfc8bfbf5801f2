import type { Clock, ConflictResolver, Storage } from '../odb/index.js';
import { ConflictError } from '../odb/index.js';

/** Whether a storage can do something that not all can: `true`, or why the tests of it are passed over. */
export type Ability = true | string;

/** Abilities that decide which tests of the suite run. */
export interface SubjectAbilities {
  /** Superseded revisions can be read. */
  readonly history: Ability;
  /** Several clients, each with a view of its own, use the same data. */
  readonly clients: Ability;
  /** The data are there after a close. */
  readonly reopen: Ability;
  /** `open({ readOnly: true })` of data that are there. */
  readonly readOnly: Ability;
  /** `open({ clock })`: the tids follow the given clock. */
  readonly clock: Ability;
  /** `open({ merges: true })`: conflicts are merged by {@link appendResolver}. */
  readonly merges: Ability;
  /** An identity stays, and so do transactions in doubt, when the data are opened anew. Default: true. */
  readonly doubts?: Ability;
  /** History and garbage can be packed away. */
  readonly pack: Ability;
  /** Transactions can be undone. */
  readonly undo: Ability;
  /** Contents of blobs are kept, as files of this machine. */
  readonly blobs: Ability;
  /** Named locks. */
  readonly locks: Ability;
}

/** How a {@link Subject} is opened. */
export interface SubjectOptions {
  /** Merge conflicts by {@link appendResolver}; else every conflict is an error. */
  readonly merges?: boolean;
  /** What is stored are objects: a server, or another thread, merges them by their classes, as `DB.open` has this process do. */
  readonly objects?: boolean;
  readonly clock?: Clock;
}

/** A new, empty storage under test. The suite calls `close` at the end of each test, whatever became of it. */
export interface Subject {
  readonly storage: Storage;
  /** Another client of the same data; called only where `supports.clients`. */
  another(): Promise<Storage>;
  /** Closes all clients, and the data; opens them anew. Called only where `supports.reopen`. */
  reopen(options?: SubjectOptions & { readonly readOnly?: boolean }): Promise<Storage>;
  /** Closes all clients, and removes the data. */
  close(): Promise<void>;
}

/** A storage to be tested, and who runs the tests. `node:test`'s `test` fits as it is. */
export interface StorageSuite {
  /** For the names of the tests. */
  readonly name: string;
  /** Opens a new, empty storage. */
  readonly open: (options: SubjectOptions) => Promise<Subject>;
  readonly supports: SubjectAbilities;
  /** Registers a test; one with `skip` is to be reported as skipped, for that reason. */
  readonly test: (name: string, options: { readonly skip?: string }, fn: () => Promise<void>) => unknown;
}

/**
 * Texts that both sides only added to are merged, the committed addition first; a text that begins with `!` is refused, and one that
 * begins with `?` makes it fail.
 */
export const appendResolver: ConflictResolver = {
  resolve({ oid, baseSerial, committedSerial, base, committed, mine }) {
    const [before, theirs, ours] = [base, committed, mine].map((bytes) => Buffer.from(bytes).toString()) as [
      string,
      string,
      string,
    ];
    if (ours.startsWith('?')) throw new TypeError('this text cannot be merged');
    if (ours.startsWith('!') || !theirs.startsWith(before) || !ours.startsWith(before)) {
      throw new ConflictError({ oid, baseSerial, committedSerial, reason: 'not only added to' });
    }
    return Buffer.from(theirs + ours.slice(before.length));
  },
};

/** Passes on those tests whose names match, and leaves out the others: for a storage that differs from a tested one in some respects. */
export function onlyOf(pattern: RegExp, test: StorageSuite['test']): StorageSuite['test'] {
  return (name, options, fn) => (pattern.test(name) ? test(name, options, fn) : undefined);
}

/** Registers tests of one group, each with a fresh subject. */
export class Group {
  readonly #suite: StorageSuite;
  readonly #name: string;

  constructor(suite: StorageSuite, name: string) {
    this.#suite = suite;
    this.#name = name;
  }

  /** A test that needs the named abilities. */
  test(
    name: string,
    needs: readonly (keyof SubjectAbilities)[],
    fn: (subject: Subject) => Promise<void>,
    options: SubjectOptions = {},
  ): void {
    const { supports, open, test } = this.#suite;
    const skip = needs.map((need) => supports[need]).find((ability) => ability !== true);
    test(`${this.#suite.name}: ${this.#name}: ${name}`, skip === undefined ? {} : { skip }, async () => {
      const subject = await open(options);
      try {
        await fn(subject);
      } finally {
        await subject.close();
      }
    });
  }

  /** So many clients of a subject; where it has one view only, that one several times. */
  async clients(subject: Subject, count: number): Promise<Storage[]> {
    const clients = [subject.storage];
    while (clients.length < count) {
      clients.push(this.#suite.supports.clients === true ? await subject.another() : subject.storage);
    }
    return clients;
  }
}
