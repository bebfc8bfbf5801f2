import { asBuffer } from '../../base/index.js';
import type { Oid } from '../ids.js';
import { blobOf } from '../storage/blob/blob-info.js';
import './builtins.js';
import { type ParsedRecord, readRecord } from './record.js';
import { PersistentReference, type ReferenceReader } from './references.js';
import { StateDecoder, type UnknownName } from './state-decoder.js';

export { type ParsedRecord, readRecord };

const NONE: readonly unknown[] = [];
let idle: StateDecoder | undefined = new StateDecoder();

/**
 * Decodes the state of a record. The references are resolved first, in order: resolving one may read another record.
 *
 * @throws CorruptionError. FormatVersionError. UnregisteredError for a class or function that has no name here.
 */
export function readState(record: ParsedRecord | Uint8Array, references: ReferenceReader): unknown {
  const parsed = record instanceof Uint8Array ? readRecord(record) : record;
  if (parsed.stateOffset === 0) return blobOf(parsed.bytes);
  const table = parsed.references;
  const resolved = table.length === 0 ? NONE : table.map((reference) => references.resolve(reference));
  return decode(parsed.bytes, parsed.stateOffset, resolved);
}

/** The oids that a record keeps alive: its references within the database, but for weak ones. @throws CorruptionError. */
export function strongReferences(record: Uint8Array): Oid[] {
  return strongReferencesOf(readRecord(record));
}

/** As {@link strongReferences}, of a record that was read already. */
export function strongReferencesOf({ references }: Pick<ParsedRecord, 'references'>): Oid[] {
  const oids: Oid[] = [];
  for (const { kind, oid, databaseName } of references) {
    if (kind === 'strong' && databaseName === undefined) oids.push(oid);
  }
  return oids;
}

/** As {@link strongReferences}, and decodes the state too. @throws CorruptionError. FormatVersionError. */
export function checkedReferences(record: Uint8Array): Oid[] {
  readOpaqueState(record);
  return strongReferences(record);
}

/** Stands for a function, or an instance of a class, that has no name in this process. */
export class UnknownNamed {
  constructor(readonly persistentName: string) {}
}

/** The state of a record with references as {@link PersistentReference}s, and unknown names as {@link UnknownNamed}. */
export function readOpaqueState(record: Uint8Array): unknown {
  const parsed = readRecord(record);
  if (parsed.stateOffset === 0) return { ...blobOf(parsed.bytes) };
  return decode(
    parsed.bytes,
    parsed.stateOffset,
    parsed.references.map((reference) => new PersistentReference(reference)),
    (name) => new UnknownNamed(name),
  );
}

/** Reads what `encodePlain` wrote. @throws CorruptionError. UnregisteredError. */
export function decodePlain(bytes: Uint8Array): unknown {
  return decode(asBuffer(bytes), 0, NONE);
}

function decode(bytes: Buffer, start: number, references: readonly unknown[], unknownName?: UnknownName): unknown {
  const decoder = idle ?? new StateDecoder();
  idle = undefined;
  try {
    return decoder.read(bytes, start, references, unknownName);
  } finally {
    idle = decoder;
  }
}
