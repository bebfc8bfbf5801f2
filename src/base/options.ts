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

/**
 * The name that another one was meant to be: it differs by its case, or by as many slips of the hand at most (a letter that is another one,
 * missing or too many, or two that changed places).
 */
export function nearestName(name: string, known: Iterable<string>, slipsMax = 2): string | undefined {
  let nearest: string | undefined;
  let fewest = slipsMax + 1;
  for (const each of known) {
    const slips = each.toLowerCase() === name.toLowerCase() ? 0 : slipsBetween(each, name);
    if (slips < fewest) [nearest, fewest] = [each, slips];
  }
  return nearest;
}

/** Optimal string alignment: letters that change places do so once. */
function slipsBetween(a: string, b: string): number {
  let [beforeLast, last]: [number[], number[]] = [[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      const steps = [at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + (isSame ? 0 : 1)];
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) steps.push(at(beforeLast, j - 2) + 1);
      row.push(Math.min(...steps));
    }
    [beforeLast, last] = [last, row];
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] as number;
}
