import { invariant } from '../../base/index.js';
import type { LockSession } from './lock-table.js';
import type { Storage, StorageAttachment } from './storage.js';

/** Serves a storage of this thread to other threads of the process. */
export interface StorageHosting {
  /** A view for another thread. */
  attach(): StorageAttachment;
  /** Has the views let go; resolves once they have. */
  close(): Promise<void>;
}

/** What is served, and how. */
export interface HostingOptions {
  readonly storage: Storage;
  /** Opens a lock session for a view; missing where the storage cannot keep the locks of several apart. */
  readonly locks: (() => LockSession) | undefined;
  /** A module that exports `openReader(data)`, where other threads can read for themselves. */
  readonly reader?: { readonly module: string; readonly data: unknown } | undefined;
}

let makeHosting: ((options: HostingOptions) => StorageHosting) | undefined;

/** For the remote layer, which implements it: storages do not import what serves them. */
export function provideHosting(make: (options: HostingOptions) => StorageHosting): void {
  makeHosting = make;
}

/** Begins to serve a storage. */
export function hostStorage(options: HostingOptions): StorageHosting {
  invariant(makeHosting, 'the remote layer is loaded by the door of the package');
  return makeHosting(options);
}
