import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { OPENED, SyncSlot } from '#src/odb/remote/sync-slot.js';
import type { ViewData } from '#src/odb/remote/view-parts.js';
import { type RevisionReader, ViewStorage } from '#src/odb/remote/view-storage.js';
import type { ConflictResolver, StorageTransaction } from '#src/odb/storage/storage.js';

/** A storage that lives in a thread of its own, and this thread's views of it. */
export class Owner {
  readonly worker: Worker;
  readonly views: ViewStorage[] = [];

  private constructor(worker: Worker) {
    this.worker = worker;
  }

  /**
   * @param options.resolves whether the thread merges: texts that are added to, or `'records'` by their classes
   * @param idle threads that had a storage before: one of them is taken, since a new one takes long
   */
  static async start(
    options: { path?: string; resolves?: boolean | 'records'; isHex?: boolean } = {},
    idle: Worker[] = [],
  ): Promise<Owner> {
    const owner = new Owner(idle.pop() ?? new Worker(new URL('./owner-thread.js', import.meta.url)));
    const { path, resolves = false, isHex = false } = options;
    owner.worker.postMessage({ kind: 'open', path, resolves, isHex });
    await owner.#answer('ready');
    return owner;
  }

  /** What another thread needs. */
  async attach(): Promise<ViewData> {
    this.worker.postMessage({ kind: 'attach' });
    return (await this.#answer('attached')).data;
  }

  /** A view of this thread. */
  async view(options: { resolver?: ConflictResolver; readTimeoutMs?: number; cacheBytesMax?: number } = {}) {
    const { resolver, ...rest } = options;
    const data: ViewData = { ...(await this.attach()), ...rest };
    // As `openAttached` says it: the owner does not wait for a view that nobody opens.
    Atomics.store(new SyncSlot(data.slot).control, OPENED, 1);
    let reader: RevisionReader | undefined;
    if (data.reader) {
      const module = (await import(data.reader.module)) as { openReader(data: unknown): Promise<RevisionReader> };
      reader = await module.openReader(data.reader.data);
    }
    const view = new ViewStorage({ data, resolver, reader });
    this.views.push(view);
    return view;
  }

  /** Keeps the owner from answering for a while. */
  async block(ms: number): Promise<void> {
    this.worker.postMessage({ kind: 'block', ms });
    await this.#answer('blocking');
  }

  /** Closes the storage in its thread. */
  async closeStorage(): Promise<void> {
    this.worker.postMessage({ kind: 'close' });
    await this.#answer('closed');
  }

  async end(): Promise<void> {
    for (const view of this.views) await view.close();
    await this.worker.terminate();
  }

  async #answer(kind: string): Promise<{ kind: string; data: ViewData }> {
    for (;;) {
      const [message] = (await once(this.worker, 'message')) as [{ kind: string; data: ViewData }];
      if (message.kind === kind) return message;
      if (message.kind === 'failed') throw new Error((message as unknown as { message: string }).message);
    }
  }
}

let commitCount = 0;

/** A new transaction. */
export function newTransaction(description = ''): StorageTransaction {
  const commitId = Buffer.alloc(16);
  commitId.writeUInt32BE(process.pid, 0);
  commitId.writeDoubleBE(Math.random(), 4);
  commitId.writeUInt32BE(++commitCount, 12);
  return { commitId, user: 'tester', description, extension: new Uint8Array(0) };
}
