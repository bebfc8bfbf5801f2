// Runs the tests that `npm run build` has compiled: all of them, or those whose path contains one of the arguments.

import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** No file of tests takes this long, unless it hangs. */
const FILE_LIMIT_MS = 240_000;

const root = fileURLToPath(new URL('..', import.meta.url));
const built = join(root, 'build', 'test');
const wanted = process.argv.slice(2);
const files = readdirSync(built, { recursive: true })
  .filter((name) => name.endsWith('.test.js'))
  .filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
  .map((name) => relative(root, join(built, name)))
  .sort();
if (files.length === 0) {
  console.error(`no tests match ${wanted.join(' ') || built}`);
  process.exit(1);
}
const args = ['--enable-source-maps', '--test', '--test-reporter=spec', '--test-concurrency=2'];
const runner = spawn(process.execPath, [...args, `--test-timeout=${FILE_LIMIT_MS}`, ...files], {
  cwd: root,
  stdio: 'inherit',
  // Colours and reporters of an outer test run are not ours.
  env: { ...process.env, NODE_TEST_CONTEXT: undefined },
});
runner.on('exit', (code, signal) => {
  process.exitCode = signal ? 1 : (code ?? 1);
});
