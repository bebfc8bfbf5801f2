import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { DB } from 'holdfast/odb';
import 'holdfast/zeo';
import { Site } from '../support/programs.js';

/** Starts a server that is to fail; resolves to its exit code and what it said. */
async function failing(site: Site, args: readonly string[]): Promise<{ code: number | null; said: string }> {
  const program = site.start('runzeo', args);
  const { code } = await program.exited;
  return { code, said: program.stderr };
}

test('runzeo serves a directory, which it makes, and ends on a signal', async () => {
  await using site = new Site();
  const { program, address } = await site.server();
  assert.match(program.stdout, /^runzeo: serving .*test\.fs at 127\.0\.0\.1:\d+ \(pid \d+\)\n$/);
  const db = await DB.open(`zeo://${address}`);
  await db.transaction(({ root }) => root.set('kept', 42));
  await db.close();
  assert.deepEqual(await program.end('SIGTERM'), { code: 0, signal: null });
  const again = await DB.open(join(site.directory, 'test.fs'));
  assert.equal(await again.transaction(({ root }) => root.get('kept')), 42);
  await again.close();
});

test('holdfast zeo is the same program', async () => {
  await using site = new Site();
  const program = site.start('holdfast', ['zeo', '-a', '127.0.0.1:0', '-f', 'test.fs']);
  await program.output(/^holdfast zeo: serving test\.fs/);
  assert.deepEqual(await program.end('SIGINT'), { code: 0, signal: null });
});

test('a wrong command line is told in one line, with exit code 2', async () => {
  await using site = new Site();
  for (const [args, message] of [
    [['-f', 'test.fs'], /required option '-a, --address <address>' not specified/],
    [['-a', '0'], /required option '-f, --file <path>' not specified/],
    [['-a', 'no port', '-f', 'test.fs'], /'no port' is no address/],
    [['-a', '0.0.0.0:9999', '-f', 'test.fs'], /can be reached from other machines.*--insecure/],
    [['-a', '0', '-f', 'test.fs', '--history', 'some'], /--history: 'some' is neither a duration/],
    [['-a', '0', '-f', 'test.fs', 'more'], /too many arguments/],
  ] as const) {
    const { code, said } = await failing(site, args);
    assert.equal(code, 2, said);
    assert.match(said, /^runzeo: [^\n]*\n$/);
    assert.match(said, message);
  }
  assert.ok(!existsSync(join(site.directory, 'test.fs')), 'nothing was made');
});

test('a port that is in use, and a database that is in use, are named', async () => {
  await using site = new Site();
  const { port } = await site.server();
  const samePort = await failing(site, ['-a', String(port), '-f', 'other.fs']);
  assert.equal(samePort.code, 1);
  assert.match(samePort.said, new RegExp(`127\\.0\\.0\\.1:${port}.*in use`));
  const sameFile = await failing(site, ['-a', '0', '-f', 'test.fs']);
  assert.equal(sameFile.code, 1);
  assert.match(sameFile.said, /test\.fs.*(in use|locked|open).*process \d+|process \d+.*test\.fs/s);
});

test('a directory that is no database is refused, and left as it is', async () => {
  await using site = new Site();
  const folder = join(site.directory, 'photos');
  mkdirSync(folder);
  writeFileSync(join(folder, 'holiday.jpg'), 'a picture');
  const { code, said } = await failing(site, ['-a', '0', '-f', 'photos']);
  assert.equal(code, 1);
  assert.match(said, /photos.*(no|not a) .*database/);
  assert.deepEqual(readdirSync(folder), ['holiday.jpg']);
  writeFileSync(join(site.directory, 'a-file'), 'text');
  const file = await failing(site, ['-a', '0', '-f', 'a-file']);
  assert.equal(file.code, 1);
  assert.match(file.said, /a-file/);
  assert.equal(readFileSync(join(site.directory, 'a-file'), 'utf8'), 'text');
});

test('garbage sent to the port disturbs nobody', async () => {
  await using site = new Site();
  const { program, address, port } = await site.server();
  const db = await DB.open(`zeo://${address}`);
  for (const garbage of ['GET / HTTP/1.1\r\n\r\n', '\u0000'.repeat(100_000), 'holdfast', Buffer.alloc(64, 0xff)]) {
    await new Promise<void>((resolve) => {
      const socket = createConnection(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      socket.on('data', () => {});
      socket.end(garbage);
    });
    await db.transaction(({ root }) => root.set('still', 'here'));
  }
  await db.close();
  assert.ok(!program.hasEnded);
});
