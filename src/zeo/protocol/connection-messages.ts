import { readUint64, writeUint64 } from '../../base/index.js';
import {
  errorFromWire,
  errorToWire,
  HEADER_BYTES,
  type Oid,
  ProtocolError,
  readValue,
  type StorageSupports,
  type Tid,
  valuePacket,
} from '../../odb/remote/index.js';

/**
 * Packets on channel 0, about the connection itself.
 *
 * The client opens with `hello`; the server answers `welcome` or, before it closes, `refusal`. Each view of the client
 * has a channel of its own, which `openChannel` opens and `closeChannel` ends. The server sends `invalidate` unasked,
 * for every transaction, ahead of any answer that depends on it.
 */
export const ConnectionMessage = {
  hello: 1,
  welcome: 2,
  refusal: 3,
  ping: 4,
  pong: 5,
  invalidate: 6,
  invalidateAll: 7,
  openChannel: 8,
  channelOpened: 9,
  closeChannel: 10,
} as const;

type ConnectionMessageType = (typeof ConnectionMessage)[keyof typeof ConnectionMessage];

/** What a client says first. */
export interface Hello {
  readonly versions: readonly number[];
  /** Name of the storage on that server. */
  readonly storage: string;
  /** The newest transaction that the client has been told of; 0 when it is new. */
  readonly lastTid: Tid;
  /** Who it is, for the server's log. */
  readonly label: string;
}

/** The server's answer to a {@link Hello} that it accepts. */
export interface Welcome {
  readonly version: number;
  /** Names the storage for ever. */
  readonly identity: string;
  readonly supports: StorageSupports;
  readonly isReadOnly: boolean;
  readonly lastTid: Tid;
  /** The storage's time, in ms. */
  readonly nowMs: number;
  /** What the client has missed since its `lastTid`, in order; `undefined` when the server cannot tell any more. */
  readonly missed: readonly Missed[] | undefined;
}

/** A transaction that a client has missed. */
export interface Missed {
  readonly tid: Tid;
  readonly oids: readonly Oid[];
}

/** What a client wants of a channel. */
export interface ChannelRequest {
  readonly channel: number;
  readonly isReadOnly: boolean;
  /** Locks that the view held when its connection was lost, to be taken again. */
  readonly locks: readonly string[];
  readonly watches: readonly string[];
}

/** What a client got. */
export interface ChannelOpened {
  readonly channel: number;
  /** Locks of the request that were free. */
  readonly locks: readonly string[];
}

// The packets of channel 0 have the same header as all others.
function packet(type: ConnectionMessageType, value: unknown, id = 0): Uint8Array {
  return valuePacket(type as Parameters<typeof valuePacket>[0], id, value);
}

export function helloPacket({ versions, storage, lastTid, label }: Hello): Uint8Array {
  return packet(ConnectionMessage.hello, [versions, storage, lastTid, label]);
}

/** @throws ProtocolError. */
export function readHello(bytes: Uint8Array): Hello {
  const [versions, storage, lastTid, label] = fields(bytes, 'hello');
  if (isNumbers(versions) && typeof storage === 'string' && isTid(lastTid) && typeof label === 'string') {
    return { versions, storage, lastTid, label };
  }
  throw unreadable('hello');
}

export function welcomePacket(welcome: Welcome): Uint8Array {
  const { version, supports, isReadOnly, lastTid, nowMs, missed, identity } = welcome;
  const transactions = missed?.map(({ tid, oids }) => [tid, oids]) ?? null;
  return packet(ConnectionMessage.welcome, [version, supports, isReadOnly, lastTid, nowMs, transactions, identity]);
}

/** @throws ProtocolError. */
export function readWelcome(bytes: Uint8Array): Welcome {
  const [version, supports, isReadOnly, lastTid, nowMs, missed, identity] = fields(bytes, 'welcome');
  if (
    typeof version !== 'number' ||
    !isSupports(supports) ||
    typeof isReadOnly !== 'boolean' ||
    !isTid(lastTid) ||
    typeof nowMs !== 'number' ||
    !isIdentity(identity)
  ) {
    throw unreadable('welcome');
  }
  const told = missed === null ? undefined : readMissed(missed);
  return { version, identity, supports, isReadOnly, lastTid, nowMs, missed: told };
}

export function refusalPacket(error: Error): Uint8Array {
  return packet(ConnectionMessage.refusal, errorToWire(error));
}

export function readRefusal(bytes: Uint8Array): Error {
  return errorFromWire(readValue(bytes));
}

export function pingPacket(id: number): Uint8Array {
  return packet(ConnectionMessage.ping, null, id);
}

export function pongPacket(nowMs: number, id: number): Uint8Array {
  return packet(ConnectionMessage.pong, nowMs, id);
}

/** The storage's time when it answered, in ms. @throws ProtocolError. */
export function readPong(bytes: Uint8Array): number {
  const nowMs = readValue(bytes);
  if (typeof nowMs !== 'number') throw unreadable('pong');
  return nowMs;
}

export function invalidatePacket(tid: Tid, oids: readonly Oid[]): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + 8 + oids.length * 8);
  bytes[0] = ConnectionMessage.invalidate;
  writeUint64(bytes, HEADER_BYTES, tid);
  for (let i = 0; i < oids.length; i++) writeUint64(bytes, HEADER_BYTES + 8 + i * 8, oids[i] as Oid);
  return bytes;
}

/** @throws ProtocolError. */
export function readInvalidate(bytes: Uint8Array): Missed {
  const oidBytes = bytes.length - HEADER_BYTES - 8;
  if (oidBytes < 0 || oidBytes % 8 !== 0) throw unreadable('invalidate');
  const oids: Oid[] = [];
  for (let at = HEADER_BYTES + 8; at < bytes.length; at += 8) oids.push(readUint64(bytes, at) as Oid);
  return { tid: readUint64(bytes, HEADER_BYTES) as Tid, oids };
}

export function invalidateAllPacket(tid: Tid): Uint8Array {
  return packet(ConnectionMessage.invalidateAll, tid);
}

/** @throws ProtocolError. */
export function readInvalidateAll(bytes: Uint8Array): Tid {
  const tid = readValue(bytes);
  if (!isTid(tid)) throw unreadable('invalidateAll');
  return tid;
}

export function openChannelPacket({ channel, isReadOnly, locks, watches }: ChannelRequest): Uint8Array {
  return packet(ConnectionMessage.openChannel, [channel, isReadOnly, locks, watches]);
}

/** @throws ProtocolError. */
export function readOpenChannel(bytes: Uint8Array): ChannelRequest {
  const [channel, isReadOnly, locks, watches] = fields(bytes, 'openChannel');
  if (isChannel(channel) && typeof isReadOnly === 'boolean' && isStrings(locks) && isStrings(watches)) {
    return { channel, isReadOnly, locks, watches };
  }
  throw unreadable('openChannel');
}

export function channelOpenedPacket({ channel, locks }: ChannelOpened): Uint8Array {
  return packet(ConnectionMessage.channelOpened, [channel, locks]);
}

/** @throws ProtocolError. */
export function readChannelOpened(bytes: Uint8Array): ChannelOpened {
  const [channel, locks] = fields(bytes, 'channelOpened');
  if (isChannel(channel) && isStrings(locks)) return { channel, locks };
  throw unreadable('channelOpened');
}

export function closeChannelPacket(channel: number): Uint8Array {
  return packet(ConnectionMessage.closeChannel, channel);
}

/** @throws ProtocolError. */
export function readCloseChannel(bytes: Uint8Array): number {
  const channel = readValue(bytes);
  if (!isChannel(channel)) throw unreadable('closeChannel');
  return channel;
}

function fields(bytes: Uint8Array, name: string): unknown[] {
  const value = readValue(bytes);
  if (!Array.isArray(value)) throw unreadable(name);
  return value as unknown[];
}

function readMissed(value: unknown): Missed[] {
  if (!Array.isArray(value)) throw unreadable('welcome');
  return value.map((item: unknown) => {
    const [tid, oids] = Array.isArray(item) ? (item as unknown[]) : [];
    if (!isTid(tid) || !isNumbers(oids)) throw unreadable('welcome');
    return { tid, oids: oids as Oid[] };
  });
}

function unreadable(name: string): ProtocolError {
  return new ProtocolError(`a packet '${name}' came that cannot be read`);
}

function isTid(value: unknown): value is Tid {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isIdentity(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,63}$/.test(value);
}

function isChannel(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= 0xffff_ffff;
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'number');
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isSupports(value: unknown): value is StorageSupports {
  return typeof value === 'object' && value !== null && Object.values(value).every((item) => typeof item === 'boolean');
}
