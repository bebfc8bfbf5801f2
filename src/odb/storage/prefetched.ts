import type { Oid, Tid } from '../ids.js';
import type { Storage } from './storage.js';

/** Objects that are asked for together. */
const BATCH_OBJECTS = 500;

/** The same oids, each once its current record can be loaded without a round trip. */
export async function* prefetched(storage: Storage, oids: Iterable<Oid> | AsyncIterable<Oid>): AsyncGenerator<Oid> {
  let batch: Oid[] = [];
  const fetch = () => storage.prefetch(batch, (storage.lastTransaction() + 1) as Tid);
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
