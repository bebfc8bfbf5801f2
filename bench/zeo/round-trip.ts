import { DB } from 'holdfast/odb';
import 'holdfast/zeo';
import { type Bench, elapsedMs, quantile } from '../harness.js';

/** How long does the shortest conversation with the server take? */
export async function roundTrip(bench: Bench, uri: string): Promise<void> {
  const count = bench.size(1000, 50);
  const db = await DB.open(uri);
  const us = await bench.samples(async () => {
    const durations: number[] = [];
    for (let i = 0; i < count; i++) durations.push((await elapsedMs(() => db.storage.sync())) * 1000);
    return quantile(
      durations.sort((a, b) => a - b),
      0.5,
    );
  });
  bench.row('ping, p50', 'µs', us, { atMost: 110 });
  await db.close();
}
