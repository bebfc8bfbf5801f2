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
