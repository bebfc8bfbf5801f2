import { type Clock, type Duration, durationMs, Logger, type Timer } from '../base/index.js';
import type { StorageLocks } from '../odb/index.js';

const logger = new Logger('zc.async.events');

/** How long a dispatcher whose session ended has to come back. */
const SESSION_GRACE_MS = 5000;
/**
 * How long a dispatcher has that is merely found without its lock. Longer, because a server that was restarted knows of
 * no locks until its clients are back.
 */
const ABSENCE_GRACE_MS = 15_000;
/** How often siblings are looked at whose end we may not have been told of, since we were away ourselves. */
const RECHECK_MS = 30_000;
/** Every dispatcher is watched by this many others at most: enough that they do not all end with it. */
const WATCHED_MAX = 8;
/** How long our own lock may be held by a sibling that is just looking whether we are there. */
const OWN_LOCK_WAIT_MS = 2000;

/**
 * Dispatchers of this process, by the locks that they share. A lock that its own session asks for is granted, so these
 * cannot be told from the dead by asking; they need no watch, since they end with us.
 */
const housemates = new WeakMap<StorageLocks, Set<string>>();

/** What a {@link SiblingWatch} needs. */
export interface SiblingWatchOptions {
  readonly locks: StorageLocks;
  /** UUID of the dispatcher that watches. */
  readonly uuid: string;
  readonly clock: Clock;
  /** Default: 5 s. */
  readonly sessionGrace?: Duration;
  /**
   * Deactivates, in every queue, a dispatcher that is gone. Resolves to whether there was anything to do: another
   * sibling may have been faster.
   */
  bury(uuid: string): Promise<boolean>;
}

/** A sibling that is watched. */
interface Watched {
  readonly endWatch: () => void;
  /** Runs when the sibling was found gone; it has until then to come back. */
  timer: Timer | undefined;
}

/**
 * Finds out at once when another dispatcher is gone, for storages that have locks.
 *
 * Every dispatcher holds the lock `dispatcher:<uuid>` for as long as it lives, and the lock falls with its session.
 * Whoever holds a sibling's lock therefore knows that the sibling is away, keeps it away while it buries it, and keeps
 * others from doing the same. A sibling that was buried by mistake cannot commit its jobs: that is safe, only wasteful.
 */
export class SiblingWatch {
  readonly #options: SiblingWatchOptions;
  readonly #graceMs: number;
  readonly #watched = new Map<string, Watched>();
  /** Checks under way, so that closing can wait for them. */
  readonly #checks = new Set<Promise<void>>();
  #recheckedAtMs: number;
  #holdsOwnLock = false;
  #closed = false;

  constructor(options: SiblingWatchOptions) {
    this.#options = options;
    this.#graceMs = durationMs(options.sessionGrace ?? SESSION_GRACE_MS);
    this.#recheckedAtMs = options.clock.now();
  }

  /**
   * Takes our own lock; to be called before the dispatcher is activated. Resolves to false when another process holds
   * it: the same UUID is in use elsewhere. Once it is ours, an activation under our UUID that is still in the database
   * is a dead one's.
   */
  async takeOwnLock(): Promise<boolean> {
    if (this.#holdsOwnLock) return true;
    const { locks, uuid, clock } = this.#options;
    if (this.#housemates.has(uuid)) return false;
    const patience = new AbortController();
    const timer = clock.schedule(OWN_LOCK_WAIT_MS, () => patience.abort(new OwnLockTaken()), { ref: true });
    try {
      await locks.lock(lockName(uuid), { signal: patience.signal });
      this.#holdsOwnLock = true;
      this.#housemates.add(uuid);
    } catch (error) {
      if (!(error instanceof OwnLockTaken)) throw error;
    } finally {
      timer.cancel();
    }
    return this.#holdsOwnLock;
  }

  /** Watches those of the active dispatchers that come next in the order of UUIDs, and no others from now on. */
  follow(activeUuids: Iterable<string>): void {
    if (this.#closed) return;
    const others = [...activeUuids].filter((uuid) => !this.#housemates.has(uuid));
    const next = nextInOrder(this.#options.uuid, others);
    for (const [uuid, { endWatch, timer }] of this.#watched) {
      if (next.includes(uuid)) continue;
      endWatch();
      timer?.cancel();
      this.#watched.delete(uuid);
    }
    const { clock, locks } = this.#options;
    const recheck = clock.now() - this.#recheckedAtMs >= RECHECK_MS;
    if (recheck) this.#recheckedAtMs = clock.now();
    for (const uuid of next) {
      const known = this.#watched.has(uuid);
      if (!known) {
        const endWatch = locks.watch(lockName(uuid), () => this.#expectBack(uuid, this.#graceMs));
        this.#watched.set(uuid, { endWatch, timer: undefined });
      }
      if (!known || recheck) this.#track(this.#look(uuid));
    }
  }

  /** Ends the watch and gives our own lock up; resolves once no burial is under way. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const { endWatch, timer } of this.#watched.values()) {
      endWatch();
      timer?.cancel();
    }
    this.#watched.clear();
    await Promise.allSettled(this.#checks);
    if (!this.#holdsOwnLock) return;
    this.#holdsOwnLock = false;
    this.#housemates.delete(this.#options.uuid);
    try {
      await this.#options.locks.unlock(lockName(this.#options.uuid));
    } catch {
      // The lock falls with our session anyway.
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #housemates(): Set<string> {
    const { locks } = this.#options;
    let uuids = housemates.get(locks);
    if (!uuids) {
      uuids = new Set();
      housemates.set(locks, uuids);
    }
    return uuids;
  }

  /** Looks whether a sibling is there, whose end may have been before we began to watch. */
  async #look(uuid: string): Promise<void> {
    const { locks } = this.#options;
    try {
      if (!(await locks.tryLock(lockName(uuid)))) return;
      await locks.unlock(lockName(uuid));
    } catch {
      // Disconnected: we look again later.
      return;
    }
    this.#expectBack(uuid, Math.max(this.#graceMs, ABSENCE_GRACE_MS));
  }

  /** The sibling is away: gives it time, then buries it unless it is back. The shorter of two times counts. */
  #expectBack(uuid: string, graceMs: number): void {
    const watched = this.#watched.get(uuid);
    if (!watched || this.#closed) return;
    if (watched.timer && graceMs > this.#graceMs) return;
    watched.timer?.cancel();
    watched.timer = this.#options.clock.schedule(graceMs, () => {
      watched.timer = undefined;
      this.#track(this.#buryIfAway(uuid));
    });
  }

  async #buryIfAway(uuid: string): Promise<void> {
    const { locks, bury } = this.#options;
    try {
      // Held by someone: it is back, or another sibling buries it, whose own end we would be told of.
      if (!(await locks.tryLock(lockName(uuid)))) return;
      try {
        if (this.#closed) return;
        if (await bury(uuid)) {
          logger.log('error', `dispatcher ${uuid} was buried: its session ended, and it did not come back in time`, {
            facts: { uuid, buriedBy: this.#options.uuid },
          });
        }
      } finally {
        await locks.unlock(lockName(uuid));
      }
    } catch (error) {
      logger.warning(`dispatcher ${uuid} could not be buried; it is tried again`, error);
      this.#expectBack(uuid, this.#graceMs);
    }
  }

  #track(check: Promise<void>): void {
    this.#checks.add(check);
    void check.finally(() => this.#checks.delete(check));
  }
}

class OwnLockTaken extends Error {}

function lockName(uuid: string): string {
  return `dispatcher:${uuid}`;
}

/** The siblings that follow `uuid` in the order of UUIDs, wrapping around. */
function nextInOrder(uuid: string, others: Iterable<string>): readonly string[] {
  const sorted = [...new Set(others)].filter((other) => other !== uuid).sort();
  const start = sorted.findIndex((other) => other > uuid);
  const rotated = start < 0 ? sorted : [...sorted.slice(start), ...sorted.slice(0, start)];
  return rotated.slice(0, WATCHED_MAX);
}
