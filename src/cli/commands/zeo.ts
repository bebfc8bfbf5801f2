import { Command } from 'commander';
import { parseDuration } from '../../base/index.js';
import { openStorage, recordConflictResolver } from '../../odb/index.js';
import { formatAddress, StorageServer } from '../../zeo/index.js';
import { listenAddress, refuseOpenAddress } from '../address.js';
import { loadModules } from '../load-modules.js';
import { collect } from '../option-values.js';
import { EXIT, say, UsageError } from '../output.js';
import type { CommandAction } from '../run.js';
import { Shutdown } from '../shutdown.js';

interface ZeoOptions {
  readonly address: string;
  readonly file: string;
  readonly history: string;
  readonly import?: readonly string[];
  readonly insecure?: true;
}

/** `holdfast zeo`, which is also `runzeo`: serves a database to other processes until it is told to end. */
export function zeoCommand(name: string, choose: (action: CommandAction) => void): Command {
  return new Command(name)
    .description('Serves a database to other processes.')
    .requiredOption('-a, --address <address>', 'where to listen: [host:]port, or the path of a socket')
    .requiredOption('-f, --file <path>', 'the directory of the database, which is made when it is not there')
    .option('--history <kept>', 'how long superseded revisions are kept: a duration, all, or none', '7d')
    .option('--import <module>', 'a module whose classes merge concurrent changes; may be repeated', collect)
    .option('--insecure', 'listen beyond this machine without credentials')
    .addHelpText(
      'after',
      '\nIt ends on SIGTERM or SIGINT. Logs are JSON lines on standard error; HOLDFAST_LOG=info shows more of them.',
    )
    .action((options: ZeoOptions) => choose(() => serve(name === 'runzeo' ? name : `holdfast ${name}`, options)));
}

async function serve(program: string, options: ZeoOptions): Promise<number> {
  const address = listenAddress(options.address);
  if (!options.insecure) refuseOpenAddress(address);
  const history = parseHistory(options.history);
  const shutdown = new Shutdown();
  await loadModules(program, options.import ?? []);
  const storage = await openStorage(options.file, { history, conflictResolver: recordConflictResolver });
  try {
    const server = await StorageServer.listen({ storage, address: formatAddress(address) });
    try {
      void say(`${program}: serving ${options.file} at ${server.address} (pid ${process.pid})`);
      await shutdown.requested;
    } finally {
      await server.close();
    }
  } finally {
    await storage.close();
  }
  return EXIT.ok;
}

function parseHistory(text: string): 'all' | 'none' | { readonly milliseconds: number } {
  if (text === 'all' || text === 'none') return text;
  try {
    return { milliseconds: parseDuration(text) };
  } catch {
    throw new UsageError(`--history: '${text}' is neither a duration (7d, 12h) nor all nor none`);
  }
}
