import { Logger } from '../../base/index.js';

const logger = new Logger('holdfast.pool');

/** Something that can be kept for reuse. */
export interface Poolable {
  /** Gives up its caches: it will not be used again. */
  discard(): void;
}

/**
 * Closed connections, kept with their caches; the most recently closed is reused first, its cache being the warmest. There
 * is no limit to the open ones, only warnings: refusing would turn a slow moment into a failure.
 */
export class ConnectionPool<T extends Poolable> {
  #size: number;
  readonly #databaseName: string;
  readonly #idle: T[] = [];
  readonly #open = new Set<T>();

  constructor(size: number, databaseName: string) {
    this.#size = size;
    this.#databaseName = databaseName;
  }

  get size(): number {
    return this.#size;
  }

  /** Changes the number of connections that are kept; superfluous idle ones are dropped, oldest first. */
  set size(size: number) {
    this.#size = size;
    this.#dropSurplus();
  }

  get openConnections(): Iterable<T> {
    return this.#open;
  }

  get idleConnections(): Iterable<T> {
    return this.#idle;
  }

  /** A connection to open: the most recently closed one, else a new one. */
  take(make: () => T): T {
    const connection = this.#idle.pop() ?? make();
    this.#open.add(connection);
    const count = this.#open.size;
    if (count === this.#size + 1) {
      logger.warning(
        `database '${this.#databaseName}': ${count} connections are open, the pool is made for ${this.#size}`,
      );
    } else if (count === this.#size * 2 + 1) {
      logger.critical(
        `database '${this.#databaseName}': ${count} connections are open, more than twice the pool's ${this.#size}: are they closed?`,
      );
    }
    return connection;
  }

  /** Takes a closed connection back. */
  giveBack(connection: T): void {
    if (!this.#open.delete(connection)) return;
    this.#idle.push(connection);
    this.#dropSurplus();
  }

  /** Drops all idle connections. */
  clear(): void {
    for (const connection of this.#idle.splice(0)) connection.discard();
  }

  #dropSurplus(): void {
    while (this.#idle.length > this.#size) this.#idle.shift()?.discard();
  }
}
