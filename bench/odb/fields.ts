import { DB, Persistent, PersistentList, persistable } from 'holdfast/odb';
import { type Bench, elapsedMs } from '../harness.js';
import { Item } from '../support/objects.js';

const OBJECTS = 1000;

class PlainItem {
  count = 0;
  name = 'an item of the benchmark';
  price = 2.5;
}

/** What does it cost to read and write a field of a loaded object? */
export async function fields(bench: Bench): Promise<void> {
  const rounds = bench.size(20_000, 200);
  const db = await DB.open('memory:');
  const connection = db.open();
  const plain = Array.from({ length: OBJECTS }, () => new PlainItem());
  const one = new PersistentList<Item>();
  for (let i = 0; i < OBJECTS; i++) one.push(new Item());
  const many = COUNTERS.map((cls) => Array.from({ length: OBJECTS }, () => new cls()));
  connection.root.set('one', one);
  connection.root.set('many', new PersistentList(many.flat()));
  await connection.transactionManager.commit();

  const sumPlain = readerOf('plain');
  const sumOne = readerOf('one');
  const sumMany = many.map((_, index) => readerOf(`many ${index}`));
  const nsPlain = await bench.samples(() => perRead(sumPlain, plain, rounds));
  const nsOne = await bench.samples(() => perRead(sumOne, [...one], rounds));
  const nsMany = await bench.samples(async () => {
    let sum = 0;
    for (const [index, read] of sumMany.entries()) sum += await perRead(read, many[index] as Counter[], rounds / 20);
    return sum / sumMany.length;
  });
  bench.row('read a field, plain objects', 'ns', nsPlain);
  bench.row('read a field, 1,000 loaded objects of 1 class', 'ns', nsOne, { atMost: 4 });
  bench.ratio('… against plain objects', nsOne, nsPlain, { atMost: 2 });
  bench.row('read a field, where 20 classes share the key', 'ns', nsMany, { atMost: 4 });

  const items = [...one];
  const nsIncrement = await bench.samples(async () => {
    const total = rounds * OBJECTS;
    const ms = await elapsedMs(() => {
      for (let round = 0; round < rounds; round++) for (let i = 0; i < OBJECTS; i++) items[i]?.increment();
    });
    connection.transactionManager.abort();
    return (ms * 1e6) / total;
  });
  bench.row('this.counter++ in a method', 'ns', nsIncrement, { atMost: 8 });
  connection.close();
  await db.close();
}

class Counter extends Persistent {
  count = 1;
}
const COUNTERS: (typeof Counter)[] = [];
for (let i = 0; i < 20; i++) {
  const named = { [`Counter${i}`]: class extends Counter {} };
  COUNTERS.push(named[`Counter${i}`] as typeof Counter);
  persistable(`bench.counter${i}`, import.meta, named);
}

type Reader = (objects: readonly { count: number }[], rounds: number) => number;

/** A loop of its own for each case, since one that has seen several kinds of objects is slower for all. */
function readerOf(name: string): Reader {
  return new Function(
    'objects',
    'rounds',
    `/* ${name} */ let sum = 0; const { length } = objects;
     for (let round = 0; round < rounds; round++) for (let i = 0; i < length; i++) sum += objects[i].count;
     return sum;`,
  ) as Reader;
}

async function perRead(read: Reader, objects: readonly { count: number }[], rounds: number): Promise<number> {
  read(objects, Math.ceil(rounds / 10));
  return ((await elapsedMs(() => read(objects, rounds))) * 1e6) / (rounds * objects.length);
}
