import { Command } from 'commander';
import { systemClock } from '../base/index.js';
import { openStorage, recordConflictResolver, type Storage, type StorageOptions } from '../odb/index.js';
import '../zeo/index.js';
import { type DatabaseOptions, databaseUri } from './open.js';
import { complain } from './output.js';
import { Progress } from './progress.js';
import { Shutdown } from './shutdown.js';

/** After so long without an answer, the tool says what it waits for. */
const PATIENCE_MS = 2000;

/** What a tool works with. */
export interface ToolContext {
  readonly storage: Storage;
  readonly progress: Progress;
  /** Aborts when the process is told to end. */
  readonly signal: AbortSignal;
}

/** A command that works on one database. */
export function storageTool(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option('--zeo <address>', 'the storage server: host:port, or host:port/name for one of its storages')
    .option('--db <path>', 'the directory of a database that no other process uses');
}

/** Opens the database that the options name, works, and closes it. @throws UsageError. What opening it throws. */
export async function withStorage<T>(
  options: DatabaseOptions,
  storageOptions: StorageOptions,
  work: (context: ToolContext) => Promise<T>,
): Promise<T> {
  return withStorageAt(databaseUri(options), storageOptions, work);
}

/** The same for a URI or a path. */
export async function withStorageAt<T>(
  uri: string,
  storageOptions: StorageOptions,
  work: (context: ToolContext) => Promise<T>,
): Promise<T> {
  const shutdown = new Shutdown();
  const opening = openStorage(uri, { create: false, conflictResolver: recordConflictResolver, ...storageOptions });
  const reminder = systemClock.schedule(PATIENCE_MS, () => complain('holdfast', `still waiting for ${uri} to open`));
  let storage: Storage;
  try {
    storage = await shutdown.during(opening);
  } finally {
    reminder.cancel();
  }
  const progress = new Progress();
  try {
    return await work({ storage, progress, signal: shutdown.signal });
  } finally {
    progress.end();
    await storage.close();
  }
}
