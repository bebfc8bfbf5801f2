import type { ServedStorage } from './served-storage.js';

/** What a server has done since it began. */
export interface ServerStats {
  /** When it began. */
  readonly since: Date;
  /** Connections at present, those in their handshake included. */
  readonly connections: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** By the names of the storages. */
  readonly storages: Readonly<Record<string, StorageStats>>;
}

/** What was done with one storage. */
export interface StorageStats {
  /** Clients at present. */
  readonly clients: number;
  readonly loads: number;
  readonly stores: number;
  readonly commits: number;
  readonly aborts: number;
  /** Commits that were refused because another came first. */
  readonly conflicts: number;
  /** Objects whose concurrent changes were merged here. */
  readonly resolved: number;
}

/** Puts the figures together. */
export function statsOf(
  server: {
    readonly sinceMs: number;
    readonly connectionCount: number;
    readonly bytesIn: number;
    readonly bytesOut: number;
  },
  served: ReadonlyMap<string, ServedStorage>,
): ServerStats {
  const storages: Record<string, StorageStats> = {};
  for (const [name, { stats, connections }] of served) {
    const { loads, stores, commits, aborts, conflicts, resolved } = stats;
    storages[name] = { clients: connections.size, loads, stores, commits, aborts, conflicts, resolved };
  }
  return {
    since: new Date(server.sinceMs),
    connections: server.connectionCount,
    bytesIn: server.bytesIn,
    bytesOut: server.bytesOut,
    storages,
  };
}
