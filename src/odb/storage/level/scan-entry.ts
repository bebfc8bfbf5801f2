import { constants, setPriority } from 'node:os';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { oidOfKey } from './keyspace.js';
import { openLevel } from './level-reader.js';
import type { BlockParts } from './revision-block.js';
import { scanEntries } from './scan.js';
import type { FromScan, ScanStart, ToScan } from './scan-thread.js';

/*
 * The thread of `scanInThread`.
 */

const READ_COUNT = 1000;
const READ_BYTES = 1024 * 1024;
/** Blocks that are read ahead. */
const AHEAD = 2;

giveWay();
const { folder, after } = workerData as ScanStart;
const port = parentPort as MessagePort;
let underWay = 0;
let isStopped = false;
let wake = () => {};
port.on('message', (message: ToScan) => {
  if (message === 'stop') isStopped = true;
  else underWay--;
  wake();
});

function send(message: FromScan, transfer: readonly ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}

function partsOf(entries: readonly [Buffer, Buffer][]): BlockParts {
  const oids = new Float64Array(entries.length);
  const ends = new Uint32Array(entries.length);
  let end = 0;
  for (const [, value] of entries) end += value.length;
  const bytes = new Uint8Array(end);
  end = 0;
  for (const [i, [key, value]] of entries.entries()) {
    oids[i] = oidOfKey(key);
    bytes.set(value, end);
    end += value.length;
    ends[i] = end;
  }
  return { oids, ends, bytes };
}

const level = await openLevel(folder, { createIfMissing: false });
try {
  for await (const entries of scanEntries(level, { after, readCount: READ_COUNT, readBytes: READ_BYTES })) {
    while (underWay >= AHEAD && !isStopped) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (isStopped) break;
    underWay++;
    const parts = partsOf(entries);
    send(parts, [parts.oids.buffer, parts.ends.buffer, parts.bytes.buffer] as ArrayBuffer[]);
  }
} finally {
  await level.close();
}
send('end');
port.close();

/** Linux has a priority for each thread (setpriority(2), "C library/kernel differences"): those who commit come first. */
function giveWay(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(constants.priority.PRIORITY_LOW);
  } catch {
    // A sandbox may refuse it.
  }
}
