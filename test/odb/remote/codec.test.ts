import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ProtocolError } from '#src/odb/errors.js';
import type { Oid, Tid } from '#src/odb/ids.js';
import {
  newPacket,
  PacketReader,
  packetId,
  packetType,
  readRecords,
  readValue,
  recordsBytes,
  valuePacket,
  writeRecords,
} from '#src/odb/remote/codec.js';
import { commitPacket, parseCommit } from '#src/odb/remote/commit-message.js';
import { HEADER_BYTES, Message } from '#src/odb/remote/messages.js';
import { Session } from '#src/odb/remote/session.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';

const anyInteger = fc.maxSafeNat();
const record = fc.record(
  {
    oid: anyInteger.map((n) => n as Oid),
    tid: anyInteger.map((n) => n as Tid),
    endTid: fc
      .option(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), { nil: undefined })
      .map((n) => n as Tid | undefined),
    data: fc.uint8Array({ maxLength: 50 }),
  },
  { noNullPrototype: true },
);

test('records of any numbers and bytes come back', () => {
  fc.assert(
    fc.property(fc.array(record), (records) => {
      const packet = newPacket(Message.answer, 5, recordsBytes(records));
      writeRecords(packet, HEADER_BYTES, records);
      assert.equal(packetType(packet), Message.answer);
      assert.equal(packetId(packet), 5);
      assert.deepEqual(readRecords(new PacketReader(packet)), records);
    }),
  );
});

test('a commit comes back as it was sent', () => {
  fc.assert(
    fc.property(
      fc.array(record),
      fc.array(fc.record({ oid: anyInteger, serial: anyInteger }, { noNullPrototype: true })),
      fc.string(),
      fc.string(),
      fc.uint8Array({ maxLength: 20 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.boolean(),
      fc.array(anyInteger),
      (records, checks, user, description, extension, commitId, canMerge, undos) => {
        const packet = commitPacket({
          type: Message.commit,
          id: 9,
          number: 4,
          canMerge,
          aheadCount: 3,
          transaction: { commitId, user, description, extension },
          checks: checks as { oid: Oid; serial: Tid }[],
          records,
          undos: undos as Tid[],
        });
        const back = parseCommit(new PacketReader(packet));
        assert.equal(back.number, 4);
        assert.equal(back.canMerge, canMerge);
        assert.equal(back.aheadCount, 3);
        assert.deepEqual(back.transaction, { commitId, user, description, extension });
        assert.deepEqual(
          back.checks,
          checks.map(({ oid, serial }) => ({ oid, tid: serial })),
        );
        assert.deepEqual(back.records, records);
        assert.deepEqual(back.undos, undos);
      },
    ),
  );
});

test('integers that are no safe ones are refused', () => {
  const packet = newPacket(Message.answer, 0, 8);
  packet.fill(0xff, HEADER_BYTES);
  assert.throws(() => new PacketReader(packet).uint64(), ProtocolError);
});

test('a packet that is cut short is refused, wherever it is cut', () => {
  const records = [{ oid: 1 as Oid, tid: 2 as Tid, endTid: undefined, data: Buffer.alloc(10, 1) }];
  const whole = commitPacket({
    type: Message.commit,
    id: 1,
    number: 1,
    canMerge: false,
    aheadCount: 0,
    transaction: { commitId: new Uint8Array(16), user: 'u', description: 'd', extension: new Uint8Array(0) },
    checks: [{ oid: 1 as Oid, serial: 1 as Tid }],
    records,
    undos: [3 as Tid],
  });
  for (let length = HEADER_BYTES; length < whole.length; length++) {
    const cut = whole.subarray(0, length);
    const endsAtRecord = length === whole.length - recordsBytes(records);
    if (endsAtRecord) assert.equal(parseCommit(new PacketReader(cut)).records.length, 0);
    else assert.throws(() => parseCommit(new PacketReader(cut)), ProtocolError, `cut at ${length}`);
  }
  assert.throws(() => readValue(valuePacket(Message.answer, 1, ['a', 'b']).subarray(0, 7)), ProtocolError);
});

test('a session answers rubbish with an error, or ends the connection with a ProtocolError; nothing else', async () => {
  const storage = new MemoryStorage();
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.values(Message), 0, 200, 255),
      fc.oneof(
        fc.uint8Array({ maxLength: 60 }),
        fc.jsonValue().map((value) => valuePacket(Message.answer, 0, value).subarray(HEADER_BYTES)),
      ),
      async (type, body) => {
        const sent: Uint8Array[] = [];
        const session = new Session({
          storage,
          transport: { send: (packet) => void sent.push(packet), close: () => undefined },
          locks: storage.lockSession(),
        });
        const packet = newPacket(type as typeof Message.load, 1, body.length);
        packet.set(body, HEADER_BYTES);
        try {
          session.receive(packet);
        } catch (error) {
          assert.ok(error instanceof ProtocolError, String(error));
        }
        await session.drain();
        session.close();
      },
    ),
    { numRuns: 1000 },
  );
  await storage.close();
});
