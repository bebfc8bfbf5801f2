import type { Clock, Duration } from '../base/index.js';
import { ConnectionStateError, type DB } from '../odb/index.js';
import type { JobChooser } from './agent.js';
import { Dispatcher } from './dispatcher.js';
import { type Events, events as processEvents } from './events.js';
import { AgentInstaller, QueueInstaller } from './installers.js';
import { type HeldInstanceUuid, holdInstanceUuid } from './instance-uuid.js';
import type { PoolKind } from './pool/worker-pool.js';
import type { JobFilter } from './queue.js';
import { beforeSignalHandlers } from './signals.js';

/** Options of {@link DispatcherInstaller}. */
export interface DispatcherInstallerOptions {
  /** How often it polls; commits to a queue wake it at once. Default: 5 s. */
  readonly pollInterval?: Duration;
  /** Its name. Default: that of this software instance, whose file is locked while the dispatcher lives. */
  readonly uuid?: string;
  /** The file with the UUID of this instance. Default: the one that `ZC_ASYNC_UUID` names, else `uuid.txt`. */
  readonly uuidFile?: string;
  /** What gives it its heartbeat. Default: the machine's clock. */
  readonly reactor?: Clock;
  /** How long jobs have to finish when it is deactivated. Default: 5 s. */
  readonly grace?: Duration;
  /** Deactivate on SIGINT and SIGTERM, before whoever was to be told of them is. Default: true. */
  readonly handleSignals?: boolean;
}

/** Starts a dispatcher, and sees to its end: with the process's signals, and with its instance's UUID. */
export class DispatcherInstaller {
  readonly #options: DispatcherInstallerOptions;

  constructor(options: DispatcherInstallerOptions = {}) {
    this.#options = options;
  }

  /**
   * Starts a dispatcher for a database. Resolves to it after its first poll.
   *
   * @throws UuidInUseError. UuidFileError. AlreadyRegisteredError. EntryModuleError.
   */
  async install(db: DB): Promise<Dispatcher> {
    const { uuid, uuidFile, handleSignals = true, ...options } = this.#options;
    let held: HeldInstanceUuid | undefined;
    if (uuid === undefined) held = holdInstanceUuid(uuidFile === undefined ? {} : { file: uuidFile });
    let dispatcher: Dispatcher;
    try {
      dispatcher = new Dispatcher(db, { ...options, uuid: uuid ?? (held as HeldInstanceUuid).uuid });
    } catch (error) {
      held?.release();
      throw error;
    }
    const restoreSignals = handleSignals ? beforeSignalHandlers(() => dispatcher.deactivate()) : undefined;
    dispatcher.onDeactivated(() => {
      restoreSignals?.();
      held?.release();
    });
    try {
      await dispatcher.activate();
    } catch (error) {
      await dispatcher.deactivate();
      throw error;
    }
    return dispatcher;
  }

  /** Starts one for each database that is opened for the job layer from now on. Returns the function that ends it. */
  subscribe(onError: (error: unknown) => void, events: Events = processEvents): () => void {
    return events.on('DatabaseOpened', ({ object }) => {
      this.install(object).catch(onError);
    });
  }
}

/** Options of {@link configure.start}. */
export interface StartOptions extends DispatcherInstallerOptions {
  /** How many jobs the agent `main` runs at a time. Default: 3. An agent that is there already is left alone. */
  readonly agentSize?: number;
  /** Claims the jobs of `main`; named by `persistable`. Not together with `agentFilter`. */
  readonly agentChooser?: JobChooser;
  /** Which jobs `main` takes; named by `persistable`. */
  readonly agentFilter?: JobFilter;
  /** Where the jobs of `main` run. Default: `'threads'`. */
  readonly pool?: PoolKind;
  /** The queues that are installed. Default: the main one, `['']`. */
  readonly queueNames?: readonly string[];
  /** Name of the database that holds the queues. Default: the one that is given. */
  readonly dbName?: string;
}

/** Sets up the job layer in one call. */
export const configure = {
  /**
   * Installs the queues, starts a dispatcher, and gives it the agent `main`. What exists is left alone.
   *
   * Resolves to the dispatcher after its first poll. `dispatcher.deactivate()` ends it; so do SIGINT and SIGTERM.
   *
   * @throws UuidInUseError when another process works under this instance's UUID. UuidFileError. TypeError (`ARG_FILTER`) for both a
   *   filter and a chooser. What the database throws.
   */
  async start<Root extends object>(db: DB<Root>, options: StartOptions = {}): Promise<Dispatcher> {
    const { agentSize, agentChooser, agentFilter, pool, queueNames = [''], dbName, ...rest } = options;
    const database = db as unknown as DB;
    if (dbName !== undefined && dbName !== database.databaseName) {
      throw new ConnectionStateError(
        `there is no database '${dbName}': this one is called '${database.databaseName}', and stands alone`,
      );
    }
    const agent = new AgentInstaller({
      size: agentSize,
      chooser: agentChooser,
      filter: agentFilter,
      pool,
      queueNames,
    });
    await new QueueInstaller({ queueNames }).install(database);
    const unsubscribe = agent.subscribe();
    try {
      const dispatcher = await new DispatcherInstaller(rest).install(database);
      dispatcher.onDeactivated(unsubscribe);
      return dispatcher;
    } catch (error) {
      unsubscribe();
      throw error;
    }
  },
};
