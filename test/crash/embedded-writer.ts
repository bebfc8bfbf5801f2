// A process that has a database to itself, and commits until it is killed, by several committers at once; each acknowledged commit is a
// line of output that is out before the committer goes on. A second argument, `lazy`: commits do not wait for the disk.
import { writeSync } from 'node:fs';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import 'holdfast/odb';
import { acknowledge, SEATS, transfer } from './ledger.js';

const [path, lazy] = process.argv.slice(2) as [string, string?];
const storage = await LevelStorage.open(path, { history: 'all', durable: lazy !== 'lazy' });
writeSync(1, 'ready\n');

async function commitForEver(seat: number): Promise<never> {
  for (;;) acknowledge((line) => writeSync(1, line), await transfer(storage, seat));
}

await Promise.all(Array.from({ length: SEATS }, (_, seat) => commitForEver(seat)));
