import { basename } from 'node:path';
import type { Command } from 'commander';
import { DB, type TransferProgress } from '../../odb/index.js';
import { EXIT, sayResult, UsageError } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { JSON_OPTION, storageTool, type ToolOptions, withStorage } from '../storage-tool.js';
import { STANDARD_STREAM } from './export.js';

interface ImportOptions extends ToolOptions {
  readonly rootKey?: string;
  readonly replace?: true;
}

/** `holdfast import`: what was exported becomes part of a database. */
export function importCommand(choose: (action: CommandAction) => void): Command {
  return storageTool(
    'import',
    'Adds the objects of an export to a database, with oids of their own, in one transaction.',
  )
    .argument('<file>', 'what holdfast export wrote; - for standard input')
    .option('--root-key <name>', 'the name that the root is to hold the exported object under')
    .option('--replace', 'let go of what the root holds under that name')
    .option(...JSON_OPTION)
    .action((file: string, options: ImportOptions) => choose(() => importFile(file, options)));
}

async function importFile(file: string, options: ImportOptions): Promise<number> {
  const { rootKey } = options;
  if (rootKey === undefined || rootKey === '') throw new UsageError('where to? give --root-key name');
  if (file === '') throw new UsageError('which file? name one, or - for standard input');
  const isStandard = file === STANDARD_STREAM;
  const use = { storageOptions: {}, left: () => 'nothing was imported' };
  return withStorage(options, use, async ({ storage, progress, signal }) => {
    const db = await DB.open(storage);
    let read: TransferProgress = { objects: 0, bytes: 0 };
    const words = () => `${counted(read.objects, 'object')}, ${counted(read.bytes, 'byte')}`;
    const oid = await db.transaction(
      async (connection) => {
        const { root } = connection;
        if (root.has(rootKey) && !options.replace) {
          throw new UsageError(`--root-key: the root has '${rootKey}' already; say --replace, or choose another name`);
        }
        const top = await connection.importFile(isStandard ? process.stdin : file, {
          signal,
          onProgress: (sofar) => {
            read = sofar;
            progress.tell(words());
          },
        });
        root.set(rootKey, top);
        // From here on it happens.
        signal.throwIfAborted();
        progress.tell(`${words()}: storing them`, { isUrgent: true });
        return top._p_oid;
      },
      // What standard input gave cannot be had again.
      { note: `import of ${isStandard ? 'standard input' : basename(file)}`, retries: isStandard ? 0 : 3 },
    );
    progress.end();
    const { name } = storage;
    await sayResult(options, { name, rootKey, oid, ...read }, `imported ${rootKey} into ${name}: ${words()}`);
    return EXIT.ok;
  });
}
