import { type Address, formatAddress, parseAddress } from '../zeo/index.js';
import { UsageError } from './output.js';

/** Reads where to listen: `[host:]port`, or the path of a socket. @throws UsageError */
export function listenAddress(text: string): Address {
  try {
    return parseAddress(text);
  } catch {
    throw new UsageError(
      `'${text}' is no address: write a port (9999), host:port (127.0.0.1:9999), or the path of a socket (./zeo.sock)`,
    );
  }
}

/** Throws unless only programs of this machine can connect to the address. @throws UsageError */
export function refuseOpenAddress(address: Address): void {
  if (address.kind === 'unix' || isLoopback(address.host)) return;
  throw new UsageError(
    `${formatAddress(address)} can be reached from other machines, and there are no credentials: ` +
      'listen on 127.0.0.1, or say --insecure if only trusted machines can reach it',
  );
}

/** The URI of `host:port[/name]`; one that is a `zeo:` URI already stays as it is. @throws UsageError */
export function serverUri(text: string): string {
  if (text.startsWith('zeo:')) return text;
  const [, place, name] = /^([^/]+)(?:\/([^/]+))?$/.exec(text) ?? [];
  if (place === undefined) {
    throw new UsageError(`--zeo: '${text}' is no server: write host:port, or host:port/name for one of its storages`);
  }
  return `zeo://${formatAddress(listenAddress(place))}${name === undefined ? '' : `/${name}`}`;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}
