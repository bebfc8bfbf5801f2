import { asBuffer, crc32, readUint32, readUint64, writeUint32, writeUint64 } from '../../../base/index.js';
import { CorruptionError } from '../../errors.js';
import type { Oid, Tid } from '../../ids.js';

/*
 * What stands where. All numbers are big-endian, so that keys sort by them.
 *
 *     0x00 name                 bookkeeping, by name         numbers(8 each) crc(4)
 *     0x01 oid(8)               current revision             n(4) tid(8) data crc(4)
 *     0x02 oid(8) n(4)          older revision               the same bytes as when it was current
 *     0x03 tid(8)               transaction                  see `encodeTransaction`
 *     0x04 tid(8)               prepared transaction         see `encodePrepared`
 *     0x04 tid(8) i(4)          its i-th record              n(4) tid(8) data crc(4), n being 0
 *     0x05 period(4) commitId   tid of a commit of late      tid(8) crc(4)
 *     0x06 commitId             tid of a commit that this database decided, among several, until all of them have finished
 *                                                            tid(8) crc(4)
 *
 * `n` numbers the revisions of an object densely, so that an old one is found by halving.
 *
 * LevelDB answers a flipped bit with a wrong value, in silence. So each value ends in a CRC-32 over all before it, begun with a number
 * made from the key: a value that stands under another's key is noticed too.
 */

const SPACE = {
  bookkeeping: 0x00,
  current: 0x01,
  older: 0x02,
  transaction: 0x03,
  prepared: 0x04,
  commitId: 0x05,
  decision: 0x06,
} as const;

const HEAD_BYTES = 12;
const CRC_BYTES = 4;
const KEY_BYTES = 9;
const EMPTY = new Uint8Array(0);

/** A revision as it is stored. */
export interface StoredRevision {
  /** Its number among the object's revisions, from 0. */
  readonly n: number;
  readonly tid: Tid;
  readonly data: Buffer;
}

/** What is stored of a transaction besides its records. */
export interface TransactionHead {
  readonly tid: Tid;
  readonly commitId: Uint8Array;
  readonly user: string;
  readonly description: string;
  readonly extension: Uint8Array;
}

/** A transaction as it is stored. */
export interface TransactionEntry extends TransactionHead {
  /** Counted from 1, without gaps: a missing one is a lost commit. */
  readonly sequence: number;
  /** The transaction before it. */
  readonly previousTid: Tid;
  /** What it wrote: oid and number of the revision, in turn. */
  readonly records: readonly number[];
}

/** A transaction that was voted, and is nothing until it is finished. */
export interface PreparedEntry extends TransactionHead {
  /** Identity of the database that decides, a space, and what it was called; empty when that is this one. */
  readonly decider: string;
  /** What it is going to write: oid and superseded tid, in turn. */
  readonly records: readonly number[];
}

/** Names of bookkeeping entries. */
export type Bookkeeping =
  /** Sequence number and tid of a transaction up to which all is known to be there. */
  | 'checkpoint'
  /** Tid before which objects that nothing reached were packed away. */
  | 'packed'
  /** Three random numbers that name the database for ever. */
  | 'identity'
  /**
   * Tid up to which history was trimmed, and how many transactions were dropped with it; where it was not yet trimmed of all that this
   * last transaction superseded, also of how many of its records.
   */
  | 'trimmed';

/** The key of a current revision; `into` is used again, to make no garbage. */
export function currentKey(oid: Oid, into = Buffer.allocUnsafe(KEY_BYTES)): Buffer {
  return numberKey(SPACE.current, oid, into);
}

/** The key of an older revision. */
export function olderKey(oid: Oid, n: number, into = Buffer.allocUnsafe(KEY_BYTES + 4)): Buffer {
  numberKey(SPACE.older, oid, into);
  writeUint32(into, KEY_BYTES, n);
  return into;
}

/** The key of a transaction. */
export function transactionKey(tid: Tid, into = Buffer.allocUnsafe(KEY_BYTES)): Buffer {
  return numberKey(SPACE.transaction, tid, into);
}

/** The key of a prepared transaction. */
export function preparedKey(tid: Tid): Buffer {
  return numberKey(SPACE.prepared, tid, Buffer.allocUnsafe(KEY_BYTES));
}

/** The key of a record of a prepared transaction. */
export function preparedRecordKey(tid: Tid, index: number): Buffer {
  const key = Buffer.allocUnsafe(KEY_BYTES + 4);
  numberKey(SPACE.prepared, tid, key);
  writeUint32(key, KEY_BYTES, index);
  return key;
}

/** The key of a bookkeeping entry. */
export function bookkeepingKey(name: Bookkeeping): Buffer {
  return Buffer.concat([Buffer.from([SPACE.bookkeeping]), Buffer.from(name)]);
}

/** Microseconds that one period of commit ids lasts: what is old is dropped by whole periods. */
const PERIOD_US = 600_000_000;

/** The period of a transaction. */
export function periodOf(tid: Tid): number {
  return Math.floor(tid / PERIOD_US) >>> 0;
}

/** The key under which the outcome of a commit is found. */
export function commitIdKey(period: number, commitId: Uint8Array): Buffer {
  const key = Buffer.allocUnsafe(5 + commitId.length);
  key[0] = SPACE.commitId;
  writeUint32(key, 1, period);
  key.set(commitId, 5);
  return key;
}

/** The period of a key of a commit id. */
export function periodOfKey(key: Uint8Array): number {
  return readUint32(key, 1);
}

/** The key under which the outcome of a commit is found that this database decided, among several. */
export function decisionKey(commitId: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([SPACE.decision]), commitId]);
}

/** All commit ids of the periods before one. */
export function commitIdsBefore(period: number): { readonly gte: Buffer; readonly lt: Buffer } {
  return { gte: Buffer.from([SPACE.commitId]), lt: commitIdKey(period, EMPTY) };
}

/** All keys of a space. */
function rangeOf(space: number): { readonly gte: Buffer; readonly lt: Buffer } {
  return { gte: Buffer.from([space]), lt: Buffer.from([space + 1]) };
}

/** All transactions. */
export const TRANSACTION_RANGE = rangeOf(SPACE.transaction);
/** After all transactions. */
export const TRANSACTIONS_END = TRANSACTION_RANGE.lt;
/** All current revisions. */
export const CURRENT_RANGE = rangeOf(SPACE.current);
/** All older revisions. */
export const OLDER_RANGE = rangeOf(SPACE.older);
/** All prepared transactions with their records. */
export const PREPARED_RANGE = rangeOf(SPACE.prepared);
/** All outcomes of commits. */
export const COMMIT_ID_RANGE = rangeOf(SPACE.commitId);
/** All decisions. */
export const DECISION_RANGE = rangeOf(SPACE.decision);
/** A part of the bookkeeping space in which nothing stands. */
export const NOWHERE = Buffer.from([SPACE.bookkeeping, 0]);

/** Whether a key of {@link PREPARED_RANGE} is a transaction's, and not one of its records'. */
export function isPreparedHead(key: Uint8Array): boolean {
  return key.length === KEY_BYTES;
}

/** The number of the revision that a key of an older one names. */
export function indexOfKey(key: Uint8Array): number {
  return readUint32(key, KEY_BYTES);
}

/** The oid of a key of a revision. */
export function oidOfKey(key: Uint8Array): Oid {
  return readUint64(key, 1) as Oid;
}

/** The tid of a key of a transaction or of a prepared one. */
export function tidOfKey(key: Uint8Array): Tid {
  return readUint64(key, 1) as Tid;
}

function numberKey(space: number, number: number, into: Buffer): Buffer {
  into[0] = space;
  writeUint64(into, 1, number);
  return into;
}

/** What the checksum of a value begins with. */
function seedOf(number: number): number {
  return (number ^ Math.floor(number / 0x1_0000_0000)) >>> 0;
}

function seal(value: Buffer, seed: number): Buffer {
  const end = value.length - CRC_BYTES;
  writeUint32(value, end, crc32(value.subarray(0, end), seed));
  return value;
}

function isSealed(value: Buffer, seed: number): boolean {
  const end = value.length - CRC_BYTES;
  return end >= 0 && crc32(value.subarray(0, end), seed) === readUint32(value, end);
}

/** Bytes of a stored revision. */
export function revisionBytes(data: Uint8Array): number {
  return HEAD_BYTES + data.length + CRC_BYTES;
}

/** Writes a revision as it stands under both of its keys; `into` has exactly its size. */
export function encodeRevision(
  { oid, n, tid, data }: { readonly oid: Oid; readonly n: number; readonly tid: Tid; readonly data: Uint8Array },
  into = Buffer.allocUnsafe(revisionBytes(data)),
): Buffer {
  writeUint32(into, 0, n);
  writeUint64(into, 4, tid);
  into.set(data, HEAD_BYTES);
  return seal(into, seedOf(oid));
}

/** @throws CorruptionError, naming oid and (alleged) tid. */
export function decodeRevision(oid: Oid, value: Buffer): StoredRevision {
  const end = value.length - CRC_BYTES;
  if (end < HEAD_BYTES || !isSealed(value, seedOf(oid))) throw damagedRevision(oid, value);
  return { n: readUint32(value, 0), tid: tidOfRevision(value), data: value.subarray(HEAD_BYTES, end) };
}

/** The number of a revision, unchecked. */
export function numberOfRevision(value: Buffer): number {
  return readUint32(value, 0);
}

/** The tid of a revision, unchecked: for a search, whose result is checked. */
export function tidOfRevision(value: Buffer): Tid {
  return readUint64(value, 4) as Tid;
}

/** The data of a revision, unchecked. */
export function dataOfRevision(value: Buffer): Buffer {
  return value.subarray(HEAD_BYTES, -CRC_BYTES);
}

function damagedRevision(oid: Oid, value: Buffer): CorruptionError {
  const tid = value.length < HEAD_BYTES ? undefined : tidOfRevision(value);
  return new CorruptionError(
    `the stored revision of oid ${oid}${tid === undefined ? '' : ` (tid ${tid})`} is damaged: its checksum does not match; ` +
      'restore the database from a copy',
    tid === undefined ? { oid } : { oid, tid },
  );
}

/**
 * Transaction:
 *
 *     sequence(8) previousTid(8) commitId extension user description count(4) {oid(8) n(4)}* crc(4)
 *
 * Bytes and texts (UTF-8) have their length in four bytes before them.
 */
export function encodeTransaction(entry: TransactionEntry): Buffer {
  const { tid, sequence, previousTid, records } = entry;
  const head = new HeadWriter(entry);
  const count = records.length >>> 1;
  const value = Buffer.allocUnsafe(16 + head.bytes + 4 + count * 12 + CRC_BYTES);
  writeUint64(value, 0, sequence);
  writeUint64(value, 8, previousTid);
  let at = head.write(value, 16);
  writeUint32(value, at, count);
  at += 4;
  for (let i = 0; i < records.length; i += 2) {
    writeUint64(value, at, records[i] as number);
    writeUint32(value, at + 8, records[i + 1] as number);
    at += 12;
  }
  return seal(value, seedOf(tid));
}

/** @throws CorruptionError, naming the tid. */
export function decodeTransaction(tid: Tid, bytes: Uint8Array): TransactionEntry {
  const value = checkedEntry(`the transaction ${tid}`, tid, bytes);
  const sequence = readUint64(value, 0);
  const previousTid = readUint64(value, 8) as Tid;
  const { at, ...head } = readHead(value, 16);
  const records: number[] = [];
  const end = value.length - CRC_BYTES;
  for (let i = at + 4; i < end; i += 12) records.push(readUint64(value, i), readUint32(value, i + 8));
  return { sequence, tid, previousTid, ...head, records };
}

/**
 * Prepared transaction; its records' data stand under keys of their own, in the same order:
 *
 *     commitId extension user description decider count(4) {oid(8) superseded tid(8)}* crc(4)
 */
export function encodePrepared(entry: PreparedEntry): Buffer {
  const { tid, records } = entry;
  const head = new HeadWriter(entry);
  const decider = Buffer.from(entry.decider);
  const value = Buffer.allocUnsafe(head.bytes + 4 + decider.length + 4 + records.length * 8 + CRC_BYTES);
  let at = writeBytes(value, head.write(value, 0), decider);
  writeUint32(value, at, records.length >>> 1);
  at += 4;
  for (const number of records) {
    writeUint64(value, at, number);
    at += 8;
  }
  return seal(value, seedOf(tid));
}

/** @throws CorruptionError, naming the tid. */
export function decodePrepared(tid: Tid, bytes: Uint8Array): PreparedEntry {
  const value = checkedEntry(`the prepared transaction ${tid}`, tid, bytes);
  const { at, ...head } = readHead(value, 0);
  const decider = readBytes(value, at);
  const records: number[] = [];
  const end = value.length - CRC_BYTES;
  for (let i = at + 4 + decider.length + 4; i < end; i += 8) records.push(readUint64(value, i));
  return { tid, ...head, decider: decider.toString(), records };
}

/** Numbers as the bookkeeping has them, and the tid of a commit id. */
export function encodeNumbers(numbers: readonly number[]): Buffer {
  const value = Buffer.allocUnsafe(numbers.length * 8 + CRC_BYTES);
  for (let i = 0; i < numbers.length; i++) writeUint64(value, i * 8, numbers[i] as number);
  return seal(value, numbers.length);
}

/** @throws CorruptionError, naming `what`. */
export function decodeNumbers(what: string, bytes: Uint8Array): number[] {
  const value = asBuffer(bytes);
  const count = (value.length - CRC_BYTES) / 8;
  if (!isSealed(value, count)) throw damagedEntry(what);
  return Array.from({ length: count }, (_, i) => readUint64(value, i * 8));
}

function checkedEntry(what: string, tid: Tid, bytes: Uint8Array): Buffer {
  const value = asBuffer(bytes);
  if (!isSealed(value, seedOf(tid))) throw damagedEntry(what, tid);
  return value;
}

function damagedEntry(what: string, tid?: Tid): CorruptionError {
  return new CorruptionError(
    `${what} is damaged: its checksum does not match; restore the database from a copy`,
    tid === undefined ? {} : { tid },
  );
}

class HeadWriter {
  readonly #parts: readonly Uint8Array[];
  readonly bytes: number;

  constructor({ commitId, extension, user, description }: TransactionHead) {
    this.#parts = [
      commitId,
      extension,
      user === '' ? EMPTY : Buffer.from(user),
      description === '' ? EMPTY : Buffer.from(description),
    ];
    let bytes = 0;
    for (const part of this.#parts) bytes += 4 + part.length;
    this.bytes = bytes;
  }

  /** Returns where it ends. */
  write(into: Buffer, at: number): number {
    let end = at;
    for (const part of this.#parts) end = writeBytes(into, end, part);
    return end;
  }
}

function readHead(value: Buffer, start: number): Omit<TransactionHead, 'tid'> & { readonly at: number } {
  let at = start;
  const next = () => {
    const bytes = readBytes(value, at);
    at += 4 + bytes.length;
    return bytes;
  };
  const commitId = next();
  const extension = next();
  const user = next().toString();
  const description = next().toString();
  return { commitId, extension, user, description, at };
}

function writeBytes(into: Buffer, at: number, bytes: Uint8Array): number {
  writeUint32(into, at, bytes.length);
  into.set(bytes, at + 4);
  return at + 4 + bytes.length;
}

function readBytes(value: Buffer, at: number): Buffer {
  return value.subarray(at + 4, at + 4 + readUint32(value, at));
}
