import { untilAborted } from '../../base/index.js';
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
  /** Names of locks that were got, and not given up since. */
  readonly #held = new Set<string>();
  /** Who asks for a lock and has no answer yet, by its name. */
  readonly #asking = new Map<string, Set<object>>();

  constructor(channel: ViewChannel) {
    this.#channel = channel;
  }

  async tryLock(name: string): Promise<boolean> {
    requireLockName(name);
    const asked = this.#ask(name);
    try {
      const isGranted = await this.#channel.request(
        (id) => valuePacket(Message.tryLock, id, name),
        (packet) => readValue(packet) === true,
      );
      if (isGranted) this.#held.add(name);
      return isGranted;
    } finally {
      asked.end();
    }
  }

  async lock(name: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    requireLockName(name);
    const { signal } = options;
    signal?.throwIfAborted();
    let request = 0;
    const asked = this.#ask(name);
    const granted = this.#channel.request(
      (id) => {
        request = id;
        return valuePacket(Message.lock, id, name);
      },
      () => undefined,
    );
    try {
      await untilAborted(granted, signal);
      this.#held.add(name);
    } catch (error) {
      if (error === signal?.reason) {
        const packet = newPacket(Message.cancelLock, 0, 4);
        new DataView(packet.buffer).setUint32(HEADER_BYTES, request);
        this.#channel.post(packet);
        // The grant may be on its way already: nobody else would give it back.
        granted.then(() => this.#giveBack(name)).catch(() => undefined);
      }
      throw error;
    } finally {
      asked.end();
    }
  }

  async unlock(name: string): Promise<void> {
    requireLockName(name);
    this.#held.delete(name);
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

  /** Notes that somebody here asks for a lock, until the end of that. */
  #ask(name: string): { end(): void } {
    const asking = this.#asking.get(name) ?? new Set();
    this.#asking.set(name, asking);
    const asked = {
      end: () => {
        asking.delete(asked);
        if (asking.size === 0 && this.#asking.get(name) === asking) this.#asking.delete(name);
      },
    };
    asking.add(asked);
    return asked;
  }

  /** Gives up a lock that came too late, unless others here have it too, or are about to: it is one for all of them. */
  async #giveBack(name: string): Promise<void> {
    if (!this.#held.has(name) && !this.#asking.has(name)) await this.unlock(name);
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
