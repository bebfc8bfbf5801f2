import type { Bench } from '../harness.js';
import { withDirectory } from '../support/places.js';
import { ServerProcess } from '../support/processes.js';
import { commits } from './commits.js';
import { counters } from './counters.js';
import { loads } from './loads.js';
import { roundTrip } from './round-trip.js';
import { visibility } from './visibility.js';

/** The storage server, in a process of its own, over loopback; durable. */
export async function zeo(bench: Bench): Promise<void> {
  await withDirectory(async (directory) => {
    const server = await ServerProcess.start(directory);
    try {
      await roundTrip(bench, server.uri);
      await commits(bench, server.uri);
      await loads(bench, server.uri);
      await visibility(bench, server.uri);
      await counters(bench, server.uri);
    } finally {
      await server.end();
    }
  });
}
