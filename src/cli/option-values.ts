import { type Oid, type Tid, tidFromDate, toOid, toTid } from '../odb/index.js';
import { UsageError } from './output.js';

/** `2026-11-24`, `2026-11-24T12:00`, `2026-11-24 12:00:30.5Z`, `2026-11-24T12:00+01:00`. */
const TIME = /^(\d{4})-(\d\d)-(\d\d)(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?$/;

const TIME_HINT = 'write 2026-11-24, or 2026-11-24T12:00Z';

/** Reads an oid. @throws UsageError */
export function parseOid(text: string, option: string): Oid {
  const oid = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(oid)) return toOid(oid);
  throw new UsageError(`${option}: '${text}' is no oid: write a whole number, such as 12`);
}

/** Reads a time; without a zone, that of this machine; a day begins where UTC has it begin. @throws UsageError */
export function parseTime(text: string, option: string): Date {
  const time = timeOf(text);
  if (time) return time;
  throw new UsageError(`${option}: '${text}' is no time: ${TIME_HINT}`);
}

/** Reads a tid, or a time. @throws UsageError */
export function parseTid(text: string, option: string): Tid {
  // A year is not taken for a tid.
  if (/^\d{5,}$/.test(text) && Number.isSafeInteger(Number(text))) return toTid(Number(text));
  const time = timeOf(text);
  if (time) return tidFromDate(time);
  throw new UsageError(`${option}: '${text}' is neither a tid nor a time: ${TIME_HINT}`);
}

/** Reads a number of days. @throws UsageError */
export function parseDays(text: string, option: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new UsageError(`${option}: '${text}' is no number of days: write 3, or 0.5`);
}

/** For an option that may be repeated. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** `undefined` for what is no time, or one before there were tids. */
function timeOf(text: string): Date | undefined {
  const [, year, month, day] = TIME.exec(text) ?? [];
  if (day === undefined) return undefined;
  // Dates that no month has would be taken for some of the next one.
  const asDay = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  if (asDay.getUTCDate() !== Number(day) || asDay.getUTCMonth() !== Number(month) - 1) return undefined;
  const time = new Date(text);
  return Number.isNaN(time.getTime()) || time.getTime() < 0 ? undefined : time;
}
