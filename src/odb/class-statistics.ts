import { POSKeyError } from './errors.js';
import type { Oid } from './ids.js';
import { readRecord } from './serialize/reader.js';
import { blobOf } from './storage/blob/blob-info.js';
import { OidSet } from './storage/pack/oid-set.js';
import { prefetched } from './storage/prefetched.js';
import type { Storage } from './storage/storage.js';

/** The current objects of one class. */
export interface ClassCount {
  readonly className: string;
  readonly objects: number;
  /** Bytes of their records, and of the contents of blobs. */
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
  const { signal, onProgress } = options;
  const counts = new Map<string, { objects: number; bytes: number }>();
  let objects = 0;
  for await (const oid of prefetched(storage, oidsOf(storage))) {
    if (objects % 1000 === 0) {
      signal?.throwIfAborted();
      onProgress?.(objects);
    }
    const data = currentData(storage, oid);
    if (!data) continue;
    const { className } = readRecord(data);
    const count = counts.get(className) ?? { objects: 0, bytes: 0 };
    count.objects++;
    count.bytes += data.length + (blobOf(data)?.size ?? 0);
    counts.set(className, count);
    objects++;
  }
  return [...counts]
    .map(([className, count]) => ({ className, ...count }))
    .sort((a, b) => b.bytes - a.bytes || (a.className < b.className ? -1 : 1));
}

async function* oidsOf(storage: Storage): AsyncGenerator<Oid> {
  const seen = new OidSet();
  for await (const { records } of storage.iterate()) {
    for (const { oid } of records) if (seen.add(oid)) yield oid;
  }
}

function currentData(storage: Storage, oid: Oid): Uint8Array | undefined {
  try {
    return storage.load(oid).data;
  } catch (error) {
    // It was removed again.
    if (error instanceof POSKeyError) return undefined;
    throw error;
  }
}
