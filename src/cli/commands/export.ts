import type { Command } from 'commander';
import { DB, type ExportDestination, Persistent } from '../../odb/index.js';
import { parseOid } from '../option-values.js';
import { complain, EXIT, sayResult, UsageError } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { JSON_OPTION, storageTool, type ToolOptions, withStorage } from '../storage-tool.js';

interface ExportOptions extends ToolOptions {
  readonly oid?: string;
  readonly rootKey?: string;
}

/** Stands for standard output, or input. */
export const STANDARD_STREAM = '-';

/** So many names are shown where none of them was meant. */
const NAMES_MAX = 20;

/** `holdfast export`: an object and all that it reaches go into a file. */
export function exportCommand(choose: (action: CommandAction) => void): Command {
  return storageTool('export', 'Writes an object, and all that it reaches, into a file for holdfast import.')
    .argument('<file>', 'the file, which is replaced; - for standard output')
    .option('--oid <oid>', 'the object with this oid')
    .option('--root-key <name>', 'what the root holds under this name')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nOthers may use a server meanwhile. Weak references are not followed.')
    .action((file: string, options: ExportOptions) => choose(() => exportFile(file, options)));
}

async function exportFile(file: string, options: ExportOptions): Promise<number> {
  const { rootKey } = options;
  const wanted = oidOf(options);
  if (file === '') throw new UsageError('where to? name a file, or - for standard output');
  const isStandard = file === STANDARD_STREAM;
  if (isStandard && options.json) {
    throw new UsageError('--json: the export itself goes to standard output; give a file for it');
  }
  const use = {
    storageOptions: { readOnly: true },
    left: () => (isStandard ? 'the export is incomplete' : `nothing was written to ${file}`),
  };
  return withStorage(options, use, async ({ storage, progress, signal }) => {
    const db = await DB.open(storage);
    const { oid, objects, bytes } = await db.transaction(async (connection) => {
      const oid = wanted ?? oidNamed(connection.root, rootKey as string);
      const destination: ExportDestination = isStandard ? process.stdout : file;
      const done = await connection.exportFile(oid, destination, {
        signal,
        onProgress: (sofar) => progress.tell(`${counted(sofar.objects, 'object')}, ${counted(sofar.bytes, 'byte')}`),
      });
      return { oid, ...done };
    });
    progress.end();
    const { name } = storage;
    const words = `exported ${rootKey ?? `oid ${oid}`} of ${name}: ${counted(objects, 'object')}, ${counted(bytes, 'byte')}`;
    if (isStandard) complain('holdfast export', words);
    else await sayResult(options, { name, oid, file, objects, bytes }, words);
    return EXIT.ok;
  });
}

function oidOf({ oid, rootKey }: ExportOptions): number | undefined {
  if ((oid === undefined) === (rootKey === undefined)) {
    throw new UsageError('which object? give --root-key name, or --oid number');
  }
  if (oid === undefined) return undefined;
  return parseOid(oid, '--oid');
}

function oidNamed(root: ReadonlyMapping, name: string): number {
  const value = root.get(name);
  if (value instanceof Persistent) return value._p_oid as number;
  if (root.has(name))
    throw new UsageError(`--root-key: '${name}' is no persistent object: it is part of the root itself`);
  const names = [...root.keys()].filter((key) => typeof key === 'string');
  const more = names.length > NAMES_MAX ? `, and ${counted(names.length - NAMES_MAX, 'more name')}` : '';
  const some = names.slice(0, NAMES_MAX).join(', ') || 'nothing';
  throw new UsageError(`--root-key: the root has no '${name}'; it has ${some}${more}`);
}

interface ReadonlyMapping {
  get(name: string): unknown;
  has(name: string): boolean;
  keys(): Iterable<unknown>;
}
