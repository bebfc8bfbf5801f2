import { threadId } from 'node:worker_threads';
import { deferred } from '../../base/index.js';
import type { Oid, Tid } from '../ids.js';
import { READ_TIMEOUT_MS } from '../limits.js';
import type { StorageAttachment } from '../storage/storage.js';
import { HubMemory } from './hub-memory.js';
import { createRing, RingWriter } from './invalidation-ring.js';
import { ViewLink } from './view-link.js';
import { createEnds, type ViewData, type ViewEnd } from './view-parts.js';

/** How a {@link ViewHub} serves. */
export interface ViewHubOptions {
  /** The newest transaction when the hub is made. */
  readonly lastTid: Tid;
  /** Serves a view from now on; returns what is called when it is gone. */
  readonly serve: (link: ViewLink) => { packet(packet: Uint8Array): void; close(): void };
}

/** What the attachments of a hub say about the storage. */
export interface AttachmentOptions {
  readonly name: string;
  readonly cacheBytesMax: number;
  readonly readTimeoutMs?: number;
  readonly reader?: ViewData['reader'];
  readonly blobs?: ViewData['blobs'];
}

/** URL of the module that opens a view from an attachment. */
export const ATTACHED_MODULE = new URL('./attached.js', import.meta.url).href;

/**
 * The views of one storage, as the thread that serves them sees them: their links, the state that they share, and the
 * ring through which they learn what was published.
 */
export class ViewHub {
  readonly memory = new HubMemory();
  readonly ring: SharedArrayBuffer;
  readonly #writer: RingWriter;
  readonly #serve: ViewHubOptions['serve'];
  readonly #links = new Set<ViewLink>();
  readonly #whenEmpty: (() => void)[] = [];

  constructor(options: ViewHubOptions) {
    this.ring = createRing(options.lastTid);
    this.#writer = new RingWriter(this.ring);
    this.#serve = options.serve;
  }

  /** The newest tid that was published to the views. */
  get lastTid(): Tid {
    return this.#writer.lastTid;
  }

  /** Number of views. */
  get viewCount(): number {
    return this.#links.size;
  }

  /** The links of all views. */
  get links(): ReadonlySet<ViewLink> {
    return this.#links;
  }

  /** Tells all views of a transaction. Ordering: called before any answer that depends on it is sent. */
  publish(tid: Tid, oids: readonly Oid[]): void {
    const isForced = this.#writer.publish(tid, oids);
    for (const link of this.#links) link.wake(isForced);
  }

  /** Tells all views that anything may have changed up to `tid`. */
  publishAll(tid: Tid): void {
    this.#writer.publishAll(tid);
    for (const link of this.#links) link.wake();
  }

  /** Serves the view at the other end. */
  adopt(end: ViewEnd): void {
    const link = new ViewLink(end, (other) => this.adopt(other));
    this.#links.add(link);
    const served = this.#serve(link);
    link.listen({
      packet: (packet) => served.packet(packet),
      close: () => {
        this.#links.delete(link);
        served.close();
        if (this.#links.size === 0) for (const resolve of this.#whenEmpty.splice(0)) resolve();
      },
    });
  }

  /** A view for another thread of this process. */
  attach(options: AttachmentOptions): StorageAttachment {
    const { server, view } = createEnds();
    this.adopt(server);
    return attachment(view, { hub: this.memory.shared, ring: this.ring, servingThreadId: threadId, ...options });
  }

  /** Resolves once every view has let go. */
  async empty(): Promise<void> {
    if (this.#links.size === 0) return;
    const empty = deferred();
    this.#whenEmpty.push(empty.resolve);
    await empty.promise;
  }

  /** Asks every view to let go. Ordering: `memory.state` is `closed` before, so that no further one is opened. */
  askToClose(): void {
    for (const link of this.#links) {
      if (link.isOpened) link.askToClose();
      else link.close();
    }
  }

  /** Ends the connections of views that do not let go. */
  closeLinks(): void {
    for (const link of this.#links) link.close();
  }
}

/** The attachment for a view at this end. */
export function attachment(
  view: ViewEnd,
  options: AttachmentOptions & Pick<ViewData, 'hub' | 'ring' | 'servingThreadId'>,
): StorageAttachment {
  const data: ViewData = { readTimeoutMs: READ_TIMEOUT_MS, ...options, ...view };
  return { module: ATTACHED_MODULE, data, transferList: [view.port, view.largePort] };
}
