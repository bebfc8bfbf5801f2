import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BTree, DB } from 'holdfast/odb';
import { Site } from '../support/programs.js';
import { Tools } from '../support/tools.js';

const HOLDFAST = fileURLToPath(import.meta.resolve('#src/cli/main.js'));
const NOBODY = 65_534;

let site: Site;
let tools: Tools;
/** What there is, by name: to be the same in the end. */
let inventory: string[];

before(async () => {
  site = new Site();
  tools = new Tools(site.directory);
  const at = (name: string) => join(site.directory, name);
  for (const name of ['shop.fs', 'other.fs']) {
    const db = await DB.open<Record<string, unknown>>(at(name));
    await db.transaction((connection) => {
      connection.root['prices'] = new BTree<string, number>().set('tea', 3);
      connection.root['plain'] = 5;
      for (let i = 0; i < 30; i++) connection.root[`name ${i}`] = i;
    });
    if (name === 'shop.fs') {
      await db.transaction((connection) =>
        connection.exportFile(connection.root['prices'] as BTree<string, number>, at('prices.hfx')),
      );
    }
    await db.close();
  }
  const bytes = readFileSync(at('prices.hfx'));
  writeFileSync(at('cut.hfx'), bytes.subarray(0, bytes.length - 10));
  writeFileSync(at('long.hfx'), Buffer.concat([bytes, Buffer.from('more')]));
  const version = Buffer.from(bytes);
  version[bytes.indexOf(1)] = 99;
  writeFileSync(at('later.hfx'), version);
  const damaged = Buffer.from(bytes);
  damaged[60] = (damaged[60] as number) ^ 1;
  writeFileSync(at('damaged.hfx'), damaged);
  writeFileSync(at('empty.hfx'), '');
  writeFileSync(at('text.txt'), 'something else');
  mkdirSync(at('empty'));
  mkdirSync(at('photos'));
  writeFileSync(at('photos/holiday.jpg'), 'a picture');
  symlinkSync('shop.fs', at('link.fs'));
  symlinkSync('nowhere', at('dangling'));
  inventory = contents();
});

after(async () => {
  await tools[Symbol.asyncDispose]();
  await site[Symbol.asyncDispose]();
});

function contents(): string[] {
  return readdirSync(site.directory).concat(readdirSync(join(site.directory, 'photos')));
}

/** What is said of databases that are none, by every tool. */
const NO_DATABASES: readonly [name: string, code: number, message: RegExp][] = [
  ['missing.fs', 1, /missing\.fs is no holdfast database: there is nothing at this path/],
  ['dangling', 1, /dangling is no holdfast database: there is nothing at this path/],
  ['text.txt', 1, /text\.txt is no holdfast database: it is a file, and a database is a directory/],
  ['text.txt/x.fs', 1, /text\.txt\/x\.fs is no holdfast database: a folder on the way to it is a file/],
  ['empty', 1, /empty is no holdfast database: the directory is empty/],
  ['photos', 1, /photos is no holdfast database: it has no holdfast\.json, but contains holiday\.jpg$/m],
  ['memory:', 2, /memory: is a database within one process; name a directory or a server/],
  ['ftp://x', 2, /no storage is registered for 'ftp:'/],
  ['zeo://', 2, /'zeo:\/\/' names no server: write zeo:\/\/host:port/],
  ['zeo://127.0.0.1:port', 2, /'127\.0\.0\.1:port' is no address: write host:port/],
];

/** Tools, with what they need to work. */
const TOOLS: readonly (readonly string[])[] = [
  ['stats'],
  ['dump'],
  ['verify'],
  ['pack'],
  ['export', '--root-key', 'prices', 'new.hfx'],
  ['import', '--root-key', 'new', 'prices.hfx'],
];

const MISTAKES: readonly [args: readonly string[], code: number, message: RegExp][] = [
  ...TOOLS.flatMap(([tool, ...rest]) => [
    ...NO_DATABASES.map(
      ([name, code, message]) => [[tool as string, '--db', name, ...rest], code, message] as [string[], number, RegExp],
    ),
    [[tool as string, ...rest], 2, /which database\? give --zeo host:port .* or --db path/] as [
      string[],
      number,
      RegExp,
    ],
    [[tool as string, '--db', '', ...rest], 2, /which database\?/] as [string[], number, RegExp],
    [[tool as string, '--db', 'shop.fs', '--zeo', '1', ...rest], 2, /--zeo or --db, not both/] as [
      string[],
      number,
      RegExp,
    ],
    [[tool as string, '--zeo', '70000', ...rest], 2, /'70000' is no address: write a port/] as [
      string[],
      number,
      RegExp,
    ],
    [
      [tool as string, '--db', 'shop.fs', '--nope', ...rest],
      2,
      /unknown option '--nope'; holdfast \w+ --help tells more/,
    ] as [string[], number, RegExp],
    [[tool as string, '--db', 'shop.fs', ...rest, 'more', 'yet more'], 2, /too many arguments/] as [
      string[],
      number,
      RegExp,
    ],
    [[tool as string, ...rest, 'more'], 2, /too many arguments: 'more'; give --db for a directory/] as [
      string[],
      number,
      RegExp,
    ],
  ]),
  ...(['', 'few', '-1', '1e3', ' 3', '1,5', 'Infinity'] as const).map(
    (days) =>
      [['pack', '--db', 'shop.fs', '--days', days], 2, /--days: '.*' is no number of days: write 3, or 0\.5/] as [
        string[],
        number,
        RegExp,
      ],
  ),
  ...(
    ['', 'then', '-1', '5', '2026', '2026-13-01', '2026-02-30', '24.11.2026', '1969-12-31', '2026-11-24T25:00'] as const
  ).map(
    (time) =>
      [['pack', '--db', 'shop.fs', '--before', time], 2, /--before: '.*' is no time: write 2026-11-24, or/] as [
        string[],
        number,
        RegExp,
      ],
  ),
  [['pack', '--db', 'shop.fs', '--before', '9999-01-01'], 2, /--before: 9999-01-01 is in the future; leave it out/],
  ...(['', 'x', '-1', '5', '2026-02-30', '99999999999999999999'] as const).map(
    (time) =>
      [
        ['dump', '--db', 'shop.fs', '--from', time],
        2,
        /--from: '.*' is neither a tid nor a time: write 2026-11-24/,
      ] as [string[], number, RegExp],
  ),
  [['dump', '--db', 'shop.fs', '--from', '2026-01-02', '--to', '2026-01-01 12:00Z'], 2, /--from is later than --to/],
  ...(['', 'x', '-1', '1.5', '0x1', '99999999999999999999'] as const).flatMap((oid) =>
    [['dump'], ['export', 'new.hfx']].map(
      (args) =>
        [[...args, '--db', 'shop.fs', '--oid', oid], 2, /--oid: '.*' is no oid: write a whole number/] as [
          string[],
          number,
          RegExp,
        ],
    ),
  ),
  [['export', '--db', 'shop.fs', '--oid', '987', 'new.hfx'], 1, /no object has oid 987/],
  [['export', '--db', 'shop.fs', '--root-key', 'plain', 'new.hfx'], 2, /'plain' is no persistent object/],
  [
    ['export', '--db', 'shop.fs', '--root-key', 'nothing', 'new.hfx'],
    2,
    /no 'nothing'; it has prices, plain, .*, and 12 more names$/m,
  ],
  [['export', '--db', 'shop.fs', '--root-key', 'prices', ''], 2, /where to\? name a file, or - for standard output/],
  [
    ['export', '--db', 'shop.fs', '--root-key', 'prices', 'photos'],
    1,
    /photos' cannot be written: it is a directory; name a file in it/,
  ],
  [['export', '--db', 'shop.fs', '--root-key', 'prices', 'text.txt/x.hfx'], 1, /x\.hfx' cannot be written: ENOTDIR/],
  [
    ['export', '--db', 'shop.fs', '--root-key', 'prices', '--json', '-'],
    2,
    /--json: the export itself goes to standard output/,
  ],
  [['import', '--db', 'shop.fs', '--root-key', '', 'prices.hfx'], 2, /where to\? give --root-key name/],
  [['import', '--db', 'shop.fs', '--root-key', 'new', ''], 2, /which file\? name one, or - for standard input/],
  [
    ['import', '--db', 'shop.fs', '--root-key', 'prices', 'prices.hfx'],
    2,
    /the root has 'prices' already; say --replace/,
  ],
  [['import', '--db', 'shop.fs', '--root-key', 'new', 'missing.hfx'], 1, /missing\.hfx cannot be read: ENOENT/],
  [['import', '--db', 'shop.fs', '--root-key', 'new', 'photos'], 1, /photos cannot be read: EISDIR/],
  [['import', '--db', 'shop.fs', '--root-key', 'new', 'text.txt'], 1, /text\.txt is no export file of holdfast/],
  [
    ['import', '--db', 'shop.fs', '--root-key', 'new', 'empty.hfx'],
    1,
    /empty\.hfx is incomplete: it ends at byte 0, within its head; export it again/,
  ],
  [
    ['import', '--db', 'shop.fs', '--root-key', 'new', 'cut.hfx'],
    1,
    /cut\.hfx is incomplete: it ends at byte \d+, .*; export it again/,
  ],
  [
    ['import', '--db', 'shop.fs', '--root-key', 'new', 'damaged.hfx'],
    1,
    /damaged\.hfx is damaged at byte \d+, in .*; export it again/,
  ],
  [['import', '--db', 'shop.fs', '--root-key', 'new', 'long.hfx'], 1, /long\.hfx is damaged: it goes on at byte \d+/],
  [
    ['import', '--db', 'shop.fs', '--root-key', 'new', 'later.hfx'],
    1,
    /later\.hfx has version 99, this holdfast reads version 1/,
  ],
  ...NO_DATABASES.map(
    ([name, code, message]) => [['copy', name, 'new.fs'], code, message] as [string[], number, RegExp],
  ),
  [['copy', 'shop.fs'], 2, /missing required argument 'to'; holdfast copy --help tells more/],
  [['copy', 'shop.fs', ''], 2, /name one to copy from, and one to copy to/],
  [['copy', '', 'new.fs'], 2, /name one to copy from, and one to copy to/],
  [['copy', 'shop.fs', 'shop.fs/'], 2, /are the same database/],
  [['copy', 'shop.fs', 'link.fs'], 2, /are the same database/],
  [
    ['copy', 'shop.fs', 'photos/../shop.fs/inner.fs'],
    2,
    /inner\.fs is within .*shop\.fs: copy to a directory beside it/,
  ],
  [['copy', 'shop.fs', 'text.txt'], 1, /text\.txt is no holdfast database: it is a file/],
  [['copy', 'shop.fs', 'text.txt/new.fs'], 1, /a folder on the way to it is a file/],
  [['copy', 'shop.fs', 'photos'], 1, /photos is no holdfast database: .* choose an empty directory/],
  [['copy', 'shop.fs', 'dangling'], 1, /dangling cannot be opened: ENOENT/],
  [['copy', 'shop.fs', 'other.fs'], 1, /other\.fs is no copy of .*shop\.fs/],
  [['copy', 'shop.fs', 'memory:'], 2, /memory: is a database within one process/],
  [['nothing'], 2, /unknown command 'nothing'; holdfast --help tells more/],
  [['help', 'nothing'], 2, /there is no such command; holdfast --help tells more/],
  [['zeo', '-a', 'text.txt/x.sock', '-f', 'shop.fs'], 1, /cannot listen on text\.txt\/x\.sock: ENOTDIR/],
];

test('every mistake is told in one line, with what it is about and what to do, and changes nothing', async () => {
  for (const [args, expected, message] of MISTAKES) {
    const { code, stdout, stderr } = await tools.run(...args);
    const what = `holdfast ${args.map((arg) => JSON.stringify(arg)).join(' ')}: ${stdout}${stderr}`;
    assert.equal(code, expected, what);
    assert.match(stderr, /^holdfast[ \w]*: [^\n]+\n$/, what);
    assert.match(stderr, message, what);
    assert.equal(stdout, '', what);
  }
  assert.deepEqual(contents(), inventory);
});

test('a database that another process has open is not touched by any tool', async () => {
  await using other = new Site();
  const { program } = await other.server({ file: 'shop.fs' });
  const served = join(other.directory, 'shop.fs');
  const file = join(other.directory, 'new.hfx');
  for (const args of [
    ...TOOLS.filter(([tool]) => tool !== 'export' && tool !== 'import').map((args) => [...args, '--db', served]),
    ['export', '--db', served, '--oid', '0', file],
    ['import', '--db', served, '--root-key', 'new', 'prices.hfx'],
    ['copy', served, join(other.directory, 'new.fs')],
    ['copy', 'shop.fs', served],
  ]) {
    const { code, stderr } = await tools.run(...args);
    assert.equal(code, 1);
    const said = `shop\\.fs is in use by process ${program.pid} .*share it through a storage server \\(runzeo\\)\\n$`;
    assert.match(stderr, new RegExp(said));
  }
  assert.ok(!existsSync(file) && !existsSync(join(other.directory, 'new.fs')));
  assert.ok(!program.hasEnded);
});

test('what a user may not read or write is told as that, not as damage', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-rights-'));
  const at = (name: string) => join(folder, name);
  t.after(() => rmSync(folder, { recursive: true }));
  if ((await asUser(['--version'])).code !== 0) return t.skip('another user cannot read the program');
  for (const name of ['own', 'foreign']) {
    mkdirSync(at(name));
    await (await DB.open(at(`${name}/shop.fs`))).close();
  }
  const isRoot = process.getuid?.() === 0;
  if (isRoot)
    for (const path of ['own', ...readdirSync(at('own'), { recursive: true }).map((name) => `own/${name}`)])
      chownSync(at(path), NOBODY, NOBODY);
  chmodSync(folder, 0o755);
  chmodSync(at('foreign'), 0o555);
  chmodSync(at('own/shop.fs/level/LOCK'), 0o444);
  for (const [args, message] of [
    [['verify', '--db', at('own/shop.fs')], /own\/shop\.fs cannot be opened: .*IO error: .*LOCK: Permission denied/],
    [
      ['stats', '--db', at('foreign/shop.fs')],
      /foreign\/shop\.fs cannot be locked, which takes a file beside it: EACCES/,
    ],
    [['copy', at('own/shop.fs'), at('foreign/new.fs')], /cannot be opened: /],
    [
      ['zeo', '-a', '0', '-f', at('foreign/new.fs')],
      /foreign\/new\.fs cannot be opened: EACCES: permission denied, mkdir/,
    ],
    [['zeo', '-a', at('foreign/x.sock'), '-f', at('own/new.fs')], /cannot listen on .*x\.sock: .*EACCES/],
  ] as const) {
    const { code, said } = await asUser(args);
    assert.equal(code, 1, said);
    assert.match(said, /^holdfast[ \w]*: [^\n]+\n$/);
    assert.match(said, message);
  }
  chmodSync(at('own/shop.fs/level/LOCK'), 0o644);
  const exported = await asUser(['export', '--db', at('own/shop.fs'), '--oid', '0', at('foreign/x.hfx')]);
  assert.match(exported.said, /x\.hfx' cannot be written: EACCES/);
  assert.equal((await asUser(['verify', '--db', at('own/shop.fs')])).code, 0);
});

/** Runs a tool as one who is not root. */
async function asUser(args: readonly string[]): Promise<{ readonly code: number | null; readonly said: string }> {
  const child = spawn(process.execPath, [HOLDFAST, ...args], {
    cwd: tmpdir(),
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {}),
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said };
}
