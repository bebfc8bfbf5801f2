// A process that commits to two databases at once, until it is killed or has done what it was told: a count of transfers, or to kill itself
// at a step of the second one. `node pair-writer.js URI URI COUNT [decider|follower.METHOD.before|after [blobs]]`; the first URI is its own
// database, the other one is reached from it. With `blobs` each transfer stores one in both.
import { writeSync } from 'node:fs';
import 'holdfast';
import { type Databases, DB, openStorage, PersistentBlob, type Storage } from 'holdfast/odb';
import { type Faults, withFaults } from '../support/faults.js';

interface Root {
  value: number;
  blob: PersistentBlob;
}

const [uri, otherUri, count, step, blobs] = process.argv.slice(2) as [string, string, string, string?, 'blobs'?];
const storages = [await openStorage(uri), await openStorage(otherUri)] as const;
const [decider] = [...storages].sort((a, b) => (a.identity < b.identity ? -1 : 1));
const faults = new Map<Storage, Faults>(storages.map((storage) => [storage, {}]));
const databases: Databases = new Map();
const db = await DB.open<Root>(withFaults(storages[0], faults.get(storages[0]) as Faults), {
  databases,
  databaseName: uri,
});
await DB.open(withFaults(storages[1], faults.get(storages[1]) as Faults), { databases, databaseName: otherUri });

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  // The signal is on its way.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
}

function killAt(wanted: string): void {
  const [who, method, when] = wanted.split('.') as [
    'decider' | 'follower',
    'tpcVote' | 'tpcFinish',
    'before' | 'after',
  ];
  const storage = storages.find((each) => (each === decider) === (who === 'decider')) as Storage;
  (faults.get(storage) as Record<string, unknown>)[method] = async (
    call: (...args: unknown[]) => Promise<unknown>,
    ...args: unknown[]
  ) => {
    if (when === 'before') die();
    await call(...args);
    die();
  };
}

for (let done = 0; done < Number(count); done++) {
  if (done === 1 && step) killAt(step);
  const value = await db.transaction(
    (connection) => {
      const other = connection.getConnection<Root>(otherUri);
      connection.root.value = (connection.root.value ?? 0) + 1;
      other.root.value = (other.root.value ?? 0) + 1;
      if (blobs) for (const { root } of [connection, other]) root.blob = new PersistentBlob(`content ${root.value}`);
      return connection.root.value;
    },
    { retries: 100 },
  );
  writeSync(1, `ack ${value}\n`);
}
writeSync(1, 'done\n');
for (const each of databases.values()) await each.close();
