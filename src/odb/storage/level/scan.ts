import type { Oid } from '../../ids.js';
import type { Level } from './disk.js';
import { CURRENT_RANGE, currentKey, oidOfKey } from './keyspace.js';
import type { RevisionBlock } from './revision-block.js';

/** Which part of the current revisions is read. */
export interface ScanOptions {
  /** From the object after this one on. */
  readonly after: Oid | undefined;
  /** Objects, and bytes, that one read takes at most. */
  readonly readCount: number;
  readonly readBytes: number;
}

/** Entries of current revisions as they were when this began, in the order of their oids; the next ones are read while some are dealt with. */
export async function* scanEntries(level: Level, options: ScanOptions): AsyncGenerator<readonly [Buffer, Buffer][]> {
  const { after, readCount, readBytes } = options;
  const from = after === undefined ? CURRENT_RANGE : { gt: currentKey(after), lt: CURRENT_RANGE.lt };
  const iterator = level.iterator({ ...from, highWaterMarkBytes: readBytes });
  const read = () => {
    const reading = iterator.nextv(readCount);
    // Whoever stops in between asks for it no more.
    reading.catch(() => {});
    return reading;
  };
  try {
    let reading = read();
    for (;;) {
      const entries = await reading;
      if (entries.length === 0) return;
      reading = read();
      yield entries;
    }
  } finally {
    await iterator.close();
  }
}

/** The same as blocks. */
export async function* scan(level: Level, options: ScanOptions): AsyncGenerator<RevisionBlock> {
  for await (const entries of scanEntries(level, options)) {
    yield {
      count: entries.length,
      oid: (index) => oidOfKey((entries[index] as [Buffer, Buffer])[0]),
      value: (index) => (entries[index] as [Buffer, Buffer])[1],
    };
  }
}
