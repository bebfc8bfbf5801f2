import { parseArgs } from 'node:util';
import { SimulationFailed, simulate } from './simulation.js';

/** How often it is told how far it is. */
const TELL_MS = 5000;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '10000' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string', default: '1000' },
    verbose: { type: 'boolean', default: false },
  },
});

const first = numberOf('from', values.seed ?? values.from);
const count = values.seed === undefined ? numberOf('seeds', values.seeds) : 1;
const options = { steps: numberOf('steps', values.steps), isPrinted: values.verbose };
const totals = { steps: 0, commits: 0, crashes: 0, closes: 0, packs: 0 };
const failed: number[] = [];
const beginMs = performance.now();
let toldMs = beginMs;

for (let seed = first; seed < first + count; seed++) {
  try {
    const report = await simulate(seed, options);
    for (const name of Object.keys(totals) as (keyof typeof totals)[]) totals[name] += report[name];
    if (count === 1) console.log(`seed ${seed}: hash ${report.hash}`);
  } catch (error) {
    if (!(error instanceof SimulationFailed)) throw error;
    failed.push(seed);
    console.error(error.message);
    console.error(`npm run sim -- --seed ${seed} --steps ${options.steps}\n`);
  }
  const nowMs = performance.now();
  if (nowMs - toldMs < TELL_MS && seed !== first + count - 1) continue;
  toldMs = nowMs;
  const done = seed - first + 1;
  const rate = (done / ((nowMs - beginMs) / 1000)).toFixed(1);
  const told = Object.entries(totals).map(([name, total]) => `${total} ${name}`);
  console.log(`${done} of ${count} seeds, ${rate} a second, ${failed.length} failed; ${told.join(', ')}`);
}
if (failed.length > 0) {
  console.error(`failed: ${failed.join(' ')}`);
  process.exitCode = 1;
}

function numberOf(name: string, text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  console.error(`--${name} takes a number, not '${text}'`);
  process.exit(2);
}
