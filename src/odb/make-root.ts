import { systemRandom } from '../base/index.js';
import { ConflictError, POSKeyError } from './errors.js';
import { ROOT_OID, ZERO_TID } from './ids.js';
import { PersistentMapping } from './persistent/mapping.js';
import { nameOf } from './serialize/registry.js';
import { writeRecord } from './serialize/writer.js';
import type { Storage } from './storage/storage.js';

/** Stores the root mapping where there is none. Whoever loses a race for it takes the winner's. */
export async function makeRoot(storage: Storage): Promise<void> {
  try {
    storage.load(ROOT_OID);
    return;
  } catch (error) {
    if (!(error instanceof POSKeyError)) throw error;
  }
  if (storage.isReadOnly) return;
  // An oid is taken off the counter for the root, unless that was done before.
  const transaction = {
    commitId: systemRandom.bytes(16),
    user: '',
    description: 'initial database creation',
    extension: new Uint8Array(0),
  };
  const data = writeRecord({
    className: nameOf(PersistentMapping) as string,
    state: new PersistentMapping().getState(),
    references: {
      isPersistent: () => false,
      reference: () => {
        throw new TypeError('the root is empty');
      },
    },
    path: 'root',
  });
  storage.tpcBegin(transaction);
  try {
    storage.store(transaction, ROOT_OID, ZERO_TID, data);
    await storage.commit(transaction);
  } catch (error) {
    await storage.tpcAbort(transaction);
    if (!(error instanceof ConflictError)) throw error;
  }
}
