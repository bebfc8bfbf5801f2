import { argumentRangeError, argumentTypeError, nearestName } from '../../base/index.js';
import type { BaseStorageOptions } from './base-storage.js';
import { LevelStorage, type LevelStorageOptions } from './level/level-storage.js';
import { MemoryStorage } from './memory-storage.js';
import type { Storage } from './storage.js';

/** Options of a storage that is named by a URI or a path; each takes of them what concerns it. */
export interface StorageOptions extends BaseStorageOptions, LevelStorageOptions {
  readonly [name: string]: unknown;
}

/** Opens the storage that a URI names. */
export type StorageOpener = (uri: string, options: StorageOptions) => Promise<Storage>;

/** What is told of a scheme. */
export interface SchemeFacts {
  /**
   * Names of the options that its storages take besides those of {@link StorageOptions}. Any that no storage takes is refused then, as it may
   * be a slip of the hand. Default: whatever is given is passed on.
   */
  readonly options?: readonly string[];
}

interface Scheme extends SchemeFacts {
  readonly open: StorageOpener;
}

/** Options that are named in {@link StorageOptions}: of storages in memory and on disk. */
const COMMON: readonly string[] = Object.keys({
  clock: true,
  readOnly: true,
  conflictResolver: true,
  create: true,
  history: true,
  durable: true,
  blockCacheSize: true,
  batchSize: true,
  random: true,
} satisfies Record<keyof (BaseStorageOptions & LevelStorageOptions), true>);

const LEVEL: Scheme = { open: (path, options) => LevelStorage.open(path, options), options: [] };

const schemes = new Map<string, Scheme>([
  ['memory', { open: async (_, options) => new MemoryStorage(options), options: [] }],
]);

/** Schemes of packages that register themselves when they are imported. */
const IMPORTS: Readonly<Record<string, string>> = { zeo: "import 'holdfast' or 'holdfast/zeo'" };

/** Has URIs of a scheme (`zeo`) opened by `opener`. A scheme that is registered already is replaced. */
export function registerScheme(scheme: string, opener: StorageOpener, facts: SchemeFacts = {}): void {
  schemes.set(scheme, { ...facts, open: opener });
}

/**
 * Opens what a URI or a path names: `memory:`, `zeo://host:port`, `data/test.fs`.
 *
 * @throws RangeError (`ARG_SCHEME`) for a scheme that nobody registered. TypeError (`ARG_OPTIONS`) for an option that no storage takes. What
 * the storage throws.
 */
export async function openStorage(uri: string, options: StorageOptions = {}): Promise<Storage> {
  const scheme = schemeOf(uri);
  requireStorageOptions(uri, options);
  return scheme.open(uri, options);
}

/**
 * That there is no option that no storage takes. One that another kind of storage takes is passed over: whoever takes the place of a database from
 * a configuration gives the options for all.
 *
 * @param storage what is to be opened, or is open
 * @param others further names that may have been meant
 * @throws TypeError (`ARG_OPTIONS`). RangeError (`ARG_SCHEME`).
 */
export function requireStorageOptions(
  storage: Storage | string,
  options: Readonly<Record<string, unknown>>,
  others: Iterable<string> = [],
): void {
  if (typeof storage === 'string' && !schemeOf(storage).options) return;
  const known = new Set([...COMMON, ...[...schemes.values()].flatMap((scheme) => scheme.options ?? [])]);
  for (const name of Object.keys(options)) {
    if (known.has(name)) continue;
    const meant = nearestName(name, [...known, ...others]);
    const hint = meant === undefined ? `; storages take ${[...known].join(', ')}` : `: do you mean '${meant}'?`;
    throw argumentTypeError('ARG_OPTIONS', `there is no option '${name}'${hint}`);
  }
}

function schemeOf(uri: string): Scheme {
  // A single letter is a drive.
  const name = /^([a-z][a-z0-9+.-]+):/i.exec(uri)?.[1]?.toLowerCase();
  if (name === undefined) return LEVEL;
  const scheme = schemes.get(name);
  if (scheme) return scheme;
  const hint = IMPORTS[name] ?? 'use memory:, a path, or zeo://host:port; a path that has a colon begins with ./';
  throw argumentRangeError('ARG_SCHEME', `'${uri}': no storage is registered for '${name}:'; ${hint}`);
}
