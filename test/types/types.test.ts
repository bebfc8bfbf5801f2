import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Callable,
  type Failure,
  getDefaultQueue,
  installQueues,
  Job,
  method,
  parallel,
  type Queue,
  type ResultOf,
} from 'holdfast/async';
import {
  BTree,
  Bucket,
  DB,
  Maximum,
  Minimum,
  type Oid,
  Persistent,
  type PersistentList,
  PersistentMapping,
  TreeSet,
} from 'holdfast/odb';

// Good use compiles, refused use does not: the compiler is the test. What is below is never run.

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<_A, _B>(_equal: Equal<_A, _B>): void {}

class Account extends Persistent {
  balance = 0;
  deposit(amount: number, note?: string): number {
    this.balance += amount + (note?.length ?? 0);
    return this.balance;
  }
}

interface Root {
  accounts: BTree<string, Account>;
  names: PersistentList<string>;
}

const add = (a: number, b: number): number => a + b;
const later = async (text: string): Promise<Date> => new Date(text);
const nested = (): Job<typeof add> => new Job(add, 1, 2);

export async function typedRoot(): Promise<void> {
  const db = await DB.open<Root>('memory:');
  const { root } = db.open();
  same<typeof root.accounts, BTree<string, Account>>(true);
  root.names.push('Ada');
  // @ts-expect-error names are texts
  root.names.push(7);
  // @ts-expect-error there is no such entry
  root.nonsense = 1;
  const balance = await db.transaction(({ root: inner }) => inner.accounts.get('Ada')?.balance);
  same<typeof balance, number | undefined>(true);
  await installQueues(db);
  getDefaultQueue(db.open());
}

export async function typedWalks(): Promise<void> {
  const db = await DB.open<Root>('memory:');
  for await (const [name, account] of db.each(({ root }) => root.accounts)) {
    same<typeof name, string>(true);
    same<typeof account, Account>(true);
  }
  for await (const object of db.each()) same<typeof object, Persistent>(true);
  const connection = db.open();
  for await (const name of connection.each(connection.root.names)) same<typeof name, string>(true);
  // @ts-expect-error there is no such entry to walk over
  db.each(({ root }) => root.nonsense);
  // @ts-expect-error a number is nothing that can be walked over
  connection.each(5);
}

export function typedJobs(queue: Queue): void {
  const sum = new Job(add, 1, 2);
  same<typeof sum.result, number | Failure | undefined>(true);
  new Job(add, 1);
  // @ts-expect-error the first argument is a number
  new Job(add, 'one');
  // @ts-expect-error there are two arguments
  new Job(add, 1, 2, 3);
  same<ResultOf<typeof later>, Date>(true);
  same<ResultOf<typeof nested>, number>(true);
  same<Awaited<ReturnType<Job<typeof later>['done']>>, Date | Failure | undefined>(true);
  const put = queue.put(new Job(later, 'today'));
  same<typeof put, Job<typeof later>>(true);
  const bare = queue.put(Date.now);
  same<typeof bare.result, number | Failure | undefined>(true);
  const deposit = new Job(method(new Account(), 'deposit'), 5, 'rent');
  same<typeof deposit.result, number | Failure | undefined>(true);
  // @ts-expect-error an amount is a number
  new Job(method(new Account(), 'deposit'), 'five');
  // @ts-expect-error there is no such method
  method(new Account(), 'withdraw');
  // @ts-expect-error a text cannot be called
  new Job('add');
}

export function anyJob(): Job[] {
  const jobs: Job[] = [new Job(add, 1, 2), new Job(later, 'now'), parallel(new Job(add, 1, 2), add)];
  const callables: Callable[] = [add, new Job(add), method(new Account(), 'deposit')];
  jobs[0]?.addCallback((result: unknown) => String(result));
  return callables.length > 0 ? jobs : [];
}

export function typedCollections(): void {
  const tree = new BTree<number, string>();
  tree.set(1, 'one');
  // @ts-expect-error keys are numbers
  tree.set('one', 'one');
  const mapping = new PersistentMapping<Account>();
  // @ts-expect-error values are accounts
  mapping.set('Ada', 12);

  const names = TreeSet.from(['Ada', 'Grace']);
  same<typeof names, TreeSet<string>>(true);
  names.add('Charles').union(['Alan']);
  const ages = BTree.from([
    ['Ada', 36],
    ['Grace', 85],
  ]);
  same<typeof ages, BTree<string, number>>(true);
  const drinks = Bucket.from<'tea' | 'coffee', number>([['tea', 3]]);
  same<typeof drinks, Bucket<'tea' | 'coffee', number>>(true);
  // @ts-expect-error that is none of the keys
  drinks.set('cake', 5);
  same<ReturnType<typeof TreeSet.from<Oid>>, TreeSet<Oid>>(true);
  // @ts-expect-error an object cannot be a key
  TreeSet.from([{}]);
  // @ts-expect-error neither can what may be missing
  BTree.from([[undefined as string | undefined, 1]]);

  const visits = new TreeSet<readonly [city: string, day: Date]>();
  visits.keys({ min: ['Paris'], max: ['Paris', new Date()] });
  visits.minKey(['Paris']);
  // @ts-expect-error the city comes first
  visits.minKey([new Date()]);
  // @ts-expect-error a key is whole
  visits.add(['Paris']);
  // @ts-expect-error bounds are keys
  names.keys({ min: 5 });

  const highest = new Maximum(100);
  same<typeof highest, Maximum<number>>(true);
  new Minimum<Date>(new Date()).set(new Date());
  // @ts-expect-error what is no number has to be named
  new Maximum('text');
}

test('public types take good use and refuse the rest', () => {
  // That this file was compiled is what it proves.
  assert.ok(true);
});
