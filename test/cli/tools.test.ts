import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { BTree, DB, type Oid, openStorage, PersistentBlob, PersistentMapping, ROOT_OID, ZERO_TID } from 'holdfast/odb';
import { commit } from '#src/conformance/commits.js';
import { buildRecord } from '#src/odb/serialize/record.js';
import { encodePlain } from '#src/odb/serialize/writer.js';
import { Site } from '../support/programs.js';
import { Tools } from '../support/tools.js';

let site: Site;
let path: string;
let tools: Tools;

beforeEach(async () => {
  site = new Site();
  tools = new Tools(site.directory);
  path = join(site.directory, 'test.fs');
  const db = await DB.open<Record<string, unknown>>(path, { history: 'all' });
  await db.transaction(
    ({ root }) => {
      root['tree'] = new BTree<number, string>().load(
        Array.from({ length: 2000 }, (_, i) => [i, `value ${i}`] as const),
      );
      root['gone'] = new PersistentMapping([['x', 1]]);
    },
    { note: 'filled' },
  );
  await db.transaction(({ root }) => {
    delete root['gone'];
  });
  await db.close();
});

afterEach(async () => {
  await tools[Symbol.asyncDispose]();
  await site[Symbol.asyncDispose]();
});

/** Runs a tool to its end. */
const tool = (...args: string[]) => tools.run(...args);

test('stats counts the objects of each class, for people and for programs', async () => {
  const { code, stdout, stderr } = await tool('stats', '--db', path);
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /^class +objects +bytes\n/);
  assert.match(stdout, /^holdfast\.BTree +1 +\d+$/m);
  assert.match(stdout, /^total +\d+ +\d+\n$/m);
  const json = JSON.parse((await tool('stats', '--db', path, '--json')).stdout);
  assert.equal(json.name, path);
  const mappings = json.classes.find((each: { className: string }) => each.className === 'holdfast.PersistentMapping');
  assert.equal(mappings.objects, 2);
});

test('stats and dump tell of the contents of blobs', async () => {
  const blobs = join(site.directory, 'blobs.fs');
  const db = await DB.open<{ report: PersistentBlob }>(blobs);
  await db.transaction(({ root }) => {
    root.report = new PersistentBlob('x'.repeat(1234));
  });
  await db.close();
  assert.match((await tool('stats', '--db', blobs)).stdout, /^holdfast.PersistentBlob +1 +1264$/m);
  assert.match(
    (await tool('dump', '--db', blobs)).stdout,
    /oid 1 holdfast.PersistentBlob with a content of 1234 bytes$/m,
  );
});

test('dump prints transactions, records and what they hold', async () => {
  const all = await tool('dump', '--db', path);
  assert.equal(all.code, 0);
  assert.match(
    all.stdout,
    /^transaction \d+ \d{4}-\d\d-\d\dT[\d:.]+Z "initial database creation"\n {2}oid 0 holdfast\./,
  );
  const tids = [...all.stdout.matchAll(/^transaction (\d+)/gm)].map(([, tid]) => tid as string);
  assert.equal(tids.length, 3);
  const one = await tool('dump', '--db', path, '--from', tids[1] as string, '--to', tids[1] as string, '--oid', '0');
  assert.match(
    one.stdout,
    /^transaction \d+ \S+ "filled"\n {2}oid 0 holdfast\.PersistentMapping \d+ bytes → \d+ \d+\n$/,
  );
  const states = await tool('dump', '--db', path, '--oid', '0', '--states', '--from', tids[2] as string);
  assert.match(states.stdout, /Map\(1\) \{\n {6}'tree' => PersistentReference/);
  const none = await tool('dump', '--db', path, '--from', '2100-01-01');
  assert.deepEqual([none.code, none.stdout], [0, '']);
});

test('verify finds nothing in a sound database, and names what is wrong in another', async () => {
  const sound = await tool('verify', '--db', path);
  assert.deepEqual([sound.code, sound.stdout], [0, `${path} is sound\n`]);
  const level = join(path, 'level');
  for (const name of readdirSync(level).filter((each) => /\.(ldb|log)$/.test(each))) {
    const bytes = readFileSync(join(level, name));
    for (let i = 100; i < bytes.length; i += 300) bytes[i] = (bytes[i] as number) ^ 0x10;
    writeFileSync(join(level, name), bytes);
  }
  // In a process of its own, which the damage may end.
  const damaged = site.start('holdfast', ['verify', '--db', path]);
  assert.equal((await damaged.exited).code, 1);
  assert.match(damaged.stdout + damaged.stderr, /damaged|missing|lost|problem/);
});

test('copy takes a database over, and what is new when it is run again; pack drops the history', async () => {
  const copy = join(site.directory, 'copy.fs');
  const first = await tool('copy', path, copy);
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /^copied .*: 3 transactions, \d+ records, [\d,]+ bytes\n$/);
  assert.match((await tool('copy', path, copy)).stdout, /: 0 transactions, 0 records, 0 bytes\n$/);
  assert.equal((await tool('dump', '--db', copy)).stdout, (await tool('dump', '--db', path)).stdout);
  const packed = await tool('pack', '--db', copy);
  assert.equal(packed.code, 0, packed.stderr);
  assert.match(packed.stdout, /^packed .*: [\d,]+ bytes before, [\d,]+ bytes now\n$/);
  assert.equal((await tool('dump', '--db', copy)).stdout.match(/^ {2}oid 0 /gm)?.length, 1);
  assert.match((await tool('verify', '--db', copy)).stdout, /is sound/);
  const kept = await tool('pack', '--db', path, '--days', '1');
  assert.equal(kept.code, 0, kept.stderr);
  assert.equal((await tool('dump', '--db', path)).stdout.match(/^ {2}oid 0 /gm)?.length, 3);
});

test('export and import carry a part of a database into another, through a file', async () => {
  const file = join(site.directory, 'tree.hfx');
  const copy = join(site.directory, 'copy.fs');
  await (await DB.open(copy)).close();
  const exported = await tool('export', '--db', path, '--root-key', 'tree', file);
  assert.deepEqual([exported.code, exported.stderr], [0, '']);
  const [, counts] = /^exported tree of .*: (\d+ objects, [\d,]+ bytes)\n$/.exec(exported.stdout) ?? [];
  assert.ok(counts, exported.stdout);
  const imported = await tool('import', '--db', copy, '--root-key', 'tree', file);
  assert.deepEqual([imported.code, imported.stdout], [0, `imported tree into ${copy}: ${counts}\n`], imported.stderr);
  const again = await tool('import', '--db', copy, '--root-key', 'tree', file);
  assert.equal(again.code, 2);
  assert.match(again.stderr, /the root has 'tree' already; say --replace/);
  assert.equal((await tool('import', '--db', copy, '--root-key', 'tree', '--replace', file)).code, 0);
  const db = await DB.open<{ tree: BTree<number, string> }>(copy);
  await db.transaction(({ root }) => assert.equal(root.tree.get(1999), 'value 1999'));
  const [{ description } = { description: '' }] = await db.undoLog(0, -1);
  assert.equal(description, 'import of tree.hfx');
  await db.close();
  assert.match((await tool('verify', '--db', copy)).stdout, /is sound/);
});

test('export and import refuse what they cannot do, and change nothing then', async () => {
  const file = join(site.directory, 'tree.hfx');
  assert.equal((await tool('export', '--db', path, '--oid', '1', file)).code, 0);
  const bytes = readFileSync(file);
  bytes[50] = (bytes[50] as number) ^ 1;
  const damaged = join(site.directory, 'damaged.hfx');
  writeFileSync(damaged, bytes);
  const cut = join(site.directory, 'cut.hfx');
  writeFileSync(cut, readFileSync(file).subarray(0, 1000));
  const foreign = join(site.directory, 'foreign.hfx');
  writeFileSync(foreign, 'something else');
  const before = (await tool('dump', '--db', path)).stdout;
  const cases: [string[], number, RegExp][] = [
    [['export', '--db', path, file], 2, /which object\? give --root-key name, or --oid/],
    [['export', '--db', path, '--oid', '1', '--root-key', 'tree', file], 2, /which object/],
    [['export', '--db', path, '--oid', 'one', file], 2, /'one' is no oid/],
    [['export', '--db', path, '--oid', '987654', file], 1, /no object has oid 987654/],
    [['export', '--db', path, '--root-key', 'nothing', file], 2, /the root has no 'nothing'; it has tree/],
    [['export', '--db', path, '--oid', '1', join(site.directory, 'no', 'folder')], 1, /cannot be written/],
    [['export', '--db', path, '--oid', '1'], 2, /argument/],
    [['import', '--db', path, file], 2, /where to\? give --root-key/],
    [['import', '--db', path, '--root-key', 'x', damaged], 1, /damaged at byte \d+/],
    [['import', '--db', path, '--root-key', 'x', cut], 1, /incomplete: it ends at byte 1000/],
    [['import', '--db', path, '--root-key', 'x', foreign], 1, /is no export file of holdfast/],
    [['import', '--db', path, '--root-key', 'x', `${file}.not`], 1, /cannot be read/],
  ];
  for (const [args, expected, message] of cases) {
    const { code, stdout, stderr } = await tool(...args);
    assert.deepEqual([code, stdout], [expected, ''], `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
  }
  assert.equal((await tool('dump', '--db', path)).stdout, before);
});

test('all of them work on a server', async () => {
  const { program, port } = await site.server();
  const zeo = ['--zeo', `127.0.0.1:${port}`];
  for (const name of ['stats', 'dump', 'verify', 'pack']) {
    const { code, stdout, stderr } = await tool(name, ...zeo);
    assert.equal(code, 0, stderr);
    assert.notEqual(stdout, '');
  }
  const file = join(site.directory, 'tree.hfx');
  assert.equal((await tool('export', ...zeo, '--root-key', 'tree', file)).code, 0);
  assert.equal((await tool('import', ...zeo, '--root-key', 'again', file)).code, 0);
  const stats = JSON.parse((await tool('stats', ...zeo, '--json')).stdout);
  assert.equal(stats.classes.find((each: { className: string }) => each.className === 'holdfast.BTree').objects, 2);
  const copied = await tool('copy', `zeo://127.0.0.1:${port}`, join(site.directory, 'copy.fs'));
  assert.equal(copied.code, 0, copied.stderr);
  await program.end('SIGTERM');
});

test('what was found, or done, is printed as one JSON object where that is asked for', async () => {
  const json = async (...args: string[]) => {
    const { code, stdout, stderr } = await tool(...args, '--json');
    assert.deepEqual([code, stderr], [0, ''], args.join(' '));
    assert.match(stdout, /^[^\n]+\n$/);
    return JSON.parse(stdout);
  };
  const copy = join(site.directory, 'copy.fs');
  const file = join(site.directory, 'tree.hfx');
  assert.deepEqual(await json('verify', '--db', path), { name: path, sound: true, problems: [] });
  const { records, bytes, lastTransaction, ...copied } = await json('copy', path, copy);
  assert.deepEqual(copied, { source: path, target: copy, transactions: 3 });
  assert.ok(records > 3 && bytes > 1000, `${records} records, ${bytes} bytes`);
  assert.equal((await json('stats', '--db', copy)).lastTransaction, lastTransaction);
  const { objects, bytes: exported, ...rest } = await json('export', '--db', path, '--root-key', 'tree', file);
  assert.deepEqual(rest, { name: path, oid: 1, file });
  assert.ok(objects > 1 && exported > 1000);
  const { oid, ...imported } = await json('import', '--db', copy, '--root-key', 'again', file);
  assert.deepEqual(imported, { name: copy, rootKey: 'again', objects, bytes: exported });
  assert.match((await tool('dump', '--db', copy, '--oid', `${oid}`)).stdout, /holdfast\.BTree/);
  const { sizeBefore, size, ...packed } = await json('pack', '--db', copy);
  assert.deepEqual(packed, { name: copy });
  assert.ok(sizeBefore > 0 && size > 0);
});

test('a verification as JSON has each problem with its oid and tid; what fails is told on standard error', async () => {
  const dangling = join(site.directory, 'dangling.fs');
  const storage = await openStorage(dangling);
  const reference = { oid: 99 as Oid, className: 'js.Map', kind: 'strong' } as const;
  const state = encodePlain(new Map());
  await commit(storage, [
    [ROOT_OID, ZERO_TID, buildRecord('holdfast.PersistentMapping', [reference], state, state.length)],
  ]);
  await storage.close();
  const { code, stdout, stderr } = await tool('verify', '--db', dangling, '--json');
  assert.deepEqual([code, stderr], [1, '']);
  const { sound, problems } = JSON.parse(stdout);
  assert.equal(sound, false);
  assert.deepEqual(problems, [{ oid: 0, message: 'oid 0 references oid 99, which is not there' }]);
  const missing = await tool('verify', '--db', join(site.directory, 'missing.fs'), '--json');
  assert.deepEqual([missing.code, missing.stdout], [1, '']);
  assert.match(missing.stderr, /missing\.fs is no holdfast database/);
});

test('a copy goes to what is empty, or was copied from there and not changed since; the source may have been packed', async () => {
  const copy = join(site.directory, 'copy.fs');
  const other = join(site.directory, 'other.fs');
  const fill = async (place: string, name: string) => {
    const db = await DB.open(place);
    await db.transaction(({ root }) => root.set(name, new PersistentMapping()));
    await db.close();
  };
  // Older than what is to be copied: its transactions would go between, unnoticed.
  await fill(other, 'mine');
  await fill(path, 'later');
  const before = (await tool('dump', '--db', other)).stdout;
  const refused = await tool('copy', path, other);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /other\.fs is no copy of .*test\.fs, .*: copy into an empty storage/);
  assert.equal((await tool('dump', '--db', other)).stdout, before);
  assert.equal((await tool('copy', path, copy)).code, 0);
  await fill(path, 'next');
  assert.equal((await tool('pack', '--db', path)).code, 0);
  assert.match((await tool('copy', path, copy)).stdout, /: 1 transaction, /);
});

test('wrong arguments, and databases that are not there, are named', async () => {
  const missing = join(site.directory, 'missing.fs');
  const cases: [string[], number, RegExp][] = [
    [['stats'], 2, /--zeo host:port .* --db path/],
    [['pack', '--db', path, '--days', 'few'], 2, /--days: 'few' is no number/],
    [['pack', '--db', path, '--before', 'then'], 2, /--before: 'then' is no time/],
    [['pack', '--db', path, '--days', '1', '--before', '2026-01-01'], 2, /not both/],
    [['dump', '--db', path, '--from', 'x'], 2, /--from: 'x' is neither a tid nor a time/],
    [['dump', '--db', path, '--oid', 'x'], 2, /--oid: 'x' is no oid/],
    [['verify', '--db', missing], 1, /missing\.fs is no holdfast database/],
    [['copy', missing, path], 1, /missing\.fs is no holdfast database/],
    [['copy', path], 2, /argument/],
    [['copy', path, `${site.directory}//test.fs`], 2, /are the same database/],
  ];
  for (const [args, expected, message] of cases) {
    const { code, stderr } = await tool(...args);
    assert.equal(code, expected, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
  }
  assert.deepEqual(readdirSync(site.directory).includes('missing.fs'), false, 'nothing is made');
});

test('a tool says which server it waits for, and ends when it is told to', async () => {
  const program = site.start('holdfast', ['stats', '--zeo', '127.0.0.1:1']);
  await program.output(/holdfast: still waiting for zeo:\/\/127\.0\.0\.1:1\b/, 'stderr');
  assert.equal((await program.end('SIGINT')).code, 130);
  assert.match(program.stderr, /ended by SIGINT/);
});
