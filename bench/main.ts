import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { btree } from './btree/index.js';
import { Bench } from './harness.js';
import { jobs } from './jobs/index.js';
import { odb } from './odb/index.js';
import { peers } from './peers/index.js';
import { zeo } from './zeo/index.js';

const GROUPS: Readonly<Record<string, (bench: Bench) => Promise<void>>> = { odb, btree, zeo, jobs };
/** Peers that are servers or other languages, and are not started from here. */
const ELSEWHERE = ['ZODB', 'ZEO', 'BullMQ', 'graphile-worker', 'pg-boss'];
/** The groups that the peers belong to. */
const PEER_GROUPS = ['odb', 'btree'];

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean' }, json: { type: 'string' }, peers: { type: 'boolean' } },
  });
  for (const name of positionals) {
    if (!(name in GROUPS)) throw new Error(`'${name}' is no group: there are ${Object.keys(GROUPS).join(', ')}`);
  }
  // A place that cannot be written to is told of before the work, not after it.
  if (values.json !== undefined) writeFileSync(values.json, '[]\n');
  const bench = new Bench({ quick: values.quick ?? false });
  for (const [name, run] of Object.entries(GROUPS)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    bench.group(name);
    await run(bench);
  }
  const skipped = [...ELSEWHERE];
  if (values.peers && (positionals.length === 0 || PEER_GROUPS.some((name) => positionals.includes(name)))) {
    bench.group('peers');
    skipped.unshift(...(await peers(bench)));
  }
  const missed = bench.rows.filter(({ met }) => met === false);
  const judged = bench.rows.filter(({ met }) => met !== undefined);
  console.log(`\n${judged.length - missed.length} of ${judged.length} targets met`);
  if (values.quick) console.log('This was a smoke run: its figures say nothing.');
  if (values.peers)
    console.log(`Skipped peers, which are not installed or not started from here: ${skipped.join(', ')}`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(bench.rows, undefined, 2)}\n`);
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
