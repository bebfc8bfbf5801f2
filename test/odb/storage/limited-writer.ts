// A process that commits objects, some of which fail, and says of each what came of it.
import { writeSync } from 'node:fs';
import { ZERO_TID } from 'holdfast/odb';
import { setLogSink, systemRandom } from '#src/base/index.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';

setLogSink(() => undefined);
const storage = await LevelStorage.open(process.argv[2] as string, { history: 'all' });
for (let i = 0; i < 80; i++) {
  const transaction = { commitId: systemRandom.bytes(16), user: '', description: '', extension: new Uint8Array(0) };
  const oid = storage.newOid();
  storage.tpcBegin(transaction);
  storage.store(transaction, oid, ZERO_TID, systemRandom.bytes(150_000));
  try {
    await storage.commit(transaction);
    writeSync(1, `ack ${oid}\n`);
  } catch (error) {
    await storage.tpcAbort(transaction);
    writeSync(1, `failed ${(error as { code?: string }).code} ${(error as Error).message}\n`);
  }
}
await storage.close();
