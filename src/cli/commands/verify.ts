import type { Command } from 'commander';
import { checkedReferences, type Problem } from '../../odb/index.js';
import { EXIT, say, sayResult } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { JSON_OPTION, storageTool, type ToolOptions, withStorage } from '../storage-tool.js';
import { endWithWatcher, isWatched, runWatched } from '../watched.js';

/** `holdfast verify`: reads everything, and prints what is wrong. */
export function verifyCommand(choose: (action: CommandAction) => void): Command {
  return storageTool('verify', 'Reads everything in a database, and prints what is wrong with it.')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nIt exits with 1 if anything is wrong. It changes nothing.')
    .action((options: ToolOptions) =>
      choose(() => (isReadHere(options) && !isWatched() ? verifyWatched(options) : verify(options))),
    );
}

/** Whether this process would read the files itself. */
function isReadHere({ zeo, db }: ToolOptions): boolean {
  return zeo === undefined && db !== undefined;
}

/** The same in a process of its own: where LevelDB ends that one, there is somebody left to tell. */
function verifyWatched({ db }: ToolOptions): Promise<number> {
  const [, file = '', ...args] = process.argv;
  return runWatched({ file, args, program: 'holdfast verify', reads: db as string });
}

async function verify(options: ToolOptions): Promise<number> {
  endWithWatcher();
  let found = 0;
  const left = () => `not everything was read; ${counted(found, 'problem')} by then`;
  return withStorage(options, { storageOptions: { readOnly: true }, left }, async ({ storage, progress, signal }) => {
    const problems: Problem[] = [];
    const onProgress = ({ phase, count }: { phase: string; count: number }) =>
      progress.tell(`${phase}: ${count.toLocaleString('en')}`);
    for await (const problem of storage.verify({ references: checkedReferences, signal, onProgress })) {
      found++;
      progress.end();
      if (options.json) problems.push(problem);
      else await say(problem.message, signal);
    }
    progress.end();
    const sound = found === 0;
    const words = sound ? `${storage.name} is sound` : `${storage.name} has ${counted(found, 'problem')}`;
    await sayResult(options, { name: storage.name, sound, problems }, words);
    return sound ? EXIT.ok : EXIT.failed;
  });
}
