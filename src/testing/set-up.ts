import { v1 as uuid } from 'uuid';
import { configure, type Dispatcher, type StartOptions } from '../async/index.js';
import { type DB, type LogLevel, type LogRecord, setLogLevel, setLogSink } from '../odb/index.js';

const POLL_INTERVAL_MS = 100;
const TEAR_DOWN_LIMIT_MS = 10_000;

interface SetUp {
  readonly dispatcher: Dispatcher;
  readonly restoreLogs: () => void;
}

const setUps: SetUp[] = [];

/**
 * Starts a dispatcher for a test: it polls every 0.1 s, has a UUID of its own, leaves the signals of the process alone, and its CRITICAL
 * log lines are printed. {@link tearDown} ends it.
 */
export async function setUp<Root extends object>(db: DB<Root>, options: StartOptions = {}): Promise<Dispatcher> {
  const restoreLogs = printLogs('critical');
  try {
    const dispatcher = await configure.start(db, {
      pollInterval: POLL_INTERVAL_MS,
      uuid: uuid(),
      handleSignals: false,
      ...options,
    });
    setUps.push({ dispatcher, restoreLogs });
    return dispatcher;
  } catch (error) {
    restoreLogs();
    throw error;
  }
}

/** Ends what {@link setUp} has started, the last one first. @throws as {@link tearDownDispatcher}. */
export async function tearDown(): Promise<void> {
  for (let last = setUps.pop(); last; last = setUps.pop()) {
    last.restoreLogs();
    await tearDownDispatcher(last.dispatcher);
  }
}

/** Ends a dispatcher. @throws Error that names the jobs that would not stop. */
export async function tearDownDispatcher(dispatcher: Dispatcher): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const calls = dispatcher
        .getActiveJobIds()
        .map(({ oid, databaseName }) => `${dispatcher.getJobInfo(oid, databaseName).call} (oid ${oid})`);
      reject(
        new Error(`the dispatcher ${dispatcher.uuid} does not end; still running: ${calls.join(', ') || 'nothing'}`),
      );
    }, TEAR_DOWN_LIMIT_MS);
  });
  try {
    await Promise.race([dispatcher.deactivate(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Prints log lines from `level` on, one readable line each, on standard error. Returns the function that ends it. */
export function printLogs(level: LogLevel = 'info'): () => void {
  const formerLevel = setLogLevel(level);
  const formerSink = setLogSink(({ logger, level: severity, message, error }: LogRecord) => {
    const cause = error === undefined ? '' : `\n${error instanceof Error ? error.stack : String(error)}`;
    process.stderr.write(`${severity.toUpperCase()} ${logger}: ${message}${cause}\n`);
  });
  return () => {
    setLogSink(formerSink);
    setLogLevel(formerLevel);
  };
}
