import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { importJobModule, JobModuleError } from '../async/index.js';
import { persistableModules } from '../odb/index.js';
import { complain } from './output.js';

/**
 * Imports modules that are named on the command line: files, or else packages that are installed for the working
 * directory.
 *
 * @throws JobModuleError that names the module. EntryModuleError when it is a program of its own.
 */
export async function loadModules(program: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const before = persistableModules().length;
    await importJobModule(locate(name));
    if (persistableModules().length === before) {
      complain(program, `${name} gives no names: a function can be a job once its module calls persistable(…)`);
    }
  }
}

function locate(name: string): string {
  const path = resolve(name);
  if (existsSync(path)) return pathToFileURL(path).href;
  if (!/^[./]/.test(name)) {
    try {
      return pathToFileURL(createRequire(join(process.cwd(), 'noop.js')).resolve(name)).href;
    } catch {
      // Neither a file nor a package.
    }
  }
  throw new JobModuleError(path, 'there is no such file', {});
}
