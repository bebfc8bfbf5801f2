import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { btree } from './btree/index.js';
import { Bench } from './harness.js';
import { jobs } from './jobs/index.js';
import { odb } from './odb/index.js';
import { zeo } from './zeo/index.js';

const GROUPS: Readonly<Record<string, (bench: Bench) => Promise<void>>> = { odb, btree, zeo, jobs };
const PEERS = ['ZODB', 'ZEO', 'BullMQ', 'graphile-worker', 'pg-boss'];

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean' }, json: { type: 'string' }, peers: { type: 'boolean' } },
  });
  for (const name of positionals) {
    if (!(name in GROUPS)) throw new Error(`'${name}' is no group: there are ${Object.keys(GROUPS).join(', ')}`);
  }
  const bench = new Bench({ quick: values.quick ?? false });
  for (const [name, run] of Object.entries(GROUPS)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    bench.group(name);
    await run(bench);
  }
  const missed = bench.rows.filter(({ met }) => met === false);
  const judged = bench.rows.filter(({ met }) => met !== undefined);
  console.log(`\n${judged.length - missed.length} of ${judged.length} targets met`);
  if (values.quick) console.log('This was a smoke run: its figures say nothing.');
  if (values.peers) console.log(`Skipped peers, which are not on this machine: ${PEERS.join(', ')}`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(bench.rows, undefined, 2)}\n`);
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
