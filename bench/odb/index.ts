import type { Bench } from '../harness.js';
import { commits } from './commits.js';
import { fields } from './fields.js';
import { large } from './large.js';
import { objects } from './objects.js';
import { packing } from './packing.js';
import { past } from './past.js';
import { transactions } from './transactions.js';
import { walk } from './walk.js';

/** The object database, embedded; durable, on disk. */
export async function odb(bench: Bench): Promise<void> {
  await fields(bench);
  await transactions(bench);
  await commits(bench);
  await objects(bench);
  await large(bench);
  await packing(bench);
  await past(bench);
  await walk(bench);
}
