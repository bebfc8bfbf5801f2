// A process that commits to a server from some seats, until it is told to end (SIGTERM); then says `done`.
import { writeSync } from 'node:fs';
import { ClientStorage } from 'holdfast/zeo';
import { acknowledge, transfer } from './ledger.js';

const [address, seats] = process.argv.slice(2) as [string, string];
const storage = await ClientStorage.connect(address);
writeSync(1, 'ready\n');

let isOver = false;
process.once('SIGTERM', () => {
  isOver = true;
});

async function commitUntilToldToStop(seat: number): Promise<void> {
  while (!isOver) acknowledge((line) => writeSync(1, line), await transfer(storage, seat));
}

await Promise.all(seats.split(',').map((seat) => commitUntilToldToStop(Number(seat))));
await storage.close();
writeSync(1, 'done\n');
