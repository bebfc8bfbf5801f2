// A worker with one agent, told by the benchmark when to begin and to end.
import type { Dispatcher } from 'holdfast/async';
import { DB } from 'holdfast/odb';
import 'holdfast/zeo';
import '../support/job-functions.js';
import { startDispatcher } from '../support/job-site.js';
import { serveRequests } from '../support/processes.js';

/** What a worker can be asked to do. */
export type WorkerRequest = 'start' | 'stop';

const [uri = '', slots = ''] = process.argv.slice(2);
const db = await DB.open(uri);
let dispatcher: Dispatcher | undefined;

serveRequests(async (request: WorkerRequest): Promise<unknown> => {
  if (request === 'start') dispatcher = await startDispatcher(db, { size: Number(slots), pool: 'inline' });
  else await dispatcher?.deactivate();
  return undefined;
});
