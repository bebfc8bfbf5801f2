/**
 * The storage server, and the storage that is its client.
 *
 * @packageDocumentation
 */

export { type ClientOptions, ClientStorage } from './client/client-storage.js';
export { type ServerOptions, StorageServer } from './server/server.js';
export type { ServerStats, StorageStats } from './server/status.js';
export { type Address, formatAddress, parseAddress } from './transport/address.js';
export { connectUri } from './uri.js';
