import type { MessagePort } from 'node:worker_threads';
import { type Deferred, deferred, writeUint32 } from '../../base/index.js';
import { ClientDisconnected } from '../errors.js';
import { packetId, packetType, readValue } from './codec.js';
import { errorFromWire } from './error-codec.js';
import { HubMemory } from './hub-memory.js';
import { RingReader } from './invalidation-ring.js';
import { HEADER_BYTES, Message } from './messages.js';
import { SyncBridge } from './sync-bridge.js';
import { SyncSlot } from './sync-slot.js';
import { createEnds, type ViewData, type ViewEnd, type ViewNotice, ViewSignal } from './view-parts.js';

/** What a view does with what its channel brings, besides answers. */
export interface ChannelHandlers {
  /** Called before anything that came is looked at: what was published before it is to be told first. */
  poll(): void;
  /** A session that held the named lock ended. */
  lockFell(name: string): void;
  /** The storage closes, or the serving thread has ended: let go of everything. */
  closed(): void;
}

interface Pending {
  readonly deferred: Deferred<unknown>;
  readonly read: (packet: Uint8Array) => unknown;
  readonly onLost: (wasSent: boolean, reason: Error) => Error;
}

/**
 * A view's end of the connection to the thread that serves it: requests with promises, requests that block, and the
 * ring of what was published.
 *
 * It keeps its thread's event loop alive only while a promise is pending.
 */
export class ViewChannel {
  readonly hub: HubMemory;
  readonly ring: RingReader;
  readonly #port: MessagePort;
  readonly #largePort: MessagePort;
  readonly #bridge: SyncBridge;
  readonly #handlers: ChannelHandlers;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #wantsWake = false;
  #closed = false;

  constructor(data: ViewData, handlers: ChannelHandlers) {
    this.hub = new HubMemory(data.hub);
    this.ring = new RingReader(data.ring);
    this.#port = data.port;
    this.#largePort = data.largePort;
    this.#handlers = handlers;
    this.#bridge = new SyncBridge({
      hub: this.hub,
      slot: new SyncSlot(data.slot),
      port: data.port,
      largePort: data.largePort,
      readTimeoutMs: data.readTimeoutMs,
    });
    this.#port.on('message', (message: unknown) => this.#receive(message));
    this.#port.on('close', () => this.#end('the thread that keeps the connection has ended'));
    this.#port.unref();
  }

  /** Whether it was closed from either side. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /**
   * Sends a request and blocks until the answer is here.
   *
   * @param build makes the packet for an id.
   * @throws what the server answered with. ClientDisconnected.
   */
  call(build: (id: number) => Uint8Array): Uint8Array {
    if (this.#closed) throw new ClientDisconnected('the storage was closed');
    const answer = this.#bridge.call(build(this.#bridge.nextId()));
    const type = packetType(answer);
    if (type === Message.answer) return answer;
    if (type === Message.lost) throw lostReason(answer).reason;
    throw errorFromWire(readValue(answer));
  }

  /**
   * Sends a request.
   *
   * @param build makes the packet for an id.
   * @param read makes the result of the answer, `answer` or `conflict`; it is called at once when the answer comes,
   * right after a poll.
   * @param onLost makes the error when the connection was lost; `wasSent` says whether the server may have got the
   * request.
   */
  request<T>(
    build: (id: number) => Uint8Array,
    read: (packet: Uint8Array) => T,
    onLost: Pending['onLost'] = (_wasSent, reason) => reason,
  ): Promise<T> {
    if (this.#closed) return Promise.reject(new ClientDisconnected('the storage was closed'));
    const id = this.#newId();
    const pending: Pending = { deferred: deferred<unknown>(), read, onLost };
    let packet: Uint8Array;
    try {
      packet = build(id);
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.#pending.size === 0) this.#port.ref();
    this.#pending.set(id, pending);
    this.#post(packet);
    return pending.deferred.promise as Promise<T>;
  }

  /** Sends a packet that has no answer. */
  post(packet: Uint8Array): void {
    if (!this.#closed) this.#post(packet);
  }

  /** Asks to be woken by what is published from now on, or not to be. */
  set wantsWake(wantsWake: boolean) {
    this.#wantsWake = wantsWake;
    if (wantsWake) this.#bridge.wantWake();
    else this.#bridge.refuseWake();
  }

  /** The view's end for another thread; the serving thread takes on the other end. */
  attach(): ViewEnd {
    if (this.#closed) throw new ClientDisconnected('the storage was closed');
    const { server, view } = createEnds();
    const notice: ViewNotice = { kind: 'attach', end: server };
    this.#port.postMessage(notice, [server.port, server.largePort]);
    return view;
  }

  /** Ends the connection. What is pending is rejected. */
  close(): void {
    this.#end('the storage was closed');
  }

  #newId(): number {
    do this.#lastId = (this.#lastId + 1) & 0x7fff_ffff;
    while (this.#lastId === 0 || this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #post(packet: Uint8Array): void {
    if (packet.length >= 16_384) this.#port.postMessage(packet, [packet.buffer as ArrayBuffer]);
    else this.#port.postMessage(packet);
  }

  #receive(message: unknown): void {
    if (this.#closed) return;
    if (message === ViewSignal.wake) {
      // Ordering: armed again before the poll, so that what is published after it wakes again.
      if (this.#wantsWake) this.#bridge.wantWake();
      this.#handlers.poll();
    } else if (message === ViewSignal.close) {
      this.#end('the storage was closed');
    } else {
      this.#handlers.poll();
      this.#take(message as Uint8Array);
    }
  }

  #take(packet: Uint8Array): void {
    if (packetType(packet) === Message.lockFell) {
      this.#handlers.lockFell(readValue(packet) as string);
      return;
    }
    const id = packetId(packet);
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#port.unref();
    try {
      switch (packetType(packet)) {
        case Message.answer:
        case Message.conflict:
          pending.deferred.resolve(pending.read(packet));
          break;
        case Message.lost: {
          const { wasSent, reason } = lostReason(packet);
          pending.deferred.reject(pending.onLost(wasSent, reason));
          break;
        }
        default:
          pending.deferred.reject(errorFromWire(readValue(packet)));
      }
    } catch (error) {
      pending.deferred.reject(error);
    }
  }

  #end(detail: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#port.close();
    this.#largePort.close();
    for (const { deferred: end, onLost } of this.#pending.values()) {
      end.reject(onLost(true, new ClientDisconnected(detail)));
    }
    this.#pending.clear();
    this.#handlers.closed();
  }
}

/** The packet with which the serving thread answers what the server will not answer any more. */
export function lostPacket(id: number, wasSent: boolean, detail: string): Uint8Array {
  const text = Buffer.from(detail);
  const packet = new Uint8Array(HEADER_BYTES + 1 + text.length);
  packet[0] = Message.lost;
  writeUint32(packet, 1, id);
  packet[HEADER_BYTES] = wasSent ? 1 : 0;
  packet.set(text, HEADER_BYTES + 1);
  return packet;
}

function lostReason(packet: Uint8Array): { readonly wasSent: boolean; readonly reason: Error } {
  const detail = Buffer.from(packet.subarray(HEADER_BYTES + 1)).toString();
  return { wasSent: packet[HEADER_BYTES] === 1, reason: new ClientDisconnected(detail) };
}
