import type { Command } from 'commander';
import { DB, type DBPackOptions } from '../../odb/index.js';
import type { DatabaseOptions } from '../open.js';
import { EXIT, say, UsageError } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { storageTool, withStorage } from '../storage-tool.js';

interface PackCommandOptions extends DatabaseOptions {
  readonly days?: string;
  readonly before?: string;
}

/** `holdfast pack`: drops history, and what nothing reaches. */
export function packCommand(choose: (action: CommandAction) => void): Command {
  return storageTool('pack', 'Drops old history, and objects that nothing reaches any more.')
    .option('--days <number>', 'keep the history of so many days (default: none)')
    .option('--before <time>', 'keep the history since this time: 2026-11-24, or 2026-11-24T12:00Z')
    .addHelpText('after', '\nOthers may read and write meanwhile. It may be interrupted; the next one finds the rest.')
    .action((options: PackCommandOptions) => choose(() => pack(options)));
}

async function pack(options: PackCommandOptions): Promise<number> {
  const time = timeOf(options);
  return withStorage(options, {}, async ({ storage, progress, signal }) => {
    const db = await DB.open(storage);
    const before = storage.size;
    await db.pack({
      ...time,
      signal,
      onProgress: ({ phase, objects }) => progress.tell(`${phase}: ${counted(objects, 'object')}`),
    });
    progress.end();
    say(`packed ${storage.name}: ${counted(before, 'byte')} before, ${counted(storage.size, 'byte')} now`);
    return EXIT.ok;
  });
}

function timeOf({ days, before }: PackCommandOptions): DBPackOptions {
  if (days !== undefined && before !== undefined) throw new UsageError('give --days or --before, not both');
  if (days !== undefined) {
    if (!/^\d+(\.\d+)?$/.test(days)) throw new UsageError(`--days: '${days}' is no number of days`);
    return { days: Number(days) };
  }
  if (before === undefined) return {};
  const time = new Date(before);
  if (Number.isNaN(time.getTime())) throw new UsageError(`--before: '${before}' is no time: write 2026-11-24T12:00Z`);
  return { before: time };
}
