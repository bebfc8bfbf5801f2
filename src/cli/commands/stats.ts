import type { Command } from 'commander';
import { classStatistics } from '../../odb/index.js';
import { EXIT, say } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { JSON_OPTION, storageTool, type ToolOptions, withStorage } from '../storage-tool.js';

/** `holdfast stats`: what a database holds, class by class. */
export function statsCommand(choose: (action: CommandAction) => void): Command {
  return storageTool('stats', 'Counts the objects of a database and their bytes, class by class.')
    .option(...JSON_OPTION)
    .action((options: ToolOptions) => choose(() => stats(options)));
}

async function stats(options: ToolOptions): Promise<number> {
  return withStorage(options, { storageOptions: { readOnly: true } }, async ({ storage, progress, signal }) => {
    const onProgress = (objects: number) => progress.tell(counted(objects, 'object'));
    const classes = await classStatistics(storage, { signal, onProgress });
    progress.end();
    if (options.json) {
      await say(
        JSON.stringify({ name: storage.name, lastTransaction: storage.lastTransaction(), size: storage.size, classes }),
      );
      return EXIT.ok;
    }
    const total = {
      className: 'total',
      objects: classes.reduce((sum, { objects }) => sum + objects, 0),
      bytes: classes.reduce((sum, { bytes }) => sum + bytes, 0),
    };
    const rows = [...classes, total].map(
      ({ className, objects, bytes }) => [className, `${objects}`, `${bytes}`] as const,
    );
    const widths = [0, 1, 2].map((i) => Math.max(...rows.map((row) => (row[i] as string).length), 7));
    const [first, second, third] = widths as [number, number, number];
    await say(`${'class'.padEnd(first)}  ${'objects'.padStart(second)}  ${'bytes'.padStart(third)}`);
    for (const [name, objects, bytes] of rows) {
      await say(`${name.padEnd(first)}  ${objects.padStart(second)}  ${bytes.padStart(third)}`);
    }
    return EXIT.ok;
  });
}
