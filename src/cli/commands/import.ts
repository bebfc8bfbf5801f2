import { basename } from 'node:path';
import type { Command } from 'commander';
import { DB } from '../../odb/index.js';
import type { DatabaseOptions } from '../open.js';
import { EXIT, say, UsageError } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { storageTool, withStorage } from '../storage-tool.js';
import { STANDARD_STREAM } from './export.js';

interface ImportOptions extends DatabaseOptions {
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
    .action((file: string, options: ImportOptions) => choose(() => importFile(file, options)));
}

async function importFile(file: string, options: ImportOptions): Promise<number> {
  const { rootKey } = options;
  if (rootKey === undefined) throw new UsageError('where to? give --root-key name');
  return withStorage(options, {}, async ({ storage, progress, signal }) => {
    const db = await DB.open(storage);
    const isStandard = file === STANDARD_STREAM;
    let summary = '';
    await db.transaction(
      async (connection) => {
        const { root } = connection;
        if (root.has(rootKey) && !options.replace) {
          throw new UsageError(`--root-key: the root has '${rootKey}' already; say --replace, or choose another name`);
        }
        const top = await connection.importFile(isStandard ? process.stdin : file, {
          signal,
          onProgress: ({ objects, bytes }) => {
            summary = `${counted(objects, 'object')}, ${counted(bytes, 'byte')}`;
            progress.tell(summary);
          },
        });
        root.set(rootKey, top);
      },
      // What standard input gave cannot be had again.
      { note: `import of ${isStandard ? 'standard input' : basename(file)}`, retries: isStandard ? 0 : 3 },
    );
    progress.end();
    say(`imported ${rootKey} into ${storage.name}: ${summary}`);
    return EXIT.ok;
  });
}
