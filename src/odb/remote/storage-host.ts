import { deferred, systemClock } from '../../base/index.js';
import { StorageError } from '../errors.js';
import { type HostingOptions, provideHosting, type StorageHosting } from '../storage/hosting.js';
import type { Storage, StorageAttachment } from '../storage/storage.js';
import { Session } from './session.js';
import { ViewHub } from './view-hub.js';

/** How long the owner of a storage waits for views to let go when it closes. */
const CLOSE_TIMEOUT_MS = 10_000;
/** Bytes of revisions that each view keeps. */
const CACHE_BYTES_MAX = 20 * 1024 * 1024;

/**
 * Serves a storage that this thread owns to other threads of the process: what `storage.attach()` of an embedded
 * storage is made of.
 */
export class StorageHost implements StorageHosting {
  readonly #storage: Storage;
  readonly #options: HostingOptions;
  readonly #hub: ViewHub;
  readonly #sessions = new Set<Session>();
  readonly #unsubscribe: () => void;
  #closing: Promise<void> | undefined;

  constructor(options: HostingOptions) {
    const { storage } = options;
    this.#storage = storage;
    this.#options = options;
    const hub = new ViewHub({
      lastTid: storage.lastTransaction(),
      serve: (link) => {
        const session = new Session({ storage, transport: link, locks: options.locks?.(), isLocal: true });
        this.#sessions.add(session);
        return {
          packet: (packet) => session.receive(packet),
          close: () => {
            session.close();
            this.#sessions.delete(session);
          },
        };
      },
    });
    const { supports } = storage;
    hub.memory.identity = storage.identity;
    hub.memory.supports = { ...supports, locks: supports.locks && options.locks !== undefined };
    hub.memory.isReadOnly = storage.isReadOnly;
    hub.memory.state = 'connected';
    this.#hub = hub;
    this.#unsubscribe = storage.subscribe({
      invalidate: (tid, oids) => hub.publish(tid, oids),
      invalidateAll: (tid) => hub.publishAll(tid),
    });
  }

  /** Number of views that are open. */
  get viewCount(): number {
    return this.#hub.viewCount;
  }

  /** A view for another thread. */
  attach(): StorageAttachment {
    const { temporaryDirectory } = this.#storage;
    return this.#hub.attach({
      name: this.#storage.name,
      cacheBytesMax: CACHE_BYTES_MAX,
      reader: this.#options.reader,
      blobs: temporaryDirectory === undefined ? undefined : { kind: 'local', temporaryDirectory },
    });
  }

  /**
   * Lets what the views asked for so far come to its end, and has them let go. Resolves once they have: only then may
   * files that they read be closed.
   *
   * @throws StorageError when a view that reads files does not let go, since its thread is busy or blocked.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#hub.memory.state = 'closed';
    const timeout = deferred<'timeout'>();
    const timer = systemClock.schedule(CLOSE_TIMEOUT_MS, () => timeout.resolve('timeout'), { ref: true });
    try {
      await Promise.race([Promise.all([...this.#sessions].map((session) => session.drain())), timeout.promise]);
      this.#hub.askToClose();
      if ((await Promise.race([this.#hub.empty(), timeout.promise])) !== 'timeout') return;
      if (this.#options.reader) {
        throw new StorageError(
          `${this.#storage.name} cannot be closed: ${this.#hub.viewCount} threads do not let go of it; end them first`,
        );
      }
      this.#hub.closeLinks();
    } finally {
      timer.cancel();
      this.#unsubscribe();
    }
  }
}

provideHosting((options) => new StorageHost(options));
