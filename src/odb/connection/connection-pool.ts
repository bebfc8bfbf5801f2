import { type Clock, Logger, type Timer } from '../../base/index.js';

const logger = new Logger('holdfast.pool');

/** Something that can be kept for reuse. */
export interface Poolable {
  /** Gives up its caches: it will not be used again. */
  discard(): void;
}

/** What a pool is made for. */
export interface PoolOptions {
  /** Number of those that are kept. */
  readonly size: number;
  /** How long one is kept that is not used, in ms. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** What is pooled, for messages: `database 'main': connections`. */
  readonly what: string;
}

interface Idle<T> {
  readonly item: T;
  readonly sinceMs: number;
}

/**
 * Closed connections, kept with their caches; the most recently closed is reused first, its cache being the warmest. There
 * is no limit to the open ones, only warnings: refusing would turn a slow moment into a failure.
 *
 * Open ones are held weakly: one that was forgotten, rather than closed, is garbage.
 */
export class ConnectionPool<T extends Poolable> {
  #size: number;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #what: string;
  /** The longest idle first. */
  readonly #idle: Idle<T>[] = [];
  readonly #open = new Set<WeakRef<T>>();
  readonly #references = new WeakMap<T, WeakRef<T>>();
  readonly #forgotten = new FinalizationRegistry<WeakRef<T>>((reference) => this.#open.delete(reference));
  #timer: Timer | undefined;
  #isClosed = false;

  constructor({ size, timeoutMs, clock, what }: PoolOptions) {
    this.#size = size;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#what = what;
  }

  get size(): number {
    return this.#size;
  }

  /** Changes the number of connections that are kept; superfluous idle ones are dropped, oldest first. */
  set size(size: number) {
    this.#size = size;
    this.#dropSurplus();
  }

  /** Number of those that are kept now. */
  get idleCount(): number {
    return this.#idle.length;
  }

  /** One to open: the most recently closed one that fits, else a new one. */
  take(make: () => T, fits: (item: T) => boolean = () => true): T {
    const index = this.#idle.findLastIndex(({ item }) => fits(item));
    const taken = index < 0 ? make() : (this.#idle.splice(index, 1)[0] as Idle<T>).item;
    let reference = this.#references.get(taken);
    if (!reference) {
      reference = new WeakRef(taken);
      this.#references.set(taken, reference);
      this.#forgotten.register(taken, reference);
    }
    this.#open.add(reference);
    const count = this.#open.size;
    if (count === this.#size + 1) {
      logger.warning(`${this.#what}: ${count} are open, the pool is made for ${this.#size}`);
    } else if (count === this.#size * 2 + 1) {
      logger.critical(`${this.#what}: ${count} are open, more than twice the pool's ${this.#size}: are they closed?`);
    }
    return taken;
  }

  /** Takes a closed one back. */
  giveBack(item: T): void {
    const reference = this.#references.get(item);
    if (!reference || !this.#open.delete(reference)) return;
    if (this.#isClosed) {
      item.discard();
      return;
    }
    this.#idle.push({ item, sinceMs: this.#clock.now() });
    this.#dropSurplus();
    this.#watch();
  }

  /** Drops all idle ones, and from now on those that are given back. */
  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const { item } of this.#idle.splice(0)) item.discard();
  }

  #dropSurplus(): void {
    while (this.#idle.length > Math.max(0, this.#size)) this.#idle.shift()?.item.discard();
  }

  /** Waits until the longest idle one is to go. */
  #watch(): void {
    const [oldest] = this.#idle;
    if (this.#timer || !oldest || this.#timeoutMs === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#clock.schedule(oldest.sinceMs + this.#timeoutMs - this.#clock.now(), () => {
      this.#timer = undefined;
      const endMs = this.#clock.now() - this.#timeoutMs;
      while (this.#idle[0] && this.#idle[0].sinceMs <= endMs) this.#idle.shift()?.item.discard();
      this.#watch();
    });
  }
}
