import { inspect } from 'node:util';
import { argumentRangeError, argumentTypeError } from '../base/index.js';
import type { Databases } from './connection/connection-set.js';
import type { DB } from './db.js';
import type { DBOptions } from './db-options.js';
import type { Storage } from './storage/storage.js';
import { isStorage } from './storage/storage-argument.js';

/** @throws TypeError (`ARG_DATABASES`, `ARG_DATABASE_NAME`). RangeError (`ARG_DATABASE_NAME`) for a name that is taken. */
export function checkNames({ databaseName = 'unnamed', databases }: DBOptions): void {
  if (typeof databaseName !== 'string' || databaseName === '') {
    throw argumentTypeError('ARG_DATABASE_NAME', `${inspect(databaseName)} is no name for a database: give a text`);
  }
  if (databases === undefined) return;
  if (!(databases instanceof Map)) {
    throw argumentTypeError('ARG_DATABASES', `${inspect(databases)} is no collection of databases: give a Map`);
  }
  for (const [name, db] of databases) {
    if (isStorage((db as DB | undefined)?.storage)) continue;
    throw argumentTypeError(
      'ARG_DATABASES',
      `${inspect(db, { depth: 0 })}, the database '${name}' of this collection, is none`,
    );
  }
  requireFree(databaseName, databases);
}

/** Two doors to one database would wait for each other in a transaction that goes through both. */
export function requireDistinct(storage: Storage, databases: Databases): void {
  for (const [name, other] of databases) {
    if (other.storage === storage || other.storage.identity !== storage.identity) continue;
    throw argumentRangeError(
      'ARG_DATABASES',
      `${storage.name} is the same database as '${name}' (${other.storage.name}), or a copy of its files: open one of them, ` +
        'and make copies with copyTransactions',
    );
  }
}

export function requireFree(databaseName: string, databases: Databases): void {
  if (!databases.has(databaseName)) return;
  throw argumentRangeError(
    'ARG_DATABASE_NAME',
    `there is a database '${databaseName}' in this collection already: give each a databaseName of its own`,
  );
}
