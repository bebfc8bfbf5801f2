import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
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
import { afterEach, beforeEach, test } from 'node:test';
import { version } from 'uuid';
import { assignerUuid, holdInstanceUuid, instanceUuid } from '#src/async/instance-uuid.js';
import { UuidFileError, UuidInUseError } from '#src/async/process-errors.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'holdfast-uuid-'));
});

afterEach(() => {
  delete process.env['ZC_ASYNC_UUID'];
  rmSync(directory, { recursive: true, force: true });
});

const MODULE = import.meta.resolve('#src/async/instance-uuid.js');

/** Runs code in a process of its own, in the test's directory. */
function inAnotherProcess(code: string) {
  return spawnSync(process.execPath, ['--input-type=module', '-e', `import * as m from '${MODULE}';\n${code}`], {
    cwd: directory,
    encoding: 'utf8',
    env: { ...process.env, ZC_ASYNC_UUID: '' },
  });
}

test('the file is made on first use, with a version 1 UUID and an explanation below it', () => {
  const file = join(directory, 'uuid.txt');
  const uuid = instanceUuid({ file });
  assert.equal(version(uuid), 1);
  const [first, rule, ...explanation] = readFileSync(file, 'utf8').split('\n');
  assert.equal(first, uuid);
  assert.match(rule as string, /^-+$/);
  for (const word of ['ZC_ASYNC_UUID', 'uuid.txt', '--uuid-file', 'delete this file']) {
    assert.ok(explanation.join(' ').includes(word), word);
  }
  assert.equal(instanceUuid({ file }), uuid);
  assert.deepEqual(readdirSync(directory), ['uuid.txt'], 'no draft is left behind');
});

test('a file with nothing but a UUID will do, whatever its case and its line end', () => {
  const file = join(directory, 'mine');
  for (const ending of ['', '\n', '\r\n', ' \n']) {
    writeFileSync(file, `AFD1E0D0-52E1-11DD-879B-0017F2C49BDD${ending}`);
    assert.equal(instanceUuid({ file }), 'afd1e0d0-52e1-11dd-879b-0017f2c49bdd');
  }
});

test('rubbish in the file is an error that names the file, and the rubbish stays', () => {
  const file = join(directory, 'uuid.txt');
  for (const text of ['', 'rubbish', '\n\nafd1e0d0-52e1-11dd-879b-0017f2c49bdd', 'x'.repeat(100_000)]) {
    writeFileSync(file, text);
    for (const use of [instanceUuid, holdInstanceUuid]) {
      assert.throws(
        () => use({ file }),
        (error) => error instanceof UuidFileError && error.file === file && error.message.includes(file),
      );
    }
    assert.equal(readFileSync(file, 'utf8'), text);
  }
  writeFileSync(file, 'afd1e0d0-52e1-11dd-879b-0017f2c49bdd');
  holdInstanceUuid({ file }).release();
});

test('a file that cannot be made or read is an error that names it', () => {
  const missing = join(directory, 'nowhere', 'uuid.txt');
  assert.throws(() => instanceUuid({ file: missing }), UuidFileError);
  assert.throws(() => holdInstanceUuid({ file: missing }), UuidFileError);
  const folder = join(directory, 'folder');
  mkdirSync(folder);
  assert.throws(
    () => instanceUuid({ file: folder }),
    (error) => error instanceof UuidFileError && error.file === folder,
  );
});

test('the file is the one that the environment names, else uuid.txt in the working directory', () => {
  const file = join(directory, 'named.txt');
  process.env['ZC_ASYNC_UUID'] = file;
  const uuid = instanceUuid();
  assert.equal(readFileSync(file, 'utf8').split('\n')[0], uuid);
  const { stdout } = inAnotherProcess('process.stdout.write(m.instanceUuid())');
  assert.equal(readFileSync(join(directory, 'uuid.txt'), 'utf8').split('\n')[0], stdout);
  assert.notEqual(stdout, uuid);
});

test('a UUID in use is refused to another process, by whatever path, and free again once released', () => {
  const file = join(directory, 'uuid.txt');
  const held = holdInstanceUuid({ file });
  const again = holdInstanceUuid({ file });
  assert.equal(again.uuid, held.uuid);
  symlinkSync(file, join(directory, 'link.txt'));
  const attempt = (name: string) =>
    inAnotherProcess(`
      try { m.holdInstanceUuid({ file: '${name}' }); console.log('taken'); }
      catch (error) { console.log(JSON.stringify({ code: error.code, pid: error.pid, message: error.message })); }`);
  for (const name of ['uuid.txt', 'link.txt']) {
    const { code, pid, message } = JSON.parse(attempt(name).stdout);
    assert.equal(code, 'ASYNC_UUID_IN_USE');
    assert.equal(pid, process.pid);
    assert.ok(message.includes(held.file) && message.includes('--uuid-file'), message);
  }
  held.release();
  held.release();
  assert.match(attempt('uuid.txt').stdout, /IN_USE/, 'held as long as anyone in the process holds it');
  again.release();
  assert.equal(attempt('uuid.txt').stdout, 'taken\n');
});

test('reading the UUID of a running instance is no use of it', () => {
  const file = join(directory, 'uuid.txt');
  const held = holdInstanceUuid({ file });
  assert.equal(inAnotherProcess('process.stdout.write(m.instanceUuid())').stdout, held.uuid);
  held.release();
});

test('a process that was killed holds no UUID', async () => {
  const code = `import { holdInstanceUuid } from '${MODULE}'; holdInstanceUuid({}); console.log('held'); setInterval(() => {}, 1e6);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { cwd: directory });
  await once(child.stdout, 'data');
  const file = join(directory, 'uuid.txt');
  assert.throws(() => holdInstanceUuid({ file }), UuidInUseError);
  child.kill('SIGKILL');
  await once(child, 'exit');
  holdInstanceUuid({ file }).release();
});

test('processes that make the file at the same time agree on one UUID', async () => {
  const code = `import { instanceUuid } from '${MODULE}'; process.stdout.write(instanceUuid());`;
  const uuids = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', code], { cwd: directory });
      let output = '';
      child.stdout.on('data', (chunk) => {
        output += chunk;
      });
      await once(child, 'close');
      return output;
    }),
  );
  assert.equal(new Set(uuids).size, 1);
  assert.equal(instanceUuid({ file: join(directory, 'uuid.txt') }), uuids[0]);
});

test('who puts a job is the instance that the process is, or the process itself; no file is made for it', () => {
  const { stdout } = inAnotherProcess("process.stdout.write([m.assignerUuid(), m.assignerUuid()].join(' '))");
  const [uuid, again] = stdout.split(' ');
  assert.equal(version(uuid as string), 1);
  assert.equal(again, uuid);
  assert.ok(!existsSync(join(directory, 'uuid.txt')));
  const held = holdInstanceUuid({ file: join(directory, 'uuid.txt') });
  assert.equal(assignerUuid(), held.uuid);
  assert.equal(inAnotherProcess('process.stdout.write(m.assignerUuid())').stdout, held.uuid);
  held.release();
});
