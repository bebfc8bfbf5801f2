// The program holdfast, as if a terminal showed its standard error. It stops at its first report of progress, until it is told to go on.
import { writeSync } from 'node:fs';
import { run } from '#src/cli/run.js';

const { stderr } = process;
const write = stderr.write.bind(stderr);
let hasStopped = false;
Object.defineProperty(stderr, 'isTTY', { value: true });
stderr.write = ((text: string) => {
  if (hasStopped || !text.includes(process.env['STOP_AT'] ?? '')) return write(text);
  hasStopped = true;
  writeSync(2, `${text} (stopped)\n`);
  process.kill(process.pid, 'SIGSTOP');
  return true;
}) as typeof stderr.write;

process.exit(await run('holdfast', process.argv.slice(2)));
