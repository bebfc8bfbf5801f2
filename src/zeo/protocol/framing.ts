import { crc32, readUint32, writeUint32 } from '../../base/index.js';
import { FrameTooLargeError, ProtocolError } from '../../odb/remote/index.js';
import { MAGIC } from './version.js';

/**
 * The stream between a client and a server: {@link MAGIC}, then frames:
 *
 *     length   u32   of all that follows
 *     channel  u32   0 is the connection itself, any other is a session
 *     packet         type, id, body
 *     crc      u32   CRC-32 of channel and packet
 */
const NOTHING = Buffer.alloc(0);
const LENGTH_BYTES = 4;
const CHANNEL_BYTES = 4;
const CRC_BYTES = 4;
const PACKET_OFFSET = LENGTH_BYTES + CHANNEL_BYTES;
/** Bytes of a frame beside its packet. */
export const FRAME_OVERHEAD_BYTES = PACKET_OFFSET + CRC_BYTES;

/** The frame of a packet. */
export function encodeFrame(channel: number, packet: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_OVERHEAD_BYTES + packet.length);
  writeUint32(frame, 0, CHANNEL_BYTES + packet.length + CRC_BYTES);
  writeUint32(frame, LENGTH_BYTES, channel);
  frame.set(packet, PACKET_OFFSET);
  const end = PACKET_OFFSET + packet.length;
  writeUint32(frame, end, crc32(frame.subarray(LENGTH_BYTES, end)));
  return frame;
}

/** Takes a byte stream apart into frames, however it is cut. */
export class FrameDecoder {
  readonly #onFrame: (channel: number, packet: Buffer) => void;
  #frameBytesMax: number;
  #magicLeft: number = MAGIC.length;
  /** Bytes that came and belong to an incomplete frame; several pieces, so that a long one is put together once. */
  #pieces: Buffer[] = [];
  #pieceBytes = 0;
  /** Bytes that the incomplete frame needs before anything can be done. */
  #needed = LENGTH_BYTES;
  #isPaused = false;

  /** @param onFrame gets channel and packet; the packet's bytes lie in a larger buffer. */
  constructor(options: {
    readonly frameBytesMax: number;
    readonly onFrame: (channel: number, packet: Buffer) => void;
  }) {
    this.#onFrame = options.onFrame;
    this.#frameBytesMax = options.frameBytesMax;
  }

  /** Whether the other side has shown that it speaks this protocol. */
  get hasMagic(): boolean {
    return this.#magicLeft === 0;
  }

  /** Largest frame that is taken from now on. */
  set frameBytesMax(frameBytesMax: number) {
    this.#frameBytesMax = frameBytesMax;
  }

  /** Hands on no further frame until `resume`; what comes meanwhile is kept. May be called while a frame is handed on. */
  pause(): void {
    this.#isPaused = true;
  }

  /** Goes on with what was kept. @throws as `push`. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#pieceBytes > 0) this.push(NOTHING);
  }

  /**
   * Takes the next bytes of the stream.
   *
   * @throws ProtocolError. FrameTooLargeError. The stream cannot be read any further then.
   */
  push(chunk: Buffer): void {
    let input = this.#magicLeft > 0 ? this.#takeMagic(chunk) : chunk;
    if (this.#pieceBytes > 0) {
      this.#pieces.push(input);
      this.#pieceBytes += input.length;
      if (this.#pieceBytes < this.#needed || this.#isPaused) return;
      input = Buffer.concat(this.#pieces);
      this.#pieces = [];
      this.#pieceBytes = 0;
    }
    let offset = 0;
    this.#needed = LENGTH_BYTES;
    while (!this.#isPaused && input.length - offset >= LENGTH_BYTES) {
      const length = readUint32(input, offset);
      this.#checkLength(length);
      if (input.length - offset < LENGTH_BYTES + length) {
        this.#needed = LENGTH_BYTES + length;
        break;
      }
      offset += LENGTH_BYTES;
      const end = offset + length - CRC_BYTES;
      if (crc32(input.subarray(offset, end)) !== readUint32(input, end)) {
        throw new ProtocolError('a frame came whose checksum does not fit its bytes');
      }
      this.#onFrame(readUint32(input, offset), input.subarray(offset + CHANNEL_BYTES, end));
      offset = end + CRC_BYTES;
    }
    if (offset < input.length) {
      this.#pieces.push(offset === 0 ? input : input.subarray(offset));
      this.#pieceBytes = input.length - offset;
    }
  }

  #takeMagic(chunk: Buffer): Buffer {
    const at = MAGIC.length - this.#magicLeft;
    const length = Math.min(this.#magicLeft, chunk.length);
    if (MAGIC.compare(chunk, 0, length, at, at + length) !== 0) {
      throw new ProtocolError('the other side does not speak the holdfast protocol');
    }
    this.#magicLeft -= length;
    return chunk.subarray(length);
  }

  #checkLength(length: number): void {
    if (length < CHANNEL_BYTES + CRC_BYTES) throw new ProtocolError('a frame came that is too short to be one');
    if (length > this.#frameBytesMax) {
      throw new FrameTooLargeError(`a frame of ${length} bytes came, at most ${this.#frameBytesMax} are taken`);
    }
  }
}
