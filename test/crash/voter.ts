// A process that takes a lock, votes, and then does nothing more: it holds up everybody else, until it is killed.
import { writeSync } from 'node:fs';
import { ZERO_TID } from 'holdfast/odb';
import { ClientStorage } from 'holdfast/zeo';
import { systemRandom } from '#src/base/index.js';

const storage = await ClientStorage.connect(process.argv[2] as string);
await storage.locks.lock('held by the voter');
const transaction = { commitId: systemRandom.bytes(16), user: '', description: '', extension: new Uint8Array(0) };
const oid = storage.newOid();
storage.tpcBegin(transaction);
storage.store(transaction, oid, ZERO_TID, Buffer.from('never finished'));
await storage.tpcVote(transaction);
writeSync(1, `voted ${oid}\n`);
setInterval(() => undefined, 60_000);
