import { nextTurn } from '../../base/index.js';
import type { Oid, Tid } from '../ids.js';
import type { Storage } from './storage.js';

/** Objects that are asked for together. */
const BATCH_OBJECTS = 500;

/** The same oids, each once its current record can be loaded without a round trip. Others get their turn in between. */
export async function* prefetched(storage: Storage, oids: Iterable<Oid> | AsyncIterable<Oid>): AsyncGenerator<Oid> {
  let batch: Oid[] = [];
  const fetch = async () => {
    await storage.prefetch(batch, (storage.lastTransaction() + 1) as Tid);
    await nextTurn(storage.clock);
  };
  for await (const oid of oids) {
    batch.push(oid);
    if (batch.length < BATCH_OBJECTS) continue;
    await fetch();
    yield* batch;
    batch = [];
  }
  await fetch();
  yield* batch;
}
