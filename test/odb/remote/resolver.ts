import { ConflictError } from '#src/odb/errors.js';
import type { ConflictResolver } from '#src/odb/storage/storage.js';

/** Merges texts that both sides only added to; refuses what begins with `!`; does not know what begins with `?`. */
export const concatResolver: ConflictResolver = {
  resolve({ oid, baseSerial, committedSerial, base, committed, mine }) {
    const [before, theirs, ours] = [base, committed, mine].map((bytes) => Buffer.from(bytes).toString()) as [
      string,
      string,
      string,
    ];
    if (ours.startsWith('?')) return undefined;
    if (ours.startsWith('!') || !theirs.startsWith(before) || !ours.startsWith(before)) {
      throw new ConflictError({ oid, baseSerial, committedSerial, reason: 'not only added to' });
    }
    return Buffer.from(theirs + ours.slice(before.length));
  },
};
