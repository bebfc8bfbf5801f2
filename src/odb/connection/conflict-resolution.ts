import { Logger } from '../../base/index.js';
import { ConflictError, MergeRefusedError } from '../errors.js';
import { readRecord, readState } from '../serialize/reader.js';
import { PersistentReference, type RecordReference } from '../serialize/references.js';
import { resolveName } from '../serialize/registry.js';
import { writeRecord } from '../serialize/writer.js';
import type { ConflictRequest, ConflictResolver } from '../storage/storage.js';

const logger = new Logger('holdfast.conflict');

/** A class whose changes can merge: `static resolveConflict`, pure, on states as `getState` gives them. */
export interface MergeableClass {
  resolveConflict(base: unknown, committed: unknown, mine: unknown): unknown;
}

/**
 * Merges records by the `resolveConflict` of their class. References are opaque values there, the same one for the same object in all
 * three states, so that they can be compared; no object is loaded, and the classes of the objects referred to need not be known.
 */
export const recordConflictResolver: ConflictResolver = {
  resolve(request: ConflictRequest): Uint8Array | undefined {
    const { oid, baseSerial, committedSerial } = request;
    const { className } = readRecord(request.mine);
    const conflict = (reason: string, cause?: unknown) =>
      new ConflictError({ oid, className, baseSerial, committedSerial, reason }, { cause });
    const cls = resolveName(className) as Partial<MergeableClass> | undefined;
    if (cls === undefined) return undefined;
    if (typeof cls.resolveConflict !== 'function') throw conflict(`${className} does not merge`);
    if (readRecord(request.committed).className !== className) throw conflict('its class was changed');
    const references = new Map<string, PersistentReference>();
    const opaque = {
      resolve(reference: RecordReference): PersistentReference {
        const key = `${reference.databaseName ?? ''}\0${reference.kind}\0${reference.oid}`;
        let known = references.get(key);
        if (!known) {
          known = new PersistentReference(reference);
          references.set(key, known);
        }
        return known;
      },
    };
    try {
      const merged = cls.resolveConflict(
        readState(request.base, opaque),
        readState(request.committed, opaque),
        readState(request.mine, opaque),
      );
      return writeRecord({
        className,
        state: merged,
        references: {
          isPersistent: (value) => value instanceof PersistentReference,
          reference: (value) => value as PersistentReference,
        },
        path: className,
      });
    } catch (error) {
      if (error instanceof ConflictError) throw conflict(error.reason ?? 'its class refused the merge', error);
      if (error instanceof MergeRefusedError) throw conflict(error.message, error);
      logger.warning(`${className} oid ${oid}: resolveConflict failed; the transaction conflicts`, error);
      throw conflict(`resolveConflict failed: ${String(error)}`, error);
    }
  },
};
