import { argumentRangeError, argumentTypeError } from './error.js';

/** A span of time as users write it: milliseconds, or parts that are added up. */
export type Duration =
  | number
  | {
      readonly days?: number;
      readonly hours?: number;
      readonly minutes?: number;
      readonly seconds?: number;
      readonly milliseconds?: number;
    };

const UNIT_MS = { days: 86_400_000, hours: 3_600_000, minutes: 60_000, seconds: 1000, milliseconds: 1 } as const;

/**
 * Milliseconds of a duration.
 *
 * @throws TypeError (`ARG_DURATION`) for anything that is no duration.
 */
export function durationMs(duration: Duration): number {
  if (typeof duration === 'number' && !Number.isNaN(duration)) return duration;
  if (typeof duration !== 'object' || duration === null) {
    throw argumentTypeError('ARG_DURATION', `${String(duration)} is no duration: give milliseconds or { hours: 1 }`);
  }
  let ms = 0;
  for (const [unit, count] of Object.entries(duration)) {
    const factor = UNIT_MS[unit as keyof typeof UNIT_MS];
    if (factor === undefined || typeof count !== 'number' || Number.isNaN(count)) {
      throw argumentTypeError(
        'ARG_DURATION',
        `{ ${unit}: ${String(count)} } is no duration: its parts are days, hours, minutes, seconds and milliseconds`,
      );
    }
    ms += count * factor;
  }
  return ms;
}

const SUFFIX_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Milliseconds of a duration in text: `5s`, `250ms`, `7d`, `1h30m`.
 *
 * @throws RangeError (`ARG_DURATION`) when the text is none.
 */
export function parseDuration(text: string): number {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text.trim()) {
    throw argumentRangeError('ARG_DURATION', `'${text}' is no duration: write 5s, 250ms, 7d or 1h30m`);
  }
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (SUFFIX_MS[unit as string] as number), 0);
}

/** A number of bytes as users write it: a number, or text such as `'20MB'` (powers of 1024). */
export type Size = number | string;

const SIZE_FACTOR: Record<string, number> = { '': 1, B: 1, KB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 };

/**
 * Bytes of a size.
 *
 * @throws RangeError (`ARG_SIZE`) when it is none.
 */
export function sizeBytes(size: Size): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMG]?B?)$/i.exec(String(size).trim());
  const factor = match && SIZE_FACTOR[(match[2] as string).toUpperCase().replace(/^([KMG])$/, '$1B')];
  if (!match || factor === undefined || !factor) {
    throw argumentRangeError('ARG_SIZE', `'${size}' is no size: write a number of bytes, or 512KB, 20MB, 1GB`);
  }
  return Math.floor(Number(match[1]) * factor);
}
