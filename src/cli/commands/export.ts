import type { Command } from 'commander';
import { DB, type ExportDestination, Persistent } from '../../odb/index.js';
import type { DatabaseOptions } from '../open.js';
import { complain, EXIT, say, UsageError } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { storageTool, withStorage } from '../storage-tool.js';

interface ExportOptions extends DatabaseOptions {
  readonly oid?: string;
  readonly rootKey?: string;
}

/** Stands for standard output, or input. */
export const STANDARD_STREAM = '-';

/** `holdfast export`: an object and all that it reaches go into a file. */
export function exportCommand(choose: (action: CommandAction) => void): Command {
  return storageTool('export', 'Writes an object, and all that it reaches, into a file for holdfast import.')
    .argument('<file>', 'the file, which is replaced; - for standard output')
    .option('--oid <oid>', 'the object with this oid')
    .option('--root-key <name>', 'what the root holds under this name')
    .addHelpText('after', '\nOthers may read and write meanwhile. Weak references are not followed.')
    .action((file: string, options: ExportOptions) => choose(() => exportFile(file, options)));
}

async function exportFile(file: string, options: ExportOptions): Promise<number> {
  const { rootKey } = options;
  const oid = oidOf(options);
  return withStorage(options, { readOnly: true }, async ({ storage, progress, signal }) => {
    const db = await DB.open(storage);
    const destination: ExportDestination = file === STANDARD_STREAM ? process.stdout : file;
    const { objects, bytes } = await db.transaction((connection) =>
      connection.exportFile(oid ?? named(connection.root, rootKey as string), destination, {
        signal,
        onProgress: (done) => progress.tell(`${counted(done.objects, 'object')}, ${counted(done.bytes, 'byte')}`),
      }),
    );
    progress.end();
    const summary = `exported ${rootKey ?? `oid ${oid}`} of ${storage.name}: ${counted(objects, 'object')}, ${counted(bytes, 'byte')}`;
    if (file === STANDARD_STREAM) complain('holdfast export', summary);
    else say(summary);
    return EXIT.ok;
  });
}

function oidOf({ oid, rootKey }: ExportOptions): number | undefined {
  if ((oid === undefined) === (rootKey === undefined)) {
    throw new UsageError('which object? give --root-key name, or --oid number');
  }
  if (oid === undefined) return undefined;
  if (!/^\d+$/.test(oid) || !Number.isSafeInteger(Number(oid))) throw new UsageError(`--oid: '${oid}' is no oid`);
  return Number(oid);
}

function named(root: ReadonlyMapping, name: string): Persistent {
  const value = root.get(name);
  if (value instanceof Persistent) return value;
  if (root.has(name))
    throw new UsageError(`--root-key: '${name}' is no persistent object: it is part of the root itself`);
  const names = [...root.keys()].filter((key) => typeof key === 'string');
  throw new UsageError(`--root-key: the root has no '${name}'; it has ${names.join(', ') || 'nothing'}`);
}

interface ReadonlyMapping {
  get(name: string): unknown;
  has(name: string): boolean;
  keys(): Iterable<unknown>;
}
