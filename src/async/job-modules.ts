import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { importingDefinitions } from '../base/index.js';
import { EntryModuleError, JobModuleError } from './process-errors.js';

/**
 * Imports a module for the functions and classes that it gives names to. A module that begins a program's work when it
 * is imported (opens a database, starts a dispatcher, listens) is refused: every worker would do it again.
 *
 * @throws JobModuleError with the `cause`. EntryModuleError when the module is a program rather than a job module.
 */
export async function importJobModule(url: string): Promise<void> {
  try {
    await importingDefinitions(
      (what) => new EntryModuleError(moduleName(url), `it calls ${what} while it is imported`),
      () => import(url),
    );
  } catch (error) {
    if (error instanceof EntryModuleError) throw error;
    throw new JobModuleError(moduleName(url), whereItBroke(error), { cause: error });
  }
}

/**
 * Throws when job functions stand in the program's entry module: a worker thread imports the modules of its jobs, and
 * would run the program again.
 *
 * @param modules URLs that were given to `persistable`.
 * @throws EntryModuleError
 */
export function refuseEntryModule(modules: readonly string[]): void {
  for (const url of modules) {
    if (isEntryModule(url))
      throw new EntryModuleError(moduleName(url), 'it is the module that this program starts with');
  }
}

function isEntryModule(url: string): boolean {
  // Code from the command line or from standard input has a made-up address in the working directory.
  if (/\/\[(?:eval\d*|stdin|worker eval)\]$/.test(url)) return true;
  const [, entry] = process.argv;
  if (entry === undefined || !url.startsWith('file:')) return false;
  const path = realPath(fileURLToPath(withoutQuery(url)));
  if (path === undefined) return false;
  return ['', '.js', '.mjs', '.cjs', '.ts', '.mts', '/index.js'].some((suffix) => realPath(entry + suffix) === path);
}

/** A module as people write it: the path where it is a file. */
function moduleName(url: string): string {
  try {
    return url.startsWith('file:') ? fileURLToPath(withoutQuery(url)) : url;
  } catch {
    return url;
  }
}

function withoutQuery(url: string): string {
  return url.replace(/[?#].*$/, '');
}

/** A syntax error says where it is in the first line of its stack alone. */
function whereItBroke(error: unknown): string {
  if (!(error instanceof SyntaxError)) return '';
  const [firstLine = ''] = error.stack?.split('\n', 1) ?? [];
  return /^(?:file:|\/).*:\d+$/.test(firstLine) ? `at ${firstLine.replace(/^file:\/\//, '')}` : '';
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
