import { ClientDisconnected, DB } from '../odb/index.js';
import { serverUri } from './address.js';
import { complain, UsageError } from './output.js';
import type { Shutdown } from './shutdown.js';

/** How often a server that does not answer is mentioned. */
const REMINDER_MS = 60_000;
/** How long one attempt to reach a server takes at most. */
const ATTEMPT_MS = 2000;

/** Which database a command works on. */
export interface DatabaseOptions {
  /** `host:port[/name]` of a storage server. */
  readonly zeo?: string;
  /** The directory of a database. */
  readonly db?: string;
}

/** The database as `DB.open` takes it. @throws UsageError unless there is exactly one. */
export function databaseUri({ zeo, db }: DatabaseOptions): string {
  if (zeo !== undefined && db !== undefined) throw new UsageError('give --zeo or --db, not both');
  if (zeo !== undefined) return serverUri(zeo);
  if (db === undefined || db === '') {
    throw new UsageError('which database? give --zeo host:port for a server, or --db path for a directory');
  }
  return db;
}

/**
 * Opens a database. A server that is not there is waited for until the process is told to end, with a line that says
 * so: whoever starts servers and workers together need not start them in order.
 *
 * @throws ShutdownRequested. What `DB.open` throws.
 */
export async function openDatabase(program: string, uri: string, shutdown: Shutdown): Promise<DB> {
  let remindedAtMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    const opening = DB.open(uri, { waitTimeout: ATTEMPT_MS });
    try {
      return await shutdown.during(opening);
    } catch (error) {
      if (!(error instanceof ClientDisconnected)) {
        // A database that opens after all, once nobody wants it any more.
        opening.then((db) => db.close()).catch(() => {});
        throw error;
      }
    }
    if (performance.now() - remindedAtMs < REMINDER_MS) continue;
    remindedAtMs = performance.now();
    complain(program, `there is no server at ${uri} yet; waiting for it (start one with: runzeo -a PORT -f PATH)`);
  }
}
