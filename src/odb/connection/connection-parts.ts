import type { ObjectCache } from '../cache/object-cache.js';
import type { Storage } from '../storage/storage.js';
import type { Connection } from './connection.js';
import type { ConnectionSet } from './connection-set.js';
import type { MutationDetector } from './mutation-detector.js';

/** What the parts of one connection share. */
export interface ConnectionParts {
  readonly connection: Connection;
  readonly storage: Storage;
  readonly cache: ObjectCache;
  readonly set: ConnectionSet;
  /** Where changes that nobody was told of are looked for. */
  readonly mutations: MutationDetector | undefined;
  /** Larger records are warned about. */
  readonly largeRecordBytes: number;
}
