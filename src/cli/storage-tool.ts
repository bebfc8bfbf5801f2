import { Command } from 'commander';
import { systemClock } from '../base/index.js';
import { openStorage, recordConflictResolver, type Storage, type StorageOptions } from '../odb/index.js';
import '../zeo/index.js';
import { type DatabaseOptions, databaseUri } from './open.js';
import { complain, UsageError } from './output.js';
import { Progress } from './progress.js';
import { Shutdown, tellingWhatIsLeft } from './shutdown.js';

/** After so long without an answer, the tool says what it waits for. */
const PATIENCE_MS = 2000;

/** Options of a tool that prints what it found, or did. */
export interface ToolOptions extends DatabaseOptions {
  /** Print it as JSON. */
  readonly json?: true;
}

/** What a tool works with. */
export interface ToolContext {
  readonly storage: Storage;
  readonly progress: Progress;
  /** Aborts when the process is told to end. */
  readonly signal: AbortSignal;
}

/** How a tool uses a database. */
export interface ToolUse {
  readonly storageOptions: StorageOptions;
  /** What has become of the work when the process was told to end in the middle of it. */
  readonly left?: () => string;
}

/** The option of tools that print what they found, or did. */
export const JSON_OPTION = ['--json', 'print the result as JSON'] as const;

/** A command that works on one database. */
export function storageTool(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option('--zeo <address>', 'the storage server: host:port, or host:port/name for one of its storages')
    .option('--db <path>', 'the directory of a database that no other process uses')
    .allowExcessArguments()
    .hook('preAction', (_, { args, registeredArguments }) => {
      const [extra] = args.slice(registeredArguments.length);
      if (extra === undefined) return;
      throw new UsageError(`too many arguments: '${extra}'; give --db for a directory, or --zeo for a server`);
    });
}

/** Opens the database that the options name, works, and closes it. @throws UsageError. ShutdownRequested. What opening it throws. */
export async function withStorage<T>(
  options: DatabaseOptions,
  use: ToolUse,
  work: (context: ToolContext) => Promise<T>,
): Promise<T> {
  const uri = databaseUri(options);
  using shutdown = new Shutdown();
  return await withStorageAt(uri, use, shutdown, work);
}

/** The same for a URI or a path. */
export async function withStorageAt<T>(
  uri: string,
  { storageOptions, left }: ToolUse,
  shutdown: Shutdown,
  work: (context: ToolContext) => Promise<T>,
): Promise<T> {
  const storage = await openUntil(shutdown, uri, storageOptions);
  const progress = new Progress();
  try {
    const working = work({ storage, progress, signal: shutdown.signal });
    return await (left ? tellingWhatIsLeft(working, left) : working);
  } finally {
    progress.end();
    await storage.close();
  }
}

/** Whether what is named is kept by another process. */
export function isServer(uri: string): boolean {
  return /^zeo:/i.test(uri);
}

async function openUntil(shutdown: Shutdown, uri: string, options: StorageOptions): Promise<Storage> {
  if (/^memory:/i.test(uri))
    throw new UsageError(`${uri} is a database within one process; name a directory or a server`);
  const opening = openStorage(uri, { create: false, conflictResolver: recordConflictResolver, ...options });
  const reminder = systemClock.schedule(PATIENCE_MS, () => complain('holdfast', `still waiting for ${uri} to open`));
  try {
    return await shutdown.during(opening);
  } catch (error) {
    // A directory would be left locked. A server may not answer at all, and need not be waited for.
    if (shutdown.signal.aborted && !isServer(uri)) await opening.then((storage) => storage.close());
    throw error;
  } finally {
    reminder.cancel();
  }
}
