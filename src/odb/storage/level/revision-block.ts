import type { Oid } from '../../ids.js';

/** Current revisions that were read together, in the order of their oids. */
export interface RevisionBlock {
  readonly count: number;
  oid(index: number): Oid;
  /** The revision as it is stored, unchecked. */
  value(index: number): Buffer;
}

/** The parts of a block that goes from one thread to another: these arrays are moved, not copied. */
export interface BlockParts {
  readonly oids: Float64Array;
  /** Where each value ends among the bytes. */
  readonly ends: Uint32Array;
  readonly bytes: Uint8Array;
}

/** A block out of its parts. */
export function blockOf({ oids, ends, bytes }: BlockParts): RevisionBlock {
  return {
    count: oids.length,
    oid: (index) => oids[index] as Oid,
    value(index) {
      const start = index === 0 ? 0 : (ends[index - 1] as number);
      return Buffer.from(bytes.buffer, bytes.byteOffset + start, (ends[index] as number) - start);
    },
  };
}
