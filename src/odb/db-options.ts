import { inspect } from 'node:util';
import {
  argumentRangeError,
  argumentTypeError,
  type Duration,
  durationMs,
  nearestName,
  type Size,
  sizeBytes,
} from '../base/index.js';
import type { Databases } from './connection/connection-set.js';
import type { Tid } from './ids.js';
import type { PackProgress, Storage } from './storage/storage.js';
import { isStorage } from './storage/storage-argument.js';
import { requireStorageOptions, type StorageOptions } from './storage/uri.js';
import type { TransactionManager } from './transaction/transaction-manager.js';

/** Options of `DB.open`; those of the storage may stand beside them. */
export interface DBOptions extends StorageOptions {
  /** Name among the databases that are open together, and in messages. Default: `'unnamed'`. */
  readonly databaseName?: string;
  /**
   * The databases that are open together, by name: one map, given to each of them. A database enters it when it is opened, and leaves it
   * when it is closed. Default: a map of its own.
   */
  readonly databases?: Databases;
  /** Whether objects may refer to objects of other databases. Default: true. */
  readonly crossReferences?: boolean;
  /** Connections that are kept for reuse. Default: 7. */
  readonly poolSize?: number;
  /** How long a connection is kept that nobody uses. Default: for ever. */
  readonly poolTimeout?: Duration;
  /** Connections to the past that are kept for reuse. Default: 3. */
  readonly historicalPoolSize?: number;
  /** Objects that a connection to the past keeps loaded. Default: 1,000. */
  readonly historicalCacheSize?: number;
  /** How long a connection to the past is kept that nobody uses. Default: 5 minutes. */
  readonly historicalTimeout?: Duration;
  /** Objects that a connection keeps loaded. Default: 10,000. */
  readonly cacheSize?: number;
  /** Bytes of records that a connection keeps loaded. Default: `'64MB'`. */
  readonly cacheBytes?: Size;
  /** A record larger than this is warned about at commit: its parts should be objects of their own. Default: `'16MB'`. */
  readonly largeRecordSize?: Size;
  /**
   * Look, at each commit and savepoint, for changes within plain values of fields, which would be lost, and throw
   * `UnnoticedMutationError`. Costs time and memory: for development and tests. Default: false.
   */
  readonly detectMutations?: boolean;
  /** Refuse connections outside `isolate`, `run`, `db.transaction` and jobs. Default: false. */
  readonly refuseDefaultManager?: boolean;
}

/** Options of `db.open()`. */
export interface OpenOptions {
  /** The manager that the connection belongs to. Default: the current one of the asynchronous context. */
  readonly transactionManager?: TransactionManager;
  /** Shows the database as it was at this time, what was committed then included; to be read only. */
  readonly at?: Date;
  /** The same, without the transaction of this tid and all later ones. */
  readonly before?: Tid;
}

/** Options of `db.pack()`. */
export interface DBPackOptions {
  /** Keeps the history of so many days. */
  readonly days?: number;
  /** Keeps the history since this time. Default, without `days`: the present. */
  readonly before?: Date;
  /** Stops it. What is garbage and still there is found by the next one. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: PackProgress) => void;
}

/** Options that are numbers of something, and the codes of the errors for those that are none. */
const COUNTS = {
  poolSize: 'ARG_POOL_SIZE',
  cacheSize: 'ARG_CACHE_SIZE',
  historicalPoolSize: 'ARG_POOL_SIZE',
  historicalCacheSize: 'ARG_CACHE_SIZE',
} as const;

/** Options that are durations. */
const DURATIONS = ['poolTimeout', 'historicalTimeout'] as const;

/** Options that concern the database alone: its storage, which may have an option of the same name, is not given them. */
const OWN = new Set<string>([
  ...Object.keys(COUNTS),
  ...DURATIONS,
  'cacheBytes',
  'largeRecordSize',
  'databases',
  'databaseName',
  'crossReferences',
  'detectMutations',
  'refuseDefaultManager',
]);

/** Options that say yes or no. */
const SWITCHES = ['create', 'readOnly', 'durable', 'crossReferences', 'refuseDefaultManager', 'detectMutations'];

/**
 * Checks what `DB.open` is given, before anything is opened.
 *
 * @throws TypeError (`ARG_STORAGE`, `ARG_OPTIONS`, `ARG_POOL_SIZE`, `ARG_CACHE_SIZE`, `ARG_DURATION`). RangeError
 * (`ARG_POOL_SIZE`, `ARG_CACHE_SIZE`, `ARG_DURATION`, `ARG_SIZE`).
 */
export function checkOpening(storage: unknown, options: unknown): void {
  if (typeof storage === 'string' ? storage.trim() === '' : !isStorage(storage)) {
    throw argumentTypeError(
      'ARG_STORAGE',
      `${inspect(storage, { depth: 0 })} is no database: give a path ('test.fs'), 'memory:', 'zeo://host:port', or a storage`,
    );
  }
  if (typeof options !== 'object' || options === null) {
    throw argumentTypeError('ARG_OPTIONS', `${inspect(options)} is no object of options`);
  }
  const given = options as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(given)) checkSpelling(name);
  requireStorageOptions(storage as Storage | string, storageOptions(given), OWN);
  for (const name of Object.keys(COUNTS)) if (given[name] !== undefined) checkCount(name as CountName, given[name]);
  for (const name of DURATIONS) {
    if (given[name] !== undefined && !(durationMs(given[name] as Duration) >= 0)) {
      throw argumentRangeError('ARG_DURATION', `${name}: ${inspect(given[name])} is negative: give 0 or more`);
    }
  }
  for (const name of ['cacheBytes', 'largeRecordSize']) {
    if (given[name] !== undefined) sizeBytes(given[name] as Size);
  }
  for (const name of SWITCHES) {
    if (given[name] !== undefined && typeof given[name] !== 'boolean') {
      throw argumentTypeError('ARG_OPTIONS', `${name}: ${inspect(given[name])} is neither true nor false`);
    }
  }
}

/** The options that concern the storage of a database. */
export function storageOptions(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([name]) => !OWN.has(name)));
}

/** Whoever registers a scheme need not tell its options; what differs from one of ours by a slip of the hand is none of them. */
function checkSpelling(name: string): void {
  if (OWN.has(name)) return;
  const meant = nearestName(name, OWN, 1);
  if (meant !== undefined) {
    throw argumentTypeError('ARG_OPTIONS', `there is no option '${name}': do you mean '${meant}'?`);
  }
}

type CountName = keyof typeof COUNTS;

/** @throws TypeError, RangeError: `ARG_POOL_SIZE`, `ARG_CACHE_SIZE`. */
export function checkCount(name: CountName, value: unknown): void {
  const code = COUNTS[name];
  const message = `${name}: ${inspect(value)} is no number of things: give a whole number, 0 or more`;
  if (typeof value !== 'number') throw argumentTypeError(code, message);
  if (!(Number.isInteger(value) || value === Number.POSITIVE_INFINITY) || value < 0)
    throw argumentRangeError(code, message);
}
