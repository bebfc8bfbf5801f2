// Runs command lines of the program holdfast, one after the other, in one process: what costs most of a short one is to start it.
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { run } from '#src/cli/run.js';

const ANSWERS = 3;

for (const stream of [process.stdout, process.stderr]) stream.setMaxListeners(0);
for await (const line of createInterface({ input: process.stdin })) {
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = (text: string | Uint8Array) => {
      said[name] += text;
      return true;
    };
  }
  const code = await run('holdfast', JSON.parse(line) as string[]);
  writeSync(ANSWERS, `${JSON.stringify({ code, ...said })}\n`);
}
