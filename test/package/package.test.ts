import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { freePort, PROJECT } from '../support/doctest/document.js';
import { parseBlocks } from '../support/doctest/parse.js';
import { Shell } from '../support/doctest/shell.js';

// The package as a user gets it: packed, installed in an empty project, used as the README says.

const INSTALL_LIMIT_MS = 120_000;

const folder = mkdtempSync(join(tmpdir(), 'holdfast-package-'));
const project = join(folder, 'project');

before(async () => {
  // What is built is packed: building it anew would pull it from under the other tests.
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], PROJECT);
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "type": "module", "private": true }\n');
  const { version } = JSON.parse(readFileSync(join(PROJECT, 'node_modules', 'typescript', 'package.json'), 'utf8')) as {
    version: string;
  };
  const nodeTypes = (
    JSON.parse(readFileSync(join(PROJECT, 'node_modules', '@types', 'node', 'package.json'), 'utf8')) as {
      version: string;
    }
  ).version;
  const packages = [join(folder, filename), `typescript@${version}`, `@types/node@${nodeTypes}`];
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', ...packages], project);
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('the package holds what it needs, and nothing else', () => {
  const installed = join(project, 'node_modules', 'holdfast');
  assert.deepEqual(
    readdirSync(installed)
      .filter((name) => name !== 'node_modules')
      .sort(),
    ['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'docs', 'examples', 'package.json'],
  );
  const files = readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' });
  assert.ok(files.every((name) => !name.endsWith('.tsbuildinfo') && !name.includes('.test.')));
  for (const name of ['runzeo', 'holdfast']) assert.ok(existsSync(join(project, 'node_modules', '.bin', name)));
});

test('every door opens, and says which names it has', async () => {
  const doors = [
    'holdfast',
    'holdfast/odb',
    'holdfast/zeo',
    'holdfast/async',
    'holdfast/testing',
    'holdfast/conformance',
  ];
  const file = join(project, 'doors.js');
  writeFileSync(
    file,
    `for (const door of ${JSON.stringify(doors)}) console.log(door, Object.keys(await import(door)).length > 0);
     const { DB } = await import('holdfast/odb');
     const db = await DB.open('memory:');
     await db.close();`,
  );
  const { stdout } = await run(process.execPath, [file], project);
  assert.deepEqual(
    stdout.trim().split('\n'),
    doors.map((door) => `${door} true`),
  );
});

test('holdfast/odb alone says which import an address needs', async () => {
  const file = join(project, 'scheme.js');
  writeFileSync(
    file,
    `import { DB } from 'holdfast/odb';
     await DB.open('zeo://127.0.0.1:1').catch((error) => console.log(error.message));`,
  );
  const { stdout } = await run(process.execPath, [file], project);
  assert.match(stdout, /import 'holdfast'|holdfast\/zeo/);
});

for (const language of ['TypeScript', 'JavaScript'] as const) {
  test(`the client and server of the README, word for word, in ${language}`, async () => {
    const directory = join(project, language);
    mkdirSync(directory);
    const port = String(await freePort());
    const blocks = parseBlocks(readFileSync(join(PROJECT, 'README.md'), 'utf8').replaceAll('9999', port));
    const client = blocks.find(({ session }) => session === 'client');
    const commands = blocks.find(({ kind }) => kind === 'sh');
    const module = blocks.filter(({ file }) => file === 'pi.ts').at(-1);
    assert.ok(client && commands && module);
    writeFileSync(join(directory, 'pi.ts'), module.code);
    writeFileSync(join(directory, 'client.ts'), client.code);
    const options = { module: 'NodeNext', target: 'ES2023', strict: true, types: ['node'], skipLibCheck: false };
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['*.ts'] }));
    // Without the types, it is JavaScript.
    const compiler = join(project, 'node_modules', 'typescript', 'bin', 'tsc');
    const flags = language === 'JavaScript' ? ['--noCheck'] : [];
    await run(process.execPath, [compiler, '-p', directory, ...flags], directory);
    if (language === 'JavaScript') for (const name of ['pi.ts', 'client.ts']) rmSync(join(directory, name));
    const shell = new Shell(directory);
    try {
      await shell.run(commands.code);
      const { stdout } = await run(process.execPath, ['client.js'], directory);
      assert.match(stdout, /^3\.1[34]\d+\n$/);
    } finally {
      await shell.end();
    }
  });
}

function run(program: string, args: readonly string[], cwd: string): Promise<{ stdout: string }> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
    execFile(program, [...args], { cwd, env, timeout: INSTALL_LIMIT_MS }, (error, stdout, stderr) => {
      if (error) reject(new Error(`${program} ${args.join(' ')} failed: ${error.message}\n${stdout}\n${stderr}`));
      else resolve({ stdout });
    });
  });
}
