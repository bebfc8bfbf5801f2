import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { SyncSlot } from './sync-slot.js';
import type { ViewBlobsPlace } from './view-blobs.js';

/** One end of what connects a view with the thread that serves it. */
export interface ViewEnd {
  /** Shared memory of the {@link SyncSlot}. */
  readonly slot: SharedArrayBuffer;
  /** Requests and answers. */
  readonly port: MessagePort;
  /** Answers to blocked requests that do not fit the slot. */
  readonly largePort: MessagePort;
}

/** Structured-cloneable data from which a view is opened; its ports are transferred. */
export interface ViewData extends ViewEnd {
  /** Shared memory of the {@link HubMemory}. */
  readonly hub: SharedArrayBuffer;
  /** Shared memory of the ring of invalidations. */
  readonly ring: SharedArrayBuffer;
  /** Name of the storage. */
  readonly name: string;
  /** The thread that serves: it cannot have a view that waits for itself. */
  readonly servingThreadId: number;
  readonly readTimeoutMs: number;
  /** Bytes of revisions that the view keeps. */
  readonly cacheBytesMax: number;
  /** Where the contents of blobs are. */
  readonly blobs?: ViewBlobsPlace | undefined;
  /** A module that exports `openReader(data)`, where views read for themselves; see {@link RevisionReader}. */
  readonly reader?: { readonly module: string; readonly data: unknown } | undefined;
}

/** Both ends of a new connection between a view and its server. */
export function createEnds(): { readonly server: ViewEnd; readonly view: ViewEnd } {
  const slot = new SyncSlot().shared;
  const main = new MessageChannel();
  const large = new MessageChannel();
  // What nobody has listened to yet must not keep a thread alive.
  for (const port of [main.port1, main.port2, large.port1, large.port2]) port.unref();
  return {
    server: { slot, port: main.port1, largePort: large.port1 },
    view: { slot, port: main.port2, largePort: large.port2 },
  };
}

/** Numbers that the serving thread posts to a view. */
export const ViewSignal = {
  /** Something was published: poll. */
  wake: 1,
  /** The storage closes: let go of everything. */
  close: 2,
} as const;

/** Objects that a view posts, besides numbers (the slot holds a request) and packets. */
export type ViewNotice =
  | { readonly kind: 'slot'; readonly slot: SharedArrayBuffer }
  | { readonly kind: 'attach'; readonly end: ViewEnd };
