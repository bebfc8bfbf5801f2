import type { MessagePort } from 'node:worker_threads';
import { packetId } from './codec.js';
import { SYNC_ID_BIT } from './messages.js';
import {
  ANSWER_BYTES_MAX,
  ANSWER_LENGTH,
  ANSWERED,
  LARGE,
  OPENED,
  REQUEST_BYTES_MAX,
  REQUEST_LENGTH,
  SyncSlot,
  WAKE,
} from './sync-slot.js';
import type { Transport, TransportHandlers } from './transport.js';
import { type ViewEnd, type ViewNotice, ViewSignal } from './view-parts.js';

/** Packets from this size on are handed over, not copied, where they own their memory. */
const TRANSFER_BYTES_MIN = 16_384;

/**
 * The serving thread's end of a view: a {@link Transport} over a port, where answers to a blocked thread go through
 * shared memory instead.
 */
export class ViewLink implements Transport {
  readonly #port: MessagePort;
  readonly #largePort: MessagePort;
  #slot: SyncSlot;
  #handlers: TransportHandlers | undefined;
  readonly #onAttach: (end: ViewEnd) => void;
  /** Id of the request that the view's thread blocks on; 0 when there is none. */
  #blockedId = 0;
  #closed = false;

  constructor(end: ViewEnd, onAttach: (end: ViewEnd) => void) {
    this.#port = end.port;
    this.#largePort = end.largePort;
    this.#slot = new SyncSlot(end.slot);
    this.#onAttach = onAttach;
  }

  /** The id of the request that the view's thread blocks on; 0 when there is none. */
  get blockedId(): number {
    return this.#blockedId;
  }

  /** Whether a thread has begun to open this view. */
  get isOpened(): boolean {
    return Atomics.load(this.#slot.control, OPENED) === 1;
  }

  listen(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    this.#port.on('message', (message: unknown) => this.#receive(message));
    this.#port.on('close', () => {
      this.#closed = true;
      this.#largePort.close();
      handlers.close(undefined);
    });
    // A view must not keep alive the thread that serves it; listening would.
    this.#port.unref();
  }

  send(packet: Uint8Array): void {
    if (this.#closed) return;
    if (packetId(packet) >= SYNC_ID_BIT) this.#answerBlocked(packet);
    else post(this.#port, packet);
  }

  /** Tells the view that something was published, if it wants to know and has not been told yet; or whether it wants to or not. */
  wake(isForced = false): void {
    if (isForced) this.#port.postMessage(ViewSignal.wake);
    else if (Atomics.compareExchange(this.#slot.control, WAKE, 1, 2) === 1) this.#port.postMessage(ViewSignal.wake);
  }

  /** Asks the view to let go of the storage; its port closes when it has. */
  askToClose(): void {
    if (!this.#closed) this.#port.postMessage(ViewSignal.close);
  }

  close(): void {
    this.#port.close();
    this.#largePort.close();
  }

  #receive(message: unknown): void {
    if (typeof message === 'number') {
      this.#blockedId = message;
      const length = Math.min(Atomics.load(this.#slot.control, REQUEST_LENGTH), REQUEST_BYTES_MAX);
      this.#handlers?.packet(this.#slot.request.slice(0, length));
    } else if (message instanceof Uint8Array) {
      const id = packetId(message);
      if (id >= SYNC_ID_BIT) this.#blockedId = id;
      this.#handlers?.packet(message);
    } else {
      this.#notice(message as ViewNotice);
    }
  }

  #notice(notice: ViewNotice): void {
    if (notice.kind === 'slot') {
      this.#slot = new SyncSlot(notice.slot);
      Atomics.store(this.#slot.control, OPENED, 1);
      this.#blockedId = 0;
      // What was published in between may have woken the former slot.
      this.wake();
    } else {
      this.#onAttach(notice.end);
    }
  }

  #answerBlocked(packet: Uint8Array): void {
    const id = packetId(packet);
    // The view has given this request up.
    if (id !== this.#blockedId) return;
    this.#blockedId = 0;
    const { control, answer } = this.#slot;
    if (packet.length <= ANSWER_BYTES_MAX) {
      answer.set(packet);
      Atomics.store(control, ANSWER_LENGTH, packet.length);
    } else {
      post(this.#largePort, packet);
      Atomics.store(control, ANSWER_LENGTH, LARGE);
    }
    // Ordering: everything about the answer is there before the thread that waits for it may look.
    Atomics.store(control, ANSWERED, id | 0);
    Atomics.notify(control, ANSWERED);
  }
}

/** Posts bytes. A view of a larger buffer is copied first: posting it would copy the whole buffer. */
function post(port: MessagePort, packet: Uint8Array): void {
  const owned = packet.buffer.byteLength === packet.length ? packet : new Uint8Array(packet);
  if (owned.length >= TRANSFER_BYTES_MIN) port.postMessage(owned, [owned.buffer as ArrayBuffer]);
  else port.postMessage(owned);
}
