import { on } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Oid } from '../../ids.js';
import { type BlockParts, blockOf, type RevisionBlock } from './revision-block.js';

/** What the thread is told at its start. */
export interface ScanStart {
  readonly folder: string;
  readonly after: Oid | undefined;
}

/** What the thread is told later: a block was taken, or no more are wanted. */
export type ToScan = 'taken' | 'stop';

/** What the thread tells: a block, or that this was all. */
export type FromScan = BlockParts | 'end';

/**
 * Reads current revisions in a thread of its own, in large blocks: to make each entry an object of the language is most of the work of a
 * walk, and here it keeps nobody waiting.
 *
 * @throws whatever ends the thread early: what it has not read then may be read without it
 */
export async function* scanInThread(start: ScanStart): AsyncGenerator<RevisionBlock> {
  const worker = new Worker(new URL('./scan-entry.js', import.meta.url), {
    name: 'holdfast-scan',
    workerData: start,
    // The program's own flags (a loader, a debugger port) are not for this thread.
    execArgv: [],
    stdin: false,
  });
  const post = (message: ToScan) => worker.postMessage(message);
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  try {
    for await (const [message] of on(worker, 'message', { close: ['exit'] }) as AsyncIterable<[FromScan]>) {
      if (message === 'end') return;
      post('taken');
      yield blockOf(message);
    }
    throw new Error('the thread that reads revisions has ended early');
  } finally {
    post('stop');
    // Ordering: it has opened the directory too, and lets go of it before the storage does.
    await exited;
  }
}
