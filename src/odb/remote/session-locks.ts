import { ClientDisconnected, StorageError } from '../errors.js';
import type { LockSession } from '../storage/lock-table.js';

/** The locks of one client: given up with its session. */
export class SessionLocks {
  readonly #locks: LockSession | undefined;
  readonly #fell: (name: string) => void;
  /** Waits for locks, by the ids of the requests. */
  readonly #waits = new Map<number, AbortController>();
  readonly #watches = new Map<string, () => void>();

  /**
   * @param locks missing where the storage has none.
   * @param fell tells the client that a lock fell that it watches.
   */
  constructor(locks: LockSession | undefined, fell: (name: string) => void) {
    this.#locks = locks;
    this.#fell = fell;
  }

  async tryLock(name: string): Promise<boolean> {
    return this.#required().tryLock(name);
  }

  /** Waits for a lock, until it is granted, or {@link cancel} is called with the same id. */
  async lock(id: number, name: string): Promise<void> {
    const controller = new AbortController();
    this.#waits.set(id, controller);
    try {
      await this.#required().lock(name, { signal: controller.signal });
    } finally {
      this.#waits.delete(id);
    }
  }

  cancel(id: number): void {
    this.#waits.get(id)?.abort(new ClientDisconnected('the wait for the lock was withdrawn'));
  }

  async unlock(name: string): Promise<void> {
    await this.#required().unlock(name);
  }

  watch(name: string): void {
    if (this.#locks === undefined || this.#watches.has(name)) return;
    this.#watches.set(
      name,
      this.#locks.watch(name, () => this.#fell(name)),
    );
  }

  unwatch(name: string): void {
    this.#watches.get(name)?.();
    this.#watches.delete(name);
  }

  /** Takes up what the client's former session had; resolves to the locks that nobody else has got meanwhile. */
  async resume(former: { readonly locks: readonly string[]; readonly watches: readonly string[] }): Promise<string[]> {
    const locks = this.#locks;
    if (locks === undefined) return [];
    for (const name of former.watches) this.watch(name);
    // Ordering: all are asked for now, before any request of anybody else is looked at.
    const got = await Promise.all(former.locks.map((name) => locks.tryLock(name)));
    return former.locks.filter((_name, index) => got[index]);
  }

  close(): void {
    for (const controller of this.#waits.values()) controller.abort(new ClientDisconnected('the session ended'));
    for (const stop of this.#watches.values()) stop();
    this.#watches.clear();
    this.#locks?.close();
  }

  #required(): LockSession {
    if (this.#locks === undefined) throw new StorageError('this storage has no locks');
    return this.#locks;
  }
}
