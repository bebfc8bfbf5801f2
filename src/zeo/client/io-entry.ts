import { parentPort } from 'node:worker_threads';
import { invariant, systemClock, systemRandom } from '../../base/index.js';
import { errorToWire } from '../../odb/remote/index.js';
import type { IoReport, IoRequest } from './io-messages.js';
import { ServerLink } from './server-link.js';

// The I/O thread: owns the sockets of all clients of the thread that started it. It writes no stdio, and waits for no
// other thread, since others block until it answers.

invariant(parentPort !== null, 'this module is the entry of a worker thread');
const parent = parentPort;
const links = new Map<number, ServerLink>();

function report(message: IoReport, transferList: readonly import('node:worker_threads').MessagePort[] = []): void {
  parent.postMessage(message, [...transferList]);
}

function open(request: Extract<IoRequest, { kind: 'open' }>): void {
  const { link: number, addresses, storage, label, isReadOnly, waitTimeoutMs, name } = request;
  const link = new ServerLink({
    addresses,
    storage,
    label,
    isReadOnly,
    waitTimeoutMs,
    clock: systemClock,
    random: systemRandom,
    log: (level, message) => report({ kind: 'log', link: number, level, message: `${name}: ${message}` }),
    onAttempt: (failure) => report({ kind: 'attempt', link: number, failure }),
    onFirst: (error) => {
      if (error === undefined) report({ kind: 'connected', link: number });
      else report({ kind: 'refused', link: number, error: errorToWire(error) });
    },
  });
  links.set(number, link);
  const { readTimeoutMs, cacheBytesMax, blobCache } = request;
  const { data, transferList } = link.hub.attach({
    name,
    readTimeoutMs,
    cacheBytesMax,
    blobs: { kind: 'cache', cache: blobCache },
  });
  report({ kind: 'made', link: number, data, ports: transferList }, transferList);
}

function close(number: number): void {
  links.get(number)?.close();
  links.delete(number);
  report({ kind: 'closed', link: number });
}

parent.on('message', (request: IoRequest) => {
  if (request.kind === 'open') open(request);
  else close(request.link);
});

// Crash: whatever ends this thread, nobody may go on waiting for it.
process.on('exit', () => {
  for (const link of links.values()) link.die();
});
