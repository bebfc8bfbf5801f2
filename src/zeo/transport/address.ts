import { argumentRangeError } from '../../base/index.js';

/** Where a server is: a port of a host, or a Unix socket. */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** The host where none is named: servers are not open to the network unless that is said. */
const LOOPBACK = '127.0.0.1';

/**
 * Reads an address: `9999`, `:9999`, `host:9999`, `[::1]:9999`, or the path of a Unix socket (with a `/`, or ending in
 * `.sock`).
 *
 * @throws RangeError (`ARG_ADDRESS`).
 */
export function parseAddress(text: string | number): Address {
  const address = String(text).trim();
  if (address.includes('/') || address.endsWith('.sock')) return { kind: 'unix', path: address };
  const match = /^(?:(\[[0-9A-Fa-f:.]+\]|[^:[\]]*):)?(\d{1,5})$/.exec(address);
  const port = Number(match?.[2]);
  if (!match || port > 65_535) {
    throw argumentRangeError('ARG_ADDRESS', `'${address}' is no address: write host:port, a port, or path.sock`);
  }
  const host = match[1]?.replace(/^\[(.*)\]$/, '$1') || LOOPBACK;
  return { kind: 'tcp', host, port };
}

/** Text of an address, as {@link parseAddress} reads it. */
export function formatAddress(address: Address): string {
  if (address.kind === 'unix') return address.path;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
