import { inspect } from 'node:util';
import { argumentRangeError, argumentTypeError } from '../base/index.js';

/** Options that are numbers of something, and the codes of the errors for those that are none. */
const COUNTS = { poolSize: 'ARG_POOL_SIZE', cacheSize: 'ARG_CACHE_SIZE' } as const;

/** Options that say yes or no. */
const SWITCHES = ['create', 'readOnly', 'durable', 'crossReferences', 'refuseDefaultManager', 'detectMutations'];

/**
 * Checks what `DB.open` is given, before anything is opened.
 *
 * @throws TypeError (`ARG_STORAGE`, `ARG_OPTIONS`, `ARG_POOL_SIZE`, `ARG_CACHE_SIZE`). RangeError (`ARG_POOL_SIZE`, `ARG_CACHE_SIZE`).
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
  for (const [name, code] of Object.entries(COUNTS)) if (given[name] !== undefined) checkCount(name, given[name], code);
  for (const name of SWITCHES) {
    if (given[name] !== undefined && typeof given[name] !== 'boolean') {
      throw argumentTypeError('ARG_OPTIONS', `${name}: ${inspect(given[name])} is neither true nor false`);
    }
  }
}

function checkCount(name: string, value: unknown, code: string): void {
  const message = `${name}: ${inspect(value)} is no number of things: give a whole number, 0 or more`;
  if (typeof value !== 'number') throw argumentTypeError(code, message);
  if (!(Number.isInteger(value) || value === Number.POSITIVE_INFINITY) || value < 0)
    throw argumentRangeError(code, message);
}

function isStorage(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'loadBefore' in value && 'tpcBegin' in value;
}
