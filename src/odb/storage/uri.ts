import { argumentRangeError } from '../../base/index.js';
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

const openers = new Map<string, StorageOpener>([['memory', async (_, options) => new MemoryStorage(options)]]);

/** Schemes of packages that register themselves when they are imported. */
const IMPORTS: Readonly<Record<string, string>> = { zeo: "import 'holdfast' or 'holdfast/zeo'" };

/** Has URIs of a scheme (`zeo`) opened by `opener`. A scheme that is registered already is replaced. */
export function registerScheme(scheme: string, opener: StorageOpener): void {
  openers.set(scheme, opener);
}

/**
 * Opens what a URI or a path names: `memory:`, `zeo://host:port`, `data/test.fs`.
 *
 * @throws RangeError (`ARG_SCHEME`) for a scheme that nobody registered. What the storage throws.
 */
export async function openStorage(uri: string, options: StorageOptions = {}): Promise<Storage> {
  // A single letter is a drive.
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(uri)?.[1]?.toLowerCase();
  if (scheme === undefined) return LevelStorage.open(uri, options);
  const opener = openers.get(scheme);
  if (!opener) {
    const hint = IMPORTS[scheme] ?? 'use memory:, a path, or zeo://host:port; a path that has a colon begins with ./';
    throw argumentRangeError('ARG_SCHEME', `'${uri}': no storage is registered for '${scheme}:'; ${hint}`);
  }
  return opener(uri, options);
}
