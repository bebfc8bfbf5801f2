import { workerData } from 'node:worker_threads';
// Jobs refer to objects of the whole job layer, whether or not the modules of the user import it.
import '../index.js';
import { type Clock, systemClock } from '../../base/index.js';
import { DB } from '../../odb/index.js';
import { assumeInstanceUuid } from '../instance-uuid.js';
import { importJobModule } from '../job-modules.js';
import { performClaimed } from '../perform.js';
import { EntryModuleError, JobModuleError } from '../process-errors.js';
import { redirectLogs, toSentError } from './thread-log.js';
import type { FromThread, ThreadStart, ToThread } from './thread-messages.js';
import type { ClaimedJob, JobOutcome } from './worker-pool.js';

/** The other end of a `JobThread`: imports the modules of its jobs, opens its view of the database, and runs jobs. */
const { attachment, databaseName, uuid, modules, logLevel, port } = workerData as ThreadStart;

const send = (message: FromThread): void => port.postMessage(message);

redirectLogs(logLevel, (record) => send({ kind: 'log', record }));
assumeInstanceUuid(uuid);

try {
  await importAll(modules);
  const db = await DB.openAttached(attachment, { databaseName });
  let last = Promise.resolve();
  port.on('message', (message: ToThread) => {
    if (message.kind === 'end') void db.close().finally(() => send({ kind: 'ended' }));
    else {
      last = last.then(async () => {
        const outcome = await run(db, message.job, message.modules);
        send({ kind: 'done', outcome });
      });
    }
  });
  send({ kind: 'ready' });
} catch (error) {
  send({ kind: 'failed', ...blame(error), error: toSentError(error) });
}

/** One after the other, so that the first one that does not load is the one that is named. */
async function importAll(urls: readonly string[]): Promise<void> {
  for (const url of urls) await importJobModule(url);
}

async function run(db: DB, job: ClaimedJob, newModules: readonly string[]): Promise<JobOutcome> {
  try {
    await importAll(newModules);
  } catch (error) {
    return { kind: 'interrupted', reason: error instanceof Error ? error.message : String(error) };
  }
  return performClaimed(db, job, {
    clock: clockOf(db, job),
    db,
    agentName: job.agentName,
    finishing: () => send({ kind: 'finishing' }),
  });
}

/** Time is the storage's; under a test reactor it stands still at the claim's. */
function clockOf(db: DB, { virtualNowMs }: ClaimedJob): Clock {
  if (virtualNowMs === undefined) return db.storage.clock;
  return { now: () => virtualNowMs, schedule: (delayMs, fn, options) => systemClock.schedule(delayMs, fn, options) };
}

function blame(error: unknown): { readonly module?: string; readonly isProgram?: boolean; readonly detail: string } {
  if (error instanceof EntryModuleError) return { module: error.module, isProgram: true, detail: error.detail };
  if (error instanceof JobModuleError) return { module: error.module, detail: error.detail };
  return { detail: '' };
}
