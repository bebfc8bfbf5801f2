import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Block, parseBlocks } from './parse.js';
import { HARNESS, programOf } from './program.js';
import { Session } from './session.js';
import { Shell } from './shell.js';

/** The checkout that is tested. */
export const PROJECT = dirname(fileURLToPath(import.meta.resolve('holdfast/package.json')));

/** The port that documents use. It is replaced by a free one, and nothing else is. */
const DOCUMENTED_PORT = /\b9999\b/g;

const COMPILER_OPTIONS = {
  target: 'ES2023',
  module: 'NodeNext',
  types: ['node'],
  strict: true,
  exactOptionalPropertyTypes: true,
  sourceMap: true,
  skipLibCheck: true,
};

/**
 * Runs a document as its reader would: in a fresh directory in which the package is installed, block by block. What the blocks started is
 * ended with it.
 */
export async function runDocument(t: TestContext, path: string): Promise<void> {
  const port = String(await freePort());
  const blocks = parseBlocks(readFileSync(path, 'utf8').replaceAll(DOCUMENTED_PORT, port));
  if (blocks.length === 0) return;
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-doctest-'));
  const shell = new Shell(directory);
  const sessions = new Map<string, Session>();
  try {
    install(directory);
    const programs = writeFiles(directory, blocks);
    await compile(directory, path);
    let hasFailed = false;
    for (const block of blocks) {
      const name = `${basename(path)}:${block.line} ${block.kind}${block.file ? ` ${block.file}` : ''}`;
      const missing = block.needs !== undefined && !isThere(block.needs) ? `${block.needs} is not there` : false;
      await t.test(name, { skip: hasFailed ? 'an earlier block failed' : missing }, async () => {
        try {
          if (block.kind === 'sh') await shell.run(block.code);
          else if (block.kind === 'ts') await runBlock(block, programs, sessions, directory);
        } catch (error) {
          hasFailed = true;
          throw error;
        }
      });
    }
  } finally {
    for (const session of sessions.values()) await session.kill();
    await shell.end();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function runBlock(
  block: Block,
  programs: ReadonlyMap<string, readonly Block[]>,
  sessions: Map<string, Session>,
  directory: string,
): Promise<void> {
  const program = programs.get(block.session) as readonly Block[];
  let session = sessions.get(block.session);
  if (session) session.goOn(false);
  else {
    session = new Session(join(directory, `__${block.session}.js`), directory);
    sessions.set(block.session, session);
  }
  await session.blockEnds();
  if (block !== program.at(-1)) return;
  session.goOn(true);
  await session.ends();
}

/** Makes the package, its programs and the compiler available, as `npm install` would. */
function install(directory: string): void {
  const modules = join(directory, 'node_modules');
  mkdirSync(join(modules, '.bin'), { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }\n');
  symlinkSync(PROJECT, join(modules, 'holdfast'));
  for (const name of ['typescript', '@types']) symlinkSync(join(PROJECT, 'node_modules', name), join(modules, name));
  const { bin } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as { bin: Record<string, string> };
  for (const [name, file] of Object.entries(bin)) symlinkSync(join(PROJECT, file), join(modules, '.bin', name));
}

/** Writes the files of a document and its programs; returns the blocks of each program that can be run here. */
function writeFiles(directory: string, blocks: readonly Block[]): Map<string, Block[]> {
  const programs = new Map<string, Block[]>();
  for (const block of blocks) {
    if (block.kind === 'file') writeFileSync(join(directory, block.file as string), `${block.code}\n`);
    if (block.kind !== 'ts' || (block.needs !== undefined && !isThere(block.needs))) continue;
    const program = programs.get(block.session) ?? [];
    program.push(block);
    programs.set(block.session, program);
  }
  for (const [name, program] of programs) writeFileSync(join(directory, `__${name}.ts`), programOf(program));
  if (programs.size > 0) writeFileSync(join(directory, '__harness.ts'), HARNESS);
  writeFileSync(
    join(directory, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: COMPILER_OPTIONS, include: ['*.ts'] }),
  );
  return programs;
}

/** @throws Error that names the lines of the document that have wrong types. */
async function compile(directory: string, path: string): Promise<void> {
  if (!readdirSync(directory).some((name) => name.endsWith('.ts'))) return;
  const compiler = join(PROJECT, 'node_modules', 'typescript', 'bin', 'tsc');
  const { error, output } = await new Promise<{ error: unknown; output: string }>((resolve) => {
    execFile(process.execPath, [compiler, '-p', directory], { cwd: directory }, (failure, stdout, stderr) =>
      resolve({ error: failure, output: stdout + stderr }),
    );
  });
  if (error) throw new Error(`${basename(path)} does not compile (lines are the document's):\n${output}`);
}

function isThere(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
