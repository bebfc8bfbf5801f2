import { availableParallelism } from 'node:os';
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { ClientDisconnected } from '../errors.js';
import { packetId } from './codec.js';
import type { HubMemory } from './hub-memory.js';
import { SYNC_ID_BIT } from './messages.js';
import { ANSWER_LENGTH, ANSWERED, LARGE, REQUEST_BYTES_MAX, REQUEST_LENGTH, SyncSlot, WAKE } from './sync-slot.js';
import type { ViewNotice } from './view-parts.js';

/** How long to look for the answer before the thread goes to sleep: waking one costs more than most answers take. A round trip to a server is among those. */
const SPIN_MS = 0.3;
/** Looks at the memory between two looks at the time. */
const LOOKS_PER_CHECK = 64;
/** Longest sleep before the state of the serving thread is looked at. */
const SLICE_MS = 1000;
/** Slices without a heartbeat after which the serving thread is taken for dead. */
const SLICES_WITHOUT_HEARTBEAT_MAX = 10;

const canSpin = availableParallelism() > 1;

/**
 * Asks another thread and blocks until it answers: the synchronous face of a storage that is asynchronous by nature.
 *
 * No wait is unbounded: each sleeps in slices, and ends when the serving thread has marked its death, when its
 * heartbeat stands still, or when `readTimeoutMs` is over.
 */
export class SyncBridge {
  readonly #hub: HubMemory;
  readonly #port: MessagePort;
  readonly #largePort: MessagePort;
  readonly #readTimeoutMs: number;
  #slot: SyncSlot;
  #sequence = 0;
  /** How often of late the answer came while the thread was looking for it; spinning stops where it does not pay. */
  #spinWorth = 8;

  constructor(options: {
    readonly hub: HubMemory;
    readonly slot: SyncSlot;
    readonly port: MessagePort;
    readonly largePort: MessagePort;
    readonly readTimeoutMs: number;
  }) {
    this.#hub = options.hub;
    this.#slot = options.slot;
    this.#port = options.port;
    this.#largePort = options.largePort;
    this.#readTimeoutMs = options.readTimeoutMs;
  }

  /** Asks to be told by a message of the next publish. */
  wantWake(): void {
    Atomics.store(this.#slot.control, WAKE, 1);
  }

  /** Asks not to be told any more. */
  refuseWake(): void {
    Atomics.store(this.#slot.control, WAKE, 0);
  }

  /** The id for the request of the next {@link call}. */
  nextId(): number {
    this.#sequence = (this.#sequence + 1) & 0x7fff_ffff;
    return (SYNC_ID_BIT | this.#sequence) >>> 0;
  }

  /**
   * Sends the request, whose id is the one from {@link nextId}, and returns the answering packet.
   *
   * @throws ClientDisconnected.
   */
  call(request: Uint8Array): Uint8Array {
    this.#refuseUnlessConnected();
    const id = packetId(request);
    const { control } = this.#slot;
    const before = Atomics.load(control, ANSWERED);
    if (request.length <= REQUEST_BYTES_MAX) {
      this.#slot.request.set(request);
      Atomics.store(control, REQUEST_LENGTH, request.length);
      this.#port.postMessage(id);
    } else {
      this.#port.postMessage(request);
    }
    if (!(canSpin && this.#spin(before))) this.#sleep(before);
    const length = Atomics.load(control, ANSWER_LENGTH);
    // A copy, since the next answer overwrites the slot.
    return length === LARGE ? this.#receiveLarge(id) : Uint8Array.prototype.slice.call(this.#slot.answer, 0, length);
  }

  #spin(before: number): boolean {
    if (this.#spinWorth <= 0) {
      // Once in a while it is tried again: the load of the machine changes.
      this.#spinWorth += 0.125;
      if (this.#spinWorth <= 0) return false;
    }
    const { control } = this.#slot;
    const endMs = performance.now() + SPIN_MS;
    do {
      for (let i = 0; i < LOOKS_PER_CHECK; i++) {
        if (Atomics.load(control, ANSWERED) !== before) {
          if (this.#spinWorth < 8) this.#spinWorth += 1;
          return true;
        }
      }
    } while (performance.now() < endMs);
    this.#spinWorth -= 1;
    if (this.#spinWorth <= 0) this.#spinWorth = -8;
    return false;
  }

  #sleep(before: number): void {
    const { control } = this.#slot;
    const startMs = performance.now();
    let heartbeat = this.#hub.heartbeat;
    let slicesWithoutHeartbeat = 0;
    while (Atomics.load(control, ANSWERED) === before) {
      const leftMs = startMs + this.#readTimeoutMs - performance.now();
      if (leftMs <= 0) this.#giveUp(`no answer within ${this.#readTimeoutMs} ms`);
      if (Atomics.wait(control, ANSWERED, before, Math.min(leftMs, SLICE_MS)) !== 'timed-out') continue;
      const { state } = this.#hub;
      if (state === 'dead' || state === 'closed') this.#giveUp(`the connection is ${state}`);
      const beat = this.#hub.heartbeat;
      slicesWithoutHeartbeat = beat === heartbeat && beat !== 0 ? slicesWithoutHeartbeat + 1 : 0;
      heartbeat = beat;
      if (slicesWithoutHeartbeat >= SLICES_WITHOUT_HEARTBEAT_MAX) {
        this.#giveUp('the thread that keeps the connection gives no sign of life');
      }
    }
  }

  /** The late answer must not be taken for that of a later request: the next one gets a slot of its own. */
  #giveUp(detail: string): never {
    const wake = Atomics.load(this.#slot.control, WAKE);
    this.#slot = new SyncSlot();
    Atomics.store(this.#slot.control, WAKE, wake === 0 ? 0 : 1);
    this.#port.postMessage({ kind: 'slot', slot: this.#slot.shared } satisfies ViewNotice);
    throw new ClientDisconnected(`a read was given up: ${detail}`);
  }

  #receiveLarge(id: number): Uint8Array {
    const startMs = performance.now();
    const pause = new Int32Array(new SharedArrayBuffer(4));
    for (;;) {
      const received = receiveMessageOnPort(this.#largePort) as { message: Uint8Array } | undefined;
      // What is left of a request that was given up is passed over.
      if (received && packetId(received.message) === id) return received.message;
      if (received) continue;
      if (performance.now() - startMs > this.#readTimeoutMs) this.#giveUp('its answer was announced and did not come');
      Atomics.wait(pause, 0, 0, 0.05);
    }
  }

  #refuseUnlessConnected(): void {
    const { state } = this.#hub;
    if (state === 'connected') return;
    throw new ClientDisconnected(
      state === 'dead'
        ? 'the thread that keeps the connection has ended: open the storage again'
        : state === 'closed'
          ? 'the storage was closed'
          : 'there is no connection to the server at present',
    );
  }
}
