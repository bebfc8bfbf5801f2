/** What storage servers and clients are made of: sessions, views, and the packets between them. */
export {
  ClientDisconnected,
  FrameTooLargeError,
  ProtocolError,
  ReadOnlyError,
  StorageError,
} from '../errors.js';
export { type Oid, type Tid, ZERO_TID } from '../ids.js';
export { READ_TIMEOUT_MS, RECORD_BYTES_MAX } from '../limits.js';
export type { LockSession } from '../storage/lock-table.js';
export type {
  ConflictResolver,
  InvalidationListener,
  Storage,
  StorageAttachment,
  StorageSupports,
} from '../storage/storage.js';
export { openAttached } from './attached.js';
export { BlobCacheFolder, type BlobCachePlace } from './blob-cache.js';
export { newPacket, PacketReader, packetId, packetType, readValue, valuePacket } from './codec.js';
export { errorFromWire, errorToWire } from './error-codec.js';
export { HubMemory, type HubState } from './hub-memory.js';
export { HEADER_BYTES, Message, SYNC_ID_BIT } from './messages.js';
export { Session } from './session.js';
export { SessionStats } from './session-transactions.js';
export { StorageHost } from './storage-host.js';
export type { Transport, TransportHandlers } from './transport.js';
export { lostPacket } from './view-channel.js';
export { ViewHub } from './view-hub.js';
export type { ViewLink } from './view-link.js';
export { createEnds, type ViewData, type ViewEnd } from './view-parts.js';
export { ViewStorage } from './view-storage.js';
