import { Worker } from 'node:worker_threads';
import { type Deferred, deferred, Logger } from '../../base/index.js';
import { ClientDisconnected, errorFromWire, HubMemory, type ViewData } from '../../odb/remote/index.js';
import type { IoReport, IoRequest } from './io-messages.js';

const log = new Logger('holdfast.zeo.client');

/** A connection that the I/O thread keeps, as its starter knows it. */
interface Link {
  readonly made: Deferred<ViewData>;
  readonly connected: Deferred<void>;
  readonly closed: Deferred<void>;
  hub: HubMemory | undefined;
  lastFailure: string;
}

let current: IoThread | undefined;

/**
 * The thread that owns the sockets of this thread's clients. There is one while there are clients; it keeps nothing
 * alive except while somebody waits for it here.
 */
export class IoThread {
  readonly #worker: Worker;
  readonly #links = new Map<number, Link>();
  readonly #closing = new Map<number, Link>();
  #lastLink = 0;
  #waiters = 0;
  #isDead = false;

  /** The running I/O thread, or a new one. */
  static get(): IoThread {
    if (current === undefined || current.#isDead) current = new IoThread();
    return current;
  }

  private constructor() {
    this.#worker = new Worker(new URL('./io-entry.js', import.meta.url), {
      name: 'holdfast-io',
      // The program's own flags (a loader, a debugger port) are not for this thread.
      execArgv: [],
      stdin: false,
    });
    this.#worker.unref();
    this.#worker.on('message', (message: IoReport) => this.#receive(message));
    this.#worker.on('error', (error) => this.#died(error));
    this.#worker.on('exit', () => this.#died(undefined));
  }

  /** Starts to connect. Resolves to the number of the link and its first view, before there is a connection. */
  async open(
    options: Omit<Extract<IoRequest, { kind: 'open' }>, 'kind' | 'link'>,
  ): Promise<{ readonly link: number; readonly data: ViewData }> {
    this.#lastLink += 1;
    const number = this.#lastLink;
    const link: Link = {
      made: deferred(),
      connected: deferred(),
      closed: deferred(),
      hub: undefined,
      lastFailure: 'no attempt has come to its end',
    };
    // Nobody may be waiting when it fails.
    link.connected.promise.catch(() => undefined);
    this.#links.set(number, link);
    this.#post({ kind: 'open', link: number, ...options });
    return { link: number, data: await this.#wait(link.made.promise) };
  }

  /** Resolves with the first connection. @throws what the server refused with. ClientDisconnected. */
  async connected(number: number): Promise<void> {
    const link = this.#links.get(number);
    if (link === undefined) throw new ClientDisconnected('the storage was closed');
    await this.#wait(link.connected.promise);
  }

  /** Why a link has not been connected yet. */
  lastFailure(number: number): string {
    return this.#links.get(number)?.lastFailure ?? 'the storage was closed';
  }

  /** Ends a link; its views are asked to close. */
  async close(number: number): Promise<void> {
    const link = this.#links.get(number);
    if (link === undefined) return;
    this.#links.delete(number);
    link.connected.reject(new ClientDisconnected('the storage was closed'));
    if (this.#isDead) return;
    this.#post({ kind: 'close', link: number });
    this.#closing.set(number, link);
    await this.#wait(link.closed.promise);
    this.#closing.delete(number);
    if (this.#links.size > 0 || this.#closing.size > 0 || this.#isDead) return;
    this.#isDead = true;
    if (current === this) current = undefined;
    await this.#wait(this.#worker.terminate());
  }

  #post(request: IoRequest): void {
    this.#worker.postMessage(request);
  }

  /** Keeps the process alive while somebody waits: a promise that nothing can settle would end it with an error. */
  async #wait<T>(promise: Promise<T>): Promise<T> {
    if (this.#waiters === 0) this.#worker.ref();
    this.#waiters += 1;
    try {
      return await promise;
    } finally {
      this.#waiters -= 1;
      if (this.#waiters === 0) this.#worker.unref();
    }
  }

  #receive(message: IoReport): void {
    const link = this.#links.get(message.link) ?? this.#closing.get(message.link);
    switch (message.kind) {
      case 'made': {
        const data = message.data as ViewData;
        if (link) link.hub = new HubMemory(data.hub);
        link?.made.resolve(data);
        break;
      }
      case 'attempt':
        if (link) link.lastFailure = message.failure;
        break;
      case 'connected':
        link?.connected.resolve();
        break;
      case 'refused':
        link?.connected.reject(errorFromWire(message.error));
        break;
      case 'closed':
        link?.closed.resolve();
        break;
      case 'log':
        log.log(message.level, message.message);
        break;
      default:
        message satisfies never;
    }
  }

  #died(error: Error | undefined): void {
    if (this.#isDead && this.#links.size === 0) return;
    const isFirst = !this.#isDead;
    this.#isDead = true;
    if (isFirst) log.critical('the I/O thread has ended: its storages have to be opened again', error);
    const reason = new ClientDisconnected('the thread that keeps the connection has ended', { cause: error });
    for (const link of [...this.#links.values(), ...this.#closing.values()]) {
      // In case that it could not do so itself.
      if (link.hub) link.hub.state = 'dead';
      link.made.reject(reason);
      link.connected.reject(reason);
      link.closed.resolve();
    }
  }
}
