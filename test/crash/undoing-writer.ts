// A process that has a database to itself, changes one object, takes some of the changes back, and has history trimmed and garbage packed away
// all the while, until it is killed. Each acknowledged step is a line of output: its number, and what the object is by then.
import { writeSync } from 'node:fs';
import type { Oid, Tid } from 'holdfast/odb';
import { systemClock, systemRandom } from '#src/base/index.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';

const [path, startMs] = process.argv.slice(2) as [string, string];
const OID = 1 as Oid;
let nowMs = Number(startMs);

writeSync(1, 'opening\n');
const storage = await LevelStorage.open(path, {
  history: 'none',
  clock: {
    // Each look is half a minute later: what was superseded is soon an hour old.
    now: () => {
      nowMs += 30_000;
      return nowMs;
    },
    schedule: (delayMs, fn, options) => systemClock.schedule(Math.min(delayMs, 2), fn, options),
  },
});
writeSync(1, 'open\n');

function begin() {
  const transaction = { commitId: systemRandom.bytes(16), user: '', description: '', extension: new Uint8Array(0) };
  storage.tpcBegin(transaction);
  return transaction;
}

function textNow(): string {
  return Buffer.from(storage.load(OID).data).toString();
}

async function write(): Promise<never> {
  for (;;) {
    const { tid, data } = storage.load(OID);
    const step = Number(Buffer.from(data).toString().split(' ')[0]);
    const change = begin();
    storage.store(change, OID, tid, Buffer.from(`${step + 1} ${'x'.repeat(systemRandom.next() * 3000)}`));
    const { tid: changed } = await storage.commit(change);
    writeSync(1, `ack ${step + 1}\n`);
    if (step % 3 !== 0) continue;
    const undo = begin();
    storage.undo(undo, changed as Tid);
    await storage.commit(undo);
    // It is as it was, and the next step is the same again.
    writeSync(1, `undone ${Number(textNow().split(' ')[0]) + 1}\n`);
    const again = begin();
    storage.store(again, OID, storage.load(OID).tid, Buffer.from(`${step + 1} again`));
    await storage.commit(again);
    writeSync(1, `ack ${step + 1}\n`);
  }
}

async function pack(): Promise<never> {
  for (;;) await storage.pack({ before: storage.lastTransaction(), references: () => [OID] });
}

await Promise.all([write(), pack()]);
