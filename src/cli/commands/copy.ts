import { Command } from 'commander';
import { copyTransactions } from '../../odb/index.js';
import { EXIT, say } from '../output.js';
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
