import { UsageError } from './output.js';

/** Where a server listens, or is found. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

const DEFAULT_HOST = '127.0.0.1';
const PORT_MAX = 65_535;

/** Reads `[host:]port` (an IPv6 address in brackets), or the path of a socket: one with a `/` in it, or that ends in `.sock`. */
export function parseAddress(text: string): Address {
  if (text.includes('/') || text.endsWith('.sock')) return { path: text };
  const match = /^(?:(?<host>\[[0-9a-fA-F:.]+\]|[^:[\]\s]+):)?(?<port>\d{1,5})$/.exec(text);
  const port = Number(match?.groups?.['port']);
  if (!match || port > PORT_MAX) {
    throw new UsageError(
      `'${text}' is no address: write a port (9999), host:port (127.0.0.1:9999), or the path of a socket (./zeo.sock)`,
    );
  }
  return { host: match.groups?.['host']?.replace(/^\[|\]$/g, '') ?? DEFAULT_HOST, port };
}

/** The address as it is written. */
export function formatAddress(address: Address): string {
  if ('path' in address) return address.path;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** The URI of `host:port[/name]`; one that is a `zeo:` URI already stays as it is. */
export function serverUri(text: string): string {
  if (text.startsWith('zeo:')) return text;
  const [, place, name] = /^([^/]+)(?:\/([^/]+))?$/.exec(text) ?? [];
  if (place === undefined) {
    throw new UsageError(`--zeo: '${text}' is no server: write host:port, or host:port/name for one of its storages`);
  }
  return `zeo://${formatAddress(parseAddress(place))}${name === undefined ? '' : `/${name}`}`;
}
