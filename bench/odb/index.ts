import type { Bench } from '../harness.js';
import { commits } from './commits.js';
import { fields } from './fields.js';
import { objects } from './objects.js';
import { transactions } from './transactions.js';

/** The object database, embedded; durable, on disk. */
export async function odb(bench: Bench): Promise<void> {
  await fields(bench);
  await transactions(bench);
  await commits(bench);
  await objects(bench);
}
