import { type Deferred, deferred, Logger } from '../../base/index.js';
import { StorageError } from '../errors.js';
import { requireLockName } from './arguments.js';
import type { StorageLocks } from './storage.js';

const logger = new Logger('holdfast.storage');

/** The locks of one session, given up with it. */
export interface LockSession extends StorageLocks {
  /** Gives up all locks and ends all waits and watches. May be called twice. */
  close(): void;
}

interface Wait {
  readonly session: Session;
  readonly granted: Deferred<void>;
}

interface Lock {
  holder: Session;
  readonly waits: Wait[];
}

/** Named locks between sessions; waiters are served in order, and a lock falls with its session. */
export class LockTable {
  readonly #locks = new Map<string, Lock>();
  readonly #watches = new Map<string, Set<() => void>>();

  /** A new holder of locks. */
  session(): LockSession {
    return new Session(this);
  }

  /** For {@link Session}. */
  tryLock(name: string, session: Session): boolean {
    const lock = this.#locks.get(name);
    if (lock) return lock.holder === session;
    this.#locks.set(name, { holder: session, waits: [] });
    session.held.add(name);
    return true;
  }

  /** For {@link Session}. */
  async lock(name: string, session: Session, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.tryLock(name, session)) return;
    const wait: Wait = { session, granted: deferred() };
    const { waits } = this.#locks.get(name) as Lock;
    waits.push(wait);
    session.waits.add(wait.granted);
    const onAbort = () => {
      const index = waits.indexOf(wait);
      if (index < 0) return;
      waits.splice(index, 1);
      wait.granted.reject(signal?.reason);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await wait.granted.promise;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      session.waits.delete(wait.granted);
    }
  }

  /** For {@link Session}. */
  unlock(name: string, session: Session): void {
    const lock = this.#locks.get(name);
    if (lock?.holder !== session) return;
    session.held.delete(name);
    const next = lock.waits.shift();
    if (!next) {
      this.#locks.delete(name);
      return;
    }
    lock.holder = next.session;
    next.session.held.add(name);
    next.granted.resolve();
    // Who holds it may take it again: whatever else the session waits for it, it has.
    for (const other of lock.waits.filter((wait) => wait.session === next.session)) {
      lock.waits.splice(lock.waits.indexOf(other), 1);
      other.granted.resolve();
    }
  }

  /** For {@link Session}. */
  watch(name: string, fn: () => void): () => void {
    let watches = this.#watches.get(name);
    if (!watches) {
      watches = new Set();
      this.#watches.set(name, watches);
    }
    // One function may watch one name more than once.
    const call = () => fn();
    watches.add(call);
    return () => {
      watches.delete(call);
      if (watches.size === 0 && this.#watches.get(name) === watches) this.#watches.delete(name);
    };
  }

  /** For {@link Session}: its locks fall, and whoever watches them is told. */
  end(session: Session, reason: Error): void {
    for (const lock of this.#locks.values()) {
      for (let i = lock.waits.length - 1; i >= 0; i--) {
        const wait = lock.waits[i] as Wait;
        if (wait.session !== session) continue;
        lock.waits.splice(i, 1);
        wait.granted.reject(reason);
      }
    }
    const fallen = [...session.held];
    for (const name of fallen) this.unlock(name, session);
    for (const name of fallen) for (const call of [...(this.#watches.get(name) ?? [])]) tellOfFall(name, call);
  }
}

/** Tells one who watches a lock. Where that fails, it keeps neither others from being told nor the session from its end. */
export function tellOfFall(name: string, call: () => void): void {
  try {
    call();
  } catch (error) {
    logger.error(`one who watches the lock '${name}' failed to take note of its fall`, error);
  }
}

class Session implements LockSession {
  readonly held = new Set<string>();
  readonly waits = new Set<Deferred<void>>();
  readonly #table: LockTable;
  readonly #unwatch = new Set<() => void>();
  #closed = false;

  constructor(table: LockTable) {
    this.#table = table;
  }

  async tryLock(name: string): Promise<boolean> {
    requireLockName(name);
    this.#refuseClosed();
    return this.#table.tryLock(name, this);
  }

  async lock(name: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    requireLockName(name);
    this.#refuseClosed();
    await this.#table.lock(name, this, options.signal);
  }

  async unlock(name: string): Promise<void> {
    requireLockName(name);
    this.#table.unlock(name, this);
  }

  watch(name: string, fn: () => void): () => void {
    requireLockName(name);
    const unwatch = this.#table.watch(name, fn);
    this.#unwatch.add(unwatch);
    return () => {
      this.#unwatch.delete(unwatch);
      unwatch();
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const unwatch of this.#unwatch) unwatch();
    this.#table.end(this, ended());
  }

  #refuseClosed(): void {
    if (this.#closed) throw ended();
  }
}

function ended(): StorageError {
  return new StorageError('the session of these locks has ended');
}
