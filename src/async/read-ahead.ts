import type { Connection } from '../odb/index.js';
import type { Queue } from './queue.js';

/** Jobs that are fetched at once. */
const JOBS_AHEAD = 64;

/** Has the jobs that are next in line fetched in one round trip, before they are claimed one by one. */
export class ReadAhead {
  #fetched: ReadonlySet<number> = new Set();

  /**
   * Resolves once the first `count` due jobs are at hand. Where storages need no round trip, it costs next to nothing.
   *
   * @throws ClientDisconnected.
   */
  async prepare(queue: Queue, count: number): Promise<void> {
    if (queue.firstDueOids(count).every((oid) => this.#fetched.has(oid))) return;
    const oids = queue.firstDueOids(Math.max(count, JOBS_AHEAD));
    this.#fetched = new Set(oids);
    await (queue._p_jar as unknown as Connection).prefetch(oids);
  }
}
