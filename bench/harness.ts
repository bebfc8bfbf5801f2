import { performance } from 'node:perf_hooks';

/** What a figure is to be. */
export type Target = { readonly atLeast: number } | { readonly atMost: number };

/** A figure that was measured. */
export interface Row {
  readonly group: string;
  readonly name: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly target: Target | undefined;
  readonly met: boolean | undefined;
}

/** What a group of rows can ask of a run. */
export interface BenchOptions {
  /** A smoke run: everything is run, nothing is measured well. */
  readonly quick: boolean;
}

const SAMPLES = 5;
const QUICK_SAMPLES = 2;

/** Takes samples, and prints a row for each figure as soon as it is there. */
export class Bench {
  readonly quick: boolean;
  readonly rows: Row[] = [];
  #group = '';

  constructor({ quick }: BenchOptions) {
    this.quick = quick;
  }

  /** Begins a group of rows. */
  group(name: string): void {
    this.#group = name;
    console.log(`\n${name}`);
    console.log(`  ${'figure'.padEnd(66)} ${'median'.padStart(12)}  ${'min–max'.padStart(23)}  unit       target`);
  }

  /** `full`, or in a smoke run `quick`. */
  size(full: number, quick: number): number {
    return this.quick ? quick : full;
  }

  /** Calls `measure` several times, one after the other; resolves to what it returned. */
  async samples<T>(measure: (index: number) => T | Promise<T>): Promise<T[]> {
    const samples: T[] = [];
    const count = this.quick ? QUICK_SAMPLES : SAMPLES;
    for (let i = 0; i < count; i++) samples.push(await measure(i));
    return samples;
  }

  /** Prints a figure beside its target. */
  row(name: string, unit: string, samples: readonly number[], target?: Target): Row {
    const sorted = [...samples].sort((a, b) => a - b);
    const median = quantile(sorted, 0.5);
    const row: Row = {
      group: this.#group,
      name,
      unit,
      median,
      min: sorted[0] as number,
      max: sorted.at(-1) as number,
      target,
      met: target && ('atLeast' in target ? median >= target.atLeast : median <= target.atMost),
    };
    this.rows.push(row);
    const range = `${figure(row.min)}–${figure(row.max)}`;
    console.log(
      `  ${name.padEnd(66)} ${figure(median).padStart(12)}  ${range.padStart(23)}  ${unit.padEnd(9)}  ${targetText(row)}`,
    );
    return row;
  }

  /** Prints a figure that two others make up, taken in the same run. */
  ratio(name: string, of: readonly number[], to: readonly number[], target?: Target): Row {
    return this.row(
      name,
      '×',
      of.map((value, index) => value / (to[index] as number)),
      target,
    );
  }
}

/** How long `work` takes, in ms. */
export async function elapsedMs(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** How often `work`, which does something `count` times, does it in a second. */
export async function perSecond(count: number, work: () => unknown): Promise<number> {
  return (count / (await elapsedMs(work))) * 1000;
}

/** The value below which a part of sorted samples lies. */
export function quantile(sorted: readonly number[], part: number): number {
  if (part === 0.5 && sorted.length % 2 === 0) {
    return ((sorted[sorted.length / 2 - 1] as number) + (sorted[sorted.length / 2] as number)) / 2;
  }
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] as number;
}

function targetText({ target, met }: Row): string {
  if (!target) return '';
  const text = 'atLeast' in target ? `≥ ${figure(target.atLeast)}` : `≤ ${figure(target.atMost)}`;
  return `${text} ${met ? 'met' : 'NOT MET'}`;
}

function figure(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3);
}
