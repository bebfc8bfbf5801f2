import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { PROJECT } from './support/doctest/document.js';

const SOURCE = join(PROJECT, 'src');

/** Layers of the source, and what each may import. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  odb: ['base'],
  zeo: ['base', 'odb'],
  async: ['base', 'odb'],
  testing: ['base', 'odb', 'async'],
  conformance: ['base', 'odb'],
  cli: ['base', 'odb', 'zeo', 'async'],
  index: ['odb', 'zeo', 'async'],
};

/** Folders of the object database from the bottom up: values are imported downward only. */
const ODB_ORDER = [
  'ids',
  'limits',
  'errors',
  'storage',
  'serialize',
  'class-statistics',
  'persistent',
  'cache',
  'transaction',
  'connection',
  'db-options',
  'database-names',
  'make-root',
  'past',
  'undo-log',
  'db',
  'remote',
  'index',
];

const LINES_MAX = 800;

interface Import {
  readonly from: string;
  readonly to: string;
  readonly isTypeOnly: boolean;
}

const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => name.replaceAll('\\', '/'));

const texts = new Map(files.map((name) => [name, readFileSync(join(SOURCE, name), 'utf8')]));

/** Imports and re-exports between files of the source. */
const imports: Import[] = files.flatMap((from) => {
  const found: Import[] = [];
  const pattern = /^(?:import|export)\s+(type\s+)?(?:([^'";]*?)\s+from\s+)?'(\.[^']+)'/gms;
  for (const [, type, names = '', path = ''] of (texts.get(from) as string).matchAll(pattern)) {
    const to = relative(SOURCE, resolve(dirname(join(SOURCE, from)), path)).replace(/\.js$/, '.ts');
    const listed = /\{([\s\S]*)\}/.exec(names)?.[1];
    const isTypeOnly =
      type !== undefined ||
      (listed
        ?.split(',')
        .map((each) => each.trim())
        .filter((each) => each !== '')
        .every((each) => each.startsWith('type ')) ??
        false);
    found.push({ from, to, isTypeOnly });
  }
  return found;
});

function layerOf(file: string): string {
  return file.includes('/') ? (file.split('/', 1)[0] as string) : file.replace(/\.ts$/, '');
}

test('imports run one way: base, odb, then zeo and async, which do not know each other, then what is above', () => {
  for (const { from, to } of imports) {
    const [layer, target] = [layerOf(from), layerOf(to)];
    if (layer === target) continue;
    assert.ok(LAYERS[layer]?.includes(target), `${from} may not import ${to}`);
  }
});

test('other layers are entered by their door', () => {
  for (const { from, to } of imports) {
    if (layerOf(from) === layerOf(to)) continue;
    // What serves storages is a door of its own, for the layer that serves them to other processes.
    const isDoor = /^[a-z]+\/index\.ts$/.test(to) || (layerOf(from) === 'zeo' && to === 'odb/remote/index.ts');
    assert.ok(isDoor, `${from} imports ${to}, which is not the door of its layer`);
  }
});

test('within the object database values are imported downward only', () => {
  const place = (file: string) => {
    const part = file.split('/')[1]?.replace(/\.ts$/, '') as string;
    const index = ODB_ORDER.indexOf(part);
    assert.ok(index >= 0, `${file} has no place in the order`);
    return index;
  };
  for (const { from, to, isTypeOnly } of imports) {
    if (layerOf(from) !== 'odb' || layerOf(to) !== 'odb' || isTypeOnly) continue;
    assert.ok(place(to) <= place(from), `${from} imports ${to}, which lies above it`);
  }
});

test('no file imports itself by way of others', () => {
  const targets = new Map<string, string[]>();
  for (const { from, to, isTypeOnly } of imports) {
    if (!isTypeOnly) targets.set(from, [...(targets.get(from) ?? []), to]);
  }
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): void => {
    assert.ok(!way.includes(file), `a circle of imports: ${[...way.slice(way.indexOf(file)), file].join(' → ')}`);
    if (done.has(file)) return;
    for (const target of targets.get(file) ?? []) visit(target, [...way, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

test('one subject per file: none is long, none is named for leftovers, none exports by default or wholesale', () => {
  for (const [file, text] of texts) {
    const lines = text.split('\n').length;
    assert.ok(lines <= LINES_MAX, `${file} has ${lines} lines: it is asking to be two`);
    assert.doesNotMatch(file, /(?:^|\/)(?:utils?|helpers?|common|manager|misc)(?:\/|\.ts$)/);
    assert.doesNotMatch(text, /^export default /m, `${file} exports by default`);
    assert.doesNotMatch(text, /^export \*/m, `${file} exports wholesale`);
  }
});

test('one place knows each secret: LevelDB, sockets, the end of the process, time', () => {
  const allowed: readonly (readonly [RegExp, RegExp, string])[] = [
    [/from 'classic-level'/, /^odb\/storage\/level\//, 'LevelDB'],
    [/from 'node:net'/, /^zeo\/transport\/|^zeo\/server\//, 'sockets'],
    [/process\.exit\(/, /^cli\//, 'the end of the process'],
    [/(?<![.\w])set(?:Timeout|Interval)\(/, /^base\/clock\.ts$|^testing\//, 'timers'],
    [/(?<![.\w])setImmediate\b/, /^base\/clock\.ts$|^testing\/|^conformance\/|^async\//, 'turns'],
    [/Math\.random\(/, /^base\//, 'randomness'],
  ];
  for (const [file, text] of texts) {
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    for (const [pattern, where, what] of allowed) {
      if (pattern.test(code)) assert.match(file, where, `${what} is none of the business of ${file}`);
    }
  }
});

test('every error has a heading in docs/errors.md, and every heading an error', () => {
  const headings = new Set(
    [...readFileSync(join(PROJECT, 'docs', 'errors.md'), 'utf8').matchAll(/^### `?([A-Z][A-Z0-9_]+)`?/gm)].map(
      ([, code]) => code as string,
    ),
  );
  const codes = new Set<string>();
  for (const text of texts.values()) {
    for (const [, code] of text.matchAll(/readonly code(?:: string)? = '([A-Z0-9_]+)'/g)) codes.add(code as string);
  }
  assert.ok(codes.size > 20);
  assert.deepEqual([...codes].filter((code) => !headings.has(code)).sort(), [], 'codes without a heading');
  assert.deepEqual([...headings].filter((code) => !codes.has(code)).sort(), [], 'headings without a code');
});

test('the project names no machine and no registry', () => {
  const tracked = execFileSync('git', ['ls-files'], { cwd: PROJECT, encoding: 'utf8' }).split('\n').filter(Boolean);
  for (const name of tracked) {
    if (name === 'test/tidy.test.ts') continue;
    const text = readFileSync(join(PROJECT, name), 'utf8');
    assert.doesNotMatch(text, /\/(?:home|Users|work|root)\/[a-z]/, `${name} names a path of a machine`);
    if (name === 'package-lock.json') assert.doesNotMatch(text, /"resolved"/, `${name} names a registry`);
  }
});
