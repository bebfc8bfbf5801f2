import { inspect } from 'node:util';
import { argumentTypeError } from '../../base/index.js';

/** Whether a value can be a storage. */
export function isStorage(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'loadBefore' in value && 'tpcBegin' in value;
}

/** @throws TypeError (`ARG_STORAGE`). */
export function requireStorage(what: string, value: unknown): void {
  if (isStorage(value)) return;
  const isDatabase = isStorage((value as { readonly storage?: unknown } | null | undefined)?.storage);
  const hint = isDatabase ? 'give db.storage' : 'give what openStorage opens, or db.storage';
  throw argumentTypeError('ARG_STORAGE', `${what}: ${inspect(value, { depth: 0 })} is no storage: ${hint}`);
}
