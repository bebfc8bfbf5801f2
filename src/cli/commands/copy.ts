import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { Command } from 'commander';
import { copyTransactions } from '../../odb/index.js';
import { EXIT, sayResult, UsageError } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { Shutdown } from '../shutdown.js';
import { isServer, JSON_OPTION, type ToolOptions, withStorageAt } from '../storage-tool.js';

/** `holdfast copy`: transactions of one database go into another. */
export function copyCommand(choose: (action: CommandAction) => void): Command {
  return new Command('copy')
    .description('Copies a database into another, with its history; run again, it copies what is new.')
    .argument('<from>', 'a directory, or zeo://host:port/name')
    .argument('<to>', 'a directory, which is made when it is not there, or zeo://host:port/name')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nNothing but the copy may write to the target. Its history is kept for ever meanwhile.')
    .action((from: string, to: string, options: ToolOptions) => choose(() => copy(from, to, options)));
}

async function copy(from: string, to: string, options: ToolOptions): Promise<number> {
  requireTwo(from, to);
  using shutdown = new Shutdown();
  let copied = 0;
  const reading = { storageOptions: { readOnly: true } };
  const writing = {
    storageOptions: { create: true, history: 'all' as const },
    left: () => `${to} is incomplete, it got ${counted(copied, 'transaction')}: copy again, and it gets the rest`,
  };
  return await withStorageAt(from, reading, shutdown, ({ storage: source, signal }) =>
    withStorageAt(to, writing, shutdown, async ({ storage: target, progress }) => {
      const { transactions, records, bytes, tid } = await copyTransactions(source, target, {
        signal,
        onProgress: (done) => {
          copied = done.transactions;
          progress.tell(`${counted(done.transactions, 'transaction')}, ${counted(done.bytes, 'byte')}`);
        },
      });
      progress.end();
      await sayResult(
        options,
        { source: source.name, target: target.name, transactions, records, bytes, lastTransaction: tid },
        `copied ${source.name} to ${target.name}: ${counted(transactions, 'transaction')}, ` +
          `${counted(records, 'record')}, ${counted(bytes, 'byte')}`,
      );
      return EXIT.ok;
    }),
  );
}

/** @throws UsageError unless they are two databases. */
function requireTwo(from: string, to: string): void {
  if (from === '' || to === '') throw new UsageError('which databases? name one to copy from, and one to copy to');
  if (isServer(from) || isServer(to)) return;
  const [source, target] = [placeOf(from), placeOf(to)];
  if (source === target) throw new UsageError(`${from} and ${to} are the same database: copy it to another`);
  for (const [inner, outer] of [
    [target, source],
    [source, target],
  ] as const) {
    if (inner.startsWith(`${outer}${sep}`))
      throw new UsageError(`${inner} is within ${outer}: copy to a directory beside it`);
  }
}

/** The one path of all spellings, also of what is still to be made. */
function placeOf(path: string): string {
  const absolute = resolve(path);
  try {
    return realpathSync(absolute);
  } catch {
    return dirname(absolute) === absolute ? absolute : join(placeOf(dirname(absolute)), basename(absolute));
  }
}
