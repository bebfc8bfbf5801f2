import { Command } from 'commander';
import {
  AgentInstaller,
  DispatcherInstaller,
  type JobChooser,
  type JobFilter,
  QueueInstaller,
} from '../../async/index.js';
import { parseDuration } from '../../base/index.js';
import { resolveName } from '../../odb/index.js';
import {
  type AgentDescription,
  agentsOf,
  type PoolName,
  parseAgent,
  parseAgentSize,
  parsePool,
} from '../agent-options.js';
import { loadModules } from '../load-modules.js';
import { type DatabaseOptions, databaseUri, openDatabase } from '../open.js';
import { collect } from '../option-values.js';
import { EXIT, say, UsageError } from '../output.js';
import type { CommandAction } from '../run.js';
import { Shutdown } from '../shutdown.js';

interface WorkerOptions extends DatabaseOptions {
  readonly agent?: readonly AgentDescription[];
  readonly size?: number;
  readonly pool?: PoolName;
  readonly pollInterval: string;
  readonly grace: string;
  readonly uuidFile?: string;
  readonly queue?: readonly string[];
}

const PROGRAM = 'holdfast worker';

/** `holdfast worker`: a dispatcher with its agents, until it is told to end. */
export function workerCommand(choose: (action: CommandAction) => void): Command {
  return new Command('worker')
    .description('Runs jobs of a database: a dispatcher with its agents.')
    .argument('<module...>', 'the modules whose functions are jobs')
    .option('--zeo <address>', 'the storage server: host:port, or host:port/name for one of its storages')
    .option('--db <path>', 'the directory of a database that no other process uses')
    .option(
      '--agent <description>',
      'an agent, made or changed: NAME=SIZE[,chooser=FUNCTION | ,filter=FUNCTION][,pool=threads|inline]; may be repeated',
      (text: string, before: readonly AgentDescription[] = []) => [...before, parseAgent(text)],
    )
    .option('--size <number>', 'how many jobs the agent main runs at a time', (text) => parseAgentSize(text, '--size'))
    .option('--pool <pool>', 'where the jobs of the agent main run: threads or inline', (text) =>
      parsePool(text, '--pool'),
    )
    .option('--queue <name>', 'a queue besides the main one, made when it is not there; may be repeated', collect)
    .option('--poll-interval <duration>', 'how often it polls; commits wake it at once', '5s')
    .option('--grace <duration>', 'how long jobs have to finish when it is told to end', '5s')
    .option('--uuid-file <path>', 'the file with the UUID of this worker (default: $ZC_ASYNC_UUID, else uuid.txt)')
    .addHelpText(
      'after',
      '\nIt ends on SIGTERM or SIGINT: jobs may finish, the rest is put back. Logs are JSON lines on standard error;\n' +
        'HOLDFAST_LOG=info shows more of them.',
    )
    .action((modules: readonly string[], options: WorkerOptions) => choose(() => work(modules, options)));
}

async function work(modules: readonly string[], options: WorkerOptions): Promise<number> {
  const uri = databaseUri(options);
  const descriptions = agentsOf({ ...options, agent: options.agent ?? [] });
  const pollInterval = duration(options.pollInterval, '--poll-interval');
  const grace = duration(options.grace, '--grace');
  const queueNames = ['', ...(options.queue ?? []).filter((name) => name !== '')];
  const shutdown = new Shutdown();
  await loadModules(PROGRAM, modules);
  const installers = [
    // The agent that there is to be in any case, unless the command line describes it.
    ...(descriptions.some(({ name }) => name === 'main') ? [] : [new AgentInstaller()]),
    ...descriptions.map((description) => agentInstaller(description)),
  ];
  const db = await openDatabase(PROGRAM, uri, shutdown);
  try {
    await shutdown.during(new QueueInstaller({ queueNames }).install(db));
    for (const installer of installers) installer.subscribe();
    const installer = new DispatcherInstaller({
      pollInterval,
      grace,
      handleSignals: false,
      ...(options.uuidFile === undefined ? {} : { uuidFile: options.uuidFile }),
    });
    const starting = installer.install(db);
    try {
      const dispatcher = await shutdown.during(starting);
      void say(`${PROGRAM}: dispatcher ${dispatcher.uuid} works on ${uri} (pid ${process.pid})`);
      await shutdown.requested;
    } finally {
      await starting.then(
        (dispatcher) => dispatcher.deactivate(),
        () => {},
      );
    }
  } finally {
    await db.close();
  }
  return EXIT.ok;
}

/** @throws UsageError when no module gives a function of that name. */
function agentInstaller({ name, size, pool, chooser, filter }: AgentDescription): AgentInstaller {
  return new AgentInstaller({
    name,
    size,
    pool,
    ...(chooser === undefined ? {} : { chooser: functionNamed(chooser, `--agent ${name}: chooser`) as JobChooser }),
    ...(filter === undefined ? {} : { filter: functionNamed(filter, `--agent ${name}: filter`) as JobFilter }),
    change: true,
  });
}

function functionNamed(name: string, option: string): unknown {
  const found = resolveName(name);
  if (typeof found === 'function') return found;
  throw new UsageError(
    `${option}: no module gives the name '${name}': write it as persistable(…) does, such as pi.chooseSample`,
  );
}

function duration(text: string, option: string): number {
  try {
    return parseDuration(text);
  } catch {
    throw new UsageError(`${option}: '${text}' is no duration: write 500ms, 5s, 2m`);
  }
}
