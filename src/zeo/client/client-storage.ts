import { hostname } from 'node:os';
import { basename, resolve } from 'node:path';
import {
  argumentRangeError,
  type Duration,
  deferred,
  durationMs,
  type Size,
  sizeBytes,
  systemClock,
} from '../../base/index.js';
import { type ConflictResolver, recordConflictResolver } from '../../odb/index.js';
import {
  BlobCacheFolder,
  ClientDisconnected,
  READ_TIMEOUT_MS,
  type ViewData,
  ViewStorage,
} from '../../odb/remote/index.js';
import { formatAddress, parseAddress } from '../transport/address.js';
import { IoThread } from './io-thread.js';

/** Options of {@link ClientStorage.connect}. */
export interface ClientOptions {
  /** Name of the storage on the server. Default: `'1'`. */
  readonly storage?: string;
  /** Revisions that are kept in memory, in each thread. Default: `'20MB'`. */
  readonly cacheSize?: Size;
  /** Bytes of contents of blobs that are kept as files; those that were not used for longest go. Default: `'1GB'`. */
  readonly blobCacheSize?: Size;
  /** Folder of these files, which processes may share and which outlasts them. Default: a temporary one of this storage. */
  readonly blobCachePath?: string;
  /** Wait for the first connection; without, the storage is disconnected until there is one. Default: true. */
  readonly wait?: boolean;
  /** How long promises, and `connect` itself, wait for a connection. Default: 30 s. */
  readonly waitTimeout?: Duration;
  /** How long a synchronous read waits for its answer. Default: 30 s. */
  readonly readTimeout?: Duration;
  /** Refuse writes. Default: false. */
  readonly readOnly?: boolean;
  /** Who this is, in the server's log. Default: the program, process and host. */
  readonly label?: string;
  /** Merges changes whose class the server does not know. Default: the merge of registered classes. */
  readonly conflictResolver?: ConflictResolver;
}

/**
 * A storage on a server.
 *
 * Reads that its cache does not answer block until the server does, for at most `readTimeout`; while there is no
 * connection they fail at once with `ClientDisconnected`, and promises wait for it, for at most `waitTimeout`. It
 * connects again by itself.
 *
 * A commit whose answer was lost with the connection rejects with `CommitUncertainError`: `await error.outcome()` says
 * whether it happened. Locks are taken again after a reconnect, those excepted that others have got meanwhile; watches
 * are called then, since sessions may have ended unseen.
 *
 * Used by several threads, each has a view of its own (`attach`); one thread of the process does the socket work.
 */
export class ClientStorage extends ViewStorage {
  readonly #thread: IoThread;
  readonly #link: number;
  readonly #blobFolder: BlobCacheFolder;
  #ending: Promise<void> | undefined;

  private constructor(options: {
    readonly data: ViewData;
    readonly resolver: ConflictResolver;
    readonly thread: IoThread;
    readonly link: number;
    readonly blobs: BlobCacheFolder;
  }) {
    super({ data: options.data, resolver: options.resolver });
    this.#thread = options.thread;
    this.#link = options.link;
    this.#blobFolder = options.blobs;
  }

  /**
   * Connects to a server: `host:port`, a port of this machine, or the path of a Unix socket. Several are tried in turn.
   *
   * @throws ClientDisconnected when there is no connection within `waitTimeout`. StorageError when the server has no
   * storage of that name. ProtocolError when it is no holdfast server, or of another version.
   */
  static async connect(
    address: string | number | readonly (string | number)[],
    options: ClientOptions = {},
  ): Promise<ClientStorage> {
    const addresses = (Array.isArray(address) ? (address as readonly (string | number)[]) : [address]).map((text) =>
      parseAddress(text as string | number),
    );
    const first = addresses[0];
    if (first === undefined) throw argumentRangeError('ARG_ADDRESS', 'a client needs the address of a server');
    const { storage = '1', wait = true } = options;
    const waitTimeoutMs = durationMs(options.waitTimeout ?? 30_000);
    const name = `zeo://${formatAddress(first)}/${storage}`;
    const { blobCachePath } = options;
    const cacheBytesMax = sizeBytes(options.cacheSize ?? '20MB');
    const blobs = new BlobCacheFolder(
      blobCachePath === undefined ? undefined : resolve(blobCachePath),
      sizeBytes(options.blobCacheSize ?? '1GB'),
    );
    const thread = IoThread.get();
    const { link, data } = await thread.open({
      addresses,
      storage,
      name,
      label: options.label ?? defaultLabel(),
      isReadOnly: options.readOnly ?? false,
      waitTimeoutMs,
      readTimeoutMs: durationMs(options.readTimeout ?? READ_TIMEOUT_MS),
      cacheBytesMax,
      blobCache: blobs.place,
    });
    const client = new ClientStorage({
      data,
      resolver: options.conflictResolver ?? recordConflictResolver,
      thread,
      link,
      blobs,
    });
    if (!wait) return client;
    try {
      await connectedWithin(waitTimeoutMs, { thread, link, name });
    } catch (error) {
      await client.close();
      throw error;
    }
    client.poll();
    return client;
  }

  /** Whether there is a connection to the server. */
  get isConnected(): boolean {
    return this.hubState === 'connected';
  }

  /** Ends the connection; views in other threads end with it. May be called twice. */
  override close(): Promise<void> {
    this.#ending ??= super
      .close()
      .then(() => this.#thread.close(this.#link))
      .finally(() => this.#blobFolder.close());
    return this.#ending;
  }
}

function defaultLabel(): string {
  return `${basename(process.argv[1] ?? 'node')} (process ${process.pid} on ${hostname()})`;
}

async function connectedWithin(
  limitMs: number,
  { thread, link, name }: { readonly thread: IoThread; readonly link: number; readonly name: string },
): Promise<void> {
  const late = deferred();
  const timer = systemClock.schedule(
    limitMs,
    () => {
      const detail = thread.lastFailure(link);
      late.reject(new ClientDisconnected(`${name}: no connection within ${limitMs} ms (${detail})`));
    },
    { ref: true },
  );
  try {
    await Promise.race([thread.connected(link), late.promise]);
  } finally {
    timer.cancel();
  }
}
