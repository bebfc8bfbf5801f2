import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { persistable, SerializationError, UnregisteredError } from 'holdfast/odb';
import { DEPTH_MAX } from '#src/odb/serialize/state-format.js';
import { assertAlike, Overdraft, Pixel, Point, roundTrip, write } from './records.js';

class OwnMap extends Map<number, number> {}
class OwnDate extends Date {}
class OwnUrl extends URL {}
class OwnArray extends Array {}
class OwnBytes extends Uint8Array {}
persistable('refused', import.meta, { OwnMap, OwnDate, OwnUrl, OwnArray, OwnBytes });

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
  'a URL with a property': () => Object.assign(new URL('file:///x'), { total: 3 }),
  'an object with another one for its prototype': () => Object.create({ inherited: 1 }),
  'what only looks like a date of another realm': () => runInNewContext('Object.create(Date.prototype)'),
  'a promise of another realm': () => runInNewContext('Promise.resolve(1)'),
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
