// A process that has a database to itself, adds objects and lets go of others, and packs all the while, until it is killed. Each
// acknowledged commit is a line of output.
import { writeSync } from 'node:fs';
import { DB, PersistentMapping } from 'holdfast/odb';

/** Objects that are there at a time. */
const KEPT = 20;

const db = await DB.open<{ window: PersistentMapping<PersistentMapping<number>> }>(process.argv[2] as string);
let last = await db.transaction(({ root }) => {
  root.window ??= new PersistentMapping();
  return Math.max(0, ...[...root.window.keys()].map(Number));
});

async function pack(): Promise<never> {
  for (;;) await db.pack();
}

async function write(): Promise<never> {
  for (;;) {
    last++;
    await db.transaction(({ root: { window } }) => {
      window.set(`${last}`, new PersistentMapping([['value', last]]));
      window.delete(`${last - KEPT}`);
    });
    writeSync(1, `ack ${last}\n`);
  }
}

await Promise.all([pack(), write()]);
