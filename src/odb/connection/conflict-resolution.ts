import { Logger } from '../../base/index.js';
import { ConflictError, MergeRefusedError, UnregisteredError } from '../errors.js';
import { readRecord, readState } from '../serialize/reader.js';
import {
  PersistentReference,
  type RecordReference,
  type ReferenceReader,
  type ReferenceWriter,
} from '../serialize/references.js';
import { resolveName } from '../serialize/registry.js';
import { writeRecord } from '../serialize/writer.js';
import type { ConflictRequest, ConflictResolver } from '../storage/storage.js';

const logger = new Logger('holdfast.conflict');

/** A class whose changes can merge. */
export interface MergeableClass {
  /**
   * The merged state of two changes of one object. It is a static method, pure, and works on states as `getState` gives them and
   * `setState` takes them; no object is made and no constructor runs. It is also asked where a state was written without being changed.
   *
   * @param base what both sides began with
   * @param committed what is committed by now
   * @param mine what is to be committed
   * @throws MergeRefusedError where the two do not go together. Whatever else it throws is logged, and comes to the same.
   */
  resolveConflict(base: unknown, committed: unknown, mine: unknown): unknown;
}

/**
 * Merges records by the `resolveConflict` of their class. References are opaque values there, the same one for the same object in all
 * three states, so that they can be compared; no object is loaded, and the classes of the objects referred to need not be known.
 *
 * A class or a function within the states that has no name here makes a conflict without a `reason`, so that who commits may merge.
 */
export const recordConflictResolver: ConflictResolver = {
  resolve(request: ConflictRequest): Uint8Array | undefined {
    const { oid, baseSerial, committedSerial } = request;
    const { className } = readRecord(request.mine);
    const conflict = (reason: string | undefined, cause?: unknown) =>
      new ConflictError({ oid, className, baseSerial, committedSerial, reason }, { cause });
    const cls = resolveName(className) as Partial<MergeableClass> | undefined;
    if (cls === undefined) return undefined;
    if (typeof cls.resolveConflict !== 'function') throw conflict(`${className} does not merge`);
    if (resolveName(readRecord(request.committed).className) !== cls) throw conflict('its class was changed');
    const references = new OpaqueReferences();
    let states: unknown[];
    try {
      states = [request.base, request.committed, request.mine].map((record) => readState(record, references));
    } catch (error) {
      throw conflict(error instanceof UnregisteredError ? undefined : `its states cannot be read: ${error}`, error);
    }
    try {
      const state = cls.resolveConflict(...(states as [unknown, unknown, unknown]));
      if (state === undefined) throw new TypeError('it returned no state');
      return writeRecord({ className, state, references, path: className });
    } catch (error) {
      if (error instanceof ConflictError) throw conflict(error.reason ?? 'its class refused the merge', error);
      if (error instanceof MergeRefusedError) throw conflict(error.message, error);
      logger.warning(`${className} oid ${oid}: resolveConflict failed; the transaction conflicts`, error);
      throw conflict(`resolveConflict failed: ${String(error)}`, error);
    }
  },
};

/** The references of one resolution: one value for each object and kind of reference. */
class OpaqueReferences implements ReferenceReader, ReferenceWriter {
  readonly #known = new Map<string, PersistentReference>();

  resolve(reference: RecordReference): PersistentReference {
    const key = `${reference.databaseName ?? ''}\0${reference.kind}\0${reference.oid}`;
    let known = this.#known.get(key);
    if (!known) {
      known = new PersistentReference(reference);
      this.#known.set(key, known);
    }
    return known;
  }

  isPersistent(value: object): boolean {
    return value instanceof PersistentReference;
  }

  reference(object: object): RecordReference {
    return object as PersistentReference;
  }
}
