import { CheckFailed } from './check-failed.js';
import type { Ledger } from './ledger.js';

/**
 * Checks that what was to be committed in several databases is in all of them, or in none.
 *
 * @param doubts what is not decided yet everywhere
 * @returns how many were committed.
 * @throws CheckFailed
 */
export function checkTogether(ledgers: readonly Ledger[], doubts: ReadonlySet<string> = new Set()): number {
  const [first, ...others] = ledgers as [Ledger, ...Ledger[]];
  let count = 0;
  for (const description of first.descriptions()) {
    if (doubts.has(description)) continue;
    const tid = first.tidOf(description);
    for (const other of others) {
      if (!other.hasTakenPart(description)) continue;
      const otherTid = other.tidOf(description);
      if ((tid === undefined) !== (otherTid === undefined)) {
        const there = (tid: number | undefined) => (tid === undefined ? 'is not there' : `is there as ${tid}`);
        throw new CheckFailed(
          'atomicity',
          `${description} ${there(tid)} in one database, and ${there(otherTid)} in another`,
        );
      }
      if (tid !== undefined) count++;
    }
  }
  return count;
}
