import type { Tid } from 'holdfast/odb';
import { CheckFailed } from './check-failed.js';

/** What a transaction did to one thing, whose name is the key. */
export type Effect =
  | { readonly kind: 'set'; readonly key: string; readonly value: string | undefined }
  | { readonly kind: 'add'; readonly key: string; readonly amount: number }
  | { readonly kind: 'put' | 'pull'; readonly key: string; readonly item: string };

/** A transaction as the one that ran it saw it. */
export interface Observed {
  readonly name: string;
  /** What was acknowledged, to anybody, before it began: it has to see all of that. */
  readonly floor: Tid;
  /** What was published when it had done its last read: it cannot have seen more. */
  ceiling: Tid;
  /** It shows the past: exactly what was committed up to here. */
  readonly at?: Tid;
  /** What it read before it wrote it itself. */
  readonly reads: { readonly key: string; readonly value: string }[];
  readonly effects: Effect[];
  /** What it named to `readCurrent`. */
  readonly current: Set<string>;
  /** It made nodes of the graph. */
  hasNewNodes?: boolean;
  /** It undoes this one, and does nothing else. */
  undoes?: Tid;
  /** Set once it is known to be committed. */
  tid?: Tid;
  /** It was in doubt: what it named to `readCurrent` was current when it was voted. */
  isLate?: boolean;
}

/** Whether an undo of it can be followed: what was put into a queue is not taken out again, and no node that others may have taken up is unmade. */
export function isUndoable({ effects, name, undoes, hasNewNodes }: Observed): boolean {
  if (undoes !== undefined) return true;
  return (
    !name.startsWith('populate') &&
    effects.length > 0 &&
    !hasNewNodes &&
    effects.every(({ kind }) => kind === 'set' || kind === 'add')
  );
}

/** Whether two who change it at the same time merge, if their changes do: then only the value counts, not who wrote it. */
export type IsMerged = (key: string) => boolean;

interface Version {
  readonly tid: Tid;
  readonly value: string;
}

/** How a thing reads that is not there. */
export const ABSENT = '-';

/**
 * Checks a whole history against snapshot isolation. (A. Adya, Weak consistency, 1999: PL-SI; the inference follows from the tids, which
 * order the commits.)
 *
 * - All that a transaction read is of one committed state: not older than what was acknowledged when it began.
 * - The first to commit wins: what a transaction overwrote is what it saw, and so is what it named to `readCurrent`.
 * - An undo takes away what the other did, and nothing else.
 * - What is put into a queue is pulled once.
 *
 * Two transactions that each read what the other writes (write skew) are allowed.
 *
 * @throws CheckFailed
 */
export function checkHistory(transactions: readonly Observed[], isMerged: IsMerged): void {
  const history = new Versions();
  const committed = transactions.filter(({ tid }) => tid !== undefined);
  committed.sort((a, b) => (a.tid as Tid) - (b.tid as Tid));
  const byTid = new Map(committed.map((each) => [each.tid, each]));
  for (const each of committed) history.commit(each, each.undoes === undefined ? undefined : byTid.get(each.undoes));
  const tids = committed.map(({ tid }) => tid as Tid);
  for (const each of transactions) if (each.undoes === undefined) checkSnapshot(each, history, tids, isMerged);
}

/** The value of each thing after each commit. */
class Versions {
  readonly #versions = new Map<string, Version[]>();
  /** What each transaction made of each thing. */
  readonly #changes = new Map<Tid, Map<string, { readonly before: string; readonly after: string }>>();

  commit(transaction: Observed, undone: Observed | undefined): void {
    const tid = transaction.tid as Tid;
    const changes = new Map<string, { readonly before: string; readonly after: string }>();
    this.#changes.set(tid, changes);
    const effects = undone ? this.#opposite(transaction, undone) : transaction.effects;
    // So that what undoes this one finds what it did.
    if (undone) transaction.effects.splice(0, transaction.effects.length, ...effects);
    for (const effect of effects) {
      const before = changes.get(effect.key)?.before ?? this.at(effect.key, tid).value;
      const after = changed(changes.get(effect.key)?.after ?? before, effect, transaction);
      changes.set(effect.key, { before, after });
    }
    for (const [key, { after }] of changes) {
      const versions = this.#versions.get(key);
      if (versions) versions.push({ tid, value: after });
      else this.#versions.set(key, [{ tid, value: after }]);
    }
  }

  #opposite(transaction: Observed, undone: Observed): Effect[] {
    const effects: Effect[] = [];
    for (const effect of undone.effects) {
      if (effect.kind === 'add') effects.push({ ...effect, amount: -effect.amount });
    }
    for (const [key, { before, after }] of this.#changes.get(undone.tid as Tid) ?? []) {
      if (undone.effects.some((effect) => effect.key === key && effect.kind === 'add')) continue;
      // What it put there and took away again is nothing to be undone: others may have changed it since.
      if (before === after) continue;
      const now = this.at(key, transaction.tid as Tid).value;
      if (now !== after) {
        throw new CheckFailed(
          'snapshot isolation',
          `${nameOf(transaction)} undid ${nameOf(undone)}, which had made ${key} ${after}; but it was ${now} by then`,
        );
      }
      effects.push({ kind: 'set', key, value: before === ABSENT ? undefined : before });
    }
    return effects;
  }

  /** What a thing was made last, up to a transaction. */
  at(key: string, tid: Tid): Version {
    const versions = this.#versions.get(key) ?? [];
    let low = 0;
    let high = versions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((versions[middle] as Version).tid <= tid) low = middle + 1;
      else high = middle;
    }
    return versions[low - 1] ?? { tid: 0 as Tid, value: ABSENT };
  }
}

function changed(value: string, effect: Effect, transaction: Observed): string {
  switch (effect.kind) {
    case 'set':
      return effect.value ?? ABSENT;
    case 'add':
      return String((value === ABSENT ? 0 : Number(value)) + effect.amount);
    case 'put':
      return itemsText([...itemsOf(value), effect.item]);
    case 'pull': {
      const items = itemsOf(value);
      const index = items.indexOf(effect.item);
      if (index < 0) {
        throw new CheckFailed(
          'totals',
          `${nameOf(transaction)} pulled ${effect.item} out of ${effect.key}, where it was not any more: ${value}`,
        );
      }
      items.splice(index, 1);
      return itemsText(items);
    }
  }
}

/** How the items of a queue read, whatever their order. */
export function itemsText(items: readonly string[]): string {
  return items.length === 0 ? ABSENT : [...items].sort().join(' ');
}

function itemsOf(value: string): string[] {
  return value === ABSENT ? [] : value.split(' ');
}

function checkSnapshot(transaction: Observed, history: Versions, tids: readonly Tid[], isMerged: IsMerged): void {
  let complaint = 'nothing was committed that it could have seen';
  for (const snapshot of snapshotsOf(transaction, tids)) {
    const found = disagreement(transaction, snapshot, history, isMerged);
    if (found === undefined) return;
    complaint = `as of ${snapshot}, ${found}`;
  }
  throw new CheckFailed('snapshot isolation', `${nameOf(transaction)} saw no committed state: ${complaint}`);
}

/** The states that a transaction can have seen, by their last transaction; the newest one first. */
function snapshotsOf({ at, floor, ceiling }: Observed, tids: readonly Tid[]): Tid[] {
  if (at !== undefined) return [at];
  return [...tids.filter((tid) => tid > floor && tid <= ceiling).reverse(), floor];
}

function disagreement(
  { reads, effects, current, tid, isLate }: Observed,
  snapshot: Tid,
  history: Versions,
  isMerged: IsMerged,
): string | undefined {
  for (const { key, value } of reads) {
    const seen = history.at(key, snapshot);
    if (seen.value !== value) return `${key} was ${seen.value}, and it read ${value}`;
  }
  if (tid === undefined) return undefined;
  const before = (tid - 1) as Tid;
  const overwritten = effects.filter(({ kind }) => kind === 'set').map(({ key }) => key);
  for (const key of [...overwritten, ...(isLate ? [] : current)]) {
    const latest = history.at(key, before);
    if (isMerged(key) ? latest.value === history.at(key, snapshot).value : latest.tid <= snapshot) continue;
    const what = current.has(key) ? 'was to be current' : 'was overwritten';
    return `${key} ${what}, but had been made ${latest.value} by ${latest.tid}`;
  }
  return undefined;
}

function nameOf({ name, tid }: Observed): string {
  return tid === undefined ? name : `${name} (${tid})`;
}
