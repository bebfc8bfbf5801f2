import { threadId } from 'node:worker_threads';
import { ClientDisconnected, StorageError } from '../errors.js';
import type { Storage } from '../storage/storage.js';
import { HubMemory } from './hub-memory.js';
import { OPENED, SyncSlot } from './sync-slot.js';
import type { ViewData } from './view-parts.js';
import { type RevisionReader, ViewStorage } from './view-storage.js';

/**
 * Opens this thread's view of a storage that another thread of the process serves. `data` is what `storage.attach()`
 * gave to that thread.
 *
 * @throws StorageError in the thread that serves: a blocked thread cannot answer itself.
 */
export async function openAttached(data: unknown): Promise<Storage> {
  const view = data as ViewData;
  if (view.servingThreadId === threadId) {
    throw new StorageError(
      `${view.name} is served by this thread: use the storage itself, attach is for other threads`,
    );
  }
  // Ordering: first say that the view is being opened, then look whether the storage is closing. Its owner does the
  // opposite, so that one of the two notices.
  Atomics.store(new SyncSlot(view.slot).control, OPENED, 1);
  const { state } = new HubMemory(view.hub);
  if (state === 'closed' || state === 'dead') {
    view.port.close();
    throw new ClientDisconnected(`${view.name} was closed`);
  }
  const { recordConflictResolver } = await import('../connection/conflict-resolution.js');
  let reader: RevisionReader | undefined;
  if (view.reader) {
    const module = (await import(view.reader.module)) as { openReader(data: unknown): Promise<RevisionReader> };
    try {
      reader = await module.openReader(view.reader.data);
    } catch (error) {
      view.port.close();
      throw error;
    }
  }
  return new ViewStorage({ data: view, resolver: recordConflictResolver, reader });
}
