import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { CorruptionError, FormatVersionError, UnregisteredError } from 'holdfast/odb';
import type { Oid } from '#src/odb/ids.js';
import { readRecord, readState } from '#src/odb/serialize/reader.js';
import { assertAlike, graph, leaf, noReferences, primitive, roundTrip, Target, target, write } from './records.js';

test('every value that a state may hold comes back, alone', () => {
  fc.assert(
    fc.property(fc.oneof(primitive, leaf), (value) => assertAlike(roundTrip(value), value)),
    { numRuns: 1500 },
  );
});

test('a state of any shape comes back: classes, order, what is shared, what is cyclic, and its references', () => {
  fc.assert(
    fc.property(graph, ({ state, targets }) => assertAlike(roundTrip(state, targets), state)),
    { numRuns: 1500 },
  );
});

test('a state that was read is written as the same bytes', () => {
  fc.assert(
    fc.property(graph, ({ state, targets }) => {
      assert.deepEqual(write(roundTrip(state, targets)), write(state));
    }),
    { numRuns: 300 },
  );
});

test('the table of references names each object once, in the order in which the state meets them', () => {
  fc.assert(
    fc.property(fc.uniqueArray(target, { selector: ({ reference }) => reference.oid }), (targets) => {
      const record = readRecord(write([targets, ...targets, ...targets]));
      assert.deepEqual(
        record.references,
        targets.map(({ reference }) => reference),
      );
    }),
  );
});

test('texts, arrays and objects of any length come back', () => {
  for (const count of [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
    const numbers = Array.from({ length: count }, (_, index) => index);
    const ascii = 'x'.repeat(count);
    const wide = `é${ascii.slice(1)}`;
    const fields = Object.fromEntries(numbers.map((n) => [`f${n}`, n]));
    const bytesOfCount = new Uint8Array(count).fill(7);
    const state = [numbers, ascii, wide, fields, { [ascii]: 1, [wide]: 2 }, new Set(numbers), bytesOfCount];
    assertAlike(roundTrip(state), state);
  }
});

test('objects that occur again are told apart, however many there are', () => {
  for (const count of [10, 300, 70_000]) {
    const objects = Array.from({ length: count }, () => ({}));
    const state = [objects, objects.toReversed()];
    assertAlike(roundTrip(state), state);
  }
});

test('references are told apart, however many there are', () => {
  for (const count of [10, 300, 70_000]) {
    const targets = Array.from(
      { length: count },
      (_, oid) => new Target({ oid: oid as Oid, className: `records.C${oid % 300}`, kind: 'strong' }),
    );
    const record = readRecord(write([targets, targets.toReversed()]));
    const state = readState(record, { resolve: ({ oid, className }) => ({ target: targets[oid], className }) });
    const [forth, back] = state as { target: Target; className: string }[][];
    assert.deepEqual(
      forth?.map(({ target: found }) => found),
      targets,
    );
    assert.deepEqual(back, forth?.toReversed());
    assert.ok(forth?.every((found) => found.className === found.target.reference.className));
  }
});

test('an error of the runtime keeps what it tells of itself', () => {
  const aborted = new DOMException('gone', 'AbortError');
  for (const error of [roundTrip(aborted), roundTrip(roundTrip(aborted))] as DOMException[]) {
    assert.ok(error instanceof DOMException);
    assert.deepEqual(
      [error.name, error.message, error.code, String(error), error.stack],
      ['AbortError', 'gone', DOMException.ABORT_ERR, 'AbortError: gone', aborted.stack],
    );
  }
});

test('what comes from another realm, as from the context that a test runner makes, comes back as of this one', () => {
  const foreign = runInNewContext(
    `({ list: [1, [2]], map: new Map([[{ a: 1 }, new Set([1])]]), at: new Date(5), like: /x/g, bytes: new Uint8Array([1, 2]),
        bare: Object.create(null), error: Object.assign(new RangeError('far', { cause: [new Error('near')] }), { code: 7 }) })`,
  ) as Record<string, unknown> & { error: RangeError & { code: number } };
  const { error, ...rest } = roundTrip(foreign) as typeof foreign;
  assertAlike(rest, {
    list: [1, [2]],
    map: new Map([[{ a: 1 }, new Set([1])]]),
    at: new Date(5),
    like: /x/g,
    bytes: new Uint8Array([1, 2]),
    bare: Object.create(null),
  });
  assert.ok(error instanceof RangeError);
  assert.deepEqual([error.message, error.code, error.name, error.stack], ['far', 7, 'RangeError', foreign.error.stack]);
  assert.ok((error.cause as Error[])[0] instanceof Error);
});

test('a getter of a plain object is asked once, and what is not enumerable is left out', () => {
  let asked = 0;
  const state = Object.defineProperty(
    {
      get twice() {
        return [++asked];
      },
    },
    'hidden',
    { value: 1 },
  );
  assertAlike(roundTrip(state), { twice: [1] });
  assert.equal(asked, 1);
});

// -------------------------------------------------------------------- bytes that are no record

test('a damaged record is read, or refused as damaged, and never anything else', () => {
  fc.assert(
    fc.property(
      graph,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
      fc.option(fc.nat(), { nil: undefined }),
      ({ state }, changes, end) => {
        const record = Buffer.from(write(state));
        for (const [at, byte] of changes) record[at % record.length] = byte;
        try {
          readState(record.subarray(0, end === undefined ? record.length : end % record.length), {
            resolve: () => null,
          });
        } catch (error) {
          const isRefusal =
            error instanceof CorruptionError ||
            error instanceof FormatVersionError ||
            error instanceof UnregisteredError;
          if (!isRefusal) throw error;
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test('a record that ends too early is never taken for a whole one', () => {
  fc.assert(
    fc.property(graph, fc.nat(), ({ state }, end) => {
      const record = write(state);
      assert.throws(() => readState(record.subarray(0, end % record.length), { resolve: () => null }), CorruptionError);
    }),
    { numRuns: 500 },
  );
});

test('a record of a later version is refused as such', () => {
  const record = Buffer.from(write({ x: 1 }));
  record[0] = 2;
  assert.throws(() => readState(record, noReferences), FormatVersionError);
});
