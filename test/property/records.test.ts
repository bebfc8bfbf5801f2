import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { CorruptionError, FormatVersionError, persistable, SerializationError, UnregisteredError } from 'holdfast/odb';
import type { Oid } from '#src/odb/ids.js';
import { readRecord, readState } from '#src/odb/serialize/reader.js';
import type { RecordReference, ReferenceReader, ReferenceWriter } from '#src/odb/serialize/references.js';
import { DEPTH_MAX } from '#src/odb/serialize/state-format.js';
import { writeRecord } from '#src/odb/serialize/writer.js';

class Point {
  x: unknown;
}
class Pixel extends Point {}
class Overdraft extends Error {}
class OwnMap extends Map<number, number> {}
class OwnDate extends Date {}
class OwnUrl extends URL {}
class OwnArray extends Array {}
class OwnBytes extends Uint8Array {}
function double(n: number): number {
  return n * 2;
}
persistable('records', import.meta, { Point, Pixel, Overdraft, OwnMap, OwnDate, OwnUrl, OwnArray, OwnBytes, double });

/** Stands for a persistent object: all that the writer asks of one is its reference. */
class Target {
  constructor(readonly reference: RecordReference) {}
}

const writer: ReferenceWriter = {
  isPersistent: (value) => value instanceof Target,
  reference: (object) => (object as Target).reference,
};
const noReferences: ReferenceReader = { resolve: () => assert.fail('there is no reference to resolve') };

function write(state: unknown): Buffer {
  return writeRecord({ className: 'records.Point', state, references: writer, path: 'root' });
}

/** What reading gives of a state that was written; references come back as the very targets. */
function roundTrip(state: unknown, targets: readonly Target[] = []): unknown {
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
function assertAlike(seen: unknown, expected: unknown): void {
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
const primitive = fc.oneof(
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
const leaf: fc.Arbitrary<object> = fc.oneof(
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
const target: fc.Arbitrary<Target> = fc
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

interface Graph {
  readonly state: unknown;
  readonly targets: readonly Target[];
}

/** States of any shape: shared and cyclic objects, of all kinds, with references to persistent ones. */
const graph: fc.Arbitrary<Graph> = fc
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

// -------------------------------------------------------------------- values that cannot

class Unnamed {
  field = 1;
}
class UnnamedPoint extends Point {}

/** All that is no data, or would not come back as it was. */
const REFUSED: Readonly<Record<string, () => unknown>> = {
  'a symbol': () => Symbol('s'),
  'a well-known symbol': () => Symbol.iterator,
  'a promise': () => Promise.resolve(1),
  'an arrow function': () => () => 1,
  'a function without a persistent name': () => function later() {},
  'a method': () => new Map().get,
  'a class without a persistent name': () => Unnamed,
  'an instance of one': () => new Unnamed(),
  'an instance of a subclass without a persistent name': () => new UnnamedPoint(),
  'an instance of a class without a name': () => new (class {})(),
  'a lone surrogate': () => 'a\ud800b',
  'a lone surrogate at the end of a long text': () => `${'x'.repeat(100)}\udc00`,
  'a lone surrogate in a key': () => ({ '\udc00': 1 }),
  'an object with a symbol for a key': () => ({ [Symbol('s')]: 1 }),
  'an object without a prototype with a symbol for a key': () =>
    Object.assign(Object.create(null) as object, { [Symbol('s')]: 1 }),
  'an instance with a symbol for a key': () => Object.assign(new Point(), { [Symbol('s')]: 1 }),
  'a weak map': () => new WeakMap(),
  'a weak set': () => new WeakSet(),
  'a weak reference of the language': () => new WeakRef({}),
  'a generator': () => (function* () {})(),
  'an iterator': () => [1][Symbol.iterator](),
  'a boxed string': () => Object('s'),
  'a boxed number': () => Object(1),
  'a boxed bigint': () => Object(1n),
  'a formatter': () => new Intl.NumberFormat(),
  'shared memory': () => new SharedArrayBuffer(1),
  'the arguments of a call': function refusedArguments() {
    // biome-ignore lint/complexity/noArguments: it is what this is about
    return arguments;
  },
  'a built-in object of functions': () => Math,
  'a signal': () => new AbortController().signal,
  'parameters of a URL': () => new URLSearchParams('a=1'),
  'a map with a class of its own, whose entries would be lost': () => new OwnMap([[1, 2]]),
  'a date with a class of its own': () => new OwnDate(5),
  'a URL with a class of its own': () => new OwnUrl('file:///x'),
  'an array with a class of its own': () => OwnArray.from([1]),
  'bytes with a class of their own': () => new OwnBytes(2),
  'what only looks like a date': () => Object.create(Date.prototype),
  'what only looks like a map': () => Object.create(Map.prototype),
  'what only looks like a set': () => Object.create(Set.prototype),
  'what only looks like a URL': () => Object.create(URL.prototype),
  'what only looks like a pattern': () => Object.create(RegExp.prototype),
  'what only looks like bytes': () => Object.create(Uint8Array.prototype),
  'a proxy of a date': () => new Proxy(new Date(), {}),
  'an array with a property besides its entries': () => Object.assign([1, 2], { total: 3 }),
  'an array with holes and a property': () => Object.assign(new Array(5), { total: 3 }),
  'a long array with a property': () =>
    Object.assign(
      Array.from({ length: 1000 }, (_, i) => ({ i })),
      { total: 3 },
    ),
  'an array whose property is a number, and no index': () => Object.assign([1, 2], { '01': 3 }),
  'what a pattern found': () => /b(?<x>c)/.exec('abc'),
  'a map with a property': () => Object.assign(new Map([[1, 2]]), { total: 3 }),
  'a set with a property': () => Object.assign(new Set([1, 2]), { total: 3 }),
  'a date with a property': () => Object.assign(new Date(5), { zone: 'UTC' }),
  'a pattern with a property': () => Object.assign(/x/, { total: 3 }),
};

/** One way to put a value into something, and what that adds to its path. */
interface Step {
  readonly put: (value: unknown) => unknown;
  readonly path: string;
}

const stepKey = fc.stringMatching(/^[a-z]{1,8}$/);
const step: fc.Arbitrary<Step> = fc.oneof(
  stepKey.map((name) => ({ put: (value: unknown) => ({ before: [1], [name]: value }), path: `.${name}` })),
  stepKey.map((name) => ({
    put: (value: unknown) => Object.assign(Object.create(null) as object, { [name]: value }),
    path: `.${name}`,
  })),
  stepKey.map((name) => ({ put: (value: unknown) => Object.assign(new Pixel(), { [name]: value }), path: `.${name}` })),
  stepKey.map((name) => ({
    put: (value: unknown) => new Map([['', {}] as [unknown, unknown], [name, value]]),
    path: `.${name}`,
  })),
  fc.nat(9).map((index) => ({ put: (value: unknown) => new Map([[index, value]]), path: `[${index}]` })),
  fc.constant({ put: (value: unknown) => new Map([[value, 1]]), path: '.(key)' }),
  fc.constant({ put: (value: unknown) => new Map([[{}, value]]), path: '.(key)' }),
  fc.nat(20).map((index) => ({
    put: (value: unknown) => [...Array.from({ length: index }, () => ({ a: [] })), value, Symbol('later')],
    path: `[${index}]`,
  })),
  fc.nat(20).map((index) => ({
    put: (value: unknown) => new Set([...Array.from({ length: index }, (_, n) => n), value]),
    path: `[${index}]`,
  })),
  stepKey.map((name) => ({
    put: (value: unknown) => Object.assign(new Overdraft('x'), { [`own${name}`]: value }),
    path: `.own${name}`,
  })),
  fc.constant({ put: (value: unknown) => new Error('x', { cause: value }), path: '.cause' }),
  fc.constant({ put: (value: unknown) => new AggregateError([1, value]), path: '.errors[1]' }),
);

/** Where the culprit is, of a value put into `steps`: a few values are refused for a part, or name their place themselves. */
function pathOf(what: string, value: unknown, steps: readonly Step[]): string {
  const last = steps.at(-1);
  // A text that is the key of a map stands at the place that it names.
  const isOwnKey =
    typeof value === 'string' && last?.path === '.(key)' && (last.put(value) as Map<unknown, 1>).has(value);
  const path = `root${(isOwnKey ? steps.slice(0, -1) : steps).map((each) => each.path).join('')}`;
  if (isOwnKey) return `${path}.${value}`;
  return what === 'a lone surrogate in a key' ? `${path}.\udc00` : path;
}

for (const [what, make] of Object.entries(REFUSED)) {
  test(`${what} is refused, by its path, wherever it stands`, () => {
    const value = make();
    fc.assert(
      fc.property(fc.array(step, { maxLength: 6, size: 'max' }), (steps) => {
        const state = steps.reduceRight((inner, { put }) => put(inner), value);
        const expected = pathOf(what, value, steps);
        assert.throws(
          () => write(state),
          (error) => {
            assert.ok(error instanceof SerializationError || error instanceof UnregisteredError, String(error));
            assert.equal(error.path, expected);
            assert.ok(error.message.startsWith(`${expected}: `), error.message);
            return true;
          },
        );
        // The writer that failed is used again.
        assertAlike(roundTrip({ x: [steps.length, undefined] }), { x: [steps.length, undefined] });
      }),
      { numRuns: 60 },
    );
  });
}

test('objects nest as deep as the limit, of whatever kind they are, and one more is refused by its path', () => {
  const nests: Readonly<Record<string, readonly [put: (value: unknown) => unknown, path: string]>> = {
    array: [(value) => [value], '[0]'],
    plain: [(value) => ({ a: value }), '.a'],
    bare: [(value) => Object.assign(Object.create(null) as object, { a: value }), '.a'],
    map: [(value) => new Map([['a', value]]), '.a'],
    set: [(value) => new Set([value]), '[0]'],
    instance: [(value) => Object.assign(new Pixel(), { a: value }), '.a'],
    error: [(value) => new Error('x', { cause: value }), '.cause'],
  };
  for (const [put, path] of Object.values(nests)) {
    let state: unknown = 1;
    for (let depth = 0; depth < DEPTH_MAX; depth++) state = put(state);
    assert.deepEqual(write(roundTrip(state)), write(state));
    assert.throws(() => write(put(state)), { code: 'ODB_SERIALIZATION', path: `root${path.repeat(DEPTH_MAX)}` });
  }
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
