import { argumentRangeError, type Size } from '../base/index.js';
import { registerScheme, type StorageOptions } from '../odb/index.js';
import { type ClientOptions, ClientStorage } from './client/client-storage.js';

/**
 * Connects to what a URI names: `zeo://host:port`, `zeo://host:port/name`; `zeo:/path/to.sock` for a Unix socket, with
 * the name of the storage after a `#`.
 *
 * @throws as `ClientStorage.connect`. RangeError (`ARG_ADDRESS`).
 */
export function connectUri(uri: string, options: ClientOptions = {}): Promise<ClientStorage> {
  const { address, storage } = parseZeoUri(uri);
  return ClientStorage.connect(address, storage === undefined ? options : { ...options, storage });
}

/** Takes a `zeo:` URI apart. @throws RangeError (`ARG_ADDRESS`). */
export function parseZeoUri(uri: string): { readonly address: string; readonly storage: string | undefined } {
  const [, tcp, name] = /^zeo:\/\/([^/#?]+)(?:\/([^/#?]*))?$/i.exec(uri) ?? [];
  if (tcp !== undefined) return { address: tcp, storage: name ? decodeURIComponent(name) : undefined };
  const [, path, fragment] = /^zeo:(?:\/\/(?=\/))?([^#?]*\/[^#?]*)(?:#(.+))?$/i.exec(uri) ?? [];
  if (path !== undefined && !path.startsWith('//')) {
    return { address: decodeURIComponent(path), storage: fragment ? decodeURIComponent(fragment) : undefined };
  }
  throw argumentRangeError(
    'ARG_ADDRESS',
    `'${uri}' names no server: write zeo://host:port, zeo://host:port/name, or zeo:/path/to.sock`,
  );
}

const OPTIONS: readonly string[] = Object.keys({
  storage: true,
  cacheSize: true,
  blobCacheSize: true,
  blobCachePath: true,
  wait: true,
  waitTimeout: true,
  readTimeout: true,
  readOnly: true,
  label: true,
  conflictResolver: true,
} satisfies Record<keyof ClientOptions, true>);

// `cacheSize` beside it is the number of objects that the connections of the database keep.
registerScheme(
  'zeo',
  (uri, { clientCacheSize, ...options }: StorageOptions) =>
    connectUri(uri, clientCacheSize === undefined ? options : { ...options, cacheSize: clientCacheSize as Size }),
  { options: ['clientCacheSize', ...OPTIONS] },
);
