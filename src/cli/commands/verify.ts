import type { Command } from 'commander';
import { checkedReferences } from '../../odb/index.js';
import type { DatabaseOptions } from '../open.js';
import { EXIT, say } from '../output.js';
import { counted } from '../progress.js';
import type { CommandAction } from '../run.js';
import { storageTool, withStorage } from '../storage-tool.js';
import { endWithWatcher, isWatched, runWatched } from '../watched.js';

/** `holdfast verify`: reads everything, and prints what is wrong. */
export function verifyCommand(choose: (action: CommandAction) => void): Command {
  return storageTool('verify', 'Reads everything in a database, and prints what is wrong with it.')
    .addHelpText('after', '\nIt exits with 1 if anything is wrong. It changes nothing.')
    .action((options: DatabaseOptions) =>
      choose(() => (isRead(options) && !isWatched() ? verifyWatched(options) : verify(options))),
    );
}

/** Whether this process would read the files itself. */
function isRead({ zeo, db }: DatabaseOptions): boolean {
  return zeo === undefined && db !== undefined;
}

/** The same in a process of its own: where LevelDB ends that one, there is somebody left to tell. */
function verifyWatched({ db }: DatabaseOptions): Promise<number> {
  const [, file = '', ...args] = process.argv;
  return runWatched({ file, args, program: 'holdfast verify', reads: db as string });
}

async function verify(options: DatabaseOptions): Promise<number> {
  endWithWatcher();
  return withStorage(options, { readOnly: true }, async ({ storage, progress, signal }) => {
    let problems = 0;
    const onProgress = ({ phase, count }: { phase: string; count: number }) =>
      progress.tell(`${phase}: ${count.toLocaleString('en')}`);
    for await (const { message } of storage.verify({ references: checkedReferences, signal, onProgress })) {
      progress.end();
      say(message);
      problems++;
    }
    progress.end();
    say(problems === 0 ? `${storage.name} is sound` : `${storage.name} has ${counted(problems, 'problem')}`);
    return problems === 0 ? EXIT.ok : EXIT.failed;
  });
}
