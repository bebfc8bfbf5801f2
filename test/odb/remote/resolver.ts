import { appendResolver } from 'holdfast/conformance';
import type { ConflictResolver } from '#src/odb/storage/storage.js';

/** Merges as `appendResolver` does, but does not know what begins with `?`. */
export const concatResolver: ConflictResolver = {
  resolve: (request) =>
    Buffer.from(request.mine).toString().startsWith('?') ? undefined : appendResolver.resolve(request),
};
