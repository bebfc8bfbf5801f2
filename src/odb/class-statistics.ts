import { POSKeyError } from './errors.js';
import { readRecord } from './serialize/reader.js';
import { OidSet } from './storage/pack/oid-set.js';
import type { Storage } from './storage/storage.js';

/** The current objects of one class. */
export interface ClassCount {
  readonly className: string;
  readonly objects: number;
  /** Bytes of their records. */
  readonly bytes: number;
}

/** Options of {@link classStatistics}. */
export interface ClassStatisticsOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told of the number of objects, now and then. */
  readonly onProgress?: ((objects: number) => void) | undefined;
}

/**
 * Counts the current objects of a storage by their class, those of the most bytes first. No class need be known here.
 *
 * @throws CorruptionError. The reason of `signal`.
 */
export async function classStatistics(storage: Storage, options: ClassStatisticsOptions = {}): Promise<ClassCount[]> {
  const seen = new OidSet();
  const counts = new Map<string, { objects: number; bytes: number }>();
  for await (const { records } of storage.iterate()) {
    options.signal?.throwIfAborted();
    for (const { oid } of records) {
      if (!seen.add(oid)) continue;
      const data = currentData(storage, oid);
      if (!data) continue;
      const { className } = readRecord(data);
      const count = counts.get(className) ?? { objects: 0, bytes: 0 };
      count.objects++;
      count.bytes += data.length;
      counts.set(className, count);
      if (seen.size % 1000 === 0) options.onProgress?.(seen.size);
    }
  }
  return [...counts]
    .map(([className, count]) => ({ className, ...count }))
    .sort((a, b) => b.bytes - a.bytes || (a.className < b.className ? -1 : 1));
}

function currentData(storage: Storage, oid: Parameters<Storage['load']>[0]): Uint8Array | undefined {
  try {
    return storage.load(oid).data;
  } catch (error) {
    // It was removed again.
    if (error instanceof POSKeyError) return undefined;
    throw error;
  }
}
