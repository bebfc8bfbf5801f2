import { inspect } from 'node:util';
import { argumentTypeError } from './error.js';

/**
 * That what was given as options has no others than these: a misspelt one would be passed over.
 *
 * @param what the call, for the message
 * @throws TypeError (`ARG_OPTIONS`).
 */
export function requireOptions(what: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw argumentTypeError('ARG_OPTIONS', `${what}: ${inspect(options, { depth: 0 })} is no object of options`);
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    throw argumentTypeError('ARG_OPTIONS', `${what}: there is no option '${name}'; there are ${known.join(', ')}`);
  }
}

/**
 * The same for what may take long: `signal` stops it, and `onProgress` is told how far it is.
 *
 * @throws TypeError (`ARG_OPTIONS`, `ARG_SIGNAL`, `ARG_FUNCTION`).
 */
export function requireProgressOptions(what: string, options: unknown, known: readonly string[] = []): void {
  requireOptions(what, options, [...known, 'signal', 'onProgress']);
  const { signal, onProgress } = options as { readonly signal?: unknown; readonly onProgress?: unknown };
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw argumentTypeError('ARG_SIGNAL', `${what}: ${inspect(signal, { depth: 0 })} is no AbortSignal`);
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw argumentTypeError('ARG_FUNCTION', `${what}: onProgress is ${inspect(onProgress)}: give a function`);
  }
}
