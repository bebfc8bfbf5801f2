// Values that records hold, and what it means that they come back.

import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { persistable } from 'holdfast/odb';
import type { Oid } from '#src/odb/ids.js';
import { readRecord, readState } from '#src/odb/serialize/reader.js';
import type { RecordReference, ReferenceReader, ReferenceWriter } from '#src/odb/serialize/references.js';
import { writeRecord } from '#src/odb/serialize/writer.js';

export class Point {
  x: unknown;
}
export class Pixel extends Point {}
export class Overdraft extends Error {}
function double(n: number): number {
  return n * 2;
}
persistable('records', import.meta, { Point, Pixel, Overdraft, double });

/** Stands for a persistent object: all that the writer asks of one is its reference. */
export class Target {
  constructor(readonly reference: RecordReference) {}
}

const writer: ReferenceWriter = {
  isPersistent: (value) => value instanceof Target,
  reference: (object) => (object as Target).reference,
};
export const noReferences: ReferenceReader = { resolve: () => assert.fail('there is no reference to resolve') };

export function write(state: unknown): Buffer {
  return writeRecord({ className: 'records.Point', state, references: writer, path: 'root' });
}

/** What reading gives of a state that was written; references come back as the very targets. */
export function roundTrip(state: unknown, targets: readonly Target[] = []): unknown {
  const record = readRecord(write(state));
  assert.equal(record.className, 'records.Point');
  return readState(record, {
    resolve: (reference) => {
      const found = targets.find((target) => target.reference.oid === reference.oid);
      assert.deepEqual(reference, found?.reference);
      return found;
    },
  });
}

// -------------------------------------------------------------------- whether two states are alike

/**
 * Asserts that two states are alike: the same values of the same classes, in the same order, and what occurs more than once in one
 * occurs in the same places in the other. Holes of arrays count as `undefined`.
 */
export function assertAlike(seen: unknown, expected: unknown): void {
  const partners = new Map<object, object>();
  const taken = new Set<object>();
  const compare = (a: unknown, b: unknown, path: string): void => {
    if (typeof b !== 'object' || b === null || b instanceof Target) {
      if (!Object.is(a, b)) assert.fail(`${path}: ${inspect(a)} instead of ${inspect(b)}`);
      return;
    }
    if (typeof a !== 'object' || a === null) assert.fail(`${path}: ${inspect(a)} is no object`);
    const partner = partners.get(b);
    if (partner !== undefined || taken.has(a)) {
      assert.ok(partner === a, `${path}: not the object that stands here, too, in the original`);
      return;
    }
    partners.set(b, a);
    taken.add(a);
    assert.equal(Object.getPrototypeOf(a), Object.getPrototypeOf(b), `${path}: its class`);
    const [partsOfA, partsOfB] = [partsOf(a), partsOf(b)];
    assert.equal(partsOfA.length, partsOfB.length, `${path}: how many parts it has`);
    partsOfB.forEach(([name, part], index) => {
      assert.equal(partsOfA[index]?.[0], name, `${path}: names of its parts`);
      compare(partsOfA[index]?.[1], part, `${path}.${name}`);
    });
  };
  compare(seen, expected, 'state');
}

/** All that makes up an object, in order. */
function partsOf(value: object): (readonly [string, unknown])[] {
  if (Array.isArray(value)) return Array.from(value, (each, index) => [`${index}`, each] as const);
  if (value instanceof Map) return [...value].flatMap(([k, v], i) => [[`key ${i}`, k] as const, [`${i}`, v] as const]);
  if (value instanceof Set) return [...value].map((each, index) => [`${index}`, each] as const);
  if (value instanceof Date) return [['time', value.getTime()]];
  if (value instanceof RegExp) return [['text', String(value)]];
  if (value instanceof URL) return [['href', value.href]];
  if (ArrayBuffer.isView(value)) {
    return [['bytes', Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')]];
  }
  if (value instanceof ArrayBuffer) return [['bytes', Buffer.from(value).toString('hex')]];
  const fields = Object.keys(value).map((key) => [`field ${key}`, (value as Record<string, unknown>)[key]] as const);
  if (!(value instanceof Error)) return fields;
  const hidden = ['message', 'stack', 'name', 'cause', 'errors'].map(
    (key) => [`${key in value} ${key}`, (value as unknown as Record<string, unknown>)[key]] as const,
  );
  return [...hidden, ...fields];
}

// -------------------------------------------------------------------- values that can be stored

const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ maxLength: 40 }), fc.constant('\0'));
const key = fc.oneof(
  { weight: 6, arbitrary: text },
  { weight: 1, arbitrary: fc.constantFrom('__proto__', 'constructor', 'toString', 'length', '', '0', '10', 'then') },
);
export const primitive = fc.oneof(
  fc.constantFrom(undefined, null, true, false),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0),
  fc.integer(),
  // Where the number of bytes changes.
  fc
    .tuple(fc.constantFrom(0, 5, 7, 8, 15, 16, 31, 32, 53), fc.integer({ min: -1, max: 1 }), fc.constantFrom(1, -1))
    .map(([bits, off, sign]) => sign * (2 ** bits + off)),
  fc.double(),
  fc.bigInt(),
  fc.constantFrom(0n, -1n, 255n, 256n, 2n ** 64n, -(2n ** 200n)),
  text,
  fc.constantFrom(double, Point, Overdraft, Map, TypeError, Math.max, Date.now),
);

const bytes = fc
  .tuple(fc.integer({ min: 0, max: 3 }), fc.uint8Array({ maxLength: 48 }), fc.nat(13))
  .map(([offset, content, kind]) => {
    // A window of a larger buffer: what lies around it is not to be stored.
    const start = offset * 8;
    const length = Math.floor(content.length / 8) * 8;
    const buffer = new ArrayBuffer(start + length + 8);
    new Uint8Array(buffer).set(content.subarray(0, length), start);
    const kinds = [
      () => buffer.slice(start, start + length),
      () => new DataView(buffer, start, length),
      () => Buffer.from(buffer, start, length),
      () => new Int8Array(buffer, start, length),
      () => new Uint8Array(buffer, start, length),
      () => new Uint8ClampedArray(buffer, start, length),
      () => new Int16Array(buffer, start, length / 2),
      () => new Uint16Array(buffer, start, length / 2),
      () => new Int32Array(buffer, start, length / 4),
      () => new Uint32Array(buffer, start, length / 4),
      () => new Float32Array(buffer, start, length / 4),
      () => new Float64Array(buffer, start, length / 8),
      () => new BigInt64Array(buffer, start, length / 8),
      () => new BigUint64Array(buffer, start, length / 8),
    ];
    return (kinds[kind] as () => object)();
  });

/** Objects that hold nothing that could be an object. */
export const leaf: fc.Arbitrary<object> = fc.oneof(
  fc.date({ noInvalidDate: false }),
  fc.constantFrom(/a+/, /^\/(?<x>[/\]]+)$/giu, /é\n/dsy, /(?:)/).map((each) => new RegExp(each.source, each.flags)),
  fc.webUrl({ withFragments: true, withQueryParameters: true }).map((url) => new URL(url)),
  bytes,
);

const KINDS = ['array', 'plain', 'bare', 'map', 'set', 'point', 'pixel', 'error', 'aggregate'] as const;

/** What an object is to be made of: parts are primitives, or numbers of other objects of the graph. */
interface Sketch {
  readonly kind: (typeof KINDS)[number];
  readonly parts: readonly { readonly key: string; readonly value: Part; readonly mapKey: Part }[];
  readonly errorClass: new (message: string) => Error;
  readonly isStackless: boolean;
}
type Part = { readonly is: 'primitive'; readonly value: unknown } | { readonly is: 'object'; readonly number: number };

const part: fc.Arbitrary<Part> = fc.oneof(
  primitive.map((value) => ({ is: 'primitive' as const, value })),
  fc.nat().map((number) => ({ is: 'object' as const, number })),
);
const sketch: fc.Arbitrary<Sketch> = fc.record(
  {
    kind: fc.constantFrom(...KINDS),
    parts: fc.array(fc.record({ key, value: part, mapKey: part }, { noNullPrototype: true }), { maxLength: 6 }),
    errorClass: fc.constantFrom(Error, TypeError, RangeError, Overdraft),
    isStackless: fc.boolean(),
  },
  { noNullPrototype: true },
);
export const target: fc.Arbitrary<Target> = fc
  .record(
    {
      oid: fc.oneof(fc.nat(300), fc.maxSafeNat()).map((n) => n as Oid),
      className: fc.oneof(fc.constantFrom('records.Point', 'records.Pixel', 'holdfast.BTree'), text),
      kind: fc.constantFrom('strong' as const, 'weak' as const),
      databaseName: text,
    },
    { requiredKeys: ['oid', 'className', 'kind'], noNullPrototype: true },
  )
  .map((reference) => new Target(reference as RecordReference));

export interface Graph {
  readonly state: unknown;
  readonly targets: readonly Target[];
}

/** States of any shape: shared and cyclic objects, of all kinds, with references to persistent ones. */
export const graph: fc.Arbitrary<Graph> = fc
  .record({
    sketches: fc.array(sketch, { minLength: 1, maxLength: 12 }),
    leaves: fc.array(leaf, { maxLength: 6 }),
    targets: fc.uniqueArray(target, { maxLength: 5, selector: ({ reference }) => reference.oid }),
  })
  .map(({ sketches, leaves, targets }) => {
    const made = sketches.map(empty);
    const all: object[] = [...made, ...leaves, ...targets];
    const partValue = (of: Part): unknown => (of.is === 'primitive' ? of.value : all[of.number % all.length]);
    sketches.forEach((each, index) => {
      fillObject(made[index] as object, each, partValue);
    });
    return { state: made[0], targets };
  });

function empty({ kind, errorClass, isStackless }: Sketch): object {
  switch (kind) {
    case 'array':
      return [];
    case 'plain':
      return {};
    case 'bare':
      return Object.create(null) as object;
    case 'map':
      return new Map();
    case 'set':
      return new Set();
    case 'point':
      return new Point();
    case 'pixel':
      return new Pixel();
    case 'aggregate':
      return new AggregateError([], 'several');
    case 'error': {
      const error = new errorClass('wrong – ß');
      if (isStackless) delete (error as { stack?: string }).stack;
      return error;
    }
    default:
      return kind satisfies never;
  }
}

function fillObject(object: object, { parts, kind }: Sketch, partValue: (part: Part) => unknown): void {
  parts.forEach(({ key: name, value, mapKey }, index) => {
    const filled = partValue(value);
    if (object instanceof Map) object.set(partValue(mapKey), filled);
    else if (object instanceof Set) object.add(filled);
    else if (Array.isArray(object)) {
      // Now and then a hole.
      if (index % 4 === 3) object.length++;
      else object.push(filled);
    } else if (object instanceof Error) {
      if (index === 0) Object.defineProperty(object, 'cause', { value: filled, writable: true, configurable: true });
      else if (kind === 'aggregate') (object as AggregateError).errors.push(filled);
      else (object as unknown as Record<string, unknown>)[`own ${name}`] = filled;
    } else {
      Object.defineProperty(object, name, { value: filled, writable: true, enumerable: true, configurable: true });
    }
  });
}
