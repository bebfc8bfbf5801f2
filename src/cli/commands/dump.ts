import { inspect } from 'node:util';
import type { Command } from 'commander';
import { nextTurn, systemClock } from '../../base/index.js';
import {
  blobOf,
  type DataRecord,
  readOpaqueState,
  readRecord,
  type TransactionRecord,
  transactionInfo,
} from '../../odb/index.js';
import type { DatabaseOptions } from '../open.js';
import { parseOid, parseTid } from '../option-values.js';
import { EXIT, isRead, say, UsageError } from '../output.js';
import type { CommandAction } from '../run.js';
import { storageTool, withStorage } from '../storage-tool.js';

interface DumpOptions extends DatabaseOptions {
  readonly from?: string;
  readonly to?: string;
  readonly oid?: string;
  readonly states?: true;
}

/** So many records are printed before signals are looked at. */
const RECORDS_PER_TURN = 1000;

/** `holdfast dump`: the transactions of a database and their records, for people. */
export function dumpCommand(choose: (action: CommandAction) => void): Command {
  return storageTool('dump', 'Prints the transactions of a database, oldest first, and the records that each wrote.')
    .option('--from <when>', 'begin with this transaction: a tid, or a time')
    .option('--to <when>', 'end with this one')
    .option('--oid <oid>', 'only records of this object')
    .option('--states', 'print what the records hold')
    .action((options: DumpOptions) => choose(() => dump(options)));
}

async function dump(options: DumpOptions): Promise<number> {
  const from = options.from === undefined ? undefined : parseTid(options.from, '--from');
  const to = options.to === undefined ? undefined : parseTid(options.to, '--to');
  if (from !== undefined && to !== undefined && from > to) throw new UsageError('--from is later than --to');
  const oid = options.oid === undefined ? undefined : parseOid(options.oid, '--oid');
  return withStorage(options, { storageOptions: { readOnly: true } }, async ({ storage, signal }) => {
    for await (const transaction of storage.iterate(from, to)) {
      signal.throwIfAborted();
      const records = transaction.records.filter((record) => oid === undefined || record.oid === oid);
      if (oid !== undefined && records.length === 0) continue;
      await say(titleOf(transaction), signal);
      for (const [i, record] of records.entries()) {
        await say(recordText(record, options.states === true), signal);
        // A file takes everything at once.
        if (i % RECORDS_PER_TURN === RECORDS_PER_TURN - 1) await nextTurn(systemClock);
        signal.throwIfAborted();
      }
      // Nobody reads on: `holdfast dump … | head`.
      if (!isRead()) break;
    }
    return EXIT.ok;
  });
}

function titleOf(transaction: TransactionRecord): string {
  const { tid, time, user, description, extension } = transactionInfo(transaction);
  const parts = [`transaction ${tid}`, time.toISOString()];
  if (user !== '') parts.push(`by ${JSON.stringify(user)}`);
  if (description !== '') parts.push(JSON.stringify(description));
  if (Object.keys(extension).length > 0) parts.push(inspect(extension, { breakLength: Number.POSITIVE_INFINITY }));
  return parts.join(' ');
}

function recordText({ oid, data }: DataRecord, withState: boolean): string {
  if (!data) return `  oid ${oid} removed`;
  try {
    const { className, references } = readRecord(data);
    const content = blobOf(data);
    const size = content ? `with a content of ${content.size} bytes` : `${data.length} bytes`;
    const title = `  oid ${oid} ${className} ${size}${references.length > 0 ? ` → ${references.map((each) => each.oid).join(' ')}` : ''}`;
    if (!withState) return title;
    return `${title}\n${inspect(readOpaqueState(data), { depth: 6 }).replace(/^/gm, '    ')}`;
  } catch (error) {
    return `  oid ${oid} ${data.length} bytes that do not decode: ${(error as Error).message}`;
  }
}
