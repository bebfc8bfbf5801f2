import { ClientDisconnected, StorageError } from '../errors.js';
import { requireLockName } from '../storage/arguments.js';
import { tellOfFall } from '../storage/lock-table.js';
import type { StorageLocks } from '../storage/storage.js';
import { newPacket, readValue, valuePacket } from './codec.js';
import { HEADER_BYTES, Message } from './messages.js';
import type { ViewChannel } from './view-channel.js';

/** The locks of a view: its server keeps them for it, and they fall with its connection. */
export class ViewLocks implements StorageLocks {
  readonly #channel: ViewChannel;
  readonly #watchers = new Map<string, Set<() => void>>();

  constructor(channel: ViewChannel) {
    this.#channel = channel;
  }

  async tryLock(name: string): Promise<boolean> {
    requireLockName(name);
    return this.#channel.request(
      (id) => valuePacket(Message.tryLock, id, name),
      (packet) => readValue(packet) === true,
    );
  }

  async lock(name: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    requireLockName(name);
    const { signal } = options;
    signal?.throwIfAborted();
    let request = 0;
    const granted = this.#channel.request(
      (id) => {
        request = id;
        return valuePacket(Message.lock, id, name);
      },
      () => undefined,
    );
    if (signal === undefined) return granted;
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        const packet = newPacket(Message.cancelLock, 0, 4);
        new DataView(packet.buffer).setUint32(HEADER_BYTES, request);
        this.#channel.post(packet);
        // The grant may be on its way already: nobody would give it back.
        granted.then(() => this.unlock(name)).catch(() => undefined);
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      granted.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    });
  }

  async unlock(name: string): Promise<void> {
    requireLockName(name);
    try {
      await this.#channel.request(
        (id) => valuePacket(Message.unlock, id, name),
        () => undefined,
      );
    } catch (error) {
      // It fell with the connection.
      if (!(error instanceof ClientDisconnected)) throw error;
    }
  }

  watch(name: string, fn: () => void): () => void {
    requireLockName(name);
    if (!this.#channel.hub.supports.locks) throw new StorageError('this storage has no locks');
    let watchers = this.#watchers.get(name);
    if (watchers === undefined) {
      watchers = new Set();
      this.#watchers.set(name, watchers);
      this.#channel.post(valuePacket(Message.watch, 0, name));
    }
    // One function may watch twice: each watch ends by itself.
    const watcher = () => fn();
    watchers.add(watcher);
    return () => {
      watchers.delete(watcher);
      if (watchers.size > 0 || this.#watchers.get(name) !== watchers) return;
      this.#watchers.delete(name);
      this.#channel.post(valuePacket(Message.unwatch, 0, name));
    };
  }

  /** A session that held the lock ended. */
  lockFell(name: string): void {
    for (const watcher of [...(this.#watchers.get(name) ?? [])]) tellOfFall(name, watcher);
  }
}
