import { inspect } from 'node:util';
import {
  argumentRangeError,
  argumentTypeError,
  type Duration,
  durationMs,
  type Size,
  sizeBytes,
} from '../base/index.js';

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
  for (const name of Object.keys(COUNTS)) if (given[name] !== undefined) checkCount(name as CountName, given[name]);
  for (const name of DURATIONS) {
    if (given[name] !== undefined && !(durationMs(given[name] as Duration) >= 0)) {
      throw argumentRangeError('ARG_DURATION', `${name}: ${inspect(given[name])} is negative: give 0 or more`);
    }
  }
  if (given['cacheBytes'] !== undefined) sizeBytes(given['cacheBytes'] as Size);
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

/** Storages have options of their own, which nobody knows here; what differs from one of ours by a slip of the hand is none of them. */
function checkSpelling(name: string): void {
  if (OWN.has(name)) return;
  const meant = [...OWN].find((own) => own.toLowerCase() === name.toLowerCase() || isSlip(own, name));
  if (meant !== undefined) {
    throw argumentTypeError('ARG_OPTIONS', `there is no option '${name}': do you mean '${meant}'?`);
  }
}

/** Whether two names differ by one letter: another one, one too many, or two that changed places. */
function isSlip(a: string, b: string): boolean {
  if (a.length < b.length) return isSlip(b, a);
  let start = 0;
  while (start < b.length && a[start] === b[start]) start++;
  const [restA, restB] = [a.slice(start), b.slice(start)];
  if (a.length > b.length) return restA.slice(1) === restB;
  const isSwapped = restA[0] === restB[1] && restA[1] === restB[0] && restA.slice(2) === restB.slice(2);
  return a.length === b.length && (restA.slice(1) === restB.slice(1) || isSwapped);
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

function isStorage(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'loadBefore' in value && 'tpcBegin' in value;
}
