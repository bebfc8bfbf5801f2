import { BlobInfo, encodeBlobRecord } from '../storage/blob/blob-info.js';
import { buildRecord } from './record.js';
import type { ReferenceWriter } from './references.js';
import { StateEncoder, type StateOwner } from './state-encoder.js';

/** What a record is written from. */
export interface RecordSource {
  readonly className: string;
  readonly state: unknown;
  readonly references: ReferenceWriter;
  /** What the object is called in messages, or what tells it: `root`, `Account oid 12`. */
  readonly path: string | (() => string);
  /** Says what places in the state are called, where these are not the object's fields. */
  readonly owner?: StateOwner;
}

let idle: StateEncoder | undefined = new StateEncoder();

/**
 * Writes a record.
 *
 * Getters of plain objects are called, once; `toJSON` is not. What is not enumerable is left out.
 *
 * @throws SerializationError, UnregisteredError for a value that cannot be stored; both name its path.
 */
export function writeRecord({ className, state, references, path, owner }: RecordSource): Buffer {
  if (state instanceof BlobInfo) return encodeBlobRecord(state);
  const encoder = borrowEncoder();
  try {
    encoder.begin(references, path, owner);
    encoder.write(state);
    return buildRecord(className, encoder.references, encoder.buffer, encoder.length);
  } finally {
    giveBack(encoder);
  }
}

/**
 * MessagePack of plain data: what a state may hold, but for persistent objects.
 *
 * @throws SerializationError, UnregisteredError; both name the path, which begins with `path`.
 */
export function encodePlain(value: unknown, path = 'value'): Buffer {
  const encoder = borrowEncoder();
  try {
    encoder.begin(undefined, path);
    encoder.write(value);
    return Buffer.from(encoder.buffer.subarray(0, encoder.length));
  } finally {
    giveBack(encoder);
  }
}

/** An encoder, which keeps its buffer. A getter that is called while it writes may itself write something, with another one. */
function borrowEncoder(): StateEncoder {
  const encoder = idle ?? new StateEncoder();
  idle = undefined;
  return encoder;
}

function giveBack(encoder: StateEncoder): void {
  encoder.end();
  idle = encoder;
}
