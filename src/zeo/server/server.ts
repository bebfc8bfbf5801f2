import type { Socket } from 'node:net';
import {
  argumentTypeError,
  type Clock,
  type Duration,
  delay,
  durationMs,
  Logger,
  refuseDuringImport,
  type Size,
  sizeBytes,
  systemClock,
  type Timer,
} from '../../base/index.js';
import type { Storage } from '../../odb/index.js';
import { RECORD_BYTES_MAX } from '../../odb/remote/index.js';
import { type Address, formatAddress, parseAddress } from '../transport/address.js';
import { Listener } from '../transport/listener.js';
import { ServedStorage } from './served-storage.js';
import { type ConnectionOwner, ServerConnection } from './server-connection.js';
import { type ServerStats, statsOf } from './status.js';

const log = new Logger('holdfast.zeo.server');

/** How often connections are looked through for silent ones. */
const SWEEP_MS = 5000;
/** How long a closing server waits for transactions that were voted. */
const CLOSE_TIMEOUT_MS = 5000;
/** A frame holds at least one record, and what comes with it. */
const FRAME_BYTES_MAX = RECORD_BYTES_MAX + 1024 * 1024;

/** Options of {@link StorageServer.listen}. */
export interface ServerOptions {
  /** What is served: a storage, under the name `1`, or several by their names. They stay the caller's. */
  readonly storage: Storage | Readonly<Record<string, Storage>>;
  /** `host:port`, a port of the loopback interface (0: any free one), or the path of a Unix socket. */
  readonly address: string | number | Address;
  /** Refuse all writes. Default: false. */
  readonly readOnly?: boolean;
  /** Transactions that are remembered so that a returning client need not drop its cache. Default: 100. */
  readonly invalidationQueueSize?: number;
  /** A voted transaction that is not finished within this time is aborted and its client dropped. Default: 30 s. */
  readonly transactionTimeout?: Duration;
  /** Clients at a time. Default: 10,000. */
  readonly connectionsMax?: number;
  /** Time for a handshake. Default: 10 s. */
  readonly handshakeTimeout?: Duration;
  /** A client of which nothing is heard for this long is dropped; live ones ping every few seconds. Default: 60 s. */
  readonly silenceTimeout?: Duration;
  /** Largest frame that is taken. Default: a little more than the largest record, 257 MB. */
  readonly maxFrame?: Size;
  /** Invalidations that wait for a client that does not read, before it is dropped. Default: `'32MB'`. */
  readonly maxBacklog?: Size;
  readonly clock?: Clock;
}

/**
 * Serves storages to clients over TCP or a Unix socket.
 *
 * An observer may rely on this: a commit is acknowledged only when it is durable; a client is never told of data older
 * than an invalidation it has seen; what one client sends, or fails to read, costs that client's connection only.
 *
 * @example
 * ```ts
 * const server = await StorageServer.listen({ storage, address: '127.0.0.1:9999' });
 * …
 * await server.close();
 * ```
 */
export class StorageServer {
  readonly #options: ServerOptions;
  readonly #clock: Clock;
  readonly #served: ReadonlyMap<string, ServedStorage>;
  readonly #connections = new Set<ServerConnection>();
  readonly #sinceMs: number;
  readonly #owner: ConnectionOwner;
  readonly #connectionsMax: number;
  #listener: Listener | undefined;
  #sweep: Timer | undefined;
  #closedBytesIn = 0;
  #closedBytesOut = 0;
  #closing: Promise<void> | undefined;

  private constructor(served: ReadonlyMap<string, ServedStorage>, options: ServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#sinceMs = this.#clock.now();
    this.#served = served;
    this.#connectionsMax = options.connectionsMax ?? 10_000;
    const server = this;
    this.#owner = {
      clock: this.#clock,
      isReadOnly: options.readOnly ?? false,
      frameBytesMax: options.maxFrame === undefined ? FRAME_BYTES_MAX : sizeBytes(options.maxFrame),
      outputBytesMax: sizeBytes(options.maxBacklog ?? '32MB'),
      handshakeTimeoutMs: durationMs(options.handshakeTimeout ?? 10_000),
      transactionTimeoutMs: durationMs(options.transactionTimeout ?? 30_000),
      storageNames: [...served.keys()],
      find: (name) => this.#served.get(name),
      get isClosing() {
        return server.#closing !== undefined;
      },
      closed: (connection) => this.#connectionClosed(connection),
    };
  }

  /**
   * Serves, and resolves once clients can connect.
   *
   * @throws AddressInUseError. StorageError when the address is not to be had. RangeError (`ARG_ADDRESS`).
   */
  static async listen(options: ServerOptions): Promise<StorageServer> {
    refuseDuringImport('StorageServer.listen');
    const address = typeof options.address === 'object' ? options.address : parseAddress(options.address);
    const served = new Map<string, ServedStorage>();
    for (const [name, storage] of Object.entries(storagesOf(options.storage))) {
      served.set(name, await ServedStorage.open(storage, options.invalidationQueueSize ?? 100));
    }
    const server = new StorageServer(served, options);
    try {
      server.#listener = await Listener.open(address, (socket) => server.#accept(socket));
    } catch (error) {
      for (const storage of served.values()) storage.close();
      throw error;
    }
    server.#scheduleSweep();
    log.info('listening', { address: server.address });
    return server;
  }

  /** Where it listens, with the port that was chosen. */
  get address(): string {
    return formatAddress((this.#listener as Listener).address);
  }

  /** What happened since the server began. */
  get stats(): ServerStats {
    let bytesIn = this.#closedBytesIn;
    let bytesOut = this.#closedBytesOut;
    for (const connection of this.#connections) {
      bytesIn += connection.bytesIn;
      bytesOut += connection.bytesOut;
    }
    return statsOf(
      { sinceMs: this.#sinceMs, connectionCount: this.#connections.size, bytesIn, bytesOut },
      this.#served,
    );
  }

  /**
   * Takes no further connections and commits, finishes what was voted, and ends. The storages stay open. May be called
   * twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#sweep?.cancel();
    await this.#listener?.close();
    const drained = Promise.all([...this.#connections].map((connection) => connection.drain()));
    const abort = new AbortController();
    await Promise.race([
      drained,
      delay(this.#clock, CLOSE_TIMEOUT_MS, { signal: abort.signal }).catch(() => undefined),
    ]);
    abort.abort();
    for (const connection of this.#connections) connection.end();
    await Promise.all([...this.#connections].map((connection) => connection.whenClosed));
    for (const served of this.#served.values()) served.close();
    log.info('closed');
  }

  #accept(socket: Socket): void {
    if (this.#closing || this.#connections.size >= this.#connectionsMax) {
      socket.on('error', () => undefined);
      socket.destroy();
      if (!this.#closing) log.warning(`a client was turned away: there are ${this.#connectionsMax} already`);
      return;
    }
    this.#connections.add(new ServerConnection(socket, this.#owner));
  }

  #connectionClosed(connection: ServerConnection): void {
    this.#connections.delete(connection);
    this.#closedBytesIn += connection.bytesIn;
    this.#closedBytesOut += connection.bytesOut;
  }

  #scheduleSweep(): void {
    const silenceMs = durationMs(this.#options.silenceTimeout ?? 60_000);
    this.#sweep = this.#clock.schedule(Math.min(SWEEP_MS, silenceMs), () => {
      for (const connection of this.#connections) connection.dropIfSilent(silenceMs);
      this.#scheduleSweep();
    });
  }
}

function storagesOf(storage: ServerOptions['storage']): Readonly<Record<string, Storage>> {
  if (typeof storage !== 'object' || storage === null) {
    throw argumentTypeError('ARG_STORAGE', 'a server needs a storage, or several by their names');
  }
  // What has a `loadBefore` that can be called is a storage, and not a table of them.
  if (typeof (storage as Storage).loadBefore === 'function') return { 1: storage as Storage };
  return storage as Readonly<Record<string, Storage>>;
}
