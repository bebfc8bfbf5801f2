import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FrameTooLargeError, ProtocolError } from '#src/odb/errors.js';
import { encodeFrame, FrameDecoder } from '#src/zeo/protocol/framing.js';
import { MAGIC } from '#src/zeo/protocol/version.js';

interface Frame {
  readonly channel: number;
  readonly packet: number[];
}

function decode(chunks: readonly Buffer[], frameBytesMax = 1_000_000): Frame[] {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder({
    frameBytesMax,
    onFrame: (channel, packet) => frames.push({ channel, packet: [...packet] }),
  });
  for (const chunk of chunks) decoder.push(chunk);
  return frames;
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set(at.map((n) => n % (bytes.length + 1)))].sort((a, b) => a - b);
  const chunks: Buffer[] = [];
  let from = 0;
  for (const place of [...places, bytes.length]) {
    chunks.push(bytes.subarray(from, place));
    from = place;
  }
  return chunks;
}

const anyFrames = fc.array(
  fc.record(
    { channel: fc.nat(0xffff_ffff), packet: fc.uint8Array({ maxLength: 300 }).map((bytes) => [...bytes]) },
    { noNullPrototype: true },
  ),
  { maxLength: 12 },
);

function stream(frames: readonly Frame[]): Buffer {
  return Buffer.concat([MAGIC, ...frames.map(({ channel, packet }) => encodeFrame(channel, Uint8Array.from(packet)))]);
}

test('frames come out as they went in, however the stream is cut', () => {
  fc.assert(
    fc.property(anyFrames, fc.array(fc.nat(), { maxLength: 40 }), (frames, at) => {
      assert.deepEqual(decode(cut(stream(frames), at)), frames);
    }),
    { numRuns: 300 },
  );
});

test('byte by byte', () => {
  const frames = [
    { channel: 0, packet: [1, 2, 3] },
    { channel: 0xffff_ffff, packet: [] },
    { channel: 7, packet: Array.from({ length: 200 }, (_, i) => i) },
  ];
  assert.deepEqual(decode(Array.from(stream(frames), (byte) => Buffer.from([byte]))), frames);
});

test('a flipped bit anywhere gives an error, or no frame; never a wrong one', () => {
  const frames = [
    { channel: 3, packet: [5, 6, 7, 8] },
    { channel: 4, packet: [9] },
  ];
  const bytes = stream(frames);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    try {
      const decoded = decode([flipped]);
      assert.ok(decoded.length < 2);
      assert.deepEqual(decoded, frames.slice(0, decoded.length));
    } catch (error) {
      assert.ok(error instanceof ProtocolError, `bit ${bit}: ${String(error)}`);
    }
  }
});

test('a frame above the limit is refused before it is there', () => {
  const head = Buffer.concat([MAGIC, Buffer.from([0x7f, 0xff, 0xff, 0xff])]);
  assert.throws(() => decode([head]), FrameTooLargeError);
  const frame = encodeFrame(1, new Uint8Array(100));
  assert.equal(decode([MAGIC, frame], 108).length, 1);
  assert.throws(() => decode([MAGIC, frame], 107), FrameTooLargeError);
});

test('a frame too short to hold a channel is refused', () => {
  assert.throws(() => decode([MAGIC, Buffer.from([0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0])]), ProtocolError);
});

test('something else than our magic is refused at its first wrong byte', () => {
  assert.throws(() => decode([Buffer.from('GET / HTTP/1.1\r\n')]), ProtocolError);
  assert.throws(() => decode([Buffer.from('HOLD'), Buffer.from('X')]), ProtocolError);
  const decoder = new FrameDecoder({ frameBytesMax: 10, onFrame: () => undefined });
  decoder.push(MAGIC.subarray(0, 5));
  assert.equal(decoder.hasMagic, false);
  decoder.push(MAGIC.subarray(5));
  assert.equal(decoder.hasMagic, true);
});
