import { inspect } from 'node:util';
import type { Command } from 'commander';
import {
  blobOf,
  type DataRecord,
  readOpaqueState,
  readRecord,
  type Tid,
  type TransactionRecord,
  tidFromDate,
  toTid,
  transactionInfo,
} from '../../odb/index.js';
import type { DatabaseOptions } from '../open.js';
import { EXIT, say, UsageError } from '../output.js';
import type { CommandAction } from '../run.js';
import { storageTool, withStorage } from '../storage-tool.js';

interface DumpOptions extends DatabaseOptions {
  readonly from?: string;
  readonly to?: string;
  readonly oid?: string;
  readonly states?: true;
}

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
  const from = options.from === undefined ? undefined : tidOf('--from', options.from);
  const to = options.to === undefined ? undefined : tidOf('--to', options.to);
  const oid = options.oid === undefined ? undefined : Number(options.oid);
  if (oid !== undefined && !Number.isSafeInteger(oid)) throw new UsageError(`--oid: '${options.oid}' is no oid`);
  return withStorage(options, { readOnly: true }, async ({ storage, signal }) => {
    for await (const transaction of storage.iterate(from, to)) {
      signal.throwIfAborted();
      const records = transaction.records.filter((record) => oid === undefined || record.oid === oid);
      if (oid !== undefined && records.length === 0) continue;
      say(titleOf(transaction));
      for (const record of records) say(recordText(record, options.states === true));
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

function tidOf(option: string, text: string): Tid {
  if (/^\d{5,}$/.test(text)) return toTid(Number(text));
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) {
    throw new UsageError(`${option}: '${text}' is neither a tid nor a time: write 2026-11-24T12:00Z`);
  }
  return tidFromDate(time);
}
