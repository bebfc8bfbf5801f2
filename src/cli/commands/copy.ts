import { realpathSync } from 'node:fs';
import { Command } from 'commander';
import { copyTransactions } from '../../odb/index.js';
import { EXIT, say, UsageError } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { withStorageAt } from '../storage-tool.js';

/** `holdfast copy`: transactions of one database go into another. */
export function copyCommand(choose: (action: CommandAction) => void): Command {
  return new Command('copy')
    .description('Copies a database into another, with its history; run again, it copies what is new.')
    .argument('<from>', 'a directory, or zeo://host:port/name')
    .argument('<to>', 'a directory, which is made when it is not there, or zeo://host:port/name')
    .addHelpText('after', '\nNothing but the copy may write to the target. Its history is kept for ever meanwhile.')
    .action((from: string, to: string) => choose(() => copy(from, to)));
}

async function copy(from: string, to: string): Promise<number> {
  if (placeOf(from) === placeOf(to))
    throw new UsageError(`${from} and ${to} are the same database: copy it to another`);
  return withStorageAt(from, { readOnly: true }, ({ storage: source, signal }) =>
    withStorageAt(to, { create: true, history: 'all' }, async ({ storage: target, progress }) => {
      const { transactions, records, bytes } = await copyTransactions(source, target, {
        signal,
        onProgress: (done) =>
          progress.tell(`${counted(done.transactions, 'transaction')}, ${counted(done.bytes, 'byte')}`),
      });
      progress.end();
      say(
        `copied ${source.name} to ${target.name}: ${counted(transactions, 'transaction')}, ` +
          `${counted(records, 'record')}, ${counted(bytes, 'byte')}`,
      );
      return EXIT.ok;
    }),
  );
}

/** Two spellings of one path are one place. */
function placeOf(database: string): string {
  try {
    return realpathSync(database);
  } catch {
    // A server, or a directory that is still to be made.
    return database;
  }
}
