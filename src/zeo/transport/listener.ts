import { lstatSync, unlinkSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { AddressInUseError, StorageError } from '../../odb/index.js';
import { type Address, formatAddress } from './address.js';

/** Connections that the kernel holds until they are taken. */
const BACKLOG = 511;

/** A port, or a Unix socket, that takes connections. */
export class Listener {
  readonly #server: Server;
  /** Where it listens; with the port that the system chose, where none was named. */
  readonly address: Address;

  private constructor(server: Server, address: Address) {
    this.#server = server;
    this.address = address;
  }

  /**
   * Listens.
   *
   * @throws AddressInUseError. StorageError when the address is not to be had for another reason.
   */
  static async open(address: Address, onSocket: (socket: Socket) => void): Promise<Listener> {
    try {
      if (address.kind === 'unix') await removeStaleSocket(address.path);
    } catch (error) {
      throw listenError(address, error as NodeJS.ErrnoException);
    }
    const server = createServer(onSocket);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(address, error)));
      const listening = () => {
        server.removeAllListeners('error');
        resolve();
      };
      if (address.kind === 'unix') server.listen({ path: address.path, backlog: BACKLOG }, listening);
      else server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, listening);
    });
    // A connection that could not be taken (no file descriptors left) must not end the server.
    server.on('error', () => undefined);
    const bound = server.address();
    if (address.kind === 'unix' || bound === null || typeof bound === 'string') return new Listener(server, address);
    return new Listener(server, { ...address, port: bound.port });
  }

  /** Takes no further connections. Those that were taken are their owner's. */
  async close(): Promise<void> {
    // The callback comes only when every connection has ended; the port is free at once.
    this.#server.close();
  }
}

function listenError(address: Address, error: NodeJS.ErrnoException): Error {
  const text = formatAddress(address);
  if (error.code === 'EADDRINUSE') return new AddressInUseError(text);
  return new StorageError(`cannot listen on ${text}: ${error.message}`, { cause: error });
}

/** Crash: a server that was killed leaves its socket behind, and nobody answers there. */
async function removeStaleSocket(path: string): Promise<void> {
  const isSocket = lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
  if (!isSocket) return;
  const isAlive = await new Promise<boolean>((resolve) => {
    const probe = createConnection({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    // Another one may answer in vain: to a user who may not connect, or while too many do.
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
  if (!isAlive) unlinkSync(path);
}
