import { createConnection, type Socket } from 'node:net';
import { InvariantError } from '../../base/index.js';
import { encodeFrame, FrameDecoder } from '../protocol/framing.js';
import { MAGIC } from '../protocol/version.js';
import type { Address } from './address.js';

/** Output above this many bytes stops reading from the peer, until it has taken some. */
const OUTPUT_HIGH_BYTES = 1024 * 1024;
/** Frames that together are smaller than this are put together: one write costs less than many. */
const COALESCE_BYTES_MAX = 128 * 1024;
const KEEP_ALIVE_MS = 30_000;

/** What a {@link FrameSocket} reports. */
export interface FrameHandlers {
  /** A frame came. The packet's bytes lie in a larger buffer. What it throws ends the connection with that reason. */
  frame(channel: number, packet: Buffer): void;
  /** The connection is gone. Called once, last. */
  close(reason: Error | undefined): void;
}

/** A stream socket that carries frames. Sockets are used nowhere else. */
export class FrameSocket {
  readonly #socket: Socket;
  readonly #decoder: FrameDecoder;
  readonly #handlers: FrameHandlers;
  #output: Buffer[] = [];
  #outputBytes = 0;
  #isFlushScheduled = false;
  #isClosed = false;
  #bytesIn = 0;
  #bytesOut = 0;

  /** @param socket connected, or connecting. */
  constructor(socket: Socket, options: { readonly frameBytesMax: number; readonly handlers: FrameHandlers }) {
    this.#socket = socket;
    this.#handlers = options.handlers;
    this.#decoder = new FrameDecoder({
      frameBytesMax: options.frameBytesMax,
      onFrame: (channel, packet) => {
        if (this.#isClosed) return;
        this.#handlers.frame(channel, packet);
        // Who does not take answers may not ask for more.
        if (this.bufferedBytes > OUTPUT_HIGH_BYTES) this.#pause();
      },
    });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('drain', () => this.#resume());
    socket.on('end', () => this.destroy());
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => this.destroy());
    socket.write(MAGIC);
  }

  /** Whether the other side has shown that it speaks this protocol. */
  get hasMagic(): boolean {
    return this.#decoder.hasMagic;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Bytes that wait to be taken by the other side. */
  get bufferedBytes(): number {
    return this.#outputBytes + this.#socket.writableLength;
  }

  get bytesIn(): number {
    return this.#bytesIn;
  }

  get bytesOut(): number {
    return this.#bytesOut;
  }

  /** The other side's address, for logs. */
  get peer(): string {
    const { remoteAddress, remotePort } = this.#socket;
    return remoteAddress === undefined ? 'a local socket' : `${remoteAddress}:${remotePort}`;
  }

  /** Largest frame that is taken from now on. */
  set frameBytesMax(frameBytesMax: number) {
    this.#decoder.frameBytesMax = frameBytesMax;
  }

  /** Sends a packet on a channel. */
  send(channel: number, packet: Uint8Array): void {
    this.sendFrame(encodeFrame(channel, packet));
  }

  /** Sends a frame that was encoded before. Its bytes may be sent to others as well. */
  sendFrame(frame: Buffer): void {
    if (this.#isClosed) return;
    this.#output.push(frame);
    this.#outputBytes += frame.length;
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    // What is sent until the current turn is over goes out in one write.
    process.nextTick(() => this.#flush());
  }

  /** Ends the connection after what was sent has gone out, or after `limitMs`. */
  end(limitMs: number): void {
    if (this.#isClosed) return;
    this.#flush();
    this.#socket.end();
    this.#socket.setTimeout(limitMs, () => this.destroy());
  }

  /** Ends the connection at once. */
  destroy(reason?: Error): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#output = [];
    this.#socket.destroy();
    // Ordering: never from within a call of the owner.
    process.nextTick(() => this.#handlers.close(reason));
  }

  #flush(): void {
    this.#isFlushScheduled = false;
    if (this.#isClosed || this.#output.length === 0) return;
    const output = this.#output;
    const bytes = this.#outputBytes;
    this.#output = [];
    this.#outputBytes = 0;
    this.#bytesOut += bytes;
    const socket = this.#socket;
    if (output.length === 1) {
      socket.write(output[0] as Buffer);
    } else if (bytes <= COALESCE_BYTES_MAX) {
      socket.write(Buffer.concat(output, bytes));
    } else {
      socket.cork();
      for (const frame of output) socket.write(frame);
      socket.uncork();
    }
    if (socket.writableLength > OUTPUT_HIGH_BYTES) this.#pause();
  }

  #receive(chunk: Buffer): void {
    if (this.#isClosed) return;
    this.#bytesIn += chunk.length;
    this.#decode(() => this.#decoder.push(chunk));
  }

  #pause(): void {
    this.#decoder.pause();
    this.#socket.pause();
  }

  #resume(): void {
    if (this.#isClosed) return;
    this.#socket.resume();
    this.#decode(() => this.#decoder.resume());
  }

  #decode(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.destroy(error as Error);
      if (error instanceof InvariantError) throw error;
    }
  }
}

/** Opens a connection; the caller's handlers learn whether it came about. */
export function dial(
  address: Address,
  options: { readonly frameBytesMax: number; readonly handlers: FrameHandlers; readonly onConnect: () => void },
): FrameSocket {
  const socket =
    address.kind === 'unix'
      ? createConnection({ path: address.path })
      : createConnection({ host: address.host, port: address.port });
  socket.once('connect', options.onConnect);
  return new FrameSocket(socket, options);
}
