import type { Command } from 'commander';
import { DB, type DBPackOptions } from '../../odb/index.js';
import { parseDays, parseTime } from '../option-values.js';
import { EXIT, sayResult, UsageError } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { JSON_OPTION, storageTool, type ToolOptions, withStorage } from '../storage-tool.js';

interface PackCommandOptions extends ToolOptions {
  readonly days?: string;
  readonly before?: string;
}

/** `holdfast pack`: drops history, and what nothing reaches. */
export function packCommand(choose: (action: CommandAction) => void): Command {
  return storageTool('pack', 'Drops old history, and objects that nothing reaches any more.')
    .option('--days <number>', 'keep the history of so many days (default: none)')
    .option('--before <time>', 'keep the history since this time: 2026-11-24, or 2026-11-24T12:00Z')
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      '\nOthers may use a server meanwhile. It may be interrupted; the next one finds the rest. Sizes count no contents of blobs.',
    )
    .action((options: PackCommandOptions) => choose(() => pack(options)));
}

async function pack(options: PackCommandOptions): Promise<number> {
  const time = timeOf(options);
  const left = () =>
    options.zeo === undefined
      ? 'what was dropped by then was garbage; the next pack finds the rest'
      : 'the server goes on with it, to the end';
  return withStorage(options, { storageOptions: {}, left }, async ({ storage, progress, signal }) => {
    const db = await DB.open(storage);
    const sizeBefore = storage.size;
    await db.pack({
      ...time,
      signal,
      onProgress: ({ phase, objects }) => progress.tell(`${phase}: ${counted(objects, 'object')}`),
    });
    progress.end();
    const { name, size } = storage;
    await sayResult(
      options,
      { name, sizeBefore, size },
      `packed ${name}: ${counted(sizeBefore, 'byte')} before, ${counted(size, 'byte')} now`,
    );
    return EXIT.ok;
  });
}

function timeOf({ days, before }: PackCommandOptions): DBPackOptions {
  if (days !== undefined && before !== undefined) throw new UsageError('give --days or --before, not both');
  if (days !== undefined) return { days: parseDays(days, '--days') };
  if (before === undefined) return {};
  const time = parseTime(before, '--before');
  if (time.getTime() > Date.now()) {
    throw new UsageError(`--before: ${before} is in the future; leave it out to keep no history`);
  }
  return { before: time };
}
