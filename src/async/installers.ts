import { Logger } from '../base/index.js';
import type { DB } from '../odb/index.js';
import { Agent, type JobChooser } from './agent.js';
import type { DispatcherAgents } from './dispatcher-agents.js';
import { type Events, events as processEvents } from './events.js';
import type { PoolKind } from './pool/worker-pool.js';
import { type JobFilter, QUEUES_KEY, Queue, Queues } from './queue.js';

const logger = new Logger('zc.async.events');

/** How often installing is tried when others install at the same moment, or the server is not there. */
const RETRIES = 20;

/** Options of {@link QueueInstaller}. */
export interface QueueInstallerOptions {
  /** Which queues. Default: the main one, `['']`. */
  readonly queueNames?: readonly string[];
}

/** Makes the mapping of queues, and queues in it, where they are not there. What exists is left alone. */
export class QueueInstaller {
  readonly queueNames: readonly string[];

  constructor(options: QueueInstallerOptions = {}) {
    this.queueNames = options.queueNames ?? [''];
  }

  /**
   * Installs the queues, in a transaction of its own that is run again when others install at the same moment. Writes nothing
   * when they are there.
   */
  async install(db: DB): Promise<void> {
    const added = await db.transaction(
      (connection) => {
        const names: string[] = [];
        let queues = connection.root.get(QUEUES_KEY) as Queues | undefined;
        if (!queues) {
          queues = new Queues();
          connection.root.set(QUEUES_KEY, queues);
          processEvents.emit('ObjectAdded', { object: queues, parent: connection.root, name: QUEUES_KEY });
        }
        for (const name of this.queueNames) {
          if (queues.get(name)) continue;
          const queue = new Queue();
          queues.set(name, queue);
          names.push(name);
          processEvents.emit('ObjectAdded', { object: queue, parent: queues, name });
        }
        return names;
      },
      { note: 'install queues', retries: RETRIES },
    );
    for (const name of added) logger.info(`the queue '${name}' was installed in the database '${db.databaseName}'`);
  }

  /** Installs them in every database that is opened from now on for the job layer. Returns the function that ends it. */
  subscribe(events: Events = processEvents): () => void {
    return events.on('DatabaseOpened', ({ object }) => {
      this.install(object).catch((error) =>
        logger.critical(`the queues of the database '${object.databaseName}' could not be installed`, error),
      );
    });
  }
}

/** Options of {@link AgentInstaller}. What is not given is the agent's default, or left as it is. */
export interface AgentInstallerOptions {
  /** Default: `'main'`. */
  readonly name?: string;
  readonly size?: number | undefined;
  readonly pool?: PoolKind | undefined;
  /** Which jobs it takes. Not together with `chooser`. */
  readonly filter?: JobFilter | undefined;
  /** Claims its jobs. Not together with `filter`. */
  readonly chooser?: JobChooser | undefined;
  /** Change an agent that is there already, as far as options are given. Default: false, it is left alone. */
  readonly change?: boolean;
  /** Queues in which the agent is installed. Default: all that its dispatcher serves. */
  readonly queueNames?: readonly string[] | undefined;
  /** The dispatcher whose agent it is. Default: every dispatcher of this process. */
  readonly uuid?: string | undefined;
}

/** Installs an agent when its dispatcher is activated, in the same transaction: it is there before the first poll. */
export class AgentInstaller {
  readonly #options: AgentInstallerOptions;

  /** @throws TypeError (`ARG_FILTER`) when there are both a chooser and a filter. */
  constructor(options: AgentInstallerOptions = {}) {
    // Refused here, rather than when the dispatcher is activated.
    new Agent(given(options));
    this.#options = options;
  }

  get name(): string {
    return this.#options.name ?? 'main';
  }

  /** Installs the agent among those of a dispatcher; within the current transaction. */
  install(agents: DispatcherAgents): void {
    const { change = false, queueNames, uuid } = this.#options;
    if (uuid !== undefined && agents.uuid !== uuid) return;
    if (queueNames && !queueNames.includes(agents.parent?.name ?? '')) return;
    const agent = agents.get(this.name);
    if (!agent) {
      agents.set(this.name, new Agent(given(this.#options)));
      logger.info(`the agent '${this.name}' was installed in the queue '${agents.parent?.name}'`);
    } else if (change) {
      this.#change(agent);
    }
  }

  /** Installs it with every activation from now on. Returns the function that ends it. */
  subscribe(events: Events = processEvents): () => void {
    return events.on('DispatcherActivated', ({ object }) => this.install(object));
  }

  #change(agent: Agent): void {
    const { size, pool, filter, chooser } = this.#options;
    if (size !== undefined && agent.size !== size) agent.size = size;
    if (pool !== undefined && agent.pool !== pool) agent.pool = pool;
    if (!filter && !chooser) return;
    // Ordering: the one is cleared before the other is set.
    if (agent.filter && agent.filter !== filter) agent.filter = undefined;
    if (agent.chooser && agent.chooser !== chooser) agent.chooser = undefined;
    if (filter && agent.filter !== filter) agent.filter = filter;
    if (chooser && agent.chooser !== chooser) agent.chooser = chooser;
  }
}

function given({ size, pool, filter, chooser }: AgentInstallerOptions): ConstructorParameters<typeof Agent>[0] {
  return {
    ...(size === undefined ? {} : { size }),
    ...(pool === undefined ? {} : { pool }),
    ...(filter ? { filter } : {}),
    ...(chooser ? { chooser } : {}),
  };
}

/**
 * Makes a database ready for jobs: for clients that only put them. Does nothing where it is done already.
 *
 * @throws what the database throws; conflicts with others who do the same are run again.
 */
export function installQueues<Root extends object>(db: DB<Root>, options: QueueInstallerOptions = {}): Promise<void> {
  return new QueueInstaller(options).install(db as unknown as DB);
}
